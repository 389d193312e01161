//! Another resource for a store that runs: its n, w, r and settings change under its clients.

use std::collections::BTreeSet;

use trireme_planner::{Desired, DesiredHome};
use trireme_proto::{
    Topology,
    topology::{Group, Home, Phase},
};

use crate::{
    addresses,
    store::{self, Runs},
    world::World,
};

/// Makes the resource in this text the one that is wanted: it, or why it cannot be; then nothing was changed.
pub(crate) fn apply(text: &str, world: &mut World) -> Result<Runs, String> {
    let parsed = trireme_crds::parse(text, "the file");
    let resource = parsed.map_err(|all| all.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))?;
    let directory = world.directory().clone();
    let name = &directory.owner().name;
    if resource.metadata.name != *name {
        return Err(format!("this is the store `{name}`, but the file describes `{}`", resource.metadata.name));
    }
    store::check_change(&directory, &resource).map_err(|error| error.to_string())?;
    let runs = Runs::store(&resource, &directory).map_err(|error| error.to_string())?;
    let durability = runs.durability();
    if durability != world.durability() {
        return Err(format!(
            "spec.durability: the replicas run with {}; it becomes {durability} when the store is stopped and `trireme up` is given this file",
            world.durability()
        ));
    }
    let most = store::last_number(&runs.wanted(&directory, &world.records(), &[]));
    let addresses = addresses::grow(directory.path(), most).map_err(|error| error.to_string())?;
    directory.keep_specification(text).map_err(|error| error.to_string())?;
    world.listen_at(addresses);
    Ok(runs)
}

/// Whether the records have become what is wanted.
pub(crate) fn is_done(records: &[Topology], groups: &[Desired]) -> bool {
    let record_of = |group| records.iter().find(|record| record.group == group);
    // A region that leaves has a group until nothing is left of it.
    groups.iter().all(|desired| !desired.leaving && record_of(desired.group).is_some_and(|record| is(record, desired)))
}

fn is(record: &Topology, desired: &Desired) -> bool {
    let members: BTreeSet<u32> = record.config.members.iter().map(|member| member.id).collect();
    let wanted = desired.replicas.iter().map(|replica| replica.id).collect();
    let fed = |groups: &[Group]| groups.iter().map(|group| (group.group, group.is_fed())).collect::<Vec<_>>();
    let at_home = |wanted: &DesiredHome| {
        let is_its = |row: &&Home| row.is_of(&wanted.home) && row.epoch == wanted.home.epoch;
        wanted.waits_for.is_empty() && record.homes.iter().any(|row| is_its(&row) && row.group == wanted.home.group)
    };
    record.old.is_none()
        && desired.mode_waits_for.is_empty()
        && desired.homes.len() == record.homes.len()
        && desired.homes.iter().all(at_home)
        && fed(&record.groups) == fed(&desired.others)
        && record.phase() == Phase::Active
        && record.config.w == desired.w
        && record.settings == desired.settings
        && members == wanted
}

/// n, w and r that are wanted, in words.
pub(crate) fn describe(groups: &[Desired]) -> String {
    let groups: Vec<&Desired> = groups.iter().filter(|group| !group.leaving).collect();
    let Some(desired) = groups.first() else { return String::new() };
    let numbers = format!("n = {}, w = {}, r = {}", desired.n(), desired.w, desired.settings.r);
    match groups.as_slice() {
        [_] => numbers,
        _ => {
            let regions: Vec<&str> = groups.iter().map(|group| group.region.as_str()).collect();
            format!("{numbers} in each of {}", regions.join(", "))
        }
    }
}
