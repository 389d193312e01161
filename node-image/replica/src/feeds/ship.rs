//! What goes out: this turn's own entries to everybody, at once, and one message per peer with all else.

use bytes::Bytes;
use trireme_proto::{
    Message, ReplicaId,
    message::{Feed, Holds},
};

use crate::{group::Role, replica::Replica};

use super::sets;

/// Bytes of live entries that may be under way to a peer: beyond it, it gets them later, from the log.
const WINDOW_BYTES_MAX: u64 = 32 << 20;

impl Replica {
    /// An own entry has just been appended to this turn's batch.
    pub(crate) fn note_own_entry(&mut self, begin: usize, seq: u64) {
        let end = self.batch.len();
        let Role::Peer(peer) = &mut self.role else { return };
        let Some(origin) = peer.origin else { return };
        let own = self.engine.received().highest(origin);
        let dot = trireme_proto::ids::Dot { origin, seq: own };
        peer.landing.push_back((seq, dot));
        peer.recent.push(seq, dot);
        peer.note_own(seq, own);
        match peer.fresh.last_mut() {
            Some(range) if range.end == begin => range.end = end,
            _ => peer.fresh.push(begin..end),
        }
        // Nothing of it can be undone any more.
        self.engine.forget_undo(seq);
    }

    /// This turn's entries, now that they are in the log: those that are this replica's own go to everybody.
    pub(crate) fn feed_live(&mut self, batch: &Bytes, first: u64) {
        let (me, now_us) = (self.identity.id, self.now.mono_us);
        let Role::Peer(peer) = &mut self.role else { return };
        let Some(origin) = peer.origin.filter(|_| !peer.fresh.is_empty()) else { return };
        let pieces: Vec<Bytes> = peer.fresh.drain(..).map(|range| batch.slice(range)).collect();
        let bytes: u64 = pieces.iter().map(|piece| piece.len() as u64).sum();
        let last = self.engine.received().highest(origin);
        for link in peer.links.values_mut().filter(|link| link.connected) {
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

    /// With each heartbeat: what is held here.
    pub(crate) fn say_what_is_held(&mut self) {
        let digest = self.engine.digest_total();
        let Role::Peer(peer) = &mut self.role else { return };
        let all_durable = peer.landing.is_empty() && peer.states.is_empty();
        let holds = Holds {
            received: sets::to_message(&peer.durable),
            digest: if all_durable { digest } else { 0 },
            origin: peer.origin,
        };
        for link in peer.links.values_mut().filter(|link| link.connected) {
            link.out.holds = Some(holds.clone());
        }
    }

    /// Sends what this turn has for each peer, as one message.
    pub(crate) fn feed(&mut self) {
        self.begin_rounds();
        self.walk_links();
        let Some(topology) = &self.meta.topology else { return };
        let (epoch, version, clock) = (topology.epoch, topology.version, self.engine.clock());
        let Role::Peer(peer) = &mut self.role else { return };
        let origins = self.engine.received();
        for (id, link) in &mut peer.links {
            if !link.connected {
                continue;
            }
            if std::mem::take(&mut link.ack_due) {
                // Of its present name: the newest one under which anything has come.
                let newest = origins.origins().iter().map(|s| s.origin).filter(|o| o.group == *id).max();
                link.out.acknowledged = newest.map(|origin| sets::part_to_message(&peer.durable, origin));
            }
            if link.out == Feed::default() {
                continue;
            }
            let feed = Feed { epoch, version, clock, ..std::mem::take(&mut link.out) };
            self.output.send.push((trireme_proto::ids::Peer::Replica(*id), Message::Feed(Box::new(feed))));
        }
    }

    /// The replicas that a message can be sent to now.
    pub(crate) fn linked(&self) -> Vec<ReplicaId> {
        let Role::Peer(peer) = &self.role else { return Vec::new() };
        peer.links.iter().filter(|(_, link)| link.connected).map(|(id, _)| *id).collect()
    }

    /// This turn's message to a peer.
    pub(crate) fn out_to(&mut self, id: ReplicaId) -> Option<&mut Feed> {
        let Role::Peer(peer) = &mut self.role else { return None };
        peer.links.get_mut(&id).filter(|link| link.connected).map(|link| &mut link.out)
    }
}
