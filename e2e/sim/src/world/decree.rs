//! The record of a store without a leader: who counts, under which name each writes, and how members, w and r change so that w + r > n is true at every
//! moment.

use trireme_proto::{
    Epoch, Message, ReplicaId, Report, Topology,
    ids::Peer,
    report::Role,
    topology::{Config, Member, Phase, Replica},
};

use super::{Event, World};
use crate::{
    clock::Micros,
    machine::{Arrival, STORE},
    network::Packet,
};

/// How often it looks.
const EVERY_US: Micros = 60_000;

impl World {
    /// Looks at the replicas, decides, and tells them.
    pub(super) fn decree(&mut self) {
        let every = self.rng.u64(EVERY_US / 2..EVERY_US * 2);
        self.queue.after(every, Event::Decree);
        for id in 1..=crate::scenario::REPLICAS_MAX {
            self.want(id, id <= self.wanted.0);
        }
        let next = match self.record().cloned() {
            None => self.first_record(),
            Some(record) => self.next_record(record),
        };
        if let Some(mut next) = next {
            let before = next.version;
            next.version += 1;
            self.trace.say(self.queue.now(), format_args!("the record is {next:?}"));
            if self.authority.swap(before, &next).is_err() {
                return;
            }
        }
        self.tell_everybody();
    }

    /// A replica that is wanted is started; one that is not ends when the record knows nothing of it.
    fn want(&mut self, id: ReplicaId, wanted: bool) {
        let counts = self.record().is_some_and(|record| {
            record.config.member(id).is_some() || record.old.as_ref().is_some_and(|old| old.member(id).is_some())
        });
        let Some(machine) = self.machines.get_mut(&id) else { return };
        if wanted && !machine.wanted {
            machine.wanted = true;
            self.queue.after(1_000, Event::Start(id));
        } else if !wanted && machine.wanted && !counts {
            machine.wanted = false;
            self.crash(id, crate::disk::Crash::Process);
        }
    }

    fn heard(&self, id: ReplicaId) -> Option<Report> {
        let machine = self.machines.get(&id)?;
        let process = machine.process.as_ref().filter(|process| !process.paused)?;
        Some(process.replica.report(machine.now(self.now())))
    }

    fn first_record(&self) -> Option<Topology> {
        let mut members = Vec::new();
        for id in self.scenario.replicas() {
            members.push(Member { id, incarnation: self.heard(id)?.incarnation });
        }
        let replicas = members.iter().map(|member| row(member.id, member.incarnation, 1)).collect();
        Some(Topology {
            store: STORE.to_owned(),
            group: 0,
            version: 0,
            epoch: Epoch { number: 1, proposer: 0 },
            phase: Phase::Active as i32,
            leader: 0,
            config: Config { members, w: self.scenario.w },
            old: None,
            replicas,
            generation: 0,
            handover: 0,
            settings: self.scenario.settings.clone(),
            previous_leader: 0,
            restarting: 0,
        })
    }

    fn next_record(&self, mut next: Topology) -> Option<Topology> {
        let mut changed = false;
        for id in 1..=crate::scenario::REPLICAS_MAX {
            let Some(report) = self.heard(id) else { continue };
            match next.replicas.iter_mut().find(|row| row.id == id) {
                None if id > self.wanted.0 => continue,
                None => next.replicas.push(row(id, report.incarnation, 1)),
                Some(row) if row.incarnation != report.incarnation => {
                    (row.incarnation, row.generation) = (report.incarnation, row.generation + 1);
                }
                Some(row) if report.origin_spent => row.generation += 1,
                Some(_) => continue,
            }
            changed = true;
        }
        let step = if next.old.is_some() { self.finish_change(&mut next) } else { self.begin_change(&mut next) };
        (changed || step).then_some(next)
    }

    /// The configuration being left goes when nobody can coordinate under it alone, and the new members hold all that was acknowledged under it.
    fn finish_change(&self, next: &mut Topology) -> bool {
        let obeys = |member: &Member| {
            self.heard(member.id).filter(|r| r.incarnation == member.incarnation && r.topology_version >= next.version)
        };
        let Some(old) = &next.old else { return false };
        // A disk that is lost meanwhile: the change goes on to another configuration, from the same one.
        let is_dead = |m: &Member| next.replicas.iter().any(|row| row.id == m.id && row.incarnation != m.incarnation);
        if let Some(at) = next.config.members.iter().position(is_dead) {
            if next.config.members.len() > next.config.w as usize {
                next.config.members.remove(at);
            } else {
                let member = &mut next.config.members[at];
                let row = next.replicas.iter().find(|row| row.id == member.id);
                member.incarnation = row.map_or(member.incarnation, |row| row.incarnation);
            }
            next.epoch = next.epoch.next();
            next.settings.r = next.settings.r.max(self.r_for(&next.config));
            return true;
        }
        let ready = next.config.members.iter().all(|member| obeys(member).is_some_and(|report| report.whole));
        let needed = (old.w as usize).max(old.members.len() + 1 - old.w as usize);
        let obeying = old.members.iter().filter(|member| obeys(member).is_some() || is_dead(member)).count();
        let answering_behind =
            old.members.iter().any(|m| self.heard(m.id).is_some_and(|r| r.topology_version < next.version));
        if !ready || obeying < needed.min(old.members.len()) || answering_behind {
            return false;
        }
        next.old = None;
        next.settings.r = self.r_for(&next.config);
        next.replicas.retain(|row| row.id <= self.wanted.0 || next.config.member(row.id).is_some());
        true
    }

    /// One change at a time: a lost disk's old life goes, a whole learner comes, an unwanted member goes, w changes.
    fn begin_change(&self, next: &mut Topology) -> bool {
        let config = &next.config;
        let (n, w) = (config.members.len(), config.w);
        let dead = |m: &&Member| next.replicas.iter().any(|row| row.id == m.id && row.incarnation != m.incarnation);
        let whole = |row: &&Replica| {
            let report = self.heard(row.id).filter(|r| r.incarnation == row.incarnation);
            report.is_some_and(|r| r.whole && r.topology_version >= next.version && r.role() == Role::Learner)
        };
        let learner = next.replicas.iter().filter(whole).find(|row| row.id <= self.wanted.0);
        let unwanted = config.members.iter().rfind(|m| m.id > self.wanted.0).filter(|_| n > self.wanted.0 as usize);
        let mut members = config.members.clone();
        let mut copies = w;
        if let Some(gone) = config.members.iter().find(dead).filter(|_| n > w as usize) {
            members.retain(|member| member != gone);
        } else if let Some(learner) = learner {
            members.retain(|member| member.id != learner.id);
            members.push(Member { id: learner.id, incarnation: learner.incarnation });
            members.sort_unstable_by_key(|member| member.id);
        } else if let Some(last) = unwanted {
            members.retain(|member| member != last);
            copies = w.min(members.len() as u32);
        } else if n == self.wanted.0 as usize && w != self.wanted.1 {
            copies = self.wanted.1;
        } else {
            return false;
        }
        next.old = Some(next.config.clone());
        next.config = Config { members, w: copies };
        next.epoch = next.epoch.next();
        // Raised before, lowered after.
        next.settings.r = next.settings.r.max(self.r_for(&next.config));
        true
    }

    fn r_for(&self, config: &Config) -> u32 {
        let n = config.members.len() as u32;
        // One replica alone shows what is not yet on w of them, and another one does not: then reads are not those of one register.
        if self.scenario.quorums_meet() {
            (n + 1 - config.w.min(n)).max(2).min(n)
        } else {
            self.scenario.settings.r.min(n)
        }
    }

    /// Whether the record has everybody that is wanted, in the life that it has now.
    pub(super) fn is_in_full(&self, record: &Topology) -> bool {
        let is_itself = |m: &Member| {
            self.machines.get(&m.id).is_some_and(|machine| machine.incarnation == m.incarnation && !machine.tail_lost)
        };
        record.config.members.len() == self.wanted.0 as usize && record.config.members.iter().all(is_itself)
    }

    fn tell_everybody(&mut self) {
        let Some(record) = self.record().cloned() else { return };
        let ids: Vec<ReplicaId> = self.machines.keys().copied().collect();
        for id in ids {
            let Some(life) = self.machines.get(&id).and_then(|m| m.process.as_ref()).map(|p| p.life) else { continue };
            if self.rng.u8(0..4) > 0 || self.faults_over {
                let message = Message::Topology(Box::new(record.clone()));
                let arrival = Arrival::Packet(Peer::Operator(0), Packet::Message(message));
                let delay = self.rng.u64(100..30_000);
                self.queue.after(delay, Event::Arrive(id, life, Box::new(arrival)));
            }
        }
    }
}

fn row(id: ReplicaId, incarnation: u64, generation: u32) -> Replica {
    Replica { id, name: format!("replica-{id}"), incarnation, generation, ..Replica::default() }
}
