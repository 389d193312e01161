//! Rounds: asking, answering, joining what is answered, and mending what is stale.

use bytes::Bytes;
use smallvec::SmallVec;
use trireme_proto::{
    ReplicaId,
    breakage::{Breakage, broken},
    message::{self, Answer, KeyState, Mend, PartImage},
    topology::ReadRepair,
};

use crate::{
    engine::{Scope, slot_of},
    feeds::sets,
    group::Role,
    replica::Replica,
};

use super::{
    Key, Need, Round, Rounds,
    level::{Level, Side},
};

/// Rounds under way at once; what comes then shares the next one.
const OPEN_MAX: usize = 64;

impl Replica {
    pub(super) fn rounds(&mut self) -> Option<&mut Rounds> {
        match &mut self.role {
            Role::Peer(peer) => Some(&mut peer.rounds),
            _ => None,
        }
    }

    /// The next round brings what is needed: its number.
    pub(super) fn join_round(&mut self, need: &Need) -> Option<u64> {
        let rounds = self.rounds()?;
        let last = &mut rounds.last;
        let round = rounds.next.entry(need.level).or_insert_with(|| {
            *last += 1;
            Round { number: *last, level: need.level, ..Round::default() }
        });
        round.clock |= need.clock;
        if need.keys.is_empty() {
            round.slots.extend(need.slots.iter().map(|slot| u32::from(*slot)));
        } else {
            round.waits_for_copies |= need.mended;
        }
        for key in &need.keys {
            let at = *round.index.entry(key.clone()).or_insert_with(|| {
                let (key, theirs) = (key.clone(), Default::default());
                round.keys.push(Key { key, sent: 0, joined: 0, theirs, shown: false });
                round.keys.len() - 1
            });
            round.keys[at].shown |= need.shows;
        }
        Some(round.number)
    }

    /// Begins the rounds that this turn's commands share, one for each level.
    pub(crate) fn begin_rounds(&mut self) {
        while let Some(rounds) = self.rounds().filter(|rounds| rounds.open.len() < OPEN_MAX) {
            let Some((_, round)) = rounds.next.pop_first() else { return };
            self.begin_round(round);
        }
    }

    fn begin_round(&mut self, mut round: Round) {
        let now_us = self.now.mono_us;
        round.began_us = now_us;
        round.slots.sort_unstable();
        round.slots.dedup();
        for key in &mut round.keys {
            key.sent = self.engine.key_digest(&key.key);
        }
        for id in self.members_linked() {
            self.ask_round(id, &round);
        }
        if let Some(rounds) = self.rounds() {
            rounds.open.insert(round.number, round);
        }
    }

    fn ask_round(&mut self, id: ReplicaId, round: &Round) {
        let received = if round.slots.is_empty() { Vec::new() } else { sets::to_message(self.engine.received()) };
        if let Some(out) = self.out_to(id) {
            out.rounds.push(message::Round {
                number: round.number,
                keys: round.keys.iter().map(|key| key.key.clone()).collect(),
                digests: round.keys.iter().map(|key| key.sent).collect(),
                slots: round.slots.clone(),
                received,
            });
        }
    }

    pub(crate) fn members_linked(&self) -> Vec<ReplicaId> {
        let Some(topology) = &self.meta.topology else { return Vec::new() };
        let counts = |id: &ReplicaId| {
            let configs = [Some(&topology.config), topology.old.as_ref()];
            broken(Breakage::LearnersInQuorums)
                || configs.into_iter().flatten().any(|config| config.member(*id).is_some())
        };
        self.linked().into_iter().filter(|id| counts(id) && !topology.is_quarantined(*id)).collect()
    }

    /// A connection is new: what was asked and sent on the old one is asked and sent again.
    pub(crate) fn ask_again(&mut self, id: ReplicaId) {
        if let Some(rounds) = self.rounds() {
            rounds.open.values_mut().for_each(|round| {
                round.mends_sent.remove(&id);
            });
            self.review_rounds(&[id]);
        }
    }

    /// The record has changed: whoever counts now is asked, and what the rounds at hand have may be enough.
    pub(crate) fn review_all_rounds(&mut self) {
        self.review_rounds(&self.members_linked());
    }

    fn review_rounds(&mut self, whom: &[ReplicaId]) {
        let members = self.members_linked();
        let Some(rounds) = self.rounds() else { return };
        let open = std::mem::take(&mut rounds.open);
        let numbers: Vec<u64> = open.keys().copied().collect();
        for round in open.values() {
            for id in whom.iter().filter(|id| members.contains(id) && !round.answered.contains(id)) {
                self.ask_round(*id, round);
            }
        }
        if let Some(rounds) = self.rounds() {
            rounds.open = open;
        }
        numbers.into_iter().for_each(|number| self.advance_round(number));
    }

    /// Another coordinator asks: what is held here goes out once it is durable.
    pub(crate) fn answer_round(&mut self, from: ReplicaId, round: &message::Round) {
        let (mut states, mut durable) = (Vec::new(), 0);
        for (i, (key, digest)) in round.keys.iter().zip(&round.digests).enumerate() {
            let (slot, mine) = (slot_of(key), self.engine.key_digest(key));
            durable = durable.max(self.engine.last_write(slot));
            if mine != *digest {
                let image = self.image_of(key);
                states.push(KeyState { index: i as u32, digest: mine, image });
            }
        }
        let (ahead, holds) = self.look_at_slots(from, round);
        self.say_when_durable(durable, from, Some(Answer { number: round.number, states, ahead, holds }), 0);
    }

    /// In which of the slots asked more may be held here than the asker has received, and what is held here.
    fn look_at_slots(&mut self, from: ReplicaId, round: &message::Round) -> (Vec<u32>, Vec<message::Seen>) {
        let Some(feeds) = &mut self.feeds else { return Default::default() };
        let Some(link) = feeds.links.get_mut(&from).filter(|_| !round.slots.is_empty()) else {
            return Default::default();
        };
        let theirs = sets::from_message(&round.received);
        link.knows_upto = feeds.recent.covered(&theirs, link.knows_upto, self.batch_last, None);
        let ahead = |slot: &&u32| {
            let slot = u16::try_from(**slot).unwrap_or_default() % trireme_proto::SLOTS;
            self.engine.last_write(slot) > link.knows_upto || self.engine.is_sided(slot)
        };
        let ahead =
            if broken(Breakage::TrustSlots) { Vec::new() } else { round.slots.iter().filter(ahead).copied().collect() };
        (ahead, sets::to_message(&feeds.held))
    }

    fn image_of(&self, key: &[u8]) -> Bytes {
        let mut image = Vec::new();
        self.engine.export_part(slot_of(key), Scope::Named, &[key], &mut image);
        image.into()
    }

    /// How long an answer took, whether or not it is still waited for.
    fn note_pace(&mut self, from: ReplicaId, number: u64) {
        let now_us = self.now.mono_us;
        let Role::Peer(peer) = &mut self.role else { return };
        let Some(feeds) = &mut self.feeds else { return };
        let open = peer.rounds.open.get(&number).map(|round| round.began_us);
        let began_us = open.or_else(|| peer.rounds.over.iter().find(|(over, _)| *over == number).map(|(_, at)| *at));
        if let (Some(began_us), Some(link)) = (began_us, feeds.links.get_mut(&from)) {
            link.answers.note(now_us.saturating_sub(began_us));
        }
    }

    /// What another replica holds.
    pub(crate) fn take_answer(&mut self, from: ReplicaId, answer: Answer) {
        self.note_pace(from, answer.number);
        let Some(rounds) = self.rounds() else { return };
        let Some(round) = rounds.open.get_mut(&answer.number) else { return };
        if !round.answered.insert(from) {
            return;
        }
        for key in &mut round.keys {
            key.theirs.insert(from, key.sent);
        }
        round.ahead.extend(&answer.ahead);
        if !round.slots.is_empty() {
            self.take_what_is_held(from, &answer.holds);
        }
        let Some(round) = self.rounds().and_then(|rounds| rounds.open.get_mut(&answer.number)) else { return };
        let mut images = Vec::new();
        for state in answer.states {
            if let Some(key) = round.keys.get_mut(state.index as usize) {
                key.theirs.insert(from, state.digest);
                images.push((u32::from(slot_of(&key.key)), state.image));
            }
        }
        for (slot, image) in images {
            let landed = self.land_keys(slot, &image).unwrap_or(0);
            if let Some(feeds) = &mut self.feeds {
                feeds.repair.read_repairs += landed;
            }
        }
        self.advance_round(answer.number);
    }

    fn take_what_is_held(&mut self, from: ReplicaId, holds: &[message::Seen]) {
        if let Some(feeds) = &mut self.feeds
            && let Some(link) = feeds.links.get_mut(&from)
            && let Some(known) = &mut link.holds
        {
            known.merge(&sets::from_message(holds));
            link.holds_upto = feeds.recent.covered(known, link.holds_upto, self.batch_last, feeds.origin);
        }
    }

    /// Up to which seq of the own log everything that others wrote is on w replicas. For what this one wrote, replies wait in any case.
    fn shared_upto(&self, level: Level) -> u64 {
        let Some(feeds) = &self.feeds else { return 0 };
        let upto = |id: ReplicaId| {
            if id == self.identity.id {
                self.batch_last
            } else {
                feeds.links.get(&id).map_or(0, |link| link.holds_upto)
            }
        };
        let mut places: SmallVec<[u64; 8]> = feeds.links.values().map(|link| link.holds_upto).collect();
        places.push(self.batch_last);
        places.sort_unstable();
        places.into_iter().rev().find(|place| self.met(Side::Writes, level.w, |id| upto(id) >= *place)).unwrap_or(0)
    }

    /// A replica holds what it was found to lack.
    pub(crate) fn take_mended(&mut self, from: ReplicaId, number: u64) {
        if let Some(round) = self.rounds().and_then(|rounds| rounds.open.get_mut(&number)) {
            round.mended_by.insert(from);
            self.advance_round(number);
        }
    }

    /// Looks whether a round has brought more than before; what waited for that runs now, before anything else comes in.
    fn advance_round(&mut self, number: u64) {
        let Some(mut round) = self.rounds().and_then(|rounds| rounds.open.remove(&number)) else { return };
        let (me, before) = (self.identity.id, (round.clocked, round.gathered, round.mended));
        let answered = |id: ReplicaId| id == me || round.answered.contains(&id);
        let clocked = self.enough(Replica::all_but_w, answered);
        let gathered = self.met(Side::Reads, round.level.r, answered) && round.level.with.is_none_or(answered);
        round.clocked |= clocked;
        if gathered && !round.gathered {
            round.gathered = true;
            for key in &mut round.keys {
                key.joined = self.engine.key_digest(&key.key);
            }
        }
        if !round.slots.is_empty() {
            round.shared = self.shared_upto(round.level);
        }
        if round.gathered && !round.mended && !round.keys.is_empty() {
            self.mend(&mut round);
        }
        let news = before != (round.clocked, round.gathered, round.mended);
        if let Some(rounds) = self.rounds() {
            rounds.open.insert(number, round);
        }
        if news {
            self.clients.wake = true;
            self.run_waiting();
        }
        if let Some(rounds) = self.rounds()
            && rounds.open.get(&number).is_some_and(Round::is_over)
            && let Some(over) = rounds.open.remove(&number)
        {
            rounds.over.push_back((number, over.began_us));
            if rounds.over.len() > OPEN_MAX {
                rounds.over.pop_front();
            }
        }
    }

    /// Whether w replicas hold what a round shows; else those that lack it are sent it.
    fn mend(&mut self, round: &mut Round) {
        let me = self.identity.id;
        let shown: Vec<&Key> = round.keys.iter().filter(|key| key.shown).collect();
        let holds = |id: ReplicaId| shown.iter().all(|key| key.theirs.get(&id) == Some(&key.joined));
        let has = |id: ReplicaId| id == me || round.mended_by.contains(&id) || holds(id);
        round.mended = self.met(Side::Writes, round.level.w, has);
        round.holders = self.how_many(has);
        if round.mended || self.settings().read_repair() == ReadRepair::Off {
            return;
        }
        let mut sent = 0;
        for id in self.members_linked() {
            if round.mends_sent.contains(&id) {
                continue;
            }
            let lacking: Vec<&&Key> = shown.iter().filter(|key| key.theirs.get(&id) != Some(&key.joined)).collect();
            let images: Vec<PartImage> = lacking
                .iter()
                .map(|key| PartImage { slot: slot_of(&key.key).into(), image: self.image_of(&key.key) })
                .collect();
            sent = sent.max(images.len());
            if let Some(out) = self.out_to(id).filter(|_| !images.is_empty()) {
                out.mends.push(Mend { number: round.number, images });
            }
            round.mends_sent.insert(id);
        }
        if let Some(feeds) = &mut self.feeds {
            feeds.repair.read_repairs += sent as u64;
        }
    }

    /// State that a coordinator has found this replica to lack.
    pub(crate) fn take_mend(&mut self, from: ReplicaId, mend: &Mend) {
        let mut durable = 0;
        for part in &mend.images {
            if self.land_keys(part.slot, &part.image).is_none() {
                return;
            }
            durable = durable.max(self.engine.last_write(part.slot as u16));
        }
        self.say_when_durable(durable, from, None, mend.number);
    }

    /// Rounds that nobody waits for any more.
    pub(crate) fn time_out_rounds(&mut self) {
        let (now_us, timeout_us) = (self.now.mono_us, u64::from(self.settings().request_timeout_ms) * 1_000);
        if let Some(rounds) = self.rounds() {
            rounds.open.retain(|_, round| round.began_us + timeout_us > now_us);
        }
    }
}
