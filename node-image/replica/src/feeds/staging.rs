//! State that comes in from another group: where a group has a leader it is kept aside until it can be shown.
//!
//! ```text
//!   States ──▶ staged ──▶ everything has come, and the entries beyond what the sender held when it began ──▶ joined, then said to be received
//!                 └─ more than may be kept, or entries that are late: joined all the same; reads wait until the rest is there
//! ```
//!
//! The images of a comparison are made one after the other, while their sender goes on to write: what one of them shows may depend on what is in another, or
//! in an entry that was made in the meantime and comes as such. So none of them is joined before all of that is here. What is joined in one turn nobody sees
//! half of; of more than [`JOINED_BYTES_MAX`], and on followers, which get it as entries, reads wait for the rest ([`Replica::shows_whole`]).
//!
//! Where every replica is a group of one, a key is all that is promised to be consistent, and state is joined as it comes.

use std::collections::{BTreeSet, VecDeque};

use trireme_proto::{
    Message, ReplicaId, Topology,
    breakage::{Breakage, broken},
    ids::{Dot, Origin},
    message::{Compare, Differ, PartImage, SlotBuckets, States},
};

use crate::{
    engine::{Engine, ReceivedSet, vector::Seen},
    replica::Replica,
};

use super::{Feeds, repair::PATIENCE_US, sets};

/// Bytes of images that are joined in one turn.
const JOINED_BYTES_MAX: usize = 4 << 20;
/// How long what has come waits for the entries that it depends on, before it is joined and reads wait instead.
pub(super) const ENTRIES_PATIENCE_US: u64 = 3_000_000;

/// A comparison on its way, at who receives.
pub(super) struct Incoming {
    /// The group that sends.
    pub(super) from: u32,
    number: u64,
    /// What will have been received when it has ended.
    base: ReceivedSet,
    /// Slots into which something of that came by other ways.
    touched: BTreeSet<u16>,
    heard_us: u64,
    /// Images that are not joined yet; how many bytes were put there, and what they show.
    staged: VecDeque<PartImage>,
    staged_bytes: usize,
    shown: ReceivedSet,
    /// When everything had come, if it has.
    ended_us: Option<u64>,
    /// Images are joined now: all that are staged, and those that are still to come.
    joins: bool,
}

impl Incoming {
    /// Of the first part of a comparison.
    pub(super) fn new(from: u32, compare: &Compare, staged: bool, now_us: u64) -> Incoming {
        Incoming {
            from,
            number: compare.number,
            base: sets::from_message(&compare.base),
            touched: BTreeSet::new(),
            heard_us: now_us,
            staged: VecDeque::new(),
            staged_bytes: 0,
            shown: ReceivedSet::default(),
            ended_us: None,
            joins: !staged || broken(Breakage::ShowPartial),
        }
    }

    /// Another part of the comparison has come. Says whether it is one of this.
    pub(super) fn heard(&mut self, number: u64, now_us: u64) -> bool {
        let same = self.number == number;
        if same {
            self.heard_us = now_us;
        }
        same
    }

    fn stage(&mut self, part: PartImage, shown: &ReceivedSet) {
        self.staged_bytes += part.image.len();
        self.shown.merge(shown);
        self.staged.push_back(part);
    }

    /// Whether there is something to be done about it at once: what is staged may be joined, or all has come.
    fn is_due(&self) -> bool {
        self.ended_us.is_some() || self.joins_more()
    }

    fn joins_more(&self) -> bool {
        self.joins && !self.staged.is_empty()
    }

    /// Slots that have to be asked for again before the end is believed: what is staged of whole slots is joined after what touched them.
    fn take_touched(&mut self) -> BTreeSet<u16> {
        for part in self.staged.iter().filter(|part| Engine::is_whole_slot(&part.image)) {
            u16::try_from(part.slot).into_iter().for_each(|slot| _ = self.touched.remove(&slot));
        }
        std::mem::take(&mut self.touched)
    }
}

impl Feeds {
    /// The comparison on its way, if this group sends it.
    pub(super) fn incoming(&mut self, from: u32) -> Option<&mut Incoming> {
        self.incoming.as_mut().filter(|incoming| incoming.from == from)
    }

    /// Nothing more comes of what this group sends.
    pub(super) fn forget_incoming(&mut self, from: u32) {
        self.incoming.take_if(|incoming| incoming.from == from);
    }

    /// An entry was joined.
    pub(super) fn note_entry(&mut self, dot: Dot, delta: &[u8]) {
        if let Some(incoming) = self.incoming.as_mut().filter(|incoming| incoming.base.contains(dot)) {
            incoming.touched.extend(Engine::slots_of(delta));
        }
    }

    /// An image was joined: of the comparison with `from`, or of none.
    pub(super) fn note_image(&mut self, slot: u16, image: &[u8], from: Option<u32>) {
        let Some(incoming) = &mut self.incoming else { return };
        let of_it = from == Some(incoming.from);
        if !of_it && Engine::image_has_any(image, &incoming.base) {
            incoming.touched.insert(slot);
        } else if of_it && Engine::is_whole_slot(image) {
            // What was seen and removed there does not come in any more.
            incoming.touched.remove(&slot);
        }
    }

    /// Whether somebody else's state is on its way in.
    pub(super) fn is_given_state(&self, from: u32, now_us: u64) -> bool {
        let goes_on = |incoming: &Incoming| incoming.ended_us.is_some() || incoming.heard_us + PATIENCE_US > now_us;
        self.incoming.as_ref().is_some_and(|incoming| incoming.from != from && goes_on(incoming))
    }

    /// A comparison begins. What waits for entries and will have come with it is of no use any more.
    pub(super) fn begin_incoming(&mut self, incoming: Incoming) {
        self.early.retain(|dot, _| !incoming.base.contains(*dot));
        self.early_bytes = self.early.values().map(bytes::Bytes::len).sum();
        self.incoming = Some(incoming);
    }

    /// Whether an entry will have come with the comparison that goes on.
    pub(super) fn comes_as_state(&self, dot: Dot) -> bool {
        self.incoming.as_ref().is_some_and(|incoming| incoming.base.contains(dot))
    }

    /// Whether everything is here, or waits only for what is staged, that the images of a comparison show something of, and that will come.
    fn has_what_is_shown(&self, received: &ReceivedSet, awaited: impl Fn(Origin) -> bool) -> bool {
        let Some(incoming) = &self.incoming else { return false };
        let missing = incoming.shown.without(received).without(&incoming.base);
        let waits = |seen: &Seen| {
            let dot = |seq| Dot { origin: seen.origin, seq };
            let early = |(first, last): &(u64, u64)| self.early.range(dot(*first)..=dot(*last)).count() as u64;
            seen.intervals().iter().map(early).sum::<u64>() == seen.count()
        };
        missing.origins().iter().all(|seen| !awaited(seen.origin) || waits(seen))
    }
}

impl Replica {
    /// State of slots that differ.
    pub(crate) fn on_states(&mut self, from: ReplicaId, states: States) {
        if self.must_wait_to_land() {
            let bytes = states.images.iter().map(|part| part.image.len()).sum();
            if !self.land_later(from, Message::States(states), bytes)
                && let Some(group) = self.group_of(from)
            {
                self.forget_incoming(group); // Part of what was held when it began is not here.
            }
            return;
        }
        self.take_states(from, states);
    }

    pub(super) fn take_states(&mut self, from: ReplicaId, states: States) {
        let Some(from) = self.feed_from(from, None).filter(|from| self.accepts(*from, states.clock)) else { return };
        if self.is_quarantined(from) {
            return;
        }
        let now_us = self.now.mono_us;
        if !self.incoming(from).is_some_and(|incoming| incoming.heard(states.number, now_us)) {
            return;
        }
        for part in states.images {
            self.count_repair(0, part.image.len());
            if !self.take_image(from, part) {
                return self.forget_incoming(from); // Damaged: what was held when it began is not said to be here.
            }
        }
        if states.ended {
            if let Some(incoming) = self.incoming(from) {
                incoming.base = sets::from_message(&states.received);
                incoming.ended_us = Some(now_us);
            }
            self.end_exchange(from);
        }
    }

    /// Keeps an image aside, or joins it. Says whether it can be read.
    fn take_image(&mut self, from: u32, part: PartImage) -> bool {
        let bytes_max = usize::try_from(self.setting(|settings| settings.log_bytes_max)).unwrap_or(usize::MAX);
        let Some(incoming) = self.incoming(from) else { return false };
        if incoming.joins && incoming.staged.is_empty() {
            return self.join_image(from, &part);
        }
        let Ok(shown) = Engine::shown_by(&part.image) else { return false };
        incoming.stage(part, &shown);
        incoming.joins |= incoming.staged_bytes > bytes_max;
        true
    }

    fn join_image(&mut self, from: u32, part: &PartImage) -> bool {
        let landed = self.land_image(part.slot, &part.image);
        let (Some(keys), Some(feeds)) = (landed, &mut self.feeds) else { return false };
        feeds.repair.keys_repaired += keys;
        feeds.note_image(part.slot as u16, &part.image, Some(from));
        true
    }

    /// Goes on with what has come as state: joins what is staged once it may be shown, and ends what has come to its end.
    pub(crate) fn join_staged(&mut self) {
        let due = self.feeds.as_ref().and_then(|feeds| feeds.incoming.as_ref()).filter(|incoming| incoming.is_due());
        if let Some(from) = due.map(|incoming| incoming.from)
            && !self.must_wait_to_land()
        {
            self.end_exchange(from);
        }
    }

    /// Whether there is more to be joined at once.
    pub(crate) fn joins_more(&self) -> bool {
        let incoming = self.feeds.as_ref().and_then(|feeds| feeds.incoming.as_ref());
        incoming.is_some_and(Incoming::joins_more)
    }

    /// Everything that differed was sent: what the sender held when it began is here, too, once no slot has changed since it was compared.
    fn end_exchange(&mut self, from: u32) {
        let now_us = self.now.mono_us;
        let Some(incoming) = self.incoming(from) else { return };
        let (ended_us, mut joins) = (incoming.ended_us, incoming.joins);
        if ended_us.is_some() && self.ask_for_touched(from) {
            return;
        }
        let Some(feeds) = &self.feeds else { return };
        if let Some(ended_us) = ended_us.filter(|_| !joins) {
            let (received, awaited) =
                (self.engine.received(), awaited(self.identity.group, self.meta.topology.as_ref(), Some(feeds)));
            joins = ended_us + ENTRIES_PATIENCE_US <= now_us || feeds.has_what_is_shown(received, awaited);
        }
        let Some(feeds) = &mut self.feeds else { return };
        let Some(incoming) = feeds.incoming(from) else { return };
        incoming.joins = joins;
        if !joins || !self.join_some(from) || ended_us.is_none() {
            return;
        }
        // What was joined last may have been touched by what came before the rest of it.
        if self.ask_for_touched(from) {
            return;
        }
        let Some(base) = self.incoming(from).map(|incoming| std::mem::take(&mut incoming.base)) else { return };
        self.forget_incoming(from);
        if !self.engine.received().covers(&base) {
            self.land_received(&base);
            self.land_early();
        }
    }

    /// Joins what is staged, as far as one turn may. Says whether nothing is left.
    fn join_some(&mut self, from: u32) -> bool {
        let mut bytes = 0;
        while bytes < JOINED_BYTES_MAX {
            let Some(incoming) = self.incoming(from) else { return false };
            let Some(part) = incoming.staged.pop_front() else { return true };
            bytes += part.image.len();
            if !self.join_image(from, &part) {
                self.forget_incoming(from);
                return false;
            }
        }
        self.incoming(from).is_some_and(|incoming| incoming.staged.is_empty())
    }

    /// Asks for slots that were touched, if any were: the end comes again after them.
    fn ask_for_touched(&mut self, from: u32) -> bool {
        let Some(incoming) = self.incoming(from) else { return false };
        let touched = incoming.take_touched();
        if touched.is_empty() || broken(Breakage::TrustCompared) {
            return false;
        }
        incoming.ended_us = None;
        let number = incoming.number;
        let slots = touched.into_iter().map(|slot| SlotBuckets { slot: slot.into(), buckets: Vec::new() }).collect();
        let (first_slot, clock) = (0, self.engine.clock());
        self.send_to_group(from, Message::Differ(Differ { number, first_slot, count: 0, slots, clock }));
        true
    }

    /// Something was undone: slots that were the same when they were compared may not be so any more.
    pub(crate) fn forget_comparison(&mut self) {
        if let Some(feeds) = &mut self.feeds {
            feeds.incoming = None;
        }
    }

    fn incoming(&mut self, from: u32) -> Option<&mut Incoming> {
        self.feeds.as_mut().and_then(|feeds| feeds.incoming(from))
    }

    fn forget_incoming(&mut self, from: u32) {
        if let Some(feeds) = &mut self.feeds {
            feeds.forget_incoming(from);
        }
    }

    /// Whether what the state shows is all there: nobody who reads it finds an effect without its cause. Groups that have left will send nothing more.
    pub(crate) fn shows_whole(&mut self) -> bool {
        if !self.engine.is_ahead() || self.is_leaderless() || broken(Breakage::ShowPartial) {
            return true;
        }
        let awaited = awaited(self.identity.group, self.meta.topology.as_ref(), self.feeds.as_deref());
        self.engine.is_whole(awaited)
    }

    /// Why nothing may be read, if that is so.
    pub(crate) fn why_not_whole(&mut self) -> Option<String> {
        if self.shows_whole() {
            return None;
        }
        Some(format!(
            "this region takes in what it missed, {} entries have yet to come: until then a read could show an effect without its cause; \
             writes that do not look at what is there (SET, MSET ...) are taken",
            self.engine.lacking()
        ))
    }
}

/// Whose entries will come that are not here: not those of a group that has left, nor of a generation that a failover has ended, as far as is known here.
/// Nobody waits for edges. A group that the record does not know yet has a higher number than any that it knows of.
fn awaited(own: u32, topology: Option<&Topology>, feeds: Option<&Feeds>) -> impl Fn(Origin) -> bool {
    move |origin| {
        let Some(topology) = topology else { return true };
        if origin.group == own {
            return origin.generation >= topology.generation;
        }
        let now = feeds.and_then(|feeds| feeds.links.get(&origin.group)?.origin);
        if now.is_some_and(|now| now.generation > origin.generation) {
            return false;
        }
        match topology.groups.iter().find(|row| row.group == origin.group) {
            Some(row) => !row.is_edge(),
            None => origin.group > topology.last_group,
        }
    }
}
