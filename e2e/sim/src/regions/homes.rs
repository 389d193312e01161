//! Keys that one region writes: which one, and what the regions' operators know of it.

use fastrand::Rng;
use trireme_crds::HomeRule;
use trireme_planner::DesiredHome;
use trireme_proto::Topology;

use super::{Regions, region_name};
use crate::{scenario::Scenario, world::World};

impl Regions {
    /// Whether there is a home in this seed, and where. Drawn by itself: the rest of a seed is what it would be without homes.
    pub(super) fn draw_home(&mut self, seed: u64, scenarios: &[Scenario]) {
        let mut rng = Rng::with_seed(seed ^ 0x7472_6972_656d_6506);
        let begun: Vec<u32> = scenarios.iter().filter(|s| s.begins_at == 0).map(|s| s.place.group).collect();
        self.home = (rng.u8(0..3) > 0).then(|| HomeRule {
            prefix: "home/".to_owned(),
            tag: String::new(),
            region: region_name(begun[rng.usize(0..begun.len())]),
            accept_locally: rng.u8(0..5) == 0,
        });
    }

    /// Tells the regions' operators what all records say of the home together.
    pub(super) fn tell_of_home(&mut self) {
        let versions: Vec<u64> =
            self.regions().iter().map(|world| world.record().map_or(0, |record| record.version)).collect();
        if self.home.is_none() || versions == self.told {
            return;
        }
        let records: Vec<Topology> = self.regions().iter().filter_map(World::record).cloned().collect();
        let rules: Vec<HomeRule> = self.home.iter().cloned().collect();
        let number = |name: &str| {
            self.regions().iter().map(|w| w.scenario.place.group).find(|group| region_name(*group) == name)
        };
        let homes = DesiredHome::all(&rules, number, &records);
        self.worlds.iter_mut().for_each(|world| world.homes = homes.clone());
        self.told = versions;
    }

    /// The home moves, to one of the regions that are there and stay.
    pub(super) fn move_home(&mut self) {
        let stays = |world: &&World| world.record().is_some() && !world.leaves && !world.has_left();
        let regions: Vec<u32> = self.regions().iter().filter(stays).map(|world| world.scenario.place.group).collect();
        if let Some(home) = self.home.as_mut().filter(|_| !regions.is_empty()) {
            home.region = region_name(regions[self.rng.usize(0..regions.len())]);
            self.told.clear();
        }
    }
}
