//! Entries that a failover cut off a former leader's log, and their recovery.
//!
//! Where the seal met n - w + 1 members, a cut suffix was provably never acknowledged, and is only kept aside. Where a failover was allowed to lose
//! (its generation is higher), acknowledged entries may be among them: their changes are appended again by the new leader, under new dots and with their
//! old context, so that nothing newer is overwritten.

use trireme_proto::{Message, Position, ReplicaId, message::CutSuffix, topology::Unreplicated};

use crate::{
    clients::requests::Known,
    engine::{At, Engine},
    io::{DiskOp, Event},
    log::record::{self, Kind},
    replica::Replica,
};

use super::Role;

/// Bytes in one message.
const BYTES_PER_MESSAGE: usize = 1 << 20;

impl Replica {
    /// A suffix that reaches below what is in the state: it is offered now; the log itself goes when the snapshot is installed.
    pub(super) fn offer_suffix(&mut self, leader: ReplicaId, agreed: Position) {
        self.note_cut(agreed);
        self.fail_replies(agreed.seq, "the leader changed, and this entry was not copied before");
        self.clients.forget_after(agreed.seq);
        self.event(Event::Cut { last: agreed, entries: self.log.last().seq - agreed.seq });
        self.persist(DiskOp::KeepAside { after: agreed.seq.max(self.log.before().seq) }, None);
        self.send_suffix(leader, agreed);
        self.end_offer(leader);
    }

    /// Sends what diverges from the leader's log, as far as it is held, if such entries are to be recovered; and keeps it until they are.
    pub(super) fn send_suffix(&mut self, leader: ReplicaId, agreed: Position) {
        let Role::Follower(follower) = &self.role else { return };
        let epoch = follower.epoch;
        if !self.recovers_what_was_cut() {
            return;
        }
        // The generation that this epoch's leader writes, where the record that says so has come.
        let generation =
            self.meta.topology.as_ref().filter(|record| record.epoch == epoch).map_or(0, |record| record.generation);
        let mut seq = agreed.seq.max(self.log.before().seq);
        while let Some((last, entries)) = self.log.read_after(seq, BYTES_PER_MESSAGE) {
            self.lost.keep(&entries, generation);
            self.send(leader, Message::CutSuffix(CutSuffix { epoch, entries, ends: 0 }));
            seq = last;
        }
    }

    /// Whether entries that a failover has lost are appended again. Not where other groups may have them: from there they come back under their own names,
    /// and two names for one change would make it happen twice.
    pub(super) fn recovers_what_was_cut(&self) -> bool {
        self.settings().unreplicated() == Unreplicated::Recover && !self.is_multi_leader()
    }

    /// A follower's cut suffix: what may have been acknowledged is appended again.
    pub(crate) fn on_cut_suffix(&mut self, from: ReplicaId, suffix: CutSuffix) {
        if let Role::Leader(leader) = &mut self.role
            && leader.epoch == suffix.epoch
        {
            leader.suffixes.push((from, suffix));
            self.recover_suffixes();
        }
    }

    /// Appends again what has come, once clients are served.
    pub(super) fn recover_suffixes(&mut self) {
        let Role::Leader(leader) = &mut self.role else { return };
        if !leader.serving {
            return;
        }
        for (from, suffix) in std::mem::take(&mut leader.suffixes) {
            self.recover_suffix(from, &suffix);
        }
    }

    fn recover_suffix(&mut self, from: ReplicaId, suffix: &CutSuffix) {
        let (mut rest, mut recovered, mut too_old) = (&suffix.entries[..], 0, 0);
        while !rest.is_empty() {
            let Ok(record) = record::read(rest) else { break };
            rest = &rest[record.bytes..];
            recovered += u64::from(self.recover_entry(&record));
            too_old += u64::from(record.kind == Kind::Delta && self.engine.is_too_old(record.payload));
        }
        if too_old > 0 {
            self.event(Event::NotRecovered { from, entries: too_old });
        }
        if suffix.ends > 0 {
            self.suffix_taken(from, suffix.ends);
        }
        self.recovered += recovered;
        if recovered > 0 {
            self.event(Event::Recovered { from, entries: recovered });
            self.report_due = true;
        }
    }

    /// Appends one cut entry again, unless it was provably not acknowledged, or its request has been answered anew.
    fn recover_entry(&mut self, record: &record::RecordView<'_>) -> bool {
        let generation = self.meta.topology.as_ref().map_or(0, |topology| topology.generation);
        // What was cut within a generation was sealed by enough members to know that nobody was told OK. What other groups wrote is theirs to send again.
        let may_be_lost =
            |delta| Engine::origin_of(delta).is_ok_and(|origin| self.is_own(origin) && origin.generation < generation);
        if record.kind != Kind::Delta || !may_be_lost(record.payload) {
            return false;
        }
        let answered = |request: &record::RequestView<'_>| {
            self.requests.known(request.forwarder, request.connection, request.number) != Known::New
        };
        if record.request.as_ref().is_some_and(answered) {
            return false;
        }
        let at = At { seq: self.batch_last + 1, now_ms: self.now.wall_ms, keep_undo: true };
        self.delta.clear();
        match self.engine.readdress(record.payload, &at, &mut self.delta) {
            Ok(true) => {
                // With its request: a forwarder that asks for its reply gets it, and nothing is executed a second time.
                let seq = self.append_delta(record.request.as_ref());
                if let Some(request) = &record.request {
                    self.requests.note(seq, request);
                }
                true
            }
            // It is here already, by another way.
            Ok(false) | Err(_) => false,
        }
    }
}
