//! What the operator is told of feeds.

use trireme_proto::{
    Report,
    report::{FeedReport, OriginSeq},
};

use crate::{engine::ReceivedSet, io::Now, replica::Replica};

use super::{Feeds, repair::Exchange};

/// Of how many entries of a group's own it was last heard to hold that are not held here.
fn lacks(held: &ReceivedSet, said: &ReceivedSet, group: u32) -> u64 {
    let own = said.origins().iter().filter(|seen| seen.origin.group == group);
    own.map(|seen| seen.upto.saturating_sub(held.upto(seen.origin))).sum()
}

impl Replica {
    /// Adds what only a replica with feeds has to say.
    pub(crate) fn add_feeds_report(&self, report: &mut Report, now: Now) {
        let (Some(feeds), Some(topology)) = (&self.feeds, &self.meta.topology) else { return };
        let suspicion_us = u64::from(topology.settings.suspicion_ms) * 1_000;
        report.received = feeds
            .held
            .origins()
            .iter()
            .map(|seen| OriginSeq { origin: seen.origin, upto: seen.upto, gaps: seen.beyond.len() as u32 })
            .collect();
        report.repair = Some(feeds.repair);
        report.closed = self.is_closed();
        let recent_us = now.mono_us.saturating_sub(suspicion_us);
        let clocks = feeds.links.values().filter_map(|link| link.clock).filter(|(_, heard_us)| *heard_us >= recent_us);
        report.clock_offset_ms = clocks.map(|(ahead_ms, _)| ahead_ms).max().unwrap_or(0).max(0);
        let nothing = ReceivedSet::default();
        report.feeds = topology
            .groups
            .iter()
            // One that was revoked is none any more.
            .filter(|group| !group.is_revoked())
            .map(|group| {
                let link = feeds.links.get(&group.group).filter(|link| link.connected);
                let said = feeds.said.get(&group.group).unwrap_or(&nothing);
                FeedReport {
                    group: group.group,
                    replica: link.map_or(0, |link| link.replica),
                    reachable: link.is_some_and(|link| link.heard_us >= recent_us),
                    lacks: lacks(&feeds.held, said, group.group),
                    backlog_entries: link.map_or(0, |link| link.backlog_entries),
                    slots_left: link.and_then(|link| link.exchange.as_ref()).and_then(Exchange::slots_left),
                    ..self.lag_of(feeds, said, now)
                }
            })
            .collect();
    }

    /// How much of what this group wrote another one lacks, by what it last said. Bytes are counted from the oldest that it lacks to the end of the log.
    fn lag_of(&self, feeds: &Feeds, said: &ReceivedSet, now: Now) -> FeedReport {
        let lacks = |seen: &&crate::engine::vector::Seen| self.is_own(seen.origin);
        let behind = |origin| feeds.held.highest(origin).saturating_sub(said.upto(origin));
        let lag_entries = feeds.held.origins().iter().filter(lacks).map(|seen| behind(seen.origin)).sum();
        if lag_entries == 0 {
            return FeedReport::default();
        }
        let oldest = feeds.recent.first_lacking(said, |origin| self.is_own(origin));
        let before = oldest.saturating_sub(1).max(self.log.before().seq);
        let age_us = self.log.appended_at_us(before).map_or(0, |at_us| now.mono_us.saturating_sub(at_us));
        FeedReport {
            lag_entries,
            lag_bytes: self.log.bytes_between(before, self.commit),
            lag_ms: age_us / 1_000,
            ..FeedReport::default()
        }
    }
}
