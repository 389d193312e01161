//! What a peer missed, from the own log: beside live entries, as far as it keeps up, and within the bytes a second that the store allows.
//!
//! Each group sends what it originated. What a peer lacks of another origin, and has not got for [`FORWARD_AFTER_US`], is sent by whoever has it: so the last
//! entries of an origin that is gone, or that cannot reach the peer, still spread.

use std::collections::BTreeSet;

use trireme_proto::ids::{Dot, Origin};

use crate::{engine::ReceivedSet, replica::Replica};

use super::{Link, ship::pick};

/// After how long without progress somebody else's entries are sent, too.
const FORWARD_AFTER_US: u64 = 400_000;
/// Bytes of log looked at for one peer in one turn.
const LOOK_BYTES: usize = 256 << 10;
/// Bytes of backlog and repair for one peer between two of its heartbeats, where the store sets no cap.
const ALLOWANCE_MAX: i64 = 8 << 20;

/// A pass over the log.
pub(super) struct Walk {
    /// The seq that was looked at last.
    at: u64,
    /// Up to here: what comes after is sent live.
    until: u64,
    /// Groups whose entries are sent.
    groups: BTreeSet<u32>,
}

impl Link {
    /// Another heartbeat's worth of bytes. A chunk of log or an image is sent whole, so what it was too large is made up for; what was not used is not kept.
    fn allow(&mut self, bytes_per_second: u64, heartbeat_ms: u64) {
        let more = match bytes_per_second {
            0 => ALLOWANCE_MAX,
            cap => i64::try_from(cap.saturating_mul(heartbeat_ms).div_ceil(1_000)).unwrap_or(i64::MAX),
        };
        let owed = if bytes_per_second == 0 { 0 } else { self.allowance.min(0) };
        self.allowance = owed.saturating_add(more);
    }

    /// From this seq on, entries of a group are taken from the log.
    pub(super) fn walk_from(&mut self, first: u64, until: u64, group: u32) {
        let at = first.saturating_sub(1);
        let walk = self.walk.get_or_insert(Walk { at, until, groups: BTreeSet::new() });
        (walk.at, walk.until) = (walk.at.min(at), walk.until.max(until));
        walk.groups.insert(group);
    }

    /// What a pass that is under way has still to come to is not stuck, however long the log is: to begin anew would be to never end.
    fn is_stuck(&mut self, origin: Origin, upto: u64, now_us: u64) -> bool {
        let under_way = self.walk.as_ref().is_some_and(|walk| walk.groups.contains(&origin.group));
        let since = self.lacks.entry(origin).or_insert((upto, now_us));
        if since.0 != upto || under_way {
            *since = (upto, now_us);
        }
        let stuck = since.1 + FORWARD_AFTER_US <= now_us;
        if stuck {
            since.1 = now_us;
        }
        stuck
    }
}

impl Replica {
    /// A heartbeat of a peer: what it lacks is sent, if that is this replica's to send.
    pub(super) fn look_what_is_lacking(&mut self, from: u32, received: ReceivedSet) {
        let (me, now_us) = (self.own_group(), self.now.mono_us);
        let (before, last) = (self.log.before().seq + 1, self.shippable_upto());
        let (settings, leads) = (self.settings(), self.leads());
        let (heartbeat_ms, cap) = (u64::from(settings.heartbeat_ms.max(1)), settings.feed_bytes_per_second);
        let Some(feeds) = &mut self.feeds else { return };
        let lacking = feeds.held.without(&received);
        let own = feeds.held.origins().iter().filter(|seen| seen.origin.group == me).map(|seen| seen.origin);
        let behind = own.map(|origin| feeds.held.highest(origin).saturating_sub(received.upto(origin))).sum();
        let Some(link) = feeds.links.get_mut(&from) else { return };
        let first = link.holds.is_none();
        link.allow(cap, heartbeat_ms);
        if self.peers.get(&link.replica).is_some_and(|peer| peer.busy) {
            link.allowance = link.allowance.min(0);
        }
        link.backlog_entries = if behind == 0 { 0 } else { link.backlog_entries.max(behind) };
        let origins: Vec<Origin> = lacking.origins().iter().map(|seen| seen.origin).collect();
        link.lacks.retain(|origin, _| origins.contains(origin));
        let (mut late, mut walked) = (false, false);
        // Where entries are joined in order, nothing goes there beside what was missed, but after it.
        let until = if leads { u64::MAX } else { last };
        link.live |= first && leads && !origins.iter().any(|origin| origin.group == me);
        for seen in lacking.origins() {
            let stuck = link.is_stuck(seen.origin, received.upto(seen.origin), now_us);
            late |= stuck;
            if stuck || (first && seen.origin.group == me) {
                link.walk_from(before, until, seen.origin.group);
                walked = true;
            }
        }
        let by_state = !received.covers(&feeds.gone);
        link.holds = Some(received);
        if by_state && (late || (first && walked)) {
            self.begin_exchange(from);
        }
    }

    /// Goes on with what peers missed.
    pub(super) fn walk_links(&mut self) {
        for id in self.linked() {
            self.walk_link(id);
            self.go_on_with_exchange(id);
        }
    }

    fn walk_link(&mut self, id: u32) {
        let end = self.shippable_upto();
        let Some(feeds) = &mut self.feeds else { return };
        let Some(link) = feeds.links.get_mut(&id) else { return };
        let (Some(walk), Some(holds)) = (&mut link.walk, &link.holds) else { return };
        walk.at = walk.at.max(self.log.before().seq);
        let mut looked = 0;
        let end = end.min(walk.until);
        while walk.at < end && looked < LOOK_BYTES && link.allowance > 0 {
            let Some((last, bytes)) = self.log.read_after(walk.at, LOOK_BYTES) else { break };
            let wanted = |seq, dot: Dot| seq <= end && walk.groups.contains(&dot.origin.group) && !holds.contains(dot);
            pick(&bytes, wanted, |piece| {
                link.allowance -= piece.len() as i64;
                link.out.entries.push(piece);
            });
            walk.at = last.min(end);
            looked += bytes.len();
        }
        if walk.at >= end {
            link.walk = None;
            link.live = true;
        }
    }

    /// Whether something can be sent to a peer at once.
    pub(crate) fn walks(&self) -> bool {
        let Some(feeds) = &self.feeds else { return false };
        feeds
            .links
            .values()
            .any(|link| link.connected && link.allowance > 0 && (link.holds.is_some() && link.walk.is_some()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pass_that_takes_long_is_not_begun_anew() {
        let mut link = Link::new(1, 1, 0);
        let (origin, other) = (Origin { group: 2, generation: 1 }, Origin { group: 3, generation: 1 });
        assert!(!link.is_stuck(origin, 5, 0) && !link.is_stuck(origin, 5, FORWARD_AFTER_US - 1));
        assert!(link.is_stuck(origin, 5, FORWARD_AFTER_US));
        link.walk_from(1, 1_000_000, origin.group);
        for heartbeat in 1..100 {
            let now_us = FORWARD_AFTER_US + heartbeat * 50_000;
            assert!(!link.is_stuck(origin, 5, now_us), "it is on its way");
            assert!(heartbeat != 9 || link.is_stuck(other, 0, now_us), "this one is not");
            assert!(heartbeat >= 9 || !link.is_stuck(other, 0, now_us));
        }
        link.walk = None;
        let now_us = FORWARD_AFTER_US + 99 * 50_000;
        assert!(!link.is_stuck(origin, 5, now_us + FORWARD_AFTER_US - 1), "it may arrive yet");
        assert!(!link.is_stuck(origin, 6, now_us + FORWARD_AFTER_US), "it gets on");
        assert!(link.is_stuck(origin, 6, now_us + 2 * FORWARD_AFTER_US));
    }

    #[test]
    fn what_was_sent_above_the_cap_is_waited_for() {
        let mut link = Link::new(1, 1, 0);
        let (mut sent, chunk) = (0, 256 << 10);
        // A minute of heartbeats, each of which sends a whole chunk if anything is allowed.
        for _ in 0..60 * 20 {
            link.allow(64 << 10, 50);
            if link.allowance > 0 {
                link.allowance -= chunk;
                sent += chunk;
            }
        }
        assert!(
            (60 * (64 << 10)..=61 * (64 << 10) + chunk).contains(&sent),
            "{sent} bytes in a minute at 64 KiB a second"
        );
        link.allow(0, 50);
        assert_eq!(link.allowance, ALLOWANCE_MAX, "without a cap nothing is owed");
    }
}
