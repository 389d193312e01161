//! Home regions: which group is to write which keys, and how far the store has come with that, as its records say.
//!
//! A home moves in two steps, each a change of records. First every group that might execute a command on its keys has the new home, with a new epoch, in
//! its record, and says there that it executes none any more, and what it had written until then (`ceded`, see `crate::plan::homes`). Only then the new home's own record
//! names itself, with all that others ceded, which it has to receive before it executes. So no two groups ever execute at the same time, whoever of them
//! is slow, cut off or without a leader: a group that cannot be asked keeps its keys, and the move waits. A home that is new is one that all groups have to cede.
//! In one record an epoch names one group and never another one, whatever older records somebody had looked at; where records disagree the next epoch settles it.

use trireme_crds::HomeRule;
use trireme_proto::{
    Topology,
    breakage::{Breakage, broken},
    ids::Dot,
    topology::{Home, Leaving},
};

/// A home, as all records are to have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DesiredHome {
    /// Its keys, group and epoch; what the others ceded, as far as they have.
    pub home: Home,
    /// Regions that have not ceded it yet: until they have, it is not told that it is the home.
    pub waits_for: Vec<String>,
}

impl DesiredHome {
    /// The homes that are wanted, with the epochs that they have or are to get. `group_of` knows a region's group.
    pub fn all(rules: &[HomeRule], group_of: impl Fn(&str) -> Option<u32>, records: &[Topology]) -> Vec<DesiredHome> {
        let rows = || records.iter().flat_map(|record| &record.homes);
        let mut next = rows().map(|home| home.epoch).max().unwrap_or(0) + 1;
        let mut homes = Vec::new();
        for rule in rules {
            let Some(group) = group_of(&rule.region) else { continue };
            let mut home = Home {
                prefix: rule.prefix.clone(),
                tag: rule.tag.clone(),
                group,
                accept_locally: rule.accept_locally,
                ..Home::default()
            };
            let newest = rows().filter(|row| row.is_of(&home)).map(|row| row.epoch).max();
            let names = |row: &Home, epoch| row.is_of(&home) && row.epoch == epoch && row.group != group;
            home.epoch = newest.filter(|epoch| !rows().any(|row| names(row, *epoch))).unwrap_or(next);
            next = next.max(home.epoch + 1); // No two homes have the same.
            let mut waits_for = Vec::new();
            for record in records.iter().filter(|record| record.group != group) {
                let its = |row: &&Home| row.is_of(&home) && (row.epoch, row.group) == (home.epoch, group);
                let row = record.homes.iter().find(its);
                match row.and_then(|row| row.ceded.as_ref()) {
                    Some(ceded) => merge(&mut home.after, &ceded.upto),
                    None if record.leaving() >= Leaving::Gone || broken(Breakage::MoveHomeEarly) => {}
                    None => waits_for.push(record.replicas.first().map(|row| row.region.clone()).unwrap_or_default()),
                }
            }
            homes.push(DesiredHome { home, waits_for });
        }
        homes
    }
}

/// All of one set and of another, by their origins.
pub(crate) fn merge(into: &mut Vec<Dot>, more: &[Dot]) {
    for dot in more {
        match into.iter_mut().find(|known| known.origin == dot.origin) {
            Some(known) => known.seq = known.seq.max(dot.seq),
            None => into.push(*dot),
        }
    }
    into.sort_unstable();
}
