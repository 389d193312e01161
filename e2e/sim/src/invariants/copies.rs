//! Without a leader: what a coordinator counts as written is durable on w members of every configuration in force; and when one has been left, everything that
//! was ever acknowledged is on w members of the one that stays.
//!
//! "Was", not "is", as in [`super::quorum`]: by the life of a disk. Durable means what the store's durability says.

use std::collections::{BTreeMap, VecDeque};

use trireme_proto::{
    Incarnation, ReplicaId, Topology,
    ids::Dot,
    topology::{Config, Member},
};
use trireme_replica::{
    engine::{Engine, ReceivedSet},
    log::record::{self, Kind},
};

use super::{Found, Turn, names::Names, violated};

/// The first byte of an entry of state that says what has been received.
const RECEIVED: u8 = 1;

/// What one entry of the log brings.
enum Brings {
    Delta(Dot),
    State(ReceivedSet),
}

/// One life of a disk.
#[derive(Default)]
struct Life {
    durable: ReceivedSet,
    /// Handed to the disk: seq in the log, and what it brings.
    waiting: VecDeque<(u64, Brings)>,
    /// What this process wrote itself and is not acknowledged yet.
    own: VecDeque<Dot>,
    /// The version of the record that it obeyed after its turn before.
    obeyed: Option<u64>,
}

/// Who holds what, and what was acknowledged.
#[derive(Default)]
pub struct Copies {
    lives: BTreeMap<(ReplicaId, Incarnation), Life>,
    acknowledged: Vec<Dot>,
    /// Every record that was written.
    records: Vec<Topology>,
}

impl Copies {
    /// A process starts on a disk that has all this.
    pub fn started(&mut self, id: ReplicaId, incarnation: Incarnation, received: &ReceivedSet) {
        let life = self.lives.entry((id, incarnation)).or_default();
        life.durable.merge(received);
        life.waiting.clear();
        life.own.clear();
        life.obeyed = None;
    }

    /// A process hands records to its disk.
    ///
    /// # Errors
    /// Where a name is used for another delta.
    pub fn appended(&mut self, id: ReplicaId, incarnation: Incarnation, bytes: &[u8], names: &mut Names) -> Found {
        let life = self.lives.entry((id, incarnation)).or_default();
        let mut at = 0;
        while let Ok(view) = record::read_trusted(&bytes[at..]) {
            at += view.bytes;
            let brings = match (view.kind, view.payload.split_first()) {
                (Kind::Delta, _) => {
                    let Ok(dot) = Engine::dot_of(view.payload) else { continue };
                    names.appended(id, dot, view.payload)?;
                    if dot.origin.group == id {
                        life.own.push_back(dot);
                    }
                    Brings::Delta(dot)
                }
                (Kind::State, Some((&RECEIVED, rest))) => match ReceivedSet::import(rest) {
                    Some(received) => Brings::State(received),
                    None => continue,
                },
                _ => continue,
            };
            life.waiting.push_back((view.position.seq, brings));
        }
        Ok(())
    }

    /// Everything up to this seq is durable.
    pub fn durable(&mut self, id: ReplicaId, incarnation: Incarnation, seq: u64) {
        let Some(life) = self.lives.get_mut(&(id, incarnation)) else { return };
        while let Some((_, brings)) = life.waiting.pop_front_if(|(at, _)| *at <= seq) {
            match brings {
                Brings::Delta(dot) => drop(life.durable.insert(dot)),
                Brings::State(received) => life.durable.merge(&received),
            }
        }
    }

    /// What this replica counts as written after its turn.
    ///
    /// # Errors
    /// Where it has too few copies.
    pub fn turn(&mut self, turn: &Turn<'_>, counted: Option<Dot>) -> Found {
        let key = (turn.id, turn.incarnation);
        let Some(life) = self.lives.get_mut(&key) else { return Ok(()) };
        let obeyed = turn.topology.map(|record| record.version);
        let before = std::mem::replace(&mut life.obeyed, obeyed);
        let mut news = Vec::new();
        if let Some(counted) = counted {
            // Of an earlier name of this disk, learnt from others: nobody counts it any more.
            life.own.retain(|dot| dot.origin == counted.origin);
            while let Some(dot) = life.own.pop_front_if(|dot| dot.seq <= counted.seq) {
                news.push(dot);
            }
        }
        for dot in news {
            // The record may have changed in this turn, after it was counted: once, or several times.
            let (first, last) = (before.or(obeyed).unwrap_or_default(), obeyed.unwrap_or_default());
            let mut between = self.records.iter().filter(|record| (first..=last).contains(&record.version));
            if let Some(what) = turn.topology.and_then(|record| self.lacking(record, dot))
                && between.all(|record| self.lacking(record, dot).is_some())
            {
                return violated("copies", format!("replica {} counts {dot:?} as written: {what}", turn.id));
            }
            self.acknowledged.push(dot);
        }
        Ok(())
    }

    fn holds(&self, member: &Member, dot: Dot) -> bool {
        self.lives.get(&(member.id, member.incarnation)).is_some_and(|life| life.durable.contains(dot))
    }

    fn lacking(&self, record: &Topology, dot: Dot) -> Option<String> {
        [Some(&record.config), record.old.as_ref()].into_iter().flatten().find_map(|config| {
            let copies = config.members.iter().filter(|m| self.holds(m, dot)).count();
            (copies < config.w as usize).then(|| {
                format!("it is durable on {copies} of {} members, not on w = {}", config.members.len(), config.w)
            })
        })
    }

    /// A record is written, whatever may be said of it.
    pub fn note(&mut self, record: &Topology) {
        self.records.push(record.clone());
    }

    /// A record is written.
    ///
    /// # Errors
    /// Where a configuration has been left, and something that was acknowledged is not on w members of the one that stays.
    pub fn record(&self, before: Option<&Topology>, next: &Topology) -> Found {
        if before.is_none_or(|before| before.old.is_none()) || next.old.is_some() {
            return Ok(());
        }
        match self.acknowledged.iter().find_map(|dot| Some((dot, self.lacking(next, *dot)?))) {
            Some((dot, what)) => {
                violated("copies", format!("version {} leaves a configuration, and {dot:?}: {what}", next.version))
            }
            None => Ok(()),
        }
    }

    /// Whether reads of r find everything that was acknowledged on those members of a configuration for which `there` says so.
    pub fn found_by(&self, config: &Config, r: u32, there: impl Fn(&Member) -> bool) -> bool {
        let members: Vec<&Member> = config.members.iter().filter(|m| there(m)).collect();
        let asked = (r as usize).clamp(1, members.len().max(1));
        let copies = |dot: Dot| members.iter().filter(|m| self.holds(m, dot)).count();
        self.acknowledged.iter().all(|dot| copies(*dot) + asked > members.len())
    }
}
