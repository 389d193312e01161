//! What a unit of work needs, and when it may run.

use bytes::Bytes;
use trireme_proto::{
    breakage::{Breakage, broken},
    topology::{ReadRepair, WriteOrder},
};

use crate::{
    clients::{Flow, execute::Work},
    engine::command::{self, Handler, Spec},
    group::Role,
    io::ClientId,
    replica::Replica,
};

use super::Need;

/// Whether a round is of use to a unit of work.
enum Use {
    /// It has brought what is needed.
    Ready,
    /// It will.
    Waits,
    /// Another round is needed.
    None,
}

impl Replica {
    /// Whether this replica takes commands: it is a member, in this life of its disk, and has a name to write under.
    pub(crate) fn may_coordinate(&self) -> bool {
        let (Role::Peer(peer), Some(topology)) = (&self.role, &self.meta.topology) else { return false };
        peer.origin.is_some() && topology.has(self.identity.id, self.identity.incarnation)
    }

    /// Runs a unit of work of a client, where nobody leads, if it has what it needs; else it waits for the next round.
    pub(crate) fn coordinate(&mut self, id: ClientId, work: &Work<'_>) -> Flow {
        if !self.may_coordinate() {
            return Flow::NotNow;
        }
        let writes = work.writes();
        if writes && self.disk_full {
            let why = "DISKFULL this replica's disk is full: writes are refused until it has room, reads are served";
            self.answer(id, |reply| reply.error(why.as_bytes()));
            return Flow::Done;
        }
        let local = self.clients.get_mut(id).is_some_and(|client| client.readonly);
        let need = self.need_of(work, local);
        let reads = !need.keys.is_empty();
        let too_few = if writes { self.too_few_peers(true) } else { None };
        if let Some(why) = too_few.or_else(|| if reads { self.too_few_peers(false) } else { None }) {
            self.counters.no_replicas += 1;
            self.answer(id, |reply| reply.error(why.as_bytes()));
            return Flow::Done;
        }
        if need.is_nothing() {
            self.execute_for(id, work);
            return Flow::Done;
        }
        match self.clients.permit.map_or(Use::None, |number| self.use_of(number, &need)) {
            Use::Ready => {
                self.execute_for(id, work);
                Flow::Done
            }
            Use::Waits => Flow::NotNow,
            Use::None => {
                self.clients.stamp = self.join_round(&need);
                Flow::NotNow
            }
        }
    }

    /// A command comes behind others of its client: the round that it will need can begin.
    pub(crate) fn foresee(&mut self, id: ClientId, args: &[&[u8]]) -> Option<u64> {
        if !matches!(self.role, Role::Peer(_)) {
            return None;
        }
        let client = self.clients.get_mut(id)?;
        let (readonly, transaction) = (client.readonly, client.transaction.is_some());
        let spec = command::resolve(args).ok().filter(|spec| matches!(spec.handler, Handler::Data(_)))?;
        if transaction {
            return None;
        }
        let need = self.need_of(&Work::One(spec, args), readonly);
        if need.is_nothing() { None } else { self.join_round(&need) }
    }

    fn need_of(&self, work: &Work<'_>, local: bool) -> Need {
        let settings = self.settings();
        let me = self.identity.id;
        let alone_for = |need: &dyn Fn(&trireme_proto::topology::Config) -> usize| self.enough(need, |id| id == me);
        let writes = work.writes();
        let mut need = Need {
            clock: writes
                && settings.write_order() == WriteOrder::Strict
                && !alone_for(&Replica::all_but_w)
                && !broken(Breakage::NoClockRound),
            ..Need::default()
        };
        if alone_for(&self.r_of()) || (local && !writes) {
            return need;
        }
        match work {
            Work::One(spec, args) => need.add(spec, args),
            Work::Transaction(commands, watched) => {
                for queued in *commands {
                    let args: Vec<&[u8]> = queued.args.iter().map(|arg| &arg[..]).collect();
                    if let Ok(spec) = command::resolve(&args) {
                        need.add(spec, &args);
                    }
                }
                need.keys.extend(watched.iter().map(|watched| watched.key.clone()));
            }
        }
        need.keys.sort_unstable();
        need.keys.dedup();
        if writes && broken(Breakage::BlindRemovals) {
            need.keys.clear();
        }
        let repair = if broken(Breakage::NoReadRepair) { ReadRepair::Off } else { settings.read_repair() };
        need.mended = need.shows && repair == ReadRepair::Blocking && !need.keys.is_empty();
        need.shows &= repair != ReadRepair::Off;
        need
    }

    /// Whether a round has brought what is needed, and nothing else has come since to what is read.
    fn use_of(&self, number: u64, need: &Need) -> Use {
        let Role::Peer(peer) = &self.role else { return Use::None };
        let rounds = &peer.rounds;
        if rounds.next.as_ref().is_some_and(|next| next.number == number) {
            return Use::Waits;
        }
        let Some(round) = rounds.open.get(&number) else { return Use::None };
        let at = |key: &Bytes| round.index.get(key).and_then(|at| round.keys.get(*at));
        let asked = need.keys.iter().all(|key| at(key).is_some_and(|key| key.shown || !need.shows));
        if !asked || (need.clock && !round.clock) || (need.mended && !round.waits_for_copies) {
            return Use::None;
        }
        let has = (round.clocked || !need.clock)
            && (round.gathered || need.keys.is_empty())
            && (round.mended || !need.mended);
        if !has {
            return Use::Waits;
        }
        if !need.mended {
            return Use::Ready;
        }
        let same = need.keys.iter().all(|key| at(key).is_some_and(|at| at.joined == self.engine.key_digest(key)));
        if same { Use::Ready } else { Use::None }
    }
}

impl Need {
    fn add(&mut self, spec: &'static Spec, args: &[&[u8]]) {
        if !spec.is_blind(args) {
            self.shows |= !spec.is_write();
            self.keys.extend(spec.keys(args).map(Bytes::copy_from_slice));
        }
    }
}
