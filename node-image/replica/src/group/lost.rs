//! Entries that were cut off this replica's log although they may have been acknowledged: kept until a leader's new entries for them are committed.
//!
//! They are offered to the leader that cut them, and again to each later one, because a leader may die before what it appended of them is committed. Twice
//! does no harm: whoever has them in its log knows their names. A replica that is itself to lead offers them to itself.
//!
//! What is kept is in memory. A process that ends meanwhile has them in its file of cut entries only: so they are lost where both die, the leader before
//! its commit and this process before the next leader has been told.

use bytes::Bytes;
use trireme_proto::{
    Epoch, Message, Position, ReplicaId,
    message::{CutSuffix, SuffixTaken},
};

use crate::{
    engine::Engine,
    log::record::{self, Kind},
    replica::Replica,
};

use super::Role;

/// Bytes that are kept: the newest go beyond it into the file of cut entries alone.
const BYTES_MAX: usize = 64 << 20;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Lost {
    /// Whole records, in pieces that fit into a message.
    pieces: Vec<Bytes>,
    bytes: usize,
    /// How often they were offered.
    offers: u64,
    /// Where the log of the leader that took the last offer ended then.
    taken: Option<Position>,
}

impl Lost {
    /// Keeps those records that may have been acknowledged: deltas of generations before the one that goes on without them. What is cut within a generation
    /// was sealed by enough members to know that nobody was told OK.
    pub(super) fn keep(&mut self, records: &[u8], generation: u32) {
        let (mut rest, mut piece) = (records, Vec::new());
        while !rest.is_empty() {
            let Ok(record) = record::read_trusted(rest) else { break };
            let (one, others) = rest.split_at(record.bytes);
            let earlier = || Engine::origin_of(record.payload).is_ok_and(|origin| origin.generation < generation);
            if record.kind == Kind::Delta && earlier() && self.bytes + piece.len() + one.len() <= BYTES_MAX {
                piece.extend_from_slice(one);
            }
            rest = others;
        }
        if !piece.is_empty() {
            self.bytes += piece.len();
            self.pieces.push(piece.into());
            self.taken = None;
        }
    }
}

impl Replica {
    /// What is known of the state at the start: where no failover has ever been allowed to lose, every state is in the history, and so is one whose log goes
    /// into the epoch of the record.
    pub(crate) fn begin_history(&mut self) {
        let Some(topology) = &self.meta.topology else { return };
        if topology.generation <= 1 || self.log.last().epoch == topology.epoch {
            self.history = topology.generation;
        }
    }

    /// Whether the state belongs to the store's history as far as this replica knows. A failover that may lose raises the generation: from then on a state
    /// may hold what the store has never had, until its log is known to agree with the leader's.
    pub(crate) fn in_history(&self) -> bool {
        self.meta.topology.as_ref().is_none_or(|topology| topology.generation <= self.history)
    }

    /// The log agrees with that of the record's leader, or is that.
    pub(crate) fn note_history(&mut self) {
        let Some(topology) = &self.meta.topology else { return };
        let agrees = match &self.role {
            Role::Leader(leader) => leader.epoch == topology.epoch,
            Role::Follower(follower) => follower.aligned && follower.epoch == topology.epoch,
            Role::Idle => false,
            Role::Peer(_) => true,
        };
        if agrees {
            self.history = topology.generation;
        }
    }

    /// A leader has said where the logs agree: it is offered what earlier ones were, unless it has what came of that.
    pub(super) fn offer_again(&mut self, leader: ReplicaId, agreed: Position) {
        let Role::Follower(follower) = &self.role else { return };
        let (epoch, offered) = (follower.epoch, follower.offered);
        let has = self.lost.taken.is_some_and(|taken| taken.seq <= agreed.seq && self.log_has(taken));
        if offered || has || !self.recovers_what_was_cut() {
            return;
        }
        self.lost.taken = None;
        for entries in self.lost.pieces.clone() {
            self.send(leader, Message::CutSuffix(CutSuffix { epoch, entries, ends: 0 }));
        }
    }

    /// Everything is offered: the leader is to say when it has taken it.
    pub(super) fn end_offer(&mut self, leader: ReplicaId) {
        let unsettled = !self.lost.pieces.is_empty() && self.lost.taken.is_none_or(|taken| !self.log_has(taken));
        let Role::Follower(follower) = &mut self.role else { return };
        if std::mem::replace(&mut follower.offered, true) || !unsettled {
            return;
        }
        let epoch = follower.epoch;
        self.lost.offers += 1;
        self.lost.taken = None;
        self.send(leader, Message::CutSuffix(CutSuffix { epoch, entries: Bytes::new(), ends: self.lost.offers }));
    }

    /// This replica begins to lead.
    pub(super) fn offer_to_itself(&mut self, epoch: Epoch) {
        let id = self.identity.id;
        if self.lost.pieces.is_empty() || !self.recovers_what_was_cut() {
            return;
        }
        self.lost.offers += 1;
        self.lost.taken = None;
        let ends = self.lost.offers;
        let pieces = self.lost.pieces.clone();
        let Role::Leader(leader) = &mut self.role else { return };
        let all = pieces.into_iter().map(|entries| CutSuffix { epoch, entries, ends: 0 });
        leader.suffixes.extend(all.map(|suffix| (id, suffix)));
        leader.suffixes.push((id, CutSuffix { epoch, entries: Bytes::new(), ends }));
    }

    /// The leader has appended everything of an offer again, as far as it had to be.
    pub(super) fn suffix_taken(&mut self, from: ReplicaId, ends: u64) {
        let at = Position { epoch: self.meta.led, seq: self.batch_last };
        let taken = SuffixTaken { ends, at };
        if from == self.identity.id {
            return self.note_taken(&taken);
        }
        if let Role::Leader(leader) = &mut self.role
            && let Some(progress) = leader.followers.get_mut(&from)
        {
            progress.suffix_taken = at.seq;
        }
        self.send(from, Message::SuffixTaken(taken));
    }

    /// See [`SuffixTaken`].
    pub(crate) fn on_suffix_taken(&mut self, from: ReplicaId, taken: &SuffixTaken) {
        if matches!(&self.role, Role::Follower(follower) if follower.leader == from && follower.epoch == taken.at.epoch)
        {
            self.note_taken(taken);
        }
    }

    fn note_taken(&mut self, taken: &SuffixTaken) {
        if taken.ends == self.lost.offers {
            self.lost.taken = Some(taken.at);
            self.settle_lost();
        }
    }

    /// Lets go of what is committed under its new names.
    pub(super) fn settle_lost(&mut self) {
        let Some(taken) = self.lost.taken else { return };
        let agrees = match &self.role {
            Role::Leader(_) => true,
            Role::Follower(follower) => follower.aligned,
            Role::Idle | Role::Peer(_) => false,
        };
        if agrees && self.commit >= taken.seq && self.log_has(taken) {
            self.lost = Lost { offers: self.lost.offers, ..Lost::default() };
        }
    }

    /// Whether the log holds this entry of a leader.
    fn log_has(&self, position: Position) -> bool {
        (self.log.before().seq..=self.log.last().seq).contains(&position.seq)
            && self.log.position(position.seq) == position
    }
}
