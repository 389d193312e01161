//! What comes in from another group: entries, state, acknowledgements.
//!
//! An entry of another group becomes an entry of the own log, with the same delta: copied once, joined in the turn in which it came, whatever came before
//! it. State becomes an entry of its own kind, so that after a start everything is there that was ever acknowledged:
//!
//! ```text
//! 0   an image follows: slot u16, then the image
//! 1   a received set follows: everything in it is in the state (`engine::ReceivedSet`)
//! ```

use std::ops::Bound;

use bytes::Bytes;
use trireme_proto::{
    Message, ReplicaId,
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

use super::{Feeds, Said, sets};

/// Bytes of messages that wait until something can be appended, and of entries that wait for others.
const WAITING_BYTES_MAX: usize = 32 << 20;
const IMAGE: u8 = 0;
const RECEIVED: u8 = 1;

/// The slot that an entry of state is about, if it is an image.
pub(crate) fn slot_of_state(payload: &[u8]) -> Option<u16> {
    match payload {
        [IMAGE, low, high, ..] => Some(u16::from_le_bytes([*low, *high]) % trireme_proto::SLOTS),
        _ => None,
    }
}

impl Replica {
    /// Everything that a turn of another group has for this one.
    pub(crate) fn on_feed(&mut self, from: ReplicaId, feed: Feed) {
        if !feed.entries.is_empty() && self.must_wait_to_land() {
            let bytes = feed.entries.iter().map(Bytes::len).sum();
            self.land_later(from, Message::Feed(Box::new(feed)), bytes);
            return;
        }
        self.take_feed(from, feed);
    }

    fn take_feed(&mut self, from: ReplicaId, feed: Feed) {
        let Some(from) = self.feed_from(from, Some(feed.epoch)).filter(|from| self.accepts(*from, feed.clock)) else {
            return;
        };
        let Some(link) = self.feeds.as_mut().and_then(|feeds| feeds.links.get_mut(&from)) else { return };
        link.epoch = feed.epoch;
        let edge = self.is_edge(from);
        for records in &feed.entries {
            self.land(records, edge);
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
    pub(super) fn accepts(&mut self, from: u32, clock: u64) -> bool {
        let Now { mono_us: now_us, wall_ms } = self.now;
        let Some(feeds) = &mut self.feeds else { return false };
        let Some(link) = feeds.links.get_mut(&from).filter(|link| link.connected) else { return false };
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
    fn land(&mut self, records: &Bytes, edge: bool) {
        let mut rest = &records[..];
        while !rest.is_empty() && self.output.fatal.is_none() {
            let Ok(record) = record::read(rest) else { return };
            if record.kind == Kind::Delta {
                self.land_entry(record.payload, edge);
            }
            rest = &rest[record.bytes..];
        }
        self.land_early();
    }

    /// Edges run what their owners installed: what of theirs makes no sense here, or says that it is this group's own, is refused, and is no bug of this program.
    fn land_entry(&mut self, delta: &[u8], edge: bool) {
        let Ok(dot) = Engine::dot_of(delta) else { return };
        if self.engine.received().contains(dot) {
            return self.acknowledge_again(dot);
        }
        if edge && self.is_own(dot.origin) {
            self.counters.peer_refusals += 1;
            return;
        }
        if self.leads() && !self.engine.is_ready(delta) && !broken(Breakage::LandEarly) {
            return self.keep_early(dot, delta);
        }
        let at = self.at_next();
        if let Err(why) = self.engine.join(delta, &at) {
            if edge {
                self.counters.peer_refusals += 1;
                return;
            }
            return self.fatal(format!("an entry of origin {} cannot be joined: {why}", dot.origin.group));
        }
        let seq = self.append_entry(Kind::Delta, None, |out| out.extend_from_slice(delta));
        self.applied = seq;
        self.note_conflicts(seq);
        if let Some(feeds) = &mut self.feeds {
            feeds.note_entry(dot, delta);
            feeds.landing.push_back((seq, dot));
            feeds.recent.push(seq, dot);
            if broken(Breakage::AcknowledgeEarly) {
                feeds.held.insert(dot);
                feeds.owe_acknowledgement(dot);
            }
        }
    }

    /// Something that its origin had seen before it wrote this has not come: it waits, so that nobody here sees an effect before its cause.
    fn keep_early(&mut self, dot: Dot, delta: &[u8]) {
        // What comes as state is not kept: if it does not come, it will be found missing, and sent again.
        let Some(feeds) = self.feeds.as_mut().filter(|feeds| !feeds.comes_as_state(dot)) else { return };
        if feeds.early_bytes + delta.len() <= WAITING_BYTES_MAX && !feeds.early.contains_key(&dot) {
            feeds.early_bytes += delta.len();
            feeds.early.insert(dot, Bytes::copy_from_slice(delta));
        }
    }

    /// What came early, and has what it depends on now.
    pub(super) fn land_early(&mut self) {
        while let Some(dot) = self.early_that_is_ready() {
            let delta = self.feeds.as_mut().and_then(|feeds| feeds.early.remove(&dot)).unwrap_or_default();
            if let Some(feeds) = &mut self.feeds {
                feeds.early_bytes -= delta.len();
            }
            let edge = self.is_edge(dot.origin.group);
            self.land_entry(&delta, edge);
        }
    }

    /// One of them: of each origin only the first can be, as an origin's entries depend on those before them.
    fn early_that_is_ready(&self) -> Option<Dot> {
        let early = &self.feeds.as_ref()?.early;
        let (mut next, received) = (early.first_key_value(), self.engine.received());
        while let Some((dot, delta)) = next {
            if received.contains(*dot) || self.engine.is_ready(delta) {
                return Some(*dot);
            }
            let last = Dot { seq: u64::MAX, ..*dot };
            next = early.range((Bound::Excluded(last), Bound::Unbounded)).next();
        }
        None
    }

    /// Whether something can be appended now. A leader that waits for a moment without uncommitted entries appends nothing until it has come.
    fn may_land(&self) -> bool {
        match &self.role {
            Role::Leader(leader) => leader.serving && !self.wants_quiet() && !self.handing_over() && !self.disk_full,
            _ => true,
        }
    }

    /// Nothing can be appended, or something else waits for that already: the order in which things came is kept.
    pub(super) fn must_wait_to_land(&self) -> bool {
        !self.may_land() || self.feeds.as_ref().is_some_and(|feeds| !feeds.waiting.is_empty())
    }

    /// Keeps a message until something can be appended, if there is room. Entries that are left out will be found missing, and sent again.
    pub(super) fn land_later(&mut self, from: ReplicaId, message: Message, bytes: usize) -> bool {
        let Some(feeds) = self.feeds.as_mut().filter(|feeds| feeds.waiting_bytes + bytes <= WAITING_BYTES_MAX) else {
            return false;
        };
        feeds.waiting_bytes += bytes;
        feeds.waiting.push_back((from, message, bytes));
        true
    }

    /// Messages that have waited until something could be appended.
    pub(crate) fn land_waiting(&mut self) {
        while self.may_land() {
            let Some(feeds) = &mut self.feeds else { return };
            let Some((from, message, bytes)) = feeds.waiting.pop_front() else { return };
            feeds.waiting_bytes -= bytes;
            match message {
                Message::Feed(feed) => self.take_feed(from, *feed),
                Message::States(states) => self.take_states(from, states),
                _ => {}
            }
        }
    }

    /// It was acknowledged on a connection that is gone.
    fn acknowledge_again(&mut self, dot: Dot) {
        if let Some(feeds) = &mut self.feeds {
            feeds.owe_acknowledgement(dot);
        }
    }

    /// Joins the image of some keys, which was asked for, or sent by who was found to hold more. Says as [`Replica::land_image`] does.
    pub(crate) fn land_keys(&mut self, slot: u32, image: &[u8]) -> Option<u64> {
        let changed = self.land_image(slot, image)?;
        if let Some(feeds) = self.feeds.as_mut().filter(|_| changed > 0) {
            feeds.note_image(slot as u16, image, None);
        }
        Some(changed)
    }

    /// Where what lands now will stand in the own log; a leader can undo it until a quorum has it.
    fn at_next(&self) -> At {
        At { seq: self.batch_last + 1, now_ms: self.now.wall_ms, keep_undo: self.leads() }
    }

    /// Joins the image of a part of a slot, and keeps it if it brought anything. Says in how many keys it did; none where it cannot be read.
    pub(super) fn land_image(&mut self, slot: u32, image: &[u8]) -> Option<u64> {
        let slot = u16::try_from(slot).ok().filter(|slot| *slot < trireme_proto::SLOTS)?;
        let at = self.at_next();
        let changed = self.engine.import_part(slot, image, &at).ok()?;
        // Followers join what their leader did, whether or not a client can see it.
        if changed > 0 || self.leads() {
            let mut payload = vec![IMAGE];
            payload.extend_from_slice(&slot.to_le_bytes());
            payload.extend_from_slice(image);
            self.applied = self.append_entry(Kind::State, None, |out| out.extend_from_slice(&payload));
        }
        self.note_conflicts(at.seq);
        Some(changed as u64)
    }

    /// Everything in this set is in the state, by images.
    pub(super) fn land_received(&mut self, received: &ReceivedSet) {
        let mut payload = vec![RECEIVED];
        let at = self.at_next();
        self.engine.import_received(received, &at);
        received.export(&mut payload);
        let seq = self.append_entry(Kind::State, None, |out| out.extend_from_slice(&payload));
        self.applied = seq;
        if let Some(feeds) = &mut self.feeds {
            feeds.gone.merge(received);
            feeds.recent.merge(received);
            feeds.states.push_back((seq, received.clone()));
        }
    }

    /// An entry of state, from the own log.
    pub(crate) fn apply_state(&mut self, seq: u64, payload: &[u8]) -> Result<(), String> {
        let error = || "an entry of state cannot be read".to_owned();
        let at = At { seq, now_ms: self.now.wall_ms, keep_undo: false };
        match payload.split_first().ok_or_else(error)? {
            (&IMAGE, rest) if rest.len() >= 2 => {
                let slot = u16::from_le_bytes([rest[0], rest[1]]) % trireme_proto::SLOTS;
                self.engine.import_part(slot, &rest[2..], &at).map(drop).map_err(|why| why.to_string())
            }
            (&RECEIVED, rest) => {
                let received = ReceivedSet::import(rest).ok_or_else(error)?;
                self.engine.import_received(&received, &at);
                Ok(())
            }
            _ => Err(error()),
        }
    }

    /// The own log is durable further, where nobody leads: what waited for that is said, and counts.
    pub(crate) fn landed(&mut self) {
        self.note_held();
        self.advance_commit(self.durable);
        self.settle_writes();
        self.look_if_whole();
    }

    /// More of the own log is held for good.
    pub(crate) fn note_held(&mut self) {
        let upto = self.held_upto();
        let Some(feeds) = &mut self.feeds else { return };
        while let Some((_, dot)) = feeds.landing.pop_front_if(|(seq, _)| *seq <= upto) {
            feeds.held.insert(dot);
            feeds.owe_acknowledgement(dot);
        }
        while let Some((_, received)) = feeds.states.pop_front_if(|(seq, _)| *seq <= upto) {
            feeds.held.merge(&received);
            feeds.links.values_mut().for_each(|link| link.ack_due = true);
        }
        while let Some((_, to, said)) = feeds.promised.pop_front_if(|(seq, ..)| *seq <= upto) {
            feeds.say(to, said);
        }
    }

    fn take_acknowledgement(&mut self, from: u32, seen: Option<&Seen>) {
        let now_us = self.now.mono_us;
        let Some(feeds) = &mut self.feeds else { return };
        let Some(seen) = seen.filter(|seen| Some(seen.origin) == feeds.origin) else { return };
        let Some(link) = feeds.links.get_mut(&from) else { return };
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
    fn take_holds(&mut self, from: u32, version: u64, holds: &Holds) {
        let received = sets::from_message(&holds.received);
        if let Some(origin) = holds.origin {
            let dot = Dot { origin, seq: received.highest(origin) };
            self.engine.hear_of(dot, &received);
            if let Some(link) = self.feeds.as_mut().and_then(|feeds| feeds.links.get_mut(&from)) {
                link.origin = Some(origin);
            }
        }
        let known = self.meta.topology.as_ref().map_or(0, |topology| topology.version);
        let Some(feeds) = &mut self.feeds else { return };
        // An acknowledgement is said once. It may have come before this replica had its name back, or in a message that was refused for its clock.
        if let (Some(origin), Some(link)) = (feeds.origin, feeds.links.get(&from))
            && received.seen(origin).is_some_and(|seen| !link.acknowledged.covers_part(seen))
        {
            let mine = sets::part_to_message(&received, origin);
            self.take_acknowledgement(from, Some(&mine));
        }
        if self.leads()
            && let Some(feeds) = &mut self.feeds
        {
            feeds.said.insert(from, received.clone());
        }
        self.note_fresh(from, holds.as_of_us, &received);
        self.note_target(from, &received, version >= known);
        self.compare_totals(from, &received, holds.digest);
        self.look_what_is_lacking(from, received);
    }

    /// Says something once everything that it shows is durable here.
    pub(crate) fn say_when_durable(
        &mut self,
        seq: u64,
        to: u32,
        answer: Option<trireme_proto::message::Answer>,
        mended: u64,
    ) {
        let said = answer.map_or(Said::Mended(mended), Said::Answer);
        let durable = if broken(Breakage::AcknowledgeEarly) { u64::MAX } else { self.durable };
        let Some(feeds) = &mut self.feeds else { return };
        if seq <= durable {
            return feeds.say(to, said);
        }
        // In the order in which it becomes durable.
        let at = feeds.promised.partition_point(|(before, ..)| *before <= seq);
        feeds.promised.insert(at, (seq, to, said));
    }
}

impl Feeds {
    fn say(&mut self, to: u32, said: Said) {
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
