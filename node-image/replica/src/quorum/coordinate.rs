//! What a unit of work needs, and when it may run.

use bytes::Bytes;
use smallvec::SmallVec;
use trireme_proto::{
    breakage::{Breakage, broken},
    topology::{ReadRepair, WriteOrder},
};

use crate::{
    clients::{Flow, execute::Work, held::Reach},
    engine::{
        command::{self, Handler, Spec},
        slot_of,
    },
    group::Role,
    io::{ClientId, Identity},
    replica::Replica,
};

use super::{
    Need, Round,
    level::{Level, Quorum, Side},
};

/// Whether a round is of use to a unit of work.
enum Use {
    /// It has brought what is needed.
    Ready,
    /// It will.
    Waits,
    /// Another round is needed.
    None,
    /// Another one that looks at the keys themselves.
    ByKey,
    /// It has brought what is needed, and some member lacks what is shown.
    ReadyAndStale,
}

impl Replica {
    /// Whether this replica takes commands: it is a member, in this life of its disk, and has a name to write under.
    pub(crate) fn may_coordinate(&self) -> bool {
        let (Some(feeds), Some(topology)) = (&self.feeds, &self.meta.topology) else { return false };
        let Identity { id, incarnation, .. } = self.identity;
        feeds.origin.is_some() && topology.has(id, incarnation) && !topology.is_quarantined(id)
    }

    /// Runs a unit of work of a client, where nobody leads, if it has what it needs; else it waits for the next round.
    pub(crate) fn coordinate(&mut self, id: ClientId, work: &Work<'_>) -> Flow {
        if self.is_quarantined(self.identity.id) {
            let why =
                "NOREPLICAS this replica is quarantined and coordinates nothing: ask another one; nothing was done";
            self.counters.no_replicas += 1;
            self.answer(id, |reply| reply.error(why.as_bytes()));
            return Flow::Done;
        }
        if !self.may_coordinate() {
            return Flow::NotNow;
        }
        let writes = work.writes();
        // What waits for keys goes on waiting.
        let waits = self.clients.get_mut(id).is_some_and(|client| client.key_wait().is_some());
        if writes && self.disk_full {
            if waits {
                return Flow::NotNow;
            }
            let why = "DISKFULL this replica's disk is full: writes are refused until it has room, reads are served";
            self.answer(id, |reply| reply.error(why.as_bytes()));
            return Flow::Done;
        }
        let Some(client) = self.clients.get_mut(id) else { return Flow::Done };
        let (level, local) = (client.level(), client.readonly);
        if !client.may_wait_for(level.w) {
            return Flow::NotNow; // Its replies before this one wait for other copies, and leave first.
        }
        let need = self.need_of(work, level, local);
        if let Some(why) = self.why_it_cannot_be(&need, writes) {
            if waits {
                return Flow::NotNow;
            }
            self.counters.no_replicas += u64::from(why.starts_with("NOREPLICAS"));
            self.answer(id, |reply| reply.error(why.as_bytes()));
            return Flow::Done;
        }
        if need.is_nothing() {
            if self.asks_for_prefix(id, work) {
                return self.coordinate(id, work);
            }
            if let Err(flow) = self.keep_prefix(id, work, 1) {
                return flow;
            }
            return self.execute_for(id, work, self.reached_by(&need));
        }
        let of_use = self.clients.permit.map_or(Use::None, |number| self.use_of(number, &need, work));
        if matches!(of_use, Use::Ready | Use::ReadyAndStale)
            && let Err(flow) = self.keep_prefix(id, work, 2)
        {
            return flow;
        }
        match of_use {
            Use::Ready => return self.execute_for(id, work, self.reached_by(&need)),
            Use::ReadyAndStale => {
                let flow = self.execute_for(id, work, self.reached_by(&need));
                // Nobody waits for this one: it mends.
                self.join_round(&need.by_key(work));
                return flow;
            }
            Use::Waits => {}
            Use::None => self.clients.stamp = self.join_round(&need),
            Use::ByKey => self.clients.stamp = self.join_round(&need.by_key(work)),
        }
        Flow::NotNow
    }

    /// Why a unit of work would wait in vain, or cannot be meant: nothing has been done.
    fn why_it_cannot_be(&self, need: &Need, writes: bool) -> Option<String> {
        if let Some(why) = self.impossible(need.level) {
            return Some(why);
        }
        let too_few = if writes { self.too_few_peers(Side::Writes, need.level.w, need.clock) } else { None };
        too_few.or_else(|| match need.slots.is_empty() {
            true => None,
            false => self.too_few_peers(Side::Reads, need.level.r, false),
        })
    }

    /// How many members' states the round at hand has joined, this replica's own included, and how many are known to hold what came of it.
    fn reached_by(&self, need: &Need) -> Reach {
        let alone = Reach { quorum: need.level.w, r: 1, w: 1, ..Reach::default() };
        let Role::Peer(peer) = &self.role else { return alone };
        let Some(feeds) = &self.feeds else { return alone };
        let round = self.clients.permit.and_then(|number| peer.rounds.open.get(&number));
        let Some(round) = round.filter(|_| !need.slots.is_empty()) else { return alone };
        let me = self.identity.id;
        let last = need.slots.iter().map(|slot| self.engine.last_write(*slot)).max().unwrap_or(0);
        let holds = |id| id == me || feeds.links.get(&id).is_some_and(|link| link.holds_upto >= last);
        let by_slot = if need.slots.iter().any(|slot| self.engine.is_sided(*slot)) { 1 } else { self.how_many(holds) };
        let r = self.how_many(|id| id == me || round.answered.contains(&id)).max(1);
        Reach { r, w: by_slot.max(round.holders), ..alone }
    }

    /// A command stands behind others of its client: the round that it will need can begin. `had`: the one that it was to use.
    pub(crate) fn foresee(&mut self, id: ClientId, args: &[&[u8]], had: Option<u64>) -> Option<u64> {
        if !matches!(self.role, Role::Peer(_)) {
            return None;
        }
        let client = self.clients.get_mut(id)?;
        if client.transaction.is_some() {
            return None;
        }
        let (readonly, own) = (client.readonly, client.level());
        let (level, args) = crate::clients::consistency::call_of(args).unwrap_or((own, args));
        let spec = command::resolve(args).ok().filter(|spec| matches!(spec.handler, Handler::Data(_)))?;
        let work = Work::One(spec, args);
        let need = self.need_of(&work, level, readonly);
        if need.is_nothing() {
            return None;
        }
        match had.map_or(Use::None, |number| self.use_of(number, &need, &work)) {
            Use::Waits => had,
            Use::ByKey => self.join_round(&need.by_key(&work)),
            // A round that is over will be gone when its turn comes.
            Use::None | Use::Ready | Use::ReadyAndStale => self.join_round(&need),
        }
    }

    fn need_of(&self, work: &Work<'_>, level: Level, local: bool) -> Need {
        let settings = self.settings();
        let me = self.identity.id;
        let writes = work.writes();
        let mut need = Need {
            level,
            clock: writes
                && settings.write_order() == WriteOrder::Strict
                && !self.enough(Replica::all_but_w, |id| id == me)
                && !broken(Breakage::NoClockRound),
            ..Need::default()
        };
        // READONLY is about what the store would do; a level that was asked for stands above it.
        let local = local && level.r == Quorum::Store && !writes;
        if level.with.is_none() && (local || self.met(Side::Reads, level.r, |id| id == me)) {
            return need;
        }
        depends_on(work, |key, shows| {
            need.slots.push(slot_of(key));
            need.shows |= shows;
        });
        if writes && broken(Breakage::BlindRemovals) {
            need.slots.clear();
        }
        let repair = if broken(Breakage::NoReadRepair) { ReadRepair::Off } else { settings.read_repair() };
        need.mended = need.shows && repair == ReadRepair::Blocking && !need.slots.is_empty();
        need.shows &= repair != ReadRepair::Off;
        need
    }

    /// Whether a round has brought what is needed, and nothing else has come since to what is read.
    fn use_of(&self, number: u64, need: &Need, work: &Work<'_>) -> Use {
        let Role::Peer(peer) = &self.role else { return Use::None };
        let rounds = &peer.rounds;
        if rounds.next.values().any(|next| next.number == number && next.level == need.level) {
            return Use::Waits;
        }
        let Some(round) = rounds.open.get(&number).filter(|round| round.level == need.level) else { return Use::None };
        if need.clock && !round.clock {
            return Use::None;
        }
        let clocked = round.clocked || !need.clock;
        let by_key = if round.keys.is_empty() { None } else { self.use_by_key(round, clocked, need, work) };
        by_key.unwrap_or_else(|| self.use_by_slot(round, clocked, need))
    }

    /// Of a round that asks for the slots of what is needed, or for nothing but the clock.
    fn use_by_slot(&self, round: &Round, clocked: bool, need: &Need) -> Use {
        if !need.slots.iter().all(|slot| round.slots.binary_search(&u32::from(*slot)).is_ok()) {
            return Use::None;
        }
        if !clocked || !(round.gathered || need.slots.is_empty()) {
            return Use::Waits;
        }
        if need.slots.iter().any(|slot| round.ahead.contains(&u32::from(*slot))) {
            return Use::ByKey;
        }
        let lacked = |slot: &u16| self.engine.last_write(*slot) > round.shared || self.engine.is_sided(*slot);
        match (need.shows && need.slots.iter().any(lacked), need.mended) {
            (false, _) => Use::Ready,
            (true, false) => Use::ReadyAndStale,
            (true, true) => Use::ByKey,
        }
    }

    /// Of a round that asks for the keys themselves; `None` where it does not.
    fn use_by_key(&self, round: &Round, clocked: bool, need: &Need, work: &Work<'_>) -> Option<Use> {
        let (mut asked, mut same) = (!need.slots.is_empty(), true);
        depends_on(work, |key, _| {
            let at = round.index.get(key).and_then(|at| round.keys.get(*at));
            asked &= at.is_some_and(|at| at.shown || !need.shows);
            same &= !need.mended || at.is_some_and(|at| at.joined == self.engine.key_digest(key));
        });
        if !asked || (need.mended && !round.waits_for_copies) {
            return None;
        }
        if !clocked || !round.gathered || (need.mended && !round.mended) {
            return Some(Use::Waits);
        }
        Some(if same { Use::Ready } else { Use::ByKey })
    }
}

impl Need {
    /// The same with the keys themselves.
    fn by_key(mut self, work: &Work<'_>) -> Need {
        depends_on(work, |key, _| self.keys.push(Bytes::copy_from_slice(key)));
        self.keys.sort_unstable();
        self.keys.dedup();
        self
    }
}

/// How many keys a unit of work shows.
pub(crate) fn keys_shown(work: &Work<'_>) -> usize {
    let mut count = 0;
    depends_on(work, |_, shows| count += usize::from(shows));
    count
}

/// Every key whose state a unit of work depends on, and whether it shows it.
fn depends_on(work: &Work<'_>, mut each: impl FnMut(&[u8], bool)) {
    let mut add = |spec: &'static Spec, args: &[&[u8]]| {
        if !spec.is_blind(args) {
            spec.keys(args).for_each(|key| each(key, !spec.is_write()));
        }
    };
    match work {
        Work::One(spec, args) => add(spec, args),
        Work::Transaction(commands, watched) => {
            for queued in *commands {
                let args: SmallVec<[&[u8]; 8]> = queued.args.iter().map(|arg| &arg[..]).collect();
                if let Ok(spec) = command::resolve(&args) {
                    add(spec, &args);
                }
            }
            watched.iter().for_each(|watched| each(&watched.key, false));
        }
    }
}
