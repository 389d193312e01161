//! A store that has one leader first: a person wants one in each region, and perhaps one for all again, perhaps with second thoughts.
//!
//! Which groups there are to be meanwhile is what `trireme_planner::Desired::groups` says of it: other regions once the group that was there has the mode, and one
//! leader again once nothing is left of the others.

use trireme_proto::topology::Mode;

use super::{Event, Regions};
use crate::world::World;

/// How far a change of mode is.
#[derive(Clone, Copy, Default)]
pub(super) struct Modes {
    /// A leader in each region is wanted.
    many: bool,
    /// The other regions have been added.
    added: bool,
}

impl Regions {
    /// The first group is the store's only one for a while; the others' machines are there, and nobody plans for them.
    pub(super) fn begin_with_one(&mut self) {
        let until = self.worlds[0].scenario.faults_until;
        let wanted = self.rng.u64(100_000..until / 2);
        self.queue.at(wanted, Event::Mode(true));
        if self.rng.u8(0..3) > 0 {
            let back = wanted + self.rng.u64(200_000..until);
            self.queue.at(back, Event::Mode(false));
            if self.rng.u8(0..3) == 0 {
                let again = back + self.rng.u64(1_000..300_000);
                self.queue.at(again, Event::Mode(true));
                self.queue.at(again + self.rng.u64(1_000..500_000), Event::Mode(false));
            }
        }
        self.worlds[0].mode = Mode::SingleLeader;
        self.worlds[0].others.clear();
        for world in &mut self.worlds[1..] {
            world.is_none_yet = true;
        }
        self.modes = Some(Modes::default());
    }

    /// A person wants this now.
    pub(super) fn want_mode(&mut self, many: bool) {
        let Some(modes) = &mut self.modes else { return };
        modes.many = many;
        if modes.added {
            (1..self.worlds.len()).for_each(|i| self.happen(Event::Leave(i, !many)));
        }
        self.change_mode();
    }

    /// The next step, by what the records say.
    pub(super) fn change_mode(&mut self) {
        let Some(modes) = self.modes else { return };
        let is_left = |world: &World| modes.added && !world.ended();
        let many = modes.many || self.worlds[1..].iter().any(is_left);
        self.worlds[0].mode = if many { Mode::MultiLeader } else { Mode::SingleLeader };
        let is_many = self.worlds[0].record().is_some_and(|record| record.settings.mode() == Mode::MultiLeader);
        if modes.many && is_many && !modes.added {
            let all: Vec<u32> = self.worlds.iter().map(|world| world.scenario.place.group).collect();
            for world in &mut self.worlds {
                let own = world.scenario.place.group;
                (world.is_none_yet, world.others) =
                    (false, all.iter().copied().filter(|other| *other != own).collect());
            }
            self.modes = Some(Modes { added: true, ..modes });
        }
    }

    /// Why the store's mode is not what is wanted, where it is not.
    pub(super) fn is_in_mode(&self) -> Option<String> {
        let modes = self.modes?;
        let wanted = if modes.many { Mode::MultiLeader } else { Mode::SingleLeader };
        let is = self.worlds[0].record().map(|record| record.settings.mode());
        (is != Some(wanted)).then(|| format!("the mode is {is:?}, and {wanted:?} is wanted"))
    }
}
