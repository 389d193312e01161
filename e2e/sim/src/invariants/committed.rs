//! A committed entry is never lost and never replaced: every log that anybody calls committed is a prefix of every longer one, and is in the log of
//! every leader that comes after.
//!
//! A failover that gives up on entries (policy PreferAvailable, or forced by a person) begins a new generation; what the old generation had committed is
//! then compared only within it. A loss without a new generation is a loss that nobody was told of.

use std::collections::BTreeMap;

use trireme_proto::{Epoch, Position, ReplicaId};
use trireme_replica::io::Event;

use super::{Decided, Found, Turn, violated};

/// An entry that was called committed.
#[derive(Clone, Copy)]
struct Claim {
    position: Position,
    /// The first epoch in which it was: later leaders must have it.
    epoch: Epoch,
}

/// What was called committed, by generation and seq.
#[derive(Default)]
pub struct Committed {
    generations: BTreeMap<u32, BTreeMap<u64, Claim>>,
    /// How far each process's claims have been looked at: process, commit, the position there.
    seen: BTreeMap<ReplicaId, (u64, u64, Position)>,
}

impl Committed {
    pub(super) fn turn(&mut self, turn: &Turn<'_>, decided: &Decided) -> Found {
        for event in turn.events {
            if let Event::Leads(epoch) = event {
                self.leads(turn, *epoch, decided.generation(*epoch))?;
            }
        }
        self.claims(turn, decided)
    }

    /// A new leader must have everything that its generation has committed.
    fn leads(&self, turn: &Turn<'_>, epoch: Epoch, generation: u32) -> Found {
        let Some(committed) = self.generations.get(&generation) else { return Ok(()) };
        // One that was told late leads for a moment in an epoch that is over: it need not know what was committed after.
        for (seq, claim) in committed.range(turn.shadow.base().seq + 1..).filter(|(_, claim)| claim.epoch < epoch) {
            let position = claim.position;
            let found = turn.shadow.get(*seq).map(|entry| entry.position);
            if found != Some(position) {
                let found = found.map_or("nothing".to_owned(), |found| found.to_string());
                return violated(
                    "committed",
                    format!("{position} was committed; the new leader {} has {found} there", turn.id),
                );
            }
        }
        Ok(())
    }

    fn claims(&mut self, turn: &Turn<'_>, decided: &Decided) -> Found {
        let commit = turn.report.commit;
        let Some(end) = turn.shadow.get(commit).map(|entry| entry.position) else { return Ok(()) };
        let (life, mut from, position) = self.seen.get(&turn.id).copied().unwrap_or_default();
        if life != turn.life || from > commit || turn.shadow.get(from).is_none_or(|entry| entry.position != position) {
            from = turn.shadow.base().seq;
        }
        let committed = self.generations.entry(decided.generation(end.epoch)).or_default();
        for seq in from + 1..=commit {
            let Some(entry) = turn.shadow.get(seq) else { continue };
            let claim = committed.entry(seq).or_insert(Claim { position: entry.position, epoch: end.epoch });
            claim.epoch = claim.epoch.min(end.epoch);
            let known = claim.position;
            if known != entry.position {
                let what = format!(
                    "{known} was committed; replica {} calls {} committed in its place",
                    turn.id, entry.position
                );
                return violated("committed", what);
            }
        }
        self.seen.insert(turn.id, (turn.life, commit, end));
        Ok(())
    }

    /// How many entries the longest history has.
    pub fn longest(&self) -> u64 {
        self.generations.values().filter_map(|committed| committed.keys().next_back()).max().copied().unwrap_or(0)
    }
}
