//! A new leader serves only when the lease of the one before has run out, or that one knows of its end.
//!
//! The simulation keeps the books itself: a leader holds its lease until the configured time after the moment at which it sent what a quorum of members
//! has acknowledged to it, on its own clock.

use std::collections::BTreeMap;

use trireme_proto::{Epoch, ReplicaId, Topology, message::AppendAck, report::Role};
use trireme_replica::io::Event;

use super::{Found, Turn, violated};

#[derive(Default)]
struct Book {
    life: u64,
    epoch: Epoch,
    /// What each member has acknowledged: the leader's own clock when it was sent.
    heard: BTreeMap<ReplicaId, u64>,
    /// It thinks that it leads and serves.
    serving: bool,
    /// Until when, on its own clock, in microseconds.
    until: u64,
    /// Its clock at its last turn, and the world's.
    clock: (u64, u64),
}

/// The leases of all leaders.
#[derive(Default)]
pub struct Leases {
    books: BTreeMap<ReplicaId, Book>,
}

impl Leases {
    /// A leader is handed an acknowledgement.
    pub fn acknowledged(&mut self, leader: ReplicaId, from: ReplicaId, ack: &AppendAck) {
        let book = self.books.entry(leader).or_default();
        if ack.epoch == book.epoch {
            let heard = book.heard.entry(from).or_default();
            *heard = (*heard).max(ack.sent_us);
        }
    }

    /// A process has ended: it serves nobody.
    pub fn ended(&mut self, id: ReplicaId) {
        self.books.remove(&id);
    }

    pub(super) fn turn(&mut self, turn: &Turn<'_>) -> Found {
        for event in turn.events {
            if let Event::Serves(epoch) = event {
                self.others(turn, *epoch)?;
            }
        }
        self.keep(turn);
        Ok(())
    }

    fn keep(&mut self, turn: &Turn<'_>) {
        let book = self.books.entry(turn.id).or_default();
        let Some(topology) = turn.topology else { return };
        if book.life != turn.life || book.epoch != topology.epoch {
            *book = Book { life: turn.life, epoch: topology.epoch, ..Book::default() };
        }
        book.serving = turn.report.role() == Role::Leader && turn.report.serving;
        book.clock = (turn.now.mono_us, turn.time);
        book.until = lease_until(book, topology, turn);
    }

    fn others(&self, turn: &Turn<'_>, epoch: Epoch) -> Found {
        for (id, book) in self.books.iter().filter(|(id, book)| **id != turn.id && book.serving && book.epoch < epoch) {
            // Its clock now, as if it ran right: wrong by less than what leases allow for.
            let clock = book.clock.0 + (turn.time - book.clock.1);
            if clock + ALLOWANCE_US < book.until {
                let left = book.until - clock;
                return violated(
                    "lease",
                    format!(
                        "replica {} serves epoch {epoch} while {id} still holds the lease of {} for {left} us",
                        turn.id, book.epoch
                    ),
                );
            }
        }
        Ok(())
    }
}

/// How much a lease may be off for the drift of clocks, in microseconds.
const ALLOWANCE_US: u64 = 5_000;

fn lease_until(book: &Book, topology: &Topology, turn: &Turn<'_>) -> u64 {
    let config = &topology.config;
    let own = |id: ReplicaId| if id == turn.id { turn.now.mono_us } else { book.heard.get(&id).copied().unwrap_or(0) };
    let mut heard: Vec<u64> = config.members.iter().map(|member| own(member.id)).collect();
    heard.sort_unstable_by(|a, b| b.cmp(a));
    let sent = heard.get(config.lease_quorum().saturating_sub(1)).copied().unwrap_or(0);
    if sent == 0 { 0 } else { sent + u64::from(topology.settings.lease_ms) * 1_000 }
}
