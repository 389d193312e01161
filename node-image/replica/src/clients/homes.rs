//! Keys that are written in one region only: whose they are, and what a group does with commands on them.
//!
//! ```text
//!   a command that may write ──▶ where_is ──┬─ here: no home, or this group is it
//!                                           ├─ there: asked of that group's leader, under a request id like any other (elsewhere)
//!                                           ├─ soon: this group is their home, and has not yet received what was written before
//!                                           └─ nowhere: its keys have different homes, or all keys are meant
//! ```
//!
//! Who forwards looks at it to find out whom to ask, which may be wrong; who executes looks at its own record, which is what counts. The home of a key is that
//! of the record that the group's leader obeys: by it the leader executes, or says where else the request belongs ("moved"), for which it must never have executed it,
//! as its group's log says. It tells the operator once everything is committed that it executed before it knew the record ([`Settling`]), and only then
//! another group is told that it is the home.
//!
//! Reads are answered anywhere, and so may be behind. What expires is removed at its home.

use trireme_proto::{
    Topology,
    breakage::{Breakage, broken},
    ids::Dot,
    topology::Home,
};

use crate::{
    engine::{
        command::{self, Spec},
        slot::tag_of,
    },
    replica::Replica,
};

use super::{client::Args, execute::Work};

/// The homes of a record, to be found by key.
#[derive(Debug, Default)]
pub(crate) struct Homes {
    all: Vec<Home>,
    /// In order; none of them is the beginning of another one.
    prefixes: Vec<(Box<[u8]>, usize)>,
    tags: Vec<(Box<[u8]>, usize)>,
}

impl Homes {
    /// Those of a record.
    pub(crate) fn of_record(record: Option<&Topology>) -> Homes {
        record.map_or_else(Homes::default, |topology| Homes::new(&topology.homes))
    }

    fn new(homes: &[Home]) -> Homes {
        let sorted = |of: fn(&Home) -> &String| {
            let named = homes.iter().enumerate().filter(|(_, home)| !of(home).is_empty());
            let mut rows: Vec<(Box<[u8]>, usize)> = named.map(|(i, home)| (of(home).as_bytes().into(), i)).collect();
            rows.sort_unstable();
            rows
        };
        let tags = sorted(|home| &home.tag);
        let mut prefixes = sorted(|home| &home.prefix);
        prefixes.retain(|(_, i)| homes[*i].tag.is_empty());
        Homes { all: homes.to_vec(), prefixes, tags }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// The home of a key, if it has one. Its tag says more than its beginning does.
    pub(crate) fn of(&self, key: &[u8]) -> Option<&Home> {
        self.index_of(key).map(|i| &self.all[i])
    }

    fn index_of(&self, key: &[u8]) -> Option<usize> {
        let by_tag = || {
            let tag = tag_of(key).filter(|_| !self.tags.is_empty())?;
            let at = self.tags.binary_search_by(|(row, _)| (**row).cmp(tag)).ok()?;
            Some(self.tags[at].1)
        };
        let by_prefix = || {
            // The largest that is not above the key: one between its own prefix and the key would begin with that prefix.
            let at = self.prefixes.partition_point(|(row, _)| **row <= *key).checked_sub(1)?;
            Some(self.prefixes[at].1).filter(|_| key.starts_with(&self.prefixes[at].0))
        };
        by_tag().or_else(by_prefix)
    }

    /// What people call it: the beginning of its keys, or their tag.
    pub(super) fn name(&self, at: AtHome) -> String {
        self.all[at.index].keys()
    }

    fn at(&self, index: usize) -> AtHome {
        AtHome { group: self.all[index].group, epoch: self.all[index].epoch, index }
    }
}

/// Who executes a unit of work.
#[derive(Debug, PartialEq)]
pub(crate) enum Where {
    /// This group: as the home of its keys, by this epoch, or by 0 as it would any command.
    Here(u64),
    /// That one, by this home.
    There(AtHome),
    /// This group, once it has received what others wrote before.
    Soon(AtHome),
    /// Nobody: this is what its client is told.
    Nowhere(String),
}

/// A home, as far as requests name it; and which of the record's it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AtHome {
    pub(crate) group: u32,
    pub(crate) epoch: u64,
    index: usize,
}

/// The record that a leader obeys, and whether all that it executed before is committed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Settling {
    /// Its version, and the end of the log when it came.
    newest: (u64, u64),
    /// The newest version of which that is known.
    settled: u64,
}

impl Settling {
    /// A record of this version is obeyed from here in the log on.
    pub(crate) fn obey(&mut self, version: u64, end: u64) {
        self.newest = (version, end);
    }

    /// The log is committed up to there.
    pub(crate) fn commit(&mut self, upto: u64) {
        if self.newest.1 <= upto {
            self.settled = self.newest.0;
        }
    }

    /// The newest record before which nothing is under way.
    pub(crate) fn settled(&self) -> u64 {
        self.settled
    }
}

impl Replica {
    /// Who executes this.
    pub(crate) fn where_is(&self, work: &Work<'_>) -> Where {
        if self.homes.is_empty() || !work.writes() {
            return Where::Here(0);
        }
        let (mut found, mut several, mut without_keys) = (None, None, None);
        written(work, |spec, key| match key.map(|key| self.homes.index_of(key)) {
            None => without_keys = Some(spec.name),
            Some(None) => {}
            Some(Some(index)) => {
                let at = self.homes.at(index);
                match found {
                    Some(AtHome { group, .. }) if group != at.group => several = found.zip(Some(at)),
                    _ => found = Some(at),
                }
            }
        });
        if let Some(name) = without_keys {
            return Where::Nowhere(format!(
                "CROSSHOME {} would write keys of every home region: nothing was done; remove them by name, in their regions",
                name.to_ascii_uppercase()
            ));
        }
        if let Some((one, other)) = several {
            return Where::Nowhere(format!(
                "CROSSHOME its keys have different home regions: {} is at home in {}, {} in {}; nothing was done",
                self.homes.name(one),
                self.region_named(one.group),
                self.homes.name(other),
                self.region_named(other.group)
            ));
        }
        match found {
            Some(at) => self.judge(at),
            None => Where::Here(0),
        }
    }

    fn judge(&self, at: AtHome) -> Where {
        let home = &self.homes.all[at.index];
        let received = |dot: &Dot| self.engine.received().upto(dot.origin) >= dot.seq;
        if home.group == self.identity.group {
            let all = home.after.iter().all(received) || broken(Breakage::HomeUnseen);
            return if all { Where::Here(at.epoch) } else { Where::Soon(at) };
        }
        let alone = home.accept_locally && self.is_silent(home.group);
        if alone || broken(Breakage::WriteAway) { Where::Here(at.epoch) } else { Where::There(at) }
    }

    /// Whether what expires of this key is removed by this group.
    pub(crate) fn is_at_home(&self, key: &[u8]) -> bool {
        self.homes.of(key).is_none_or(|home| home.group == self.identity.group)
    }

    /// A group's region, for people.
    pub(super) fn region_named(&self, group: u32) -> String {
        let topology = self.meta.topology.as_ref();
        let other = topology.and_then(|t| t.groups.iter().find(|row| row.group == group)).map(|row| &row.region);
        let own = topology.filter(|t| t.group == group).and_then(|t| t.replicas.first()).map(|row| &row.region);
        own.or(other).cloned().unwrap_or_else(|| format!("number {group}"))
    }
}

/// Every key that a unit of work may write, and the commands that write without naming any.
fn written<'a>(work: &Work<'a>, mut each: impl FnMut(&'static Spec, Option<&[u8]>)) {
    let mut add = |spec: &'static Spec, args: &[&[u8]]| {
        if !spec.is_write() {
            return;
        }
        let mut none = true;
        spec.written_keys(args).for_each(|key| {
            none = false;
            each(spec, Some(key));
        });
        if none && !spec.names_keys() {
            each(spec, None);
        }
    };
    match work {
        Work::One(spec, args) => add(spec, args),
        Work::Transaction(commands, _) => {
            for queued in *commands {
                let args: Args<'_> = queued.args.iter().map(|arg| &arg[..]).collect();
                if let Ok(spec) = command::resolve(&args) {
                    add(spec, &args);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn homes() -> Homes {
        let prefix = |prefix: &str, group| Home { prefix: prefix.to_owned(), group, ..Home::default() };
        let tag = Home { tag: "berlin".to_owned(), group: 3, ..Home::default() };
        Homes::new(&[prefix("eu:", 1), tag, prefix("us:", 2), prefix("a", 7), prefix("eu;x", 9)])
    }

    #[test]
    fn a_key_is_at_home_where_its_tag_says_or_its_beginning() {
        let homes = homes();
        let of = |key: &str| homes.of(key.as_bytes()).map(|home| home.group);
        let known = ["eu:", "eu:1", "eu;x1", "us:{berlin}", "{berlin}", "a", "az", "us:z"].map(of);
        assert_eq!(known, [1, 1, 9, 3, 3, 7, 7, 2].map(Some));
        assert_eq!(["", "eu", "b", "us", "v", "eu;", "{hamburg}", "berlin", "{}{berlin}"].map(of), [None; 9]);
        assert!(Homes::default().of(b"eu:1").is_none());
    }

    #[test]
    fn a_record_is_settled_when_all_before_it_is_committed() {
        let mut settling = Settling::default();
        settling.obey(5, 100);
        settling.commit(99);
        assert_eq!(settling.settled(), 0);
        settling.commit(100);
        assert_eq!(settling.settled(), 5);
        settling.obey(6, 120);
        settling.commit(110);
        assert_eq!(settling.settled(), 5);
        settling.obey(7, 130);
        settling.commit(120);
        assert_eq!(settling.settled(), 5);
        settling.commit(131);
        assert_eq!(settling.settled(), 7);
    }
}
