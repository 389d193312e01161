//! What goes out: this turn's own entries to everybody, at once, and one message per peer with all else.

use bytes::Bytes;
use trireme_proto::{
    Message,
    breakage::{Breakage, broken},
    ids::{Dot, Peer},
    message::Feed,
};

use crate::{
    engine::Engine,
    group::Role,
    log::record::{self, Kind},
    replica::Replica,
};

use super::sets;

/// Bytes of live entries that may be under way to a peer: beyond it, it gets them later, from the log.
const WINDOW_BYTES_MAX: u64 = 32 << 20;
/// Bytes of log looked at in one go.
const SHIP_BYTES_MAX: usize = 256 << 10;

impl Replica {
    /// An own entry has just been appended to this turn's batch.
    pub(crate) fn note_own_entry(&mut self, begin: usize, seq: u64) {
        let end = self.batch.len();
        let Some(feeds) = &mut self.feeds else { return };
        let Some(origin) = feeds.origin else { return };
        let own = self.engine.received().highest(origin);
        let dot = Dot { origin, seq: own };
        feeds.landing.push_back((seq, dot));
        feeds.recent.push(seq, dot);
        if let Role::Peer(peer) = &mut self.role {
            peer.note_own(seq, own);
            match feeds.fresh.last_mut() {
                Some(range) if range.end == begin => range.end = end,
                _ => feeds.fresh.push(begin..end),
            }
            // Nothing of it can be undone any more.
            self.engine.forget_undo(seq);
        }
    }

    /// This turn's entries, now that they are in the log: where nothing is ever undone, those that are this replica's own go to everybody.
    pub(crate) fn ship_fresh(&mut self, batch: &Bytes, first: u64) {
        let Some(feeds) = self.feeds.as_mut().filter(|feeds| !feeds.fresh.is_empty()) else { return };
        let Some(origin) = feeds.origin else { return };
        let pieces: Vec<Bytes> = feeds.fresh.drain(..).map(|range| batch.slice(range)).collect();
        self.ship(&pieces, first, self.engine.received().highest(origin));
    }

    /// Own entries that have been committed since this was done last go to everybody.
    fn ship_committed(&mut self) {
        let (upto, before) = (self.shippable_upto(), self.log.before().seq);
        while let Some(feeds) = self.feeds.as_mut().filter(|feeds| feeds.shipped < upto) {
            feeds.shipped = feeds.shipped.max(before);
            let first = feeds.shipped + 1;
            let Some((last, bytes)) = self.log.read_after(feeds.shipped, SHIP_BYTES_MAX) else { return };
            feeds.shipped = last.min(upto);
            let (mut pieces, mut highest) = (Vec::new(), 0);
            let own = |seq, dot: Dot| {
                let ships = seq <= upto && self.is_own(dot.origin);
                highest = if ships { dot.seq } else { highest };
                ships
            };
            pick(&bytes, own, |piece| pieces.push(piece));
            self.ship(&pieces, first, highest);
        }
    }

    /// Sends own entries to all that are not behind. The first stands at `first` in the log, the last is the `last` that was written under this name.
    fn ship(&mut self, pieces: &[Bytes], first: u64, last: u64) {
        let (me, now_us) = (self.own_group(), self.now.mono_us);
        let Some(feeds) = self.feeds.as_mut().filter(|_| !pieces.is_empty()) else { return };
        let bytes: u64 = pieces.iter().map(|piece| piece.len() as u64).sum();
        for link in feeds.links.values_mut().filter(|link| link.connected) {
            if link.live && link.window_bytes > WINDOW_BYTES_MAX {
                link.live = false;
                link.walk_from(first, u64::MAX, me);
            }
            if link.live {
                link.out.entries.extend(pieces.iter().cloned());
                link.window.push_back((last, bytes, now_us));
                link.window_bytes += bytes;
            }
        }
    }

    /// The end of what may leave: where a group has a leader, what is committed.
    pub(super) fn shippable_upto(&self) -> u64 {
        if self.leads() && !broken(Breakage::ShipUncommitted) { self.commit } else { self.log.last().seq }
    }

    /// Sends what this turn has for each peer, as one message.
    pub(crate) fn feed(&mut self) {
        match &self.role {
            Role::Peer(_) => self.begin_rounds(),
            Role::Leader(_) => self.ship_committed(),
            _ => return,
        }
        self.walk_links();
        let Some(topology) = &self.meta.topology else { return };
        let (epoch, version, clock) = (topology.epoch, topology.version, self.engine.clock());
        let Some(feeds) = &mut self.feeds else { return };
        let origins = self.engine.received();
        for (id, link) in &mut feeds.links {
            if !link.connected {
                continue;
            }
            if std::mem::take(&mut link.ack_due) {
                // Of its present name: the one that it says, or else the newest one under which anything has come. An edge on a new disk has any one.
                let newest = || origins.origins().iter().map(|s| s.origin).filter(|o| o.group == *id).max();
                let newest = link.origin.or_else(newest);
                link.out.acknowledged = newest.map(|origin| sets::part_to_message(&feeds.held, origin));
            }
            if link.out == Feed::default() {
                continue;
            }
            let feed = Feed { epoch, version, clock, ..std::mem::take(&mut link.out) };
            self.output.send.push((Peer::Replica(link.replica), Message::Feed(Box::new(feed))));
        }
    }

    /// The groups that a message can be sent to now.
    pub(crate) fn linked(&self) -> Vec<u32> {
        let Some(feeds) = &self.feeds else { return Vec::new() };
        feeds.links.iter().filter(|(_, link)| link.connected).map(|(id, _)| *id).collect()
    }

    /// This turn's message to a group.
    pub(crate) fn out_to(&mut self, id: u32) -> Option<&mut Feed> {
        let Some(feeds) = &mut self.feeds else { return None };
        feeds.links.get_mut(&id).filter(|link| link.connected).map(|link| &mut link.out)
    }
}

/// The deltas among records of which this is wanted, by their seq and name: whole records, in as few pieces as there are gaps between them.
pub(super) fn pick(bytes: &Bytes, mut wanted: impl FnMut(u64, Dot) -> bool, mut piece: impl FnMut(Bytes)) {
    let (mut at, mut from) = (0, 0);
    while let Ok(record) = record::read_trusted(&bytes[at..]) {
        let is_wanted = record.kind == Kind::Delta
            && Engine::dot_of(record.payload).is_ok_and(|dot| wanted(record.position.seq, dot));
        if !is_wanted && from < at {
            piece(bytes.slice(from..at));
        }
        at += record.bytes;
        if !is_wanted {
            from = at;
        }
    }
    if from < at {
        piece(bytes.slice(from..at));
    }
}
