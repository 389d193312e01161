//! What the operator says, and what it is told.

use trireme_proto::{
    Message, ReplicaId, Report,
    ids::{Epoch, Peer},
    report::{Counters, FollowerReport, Role as ReportedRole},
};

use crate::{io::Now, replica::Replica};

use super::{
    Role,
    progress::{Progress, Stage},
};

impl Replica {
    /// Sends the report to every operator that is connected.
    pub(crate) fn report_to_operators(&mut self) {
        self.report_due = false;
        if self.operators.is_empty() {
            return;
        }
        let report = self.make_report(self.now);
        for number in &self.operators {
            self.output.send.push((Peer::Operator(*number), Message::Report(Box::new(report.clone()))));
        }
    }

    /// An operator, or a tool, says something.
    pub(crate) fn operator_message(&mut self, number: u32, message: Message) {
        match message {
            Message::Topology(topology) => self.obey(*topology),
            Message::Digests(digests) if digests.ask => {
                let all = self.digests(0, trireme_proto::SLOTS);
                self.output.send.push((Peer::Operator(number), Message::Digests(all)));
            }
            Message::Probe(probe) => self.on_probe(number, probe.number),
            _ => {}
        }
    }

    pub(crate) fn make_report(&self, now: Now) -> Report {
        let ms = |us: u64| u32::try_from(us / 1_000).unwrap_or(u32::MAX);
        let member = self
            .meta
            .topology
            .as_ref()
            .is_some_and(|topology| topology.has(self.identity.id, self.identity.incarnation));
        let (role, leader_silence_ms) = match &self.role {
            Role::Leader(_) => (ReportedRole::Leader, 0),
            Role::Follower(follower) if member => {
                (ReportedRole::Follower, ms(now.mono_us.saturating_sub(follower.heard_us)))
            }
            Role::Follower(follower) => (ReportedRole::Learner, ms(now.mono_us.saturating_sub(follower.heard_us))),
            Role::Idle | Role::Peer(_) => (ReportedRole::Idle, ms(now.mono_us.saturating_sub(self.gap_since_us))),
        };
        let leader = match &self.role {
            Role::Leader(leader) => Some(leader),
            _ => None,
        };
        let mut report = Report {
            id: self.identity.id,
            incarnation: self.identity.incarnation,
            boot: self.identity.boot,
            role: role as i32,
            promise: self.promise_durable.min(self.meta.promise),
            topology_version: self.meta.topology.as_ref().map_or(0, |topology| topology.version),
            last: self.log.position(self.durable.min(self.log.last().seq)),
            commit: self.commit,
            applied: if leader.is_some() { self.commit } else { self.applied },
            log_start: self.log.before().seq + 1,
            lease_remaining_ms: self.lease_remaining_ms(),
            leader_silence_ms,
            serving: leader.is_some_and(|leader| leader.serving),
            drained: leader.is_some_and(|leader| leader.drained),
            leaving: self.leaving,
            followers: leader.map_or_else(Vec::new, |leader| {
                leader.followers.iter().map(|(id, progress)| self.follower_report(*id, progress, now)).collect()
            }),
            disk_full: self.disk_full,
            cut: self.cut,
            recovered: self.recovered,
            counters: Counters { conflicts: self.conflict_counts().map(|(_, count)| count).sum(), ..self.counters },
            keys: self.engine.key_count(),
            settled_version: leader.filter(|leader| leader.serving).map_or(0, |leader| leader.settling.settled()),
            write_gap_ms: leader.map_or(0, |leader| ms(leader.write_gap_us)),
            leader_link_closed: matches!(&self.role, Role::Follower(follower) if follower.link_closed),
            digest: if self.applied == self.commit { self.engine.digest_total() } else { 0 },
            regions: self.regions.values().cloned().collect(),
            led_before: Some(self.led_before).filter(|epoch| *epoch != Epoch::ZERO),
            ..Report::default()
        };
        self.add_feeds_report(&mut report, now);
        self.add_peer_report(&mut report, now);
        report
    }

    fn follower_report(&self, id: ReplicaId, progress: &Progress, now: Now) -> FollowerReport {
        let last = self.log.last().seq;
        let suspicion_us = u64::from(self.settings().suspicion_ms) * 1_000;
        let holds = progress.holds.unwrap_or(0);
        let age_us = |at_us| now.mono_us.saturating_sub(at_us);
        let oldest_us = self.log.appended_at_us(holds.max(self.log.before().seq)).map_or(0, age_us);
        // Nobody knows what it lacks of what is older than the epoch before it has said so; it is seldom anything.
        let unknown_us = if progress.holds.is_none() { age_us(progress.since_us) } else { u64::MAX };
        FollowerReport {
            id,
            incarnation: progress.incarnation,
            reachable: progress.connected && progress.heard_us + suspicion_us >= now.mono_us,
            acknowledged: progress.acknowledged,
            lag_entries: last.saturating_sub(holds),
            lag_bytes: self.log.bytes_between(holds, last),
            lag_ms: oldest_us.min(unknown_us) / 1_000,
            snapshot_slots: match &progress.stage {
                Stage::Snapshot(transfer) => Some(transfer.sweep.taken()),
                _ => None,
            },
        }
    }
}
