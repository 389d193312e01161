//! What the operator is told of a group of one.

use trireme_proto::{
    ReplicaId, Report,
    report::{FollowerReport, Role as ReportedRole},
};

use crate::{
    feeds::{Feeds, Link},
    group::Role,
    io::Now,
    replica::Replica,
};

use super::Peer;

impl Replica {
    /// Adds what only a replica without a leader has to say.
    pub(crate) fn add_peer_report(&self, report: &mut Report, now: Now) {
        let (Role::Peer(peer), Some(feeds)) = (&self.role, &self.feeds) else { return };
        let Some(topology) = &self.meta.topology else { return };
        let member = topology.has(self.identity.id, self.identity.incarnation);
        report.role = match (member, topology.replica(self.identity.id)) {
            (true, _) => ReportedRole::Peer,
            (false, Some(row)) if row.incarnation == self.identity.incarnation => ReportedRole::Learner,
            (false, _) => ReportedRole::Idle,
        } as i32;
        report.serving = member && feeds.origin.is_some() && !topology.is_quarantined(self.identity.id);
        report.leader_silence_ms = 0;
        report.lease_remaining_ms = 0;
        report.followers =
            feeds.links.iter().map(|(id, link)| self.link_report((peer, feeds), *id, link, now)).collect();
        report.origin_spent = self.is_spent();
        report.paces =
            feeds.links.iter().map(|(id, link)| link.pace(*id)).filter(|pace| !pace.copies_us.is_empty()).collect();
        report.whole = peer.whole;
        report.digest = if feeds.nothing_lands() { self.engine.digest_total() } else { 0 };
    }

    fn link_report(&self, (peer, feeds): (&Peer, &Feeds), id: ReplicaId, link: &Link, now: Now) -> FollowerReport {
        let suspicion_us = u64::from(self.settings().suspicion_ms) * 1_000;
        let origin = feeds.origin.unwrap_or_default();
        let (mine, theirs) = (self.engine.received().highest(origin), link.acknowledged.upto(origin));
        let oldest = peer.unsettled.iter().find(|(_, own)| *own > theirs).map(|(seq, _)| *seq);
        let oldest_us = oldest.and_then(|seq| self.log.appended_at_us(seq.saturating_sub(1)));
        FollowerReport {
            id,
            incarnation: link.incarnation,
            reachable: link.connected && link.heard_us + suspicion_us >= now.mono_us,
            acknowledged: theirs,
            lag_entries: mine.saturating_sub(theirs),
            lag_bytes: link.window_bytes,
            lag_ms: oldest_us.map_or(0, |at_us| now.mono_us.saturating_sub(at_us) / 1_000),
            snapshot_slots: None,
        }
    }
}
