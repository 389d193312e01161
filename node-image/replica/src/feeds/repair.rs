//! State instead of entries: slots are compared by their digests, and those that differ are joined, of large ones only the buckets that do.
//!
//! ```text
//!   Compare (digests) ──▶ Differ (slots, digests of their buckets) ──▶ States (images), and at the end what the sender held when it began
//!                         Differ (slots that have changed since)   ◀──┘
//! ```
//!
//! For a peer that lacks what is in nobody's log any more: it was away for longer than the log is kept, or its disk is new. And for two that have received the
//! same and hold something else: a replica may have lost the end of its log after its state had been seen. There are no tombstones: what the sender had
//! seen and does not hold was removed, so it goes.
//!
//! A slot beside which something waits for entries is sent whatever its digest: that does not tell of what waits.
//!
//! At the end the receiver has received what the sender held when it began, although it has not seen all of these entries. That is so of slots that were
//! joined, and of those that were the same; but not where something came into such a slot since, by an entry that was late or from a third replica, which
//! the sender had seen come and go: its removal will never come. So slots into which something of that came are asked for before the end is believed.

use trireme_proto::{
    Message, ReplicaId, SLOTS,
    message::{Compare, Differ, PartImage, SlotBuckets, States},
};

use crate::{
    engine::{BUCKETS, ReceivedSet, Scope},
    group::Role,
    replica::Replica,
};

use super::{Link, sets, staging::Incoming};

/// Slots in one message.
const SLOTS_PER_PART: u16 = 1024;
/// Bytes of images in one message.
const BYTES_PER_MESSAGE: usize = 256 << 10;
/// How long the other side may take to answer before the comparison is given up.
pub(super) const PATIENCE_US: u64 = 2_000_000;
/// How long, when everything was sent, it may take to join that, and to ask for slots that have changed meanwhile.
const ENDING_US: u64 = PATIENCE_US + super::staging::ENTRIES_PATIENCE_US;

/// A comparison on its way, at who sends.
pub(super) struct Exchange {
    number: u64,
    /// What was held here, durably, when it began.
    base: ReceivedSet,
    /// Slots that the other side has answered for.
    compared: u32,
    /// Slots to send, and of which bucket.
    left: Vec<(u16, Scope)>,
    heard_us: u64,
    differing: u64,
    /// Everything was sent. The other side may ask for more.
    ended: bool,
    /// All slots that are left to be sent are written to all the time: a moment without uncommitted entries is needed.
    starved: bool,
}

impl Exchange {
    /// Slots that are still to be compared or sent.
    pub(super) fn slots_left(&self) -> Option<u32> {
        let to_compare = u32::from(SLOTS).saturating_sub(self.compared);
        (!self.ended).then(|| to_compare.saturating_add(u32::try_from(self.left.len()).unwrap_or(u32::MAX)))
    }

    /// An answer is waited for as long as that makes sense; what is left to be sent only waits for what a second allows.
    fn goes_on(&self, now_us: u64) -> bool {
        let patience_us = if self.ended { ENDING_US } else { PATIENCE_US };
        !self.ended && self.compared >= u32::from(SLOTS) || self.heard_us + patience_us > now_us
    }

    /// Everything was sent, and the other side has not said that it holds it: it may still wait for entries.
    fn is_being_joined(&self, holds: Option<&ReceivedSet>) -> bool {
        self.ended && !holds.is_some_and(|holds| holds.covers(&self.base))
    }
}

impl Replica {
    /// Two groups that have received the same hold the same, or one of them has seen what another lost.
    pub(super) fn compare_totals(&mut self, from: u32, received: &ReceivedSet, digest: u64) {
        let (mine, total) = (self.engine.received(), self.engine.digest_total());
        if digest == 0 || !self.nothing_lands() || received != mine {
            return;
        }
        self.counters.digests_compared += u64::from(SLOTS);
        if digest != total {
            self.begin_exchange(from);
        }
    }

    fn nothing_lands(&self) -> bool {
        self.feeds.as_ref().is_some_and(|feeds| feeds.nothing_lands())
    }

    /// Whether the digests are those of what was received, nothing more and nothing less: nothing is on its way in, and no key was joined with a state that
    /// holds entries which have not come.
    fn is_settled(&self) -> bool {
        self.nothing_lands() && !self.engine.is_any_sided()
    }

    /// Without a leader: the digest of all that is held, where that is exactly what was received. For those who look on.
    pub fn settled_digest(&self) -> Option<u64> {
        self.is_settled().then(|| self.engine.digest_total())
    }

    /// Sends the digests of all slots, unless that is under way. One that is quarantined gives nobody its state.
    pub(super) fn begin_exchange(&mut self, to: u32) {
        let (now_us, leads) = (self.now.mono_us, self.leads());
        if self.is_quarantined(self.identity.id) {
            return;
        }
        let Some(feeds) = &mut self.feeds else { return };
        let Some(link) = feeds.links.get_mut(&to).filter(|link| link.connected) else { return };
        // Where nobody leads it is joined as it comes.
        let goes_on = |e: &Exchange| e.goes_on(now_us) && (!e.ended || leads && e.is_being_joined(link.holds.as_ref()));
        if link.exchange.as_ref().is_some_and(goes_on) {
            return;
        }
        // Never the same twice: an answer to a comparison of an earlier time as leader may still be on its way.
        self.exchanges += 1;
        let number = self.exchanges;
        let base = feeds.held.clone();
        let mut held = sets::to_message(&base);
        let (left, heard_us) = (Vec::new(), now_us);
        let (compared, differing, ended, starved) = (0, 0, false, false);
        link.exchange = Some(Exchange { number, base, compared, left, heard_us, differing, ended, starved });
        let clock = self.engine.clock();
        let received = if self.is_settled() { sets::to_message(self.engine.received()) } else { Vec::new() };
        for first in (0..SLOTS).step_by(usize::from(SLOTS_PER_PART)) {
            let digests: Vec<u64> = (first..first + SLOTS_PER_PART).map(|slot| self.engine.digest(slot)).collect();
            self.count_repair(8 * digests.len(), 0);
            let (first_slot, received) = (first.into(), received.clone());
            let base = std::mem::take(&mut held); // Said once.
            self.send_to_group(to, Message::Compare(Compare { number, first_slot, digests, clock, received, base }));
        }
    }

    /// Digests of a peer's slots: which differ.
    pub(crate) fn on_compare(&mut self, from: ReplicaId, compare: &Compare) {
        let Some(from) = self.feed_from(from, None).filter(|from| self.accepts(*from, compare.clock)) else { return };
        if self.is_quarantined(from) {
            return;
        }
        // A leader that does not serve has entries in its log that are not in its state.
        if matches!(&self.role, Role::Leader(leader) if !leader.serving) {
            return;
        }
        let same = !compare.received.is_empty()
            && self.is_settled()
            && sets::from_message(&compare.received) == *self.engine.received();
        let (now_us, leads) = (self.now.mono_us, self.leads());
        let Some(feeds) = &mut self.feeds else { return };
        if feeds.is_given_state(from, now_us) {
            return;
        }
        if compare.first_slot == 0 {
            feeds.begin_incoming(Incoming::new(from, compare, leads, now_us));
        }
        if !feeds.incoming(from).is_some_and(|incoming| incoming.heard(compare.number, now_us)) {
            return;
        }
        self.count_repair(0, 8 * compare.digests.len());
        let mut slots = Vec::new();
        for (i, digest) in compare.digests.iter().enumerate() {
            let number = compare.first_slot as usize + i;
            let Some(slot) = u16::try_from(number).ok().filter(|slot| *slot < SLOTS) else { return };
            if self.engine.digest(slot) != *digest {
                let many = self.engine.keys_of(slot) > BUCKETS / 2;
                let buckets = if many { self.engine.bucket_digests(slot).to_vec() } else { Vec::new() };
                slots.push(SlotBuckets { slot: slot.into(), buckets });
            }
        }
        self.count_repair(slots.iter().map(|slot| 8 + 8 * slot.buckets.len()).sum(), 0);
        if same {
            self.counters.digest_mismatches += slots.len() as u64;
        }
        let (number, first_slot, count) = (compare.number, compare.first_slot, compare.digests.len() as u32);
        let clock = self.engine.clock();
        self.send_to_group(from, Message::Differ(Differ { number, first_slot, count, slots, clock }));
    }

    /// The slots that differ.
    pub(crate) fn on_differ(&mut self, from: ReplicaId, differ: &Differ) {
        let Some(from) = self.feed_from(from, None).filter(|from| self.accepts(*from, differ.clock)) else { return };
        let now_us = self.now.mono_us;
        let Some(feeds) = &mut self.feeds else { return };
        let link = feeds.links.get_mut(&from);
        let is_it = |exchange: &&mut Exchange| exchange.number == differ.number && exchange.goes_on(now_us);
        let Some(exchange) = link.and_then(|link| link.exchange.as_mut()).filter(is_it) else { return };
        (exchange.heard_us, exchange.ended) = (now_us, false);
        exchange.compared += differ.count;
        exchange.differing += differ.slots.len() as u64;
        feeds.repair.slots_differing = exchange.differing;
        let range = differ.first_slot..differ.first_slot.saturating_add(differ.count).min(SLOTS.into());
        for slot in range.filter_map(|slot| u16::try_from(slot).ok()) {
            if self.engine.is_sided(slot) {
                exchange.left.push((slot, Scope::Slot));
            }
        }
        for named in &differ.slots {
            let Some(slot) = u16::try_from(named.slot).ok().filter(|slot| *slot < SLOTS) else { return };
            if self.engine.is_sided(slot) && differ.count > 0 {
                continue; // It is there already.
            }
            if named.buckets.len() != BUCKETS {
                exchange.left.push((slot, Scope::Slot));
                continue;
            }
            let mine = self.engine.bucket_digests(slot);
            let differing = (0..BUCKETS).filter(|bucket| mine[*bucket] != named.buckets[*bucket]);
            exchange.left.extend(differing.map(|bucket| (slot, Scope::Bucket(bucket as u8))));
        }
        let bytes = differ.slots.iter().map(|slot| 8 + 8 * slot.buckets.len()).sum();
        self.count_repair(0, bytes);
    }

    /// Sends the next images, as far as that is allowed, and the end.
    pub(super) fn go_on_with_exchange(&mut self, to: u32) {
        let now_us = self.now.mono_us;
        let Some(feeds) = &mut self.feeds else { return };
        let Some(link) = feeds.links.get_mut(&to) else { return };
        if link.exchange.as_ref().is_some_and(|exchange| !exchange.goes_on(now_us)) {
            link.exchange = None;
        }
        let Some(exchange) = link.exchange.as_mut().filter(|exchange| !exchange.ended) else { return };
        // What may still be undone is not given away.
        let (engine, leads, commit) = (&self.engine, matches!(self.role, Role::Leader(_)), self.commit);
        let stands = |(slot, _): &(u16, Scope)| !leads || engine.last_write(*slot) <= commit;
        let (mut images, mut bytes) = (Vec::new(), 0);
        while bytes < BYTES_PER_MESSAGE && link.allowance > 0 {
            let Some(at) = exchange.left.iter().rposition(stands) else { break };
            let (slot, scope) = exchange.left.swap_remove(at);
            let mut image = Vec::new();
            self.engine.export_part(slot, scope, &[], &mut image);
            bytes += image.len();
            link.allowance -= image.len() as i64;
            images.push(PartImage { slot: slot.into(), image: image.into() });
        }
        let ended = exchange.compared >= u32::from(SLOTS) && exchange.left.is_empty();
        exchange.starved = images.is_empty() && !exchange.left.is_empty() && link.allowance > 0;
        if images.is_empty() && !ended {
            return;
        }
        exchange.heard_us = now_us;
        let received = if ended { sets::to_message(&exchange.base) } else { Vec::new() };
        let number = exchange.number;
        if ended {
            exchange.ended = true;
            feeds.repair.slots_differing = 0;
        }
        self.count_repair(bytes, 0);
        let clock = self.engine.clock();
        self.send_to_group(to, Message::States(States { number, images, ended, received, clock }));
    }

    /// Whether a comparison waits for a moment without uncommitted entries.
    pub(crate) fn exchange_wants_quiet(&self) -> bool {
        let starved = |link: &Link| link.connected && link.exchange.as_ref().is_some_and(|exchange| exchange.starved);
        self.feeds.as_ref().is_some_and(|feeds| feeds.links.values().any(starved))
    }

    /// Whether images can be sent at once.
    pub(crate) fn exchanges(&self) -> bool {
        let Some(feeds) = &self.feeds else { return false };
        feeds.links.values().any(|link| {
            let ready = |e: &Exchange| !e.left.is_empty();
            link.connected && link.allowance > 0 && link.exchange.as_ref().is_some_and(ready)
        })
    }

    pub(super) fn count_repair(&mut self, sent: usize, received: usize) {
        if let Some(feeds) = &mut self.feeds {
            feeds.repair.bytes_sent += sent as u64;
            feeds.repair.bytes_received += received as u64;
        }
    }
}
