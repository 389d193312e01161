//! What the operator does to replicas of its own accord, and what makes it do so: new revisions, machines that are gone, pauses; and the person who
//! forces a promotion.

use trireme_planner::HumanRequest;
use trireme_proto::{
    ReplicaId, Topology,
    topology::{Durability, Member},
};

use super::{Event, Healing, World, operator::Pod};
use crate::{
    clock::Micros,
    disk::Crash,
    invariants::violated,
    machine::{Arrival, Machine},
    scenario::Fault,
};

/// How long those who watch machines take to say that one is gone.
const GIVEN_UP_US: std::ops::Range<u64> = 50_000..600_000;
/// How long a pod has to end before it is killed.
const GRACE_US: Micros = 3_000_000;

impl World {
    /// Something for the operator to do.
    pub(super) fn upkeep(&mut self, fault: Fault, id: ReplicaId) {
        match fault {
            Fault::Upgrade => self.upgrade(),
            Fault::MachineLost => self.machine_lost(id),
            Fault::Force => self.disaster(id),
            _ => {
                self.paused = true;
                let lasts = self.rng.u64(100_000..1_500_000);
                self.queue.after(lasts, Event::Heal(Healing::Paused));
            }
        }
    }

    /// Another revision is wanted: sometimes one that does not start.
    fn upgrade(&mut self) {
        self.revision += 1;
        if self.rng.u8(0..4) == 0 {
            self.bad_revisions.insert(self.revision);
        }
    }

    /// A good revision is wanted again.
    pub(super) fn end_upgrades(&mut self) {
        if self.bad_revisions.contains(&self.revision) {
            self.revision += 1;
        }
    }

    /// Whether a machine's process, or what it would start, is of another revision than the one wanted.
    pub(super) fn outdated(&self, machine: &Machine) -> bool {
        machine.process.as_ref().map_or(machine.revision, |process| process.revision) != self.revision
    }

    /// Whether this machine can start its process now.
    pub(super) fn may_start(&mut self, id: ReplicaId) -> bool {
        let Some(machine) = self.machines.get_mut(&id) else { return false };
        if machine.process.is_some() || !machine.wanted || machine.gone_since.is_some() || machine.held {
            return false;
        }
        let good = !self.bad_revisions.contains(&machine.revision);
        // Its container waits: whoever watches containers sees that none runs.
        machine.end_known |= !good;
        good
    }

    /// A machine is gone, and may come back.
    fn machine_lost(&mut self, id: ReplicaId) {
        if self.durability() == Durability::Memory && !self.may_forget(id) {
            return;
        }
        let now = self.now();
        if let Some(machine) = self.machines.get_mut(&id) {
            machine.gone_since = Some(now + self.rng.u64(GIVEN_UP_US));
        }
        self.crash(id, Crash::Power);
        let lasts = self.rng.u64(500_000..6_000_000);
        self.queue.after(lasts, Event::Heal(Healing::Machine(id)));
    }

    /// A machine is back, with the disk that it had, unless the replica lives elsewhere by now.
    pub(super) fn machine_back(&mut self, id: ReplicaId) {
        if let Some(machine) = self.machines.get_mut(&id)
            && machine.gone_since.take().is_some()
        {
            self.queue.after(1_000, Event::Start(id));
        }
    }

    /// All but a few replicas end and stay down for a while; a person makes the best of it.
    fn disaster(&mut self, id: ReplicaId) {
        let others: Vec<ReplicaId> = self.machines.keys().copied().filter(|other| *other != id).collect();
        for other in others {
            if self.rng.u8(0..4) > 0 {
                self.hold(other);
            }
        }
        self.requests.push(HumanRequest::Promote { replica: id, force: true });
    }

    /// The person who forces something has stopped those that the operator does not hear.
    pub(super) fn vouch(&mut self, number: u32) {
        if !self.requests.iter().any(|request| matches!(request, HumanRequest::Promote { force: true, .. })) {
            return;
        }
        let observed = self.seen_by(number);
        let suspicion_ms = u64::from(self.scenario.settings.suspicion_ms);
        let unheard =
            |id: &ReplicaId| observed.seen(*id).is_none_or(|seen| !seen.alive() || seen.silent_ms >= suspicion_ms);
        let stopped: Vec<ReplicaId> = self.machines.keys().copied().filter(unheard).collect();
        stopped.into_iter().for_each(|id| self.hold(id));
    }

    fn hold(&mut self, id: ReplicaId) {
        let Some(machine) = self.machines.get_mut(&id).filter(|machine| machine.wanted) else { return };
        machine.held = true;
        self.crash(id, Crash::Process);
        let lasts = self.rng.u64(500_000..3_000_000);
        self.queue.after(lasts, Event::Heal(Healing::Held(id)));
    }

    /// A replica that was held may start again.
    pub(super) fn release(&mut self, id: ReplicaId) {
        if let Some(machine) = self.machines.get_mut(&id) {
            machine.held = false;
            self.queue.after(1_000, Event::Start(id));
        }
    }

    /// The operator has a replica restarted: the pod that it saw ends, and another one takes its place. One in which nothing ran is not ended if something
    /// does now.
    pub(super) fn restart(&mut self, id: ReplicaId, pod: Option<Pod>) {
        let revision = self.revision;
        let is_it = |machine: &&mut Machine| {
            let now = Pod::of(machine);
            pod.is_some_and(|then| then.number == now.number && (then.runs || !now.runs))
        };
        let Some(machine) = self.machines.get_mut(&id).filter(is_it) else { return };
        machine.pod += 1;
        machine.revision = revision;
        self.trace.say(self.queue.now(), format_args!("{id} is restarted as revision {revision}"));
        let Some(life) = machine.process.as_ref().map(|process| process.life) else {
            let after = self.rng.u64(10_000..300_000);
            return self.queue.after(after, Event::Start(id));
        };
        let found = self.watch.hand.restarted(id, life);
        self.found(found);
        self.arrive(id, life, Arrival::Shutdown);
        self.queue.after(GRACE_US, Event::Kill(id, life));
    }

    /// The operator gives a replica up that is lost with its machine: it starts elsewhere, on an empty disk.
    pub(super) fn replace(&mut self, id: ReplicaId, pod: Option<u64>) {
        let enough = self.record().is_some_and(|record| self.enough_without(record, id));
        let revision = self.revision;
        let Some(machine) = self.machines.get_mut(&id) else { return };
        if Some(machine.pod) != pod || machine.gone_since.take().is_none() {
            return;
        }
        machine.pod += 1;
        machine.revision = revision;
        machine.lose_disk(&mut self.rng);
        self.trace.say(self.queue.now(), format_args!("{id} is replaced"));
        if !enough {
            self.found(violated("replacement", format!("replica {id} was given up, and what remains is too little")));
        }
        let after = self.rng.u64(50_000..500_000);
        self.queue.after(after, Event::Start(id));
    }

    /// Whether every later seal can be met without this replica's disk, and everything committed is on enough others: w, or all where w is all.
    fn enough_without(&self, record: &Topology, id: ReplicaId) -> bool {
        let config = &record.config;
        if self.scenario.is_leaderless() {
            let there =
                |m: &Member| m.id != id && self.machines.get(&m.id).is_some_and(|machine| machine.is(m.incarnation));
            let configs = [Some(config), record.old.as_ref()].into_iter().flatten();
            return configs
                .filter(|c| c.member(id).is_some())
                .all(|c| self.watch.copies.found_by(c, record.settings.r, there));
        }
        if config.member(id).is_none() {
            return true;
        }
        let copies = self.watch.quorum.copies(config, record.epoch, id);
        let old = record.old.as_ref().is_none_or(|old| self.able(old, Some(id), false));
        self.able(config, Some(id), false) && old && copies >= (config.w as usize).min(config.members.len() - 1)
    }
}
