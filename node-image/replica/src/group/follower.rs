//! Following: copying the leader's log, and acknowledging what is durable.

use trireme_proto::{
    Message, Position, ReplicaId,
    breakage::{Breakage, broken},
    message::{Append, AppendAck, LogState, Resume},
    report::Cut,
};

use crate::{
    disk_queue::Becomes,
    io::{DiskOp, Event},
    replica::Replica,
};

use super::Role;

impl Replica {
    /// Entries of a leader, or its heartbeat.
    pub(crate) fn on_append(&mut self, from: ReplicaId, append: &Append) {
        if append.epoch < self.meta.promise && !broken(Breakage::ObeyOldEpochs) {
            return self.fence(from, append.epoch);
        }
        let record = self.meta.topology.as_ref().filter(|record| record.epoch == append.epoch && record.leader != 0);
        if record.is_some_and(|record| record.leader != from) && !broken(Breakage::ObeyOldEpochs) {
            return; // The record names another leader of this epoch.
        }
        if append.epoch > self.meta.promise {
            self.promise(append.epoch);
        }
        self.follow(from, append.epoch);
        if self.engine.observe_clock(append.clock, self.now.wall_ms).is_err() {
            self.counters.clock_refusals += 1;
            return;
        }
        let now_us = self.now.mono_us;
        let Role::Follower(follower) = &mut self.role else { return };
        if follower.leader != from || (follower.epoch != append.epoch && !broken(Breakage::ObeyOldEpochs)) {
            return;
        }
        follower.heard_us = follower.heard_us.max(now_us.saturating_sub(u64::from(append.unheard_ms) * 1_000));
        follower.lease_ms = append.lease_ms;
        let first = !follower.hears_leader();
        follower.echo_us = follower.echo_us.max(append.sent_us).max(1);
        // Entries are acknowledged when they are durable; until then the heartbeats keep the lease.
        follower.ack_due |= append.entries.is_empty();
        if first {
            self.resend_requests(self.identity.group);
        }
        let Role::Follower(follower) = &mut self.role else { return };
        if !follower.aligned {
            if !follower.asked && self.installing.is_none() {
                follower.asked = true;
                self.send_log_state(from);
            }
            return;
        }
        if append.previous != self.log.last() && !append.entries.is_empty() {
            // Something was lost between us: find again where the logs agree.
            (follower.aligned, follower.asked) = (false, true);
            return self.send_log_state(from);
        }
        self.append_entries(from, append);
        self.advance_commit(append.commit);
        if append.leased {
            self.note_leader_fresh(append.sent_us, append.commit, (append.behind_ms, append.behind_entries));
        }
    }

    fn append_entries(&mut self, from: ReplicaId, append: &Append) {
        if append.entries.is_empty() {
            return;
        }
        match self.log.append(append.entries.clone(), true, self.now.mono_us) {
            Ok((first, last)) => {
                self.persist(DiskOp::Append { first, last, bytes: append.entries.clone() }, Some(Becomes::Log(last)));
                if broken(Breakage::AnswerBeforeFsync) {
                    self.durable = last;
                }
            }
            Err(_) => {
                // Damaged on the way, or not what was said: ask again from where the logs agree.
                if let Some(follower) = self.role.follower_mut() {
                    (follower.aligned, follower.asked) = (false, true);
                }
                self.send_log_state(from);
            }
        }
    }

    pub(super) fn send_log_state(&mut self, leader: ReplicaId) {
        let Role::Follower(follower) = &self.role else { return };
        // A state that is not whole, and cannot become so from this log, needs a snapshot: it agrees with nothing.
        let usable = self.log.last().seq >= self.whole_at;
        let table = if usable { self.log.epochs().rows().to_vec() } else { Vec::new() };
        let state = LogState {
            epoch: follower.epoch,
            table,
            last: self.log.last().seq,
            commit: self.applied,
            incarnation: self.identity.incarnation,
        };
        self.send(leader, Message::LogState(state));
    }

    /// The leader has found where the logs agree.
    pub(crate) fn on_resume(&mut self, from: ReplicaId, resume: &Resume) {
        let last = self.log.last();
        let Role::Follower(follower) = &mut self.role else { return };
        if follower.leader != from || follower.epoch != resume.epoch || follower.aligned || !follower.asked {
            return;
        }
        self.offer_again(from, resume.agreed);
        if resume.agreed.seq < self.applied {
            // Below what is in the state: a failover was allowed to lose it. A snapshot follows; the suffix is offered to be recovered.
            return self.offer_suffix(from, resume.agreed);
        }
        if resume.agreed.seq < last.seq && !broken(Breakage::KeepDivergentSuffix) {
            self.cut_suffix(from, resume.agreed);
        }
        self.end_offer(from);
        if let Role::Follower(follower) = &mut self.role {
            follower.aligned = true;
            follower.ack_due = true;
        }
        self.note_history();
        self.settle_lost();
        self.report_due = true;
        self.clients.wake = true;
    }

    /// Cuts what diverges from the leader's log: only uncommitted entries can be there.
    fn cut_suffix(&mut self, from: ReplicaId, agreed: Position) {
        let entries = self.log.last().seq - agreed.seq;
        self.note_cut(agreed);
        self.send_suffix(from, agreed);
        self.log.truncate(agreed.seq);
        self.disk.cut(agreed.seq);
        self.durable = self.durable.min(agreed.seq);
        self.persist(DiskOp::Truncate { last: agreed.seq }, None);
        self.fail_replies(agreed.seq, "the leader changed before enough copies were made");
        self.clients.forget_after(agreed.seq);
        self.event(Event::Cut { last: agreed, entries });
    }

    pub(super) fn note_cut(&mut self, agreed: Position) {
        let last = self.log.last().seq;
        let first = self.log.position((agreed.seq + 1).min(last));
        self.cut = Some(Cut { first, entries: last - agreed.seq, by: self.meta.promise });
        self.report_due = true;
    }

    /// Something has become durable: acknowledge it, or count it.
    pub(crate) fn on_durable(&mut self) {
        match &mut self.role {
            Role::Follower(follower) => follower.ack_due = true,
            Role::Leader(_) => self.advance_leader_commit(),
            Role::Peer(_) => self.landed(),
            Role::Idle => {}
        }
    }

    /// One acknowledgement a turn, of everything that is durable.
    pub(crate) fn acknowledge(&mut self) {
        let (durable, promised) = (self.durable, self.promise_durable);
        // A process that starts again reckons with the lease that its record has: nothing longer is granted.
        let lease_max_ms = self.settings().lease_ms;
        let awaits_commit = self.clients.sessions_wait();
        let Role::Follower(follower) = &mut self.role else { return };
        let tells_wait = std::mem::take(&mut follower.await_due) && follower.hears_leader();
        if !(follower.ack_due || tells_wait) || promised < follower.epoch {
            return;
        }
        // That somebody waits grants nothing: a leader that is gone would seem to lead on.
        let grants = follower.ack_due && follower.lease_ms <= lease_max_ms;
        follower.ack_due = false;
        let durable = if follower.aligned { durable } else { 0 };
        let sent_us = if grants { follower.echo_us } else { 0 };
        let ack = AppendAck { epoch: follower.epoch, durable, sent_us, awaits_commit };
        let leader = follower.leader;
        if grants {
            self.grant(lease_max_ms);
        }
        self.send(leader, Message::AppendAck(ack));
    }
}
