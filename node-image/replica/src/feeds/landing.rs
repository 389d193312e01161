//! What comes in from another group: entries, state, acknowledgements.
//!
//! An entry of another group becomes an entry of the own log, with the same delta: copied once, joined in the turn in which it came, whatever came before
//! it. State becomes an entry of its own kind, so that after a start everything is there that was ever acknowledged:
//!
//! ```text
//! 0   an image follows: slot u16, then the image
//! 1   a received set follows: everything in it is in the state (`engine::ReceivedSet`)
//! ```

use bytes::Bytes;
use trireme_proto::{
    ReplicaId,
    breakage::{Breakage, broken},
    ids::Dot,
    message::{Feed, Holds, Seen},
};

use crate::{
    engine::{At, Engine, ReceivedSet},
    group::Role,
    io::Now,
    log::record::{self, Kind},
    replica::Replica,
};

use super::{Peer, Said, sets};

const IMAGE: u8 = 0;
const RECEIVED: u8 = 1;

impl Replica {
    /// Everything that a turn of another group has for this one.
    pub(crate) fn on_feed(&mut self, from: ReplicaId, feed: Feed) {
        if !self.accepts(from, feed.clock) {
            return;
        }
        let Role::Peer(peer) = &mut self.role else { return };
        let Some(link) = peer.links.get_mut(&from) else { return };
        link.epoch = feed.epoch;
        for records in &feed.entries {
            self.land(records);
        }
        self.take_acknowledgement(from, feed.acknowledged.as_ref());
        if let Some(holds) = &feed.holds {
            self.take_holds(from, feed.version, holds);
        }
        if self.is_quarantined(from) {
            return; // What it has written is joined as everybody's; what it asks, and what it says it holds, is of no account.
        }
        for round in &feed.rounds {
            self.answer_round(from, round);
        }
        for mend in &feed.mends {
            self.take_mend(from, mend);
        }
        for answer in feed.answers {
            self.take_answer(from, answer);
        }
        for number in feed.mended {
            self.take_mended(from, number);
        }
    }

    /// Whether a message of a peer is taken in at all: it is connected, and its clock is within the drift bound. One that was refused has not been heard: a
    /// replica of which nothing is taken in is as good as missing.
    pub(super) fn accepts(&mut self, from: ReplicaId, clock: u64) -> bool {
        let Now { mono_us: now_us, wall_ms } = self.now;
        let Role::Peer(peer) = &mut self.role else { return false };
        let Some(link) = peer.links.get_mut(&from).filter(|link| link.connected) else { return false };
        if clock > 0 {
            link.clock = Some(((clock >> 16) as i64 - wall_ms as i64, now_us));
        }
        if self.engine.observe_clock(clock, wall_ms).is_err() {
            self.counters.clock_refusals += 1;
            return false;
        }
        link.heard_us = now_us;
        true
    }

    /// Entries, whole records one after the other. Where they are damaged the rest is left out: it will be found missing, and sent again.
    fn land(&mut self, records: &Bytes) {
        let mut rest = &records[..];
        while !rest.is_empty() && self.output.fatal.is_none() {
            let Ok(record) = record::read(rest) else { return };
            if record.kind == Kind::Delta {
                self.land_entry(record.payload);
            }
            rest = &rest[record.bytes..];
        }
    }

    fn land_entry(&mut self, delta: &[u8]) {
        let Ok(dot) = Engine::dot_of(delta) else { return };
        if self.engine.received().contains(dot) {
            return self.acknowledge_again(dot);
        }
        let at = At { seq: self.batch_last + 1, now_ms: self.now.wall_ms, keep_undo: false };
        if let Err(why) = self.engine.join(delta, &at) {
            return self.fatal(format!("an entry of origin {} cannot be joined: {why}", dot.origin.group));
        }
        let seq = self.append_entry(Kind::Delta, None, |out| out.extend_from_slice(delta));
        self.applied = seq;
        if let Role::Peer(peer) = &mut self.role {
            peer.note_entry(dot, delta);
            peer.landing.push_back((seq, dot));
            peer.recent.push(seq, dot);
            if broken(Breakage::AcknowledgeEarly) {
                peer.durable.insert(dot);
                peer.owe_acknowledgement(dot);
            }
        }
    }

    /// It was acknowledged on a connection that is gone.
    fn acknowledge_again(&mut self, dot: Dot) {
        if let Role::Peer(peer) = &mut self.role {
            peer.owe_acknowledgement(dot);
        }
    }

    /// Joins the image of some keys, which was asked for, or sent by who was found to hold more. Says as [`Replica::land_image`] does.
    pub(crate) fn land_keys(&mut self, slot: u32, image: &[u8]) -> Option<u64> {
        let changed = self.land_image(slot, image)?;
        if let (Role::Peer(peer), true) = (&mut self.role, changed > 0) {
            peer.note_image(slot as u16, image, None);
        }
        Some(changed)
    }

    /// Joins the image of a part of a slot, and keeps it if it brought anything. Says in how many keys it did; none where it cannot be read.
    pub(super) fn land_image(&mut self, slot: u32, image: &[u8]) -> Option<u64> {
        let slot = u16::try_from(slot).ok().filter(|slot| *slot < trireme_proto::SLOTS)?;
        let seq = self.batch_last + 1;
        let changed = self.engine.import_part(slot, image, seq).ok()?;
        if changed > 0 {
            let mut payload = vec![IMAGE];
            payload.extend_from_slice(&slot.to_le_bytes());
            payload.extend_from_slice(image);
            self.applied = self.append_entry(Kind::State, None, |out| out.extend_from_slice(&payload));
        }
        Some(changed as u64)
    }

    /// Everything in this set is in the state, by images.
    pub(super) fn land_received(&mut self, received: &ReceivedSet) {
        let mut payload = vec![RECEIVED];
        self.engine.import_received(received);
        received.export(&mut payload);
        let seq = self.append_entry(Kind::State, None, |out| out.extend_from_slice(&payload));
        self.applied = seq;
        if let Role::Peer(peer) = &mut self.role {
            peer.gone.merge(received);
            peer.recent.merge(received);
            peer.states.push_back((seq, received.clone()));
        }
    }

    /// An entry of state, from the own log.
    pub(crate) fn apply_state(&mut self, seq: u64, payload: &[u8]) -> Result<(), String> {
        let error = || "an entry of state cannot be read".to_owned();
        match payload.split_first().ok_or_else(error)? {
            (&IMAGE, rest) if rest.len() >= 2 => {
                let slot = u16::from_le_bytes([rest[0], rest[1]]) % trireme_proto::SLOTS;
                self.engine.import_part(slot, &rest[2..], seq).map(drop).map_err(|why| why.to_string())
            }
            (&RECEIVED, rest) => {
                let received = ReceivedSet::import(rest).ok_or_else(error)?;
                self.engine.import_received(&received);
                Ok(())
            }
            _ => Err(error()),
        }
    }

    /// The own log is durable further: what waited for that is said, and counts.
    pub(crate) fn landed(&mut self) {
        let durable = self.durable;
        let Role::Peer(peer) = &mut self.role else { return };
        while let Some((_, dot)) = peer.landing.pop_front_if(|(seq, _)| *seq <= durable) {
            peer.durable.insert(dot);
            peer.owe_acknowledgement(dot);
        }
        while let Some((_, received)) = peer.states.pop_front_if(|(seq, _)| *seq <= durable) {
            peer.durable.merge(&received);
            peer.links.values_mut().for_each(|link| link.ack_due = true);
        }
        while let Some((_, to, said)) = peer.promised.pop_front_if(|(seq, ..)| *seq <= durable) {
            peer.say(to, said);
        }
        self.advance_commit(durable);
        self.settle_writes();
        self.look_if_whole();
    }

    fn take_acknowledgement(&mut self, from: ReplicaId, seen: Option<&Seen>) {
        let now_us = self.now.mono_us;
        let Role::Peer(peer) = &mut self.role else { return };
        let Some(seen) = seen.filter(|seen| Some(seen.origin) == peer.origin) else { return };
        let Some(link) = peer.links.get_mut(&from) else { return };
        link.acknowledged.merge(&sets::from_message(std::slice::from_ref(seen)));
        let upto = link.acknowledged.upto(seen.origin);
        while let Some((_, bytes, sent_us)) = link.window.pop_front_if(|(last, ..)| *last <= upto) {
            link.window_bytes -= bytes;
            link.copies.note(now_us.saturating_sub(sent_us));
        }
        self.clients.copies_changed();
        self.settle_writes();
    }

    /// A heartbeat: what another group holds.
    fn take_holds(&mut self, from: ReplicaId, version: u64, holds: &Holds) {
        let received = sets::from_message(&holds.received);
        if let Some(origin) = holds.origin {
            let dot = Dot { origin, seq: received.highest(origin) };
            self.engine.hear_of(dot, &received);
        }
        let known = self.meta.topology.as_ref().map_or(0, |topology| topology.version);
        let Role::Peer(peer) = &mut self.role else { return };
        // An acknowledgement is said once. It may have come before this replica had its name back, or in a message that was refused for its clock.
        if let (Some(origin), Some(link)) = (peer.origin, peer.links.get(&from))
            && received.seen(origin).is_some_and(|seen| !link.acknowledged.covers_part(seen))
        {
            let mine = sets::part_to_message(&received, origin);
            self.take_acknowledgement(from, Some(&mine));
        }
        let Role::Peer(peer) = &mut self.role else { return };
        if version >= known {
            peer.targets.entry(from).or_insert_with(|| received.clone());
        }
        self.look_if_whole();
        self.compare_totals(from, &received, holds.digest);
        self.look_what_is_lacking(from, received);
    }

    /// Says something once everything that it shows is durable here.
    pub(crate) fn say_when_durable(
        &mut self,
        seq: u64,
        to: ReplicaId,
        answer: Option<trireme_proto::message::Answer>,
        mended: u64,
    ) {
        let said = answer.map_or(Said::Mended(mended), Said::Answer);
        let durable = if broken(Breakage::AcknowledgeEarly) { u64::MAX } else { self.durable };
        let Role::Peer(peer) = &mut self.role else { return };
        if seq <= durable {
            return peer.say(to, said);
        }
        // In the order in which it becomes durable.
        let at = peer.promised.partition_point(|(before, ..)| *before <= seq);
        peer.promised.insert(at, (seq, to, said));
    }
}

impl Peer {
    fn say(&mut self, to: ReplicaId, said: Said) {
        let Some(link) = self.links.get_mut(&to).filter(|link| link.connected) else { return };
        match said {
            Said::Answer(answer) => link.out.answers.push(answer),
            Said::Mended(number) => link.out.mended.push(number),
        }
    }

    fn owe_acknowledgement(&mut self, dot: Dot) {
        if let Some(link) = self.links.get_mut(&dot.origin.group) {
            link.ack_due = true;
        }
    }
}
