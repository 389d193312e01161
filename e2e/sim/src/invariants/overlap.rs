//! Without a leader: w + r > n at every moment of a change. Whoever writes by one record and whoever reads by the one after it, or before it, ask some
//! configuration both, and in it they meet.

use std::collections::BTreeSet;

use trireme_proto::{Epoch, Topology, topology::Config};

use super::{Found, violated};

/// The records so far.
#[derive(Debug, Default)]
pub struct Overlap {
    epochs: BTreeSet<Epoch>,
}

impl Overlap {
    /// Looks at a record and the one before it. `meets`: people never want anything else than quorums that meet.
    ///
    /// # Errors
    /// Where a read by one of them can miss a write by the other.
    pub fn record(&mut self, meets: bool, before: Option<&Topology>, next: &Topology) -> Found {
        self.epochs.insert(next.epoch);
        let before = before.unwrap_or(next);
        for (writes, reads) in [(next, next), (before, next), (next, before)] {
            if meets && !meet(writes, reads) {
                let what = format!(
                    "a write by version {} ({}) and a read by version {} ({}) need not meet",
                    writes.version,
                    describe(writes),
                    reads.version,
                    describe(reads)
                );
                return violated("overlap", what);
            }
        }
        Ok(())
    }

    /// How many epochs there were.
    pub fn epochs(&self) -> usize {
        self.epochs.len()
    }
}

/// The configurations in force.
fn configs(record: &Topology) -> impl Iterator<Item = &Config> {
    [Some(&record.config), record.old.as_ref()].into_iter().flatten()
}

fn meet(writes: &Topology, reads: &Topology) -> bool {
    configs(writes).any(|written| {
        configs(reads).filter(|read| read.members == written.members).any(|read| {
            let n = read.members.len() as u32;
            written.w + reads.settings.r.min(n) > n
        })
    })
}

fn describe(record: &Topology) -> String {
    let one = |config: &Config| {
        let ids: Vec<String> = config.members.iter().map(|m| m.id.to_string()).collect();
        format!("{} with w = {}", ids.join(" "), config.w)
    };
    let all: Vec<String> = configs(record).map(one).collect();
    format!("{}, r = {}", all.join(", leaving "), record.settings.r)
}

#[cfg(test)]
mod tests {
    use trireme_proto::topology::{Member, Settings};

    use super::*;

    fn record(ids: &[u32], w: u32, r: u32, old: Option<(&[u32], u32)>) -> Topology {
        let config =
            |ids: &[u32], w| Config { members: ids.iter().map(|id| Member { id: *id, incarnation: 1 }).collect(), w };
        let settings = Settings { r, ..Settings::standard() };
        Topology { config: config(ids, w), old: old.map(|(ids, w)| config(ids, w)), settings, ..Topology::default() }
    }

    #[test]
    fn a_change_that_keeps_what_it_leaves_meets_and_one_that_does_not_is_found() {
        let (three, five) = (record(&[1, 2, 3], 2, 2, None), record(&[1, 2, 3, 4], 3, 2, Some((&[1, 2, 3], 2))));
        let mut overlap = Overlap::default();
        assert_eq!(overlap.record(true, Some(&three), &five), Ok(()));
        assert!(overlap.record(true, Some(&three), &record(&[1, 2, 3, 4], 3, 2, None)).is_err());
        assert!(overlap.record(true, Some(&three), &record(&[1, 2, 3], 1, 2, None)).is_err());
        assert!(overlap.record(true, Some(&three), &record(&[1, 2, 3], 2, 1, None)).is_err());
        assert_eq!(overlap.record(false, Some(&three), &record(&[1, 2, 3], 2, 1, None)), Ok(()));
    }
}
