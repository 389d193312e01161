//! What goes wrong, when the scenario allows it, and how it ends.

use trireme_planner::HumanRequest;
use trireme_proto::{
    ReplicaId, Topology,
    ids::Peer,
    topology::{Config, Durability, Member},
};

use super::{Event, Healing, World};
use crate::{
    disk::Crash,
    machine::Arrival,
    scenario::{Fault, Policy, REPLICAS_MAX},
};

impl World {
    /// One fault, and the time of the next.
    pub(super) fn fault(&mut self) {
        if self.faults_over {
            return;
        }
        let every = self.scenario.fault_every_us;
        let next = self.rng.u64(every / 4..=every * 2);
        self.queue.after(next, Event::Fault);
        if self.scenario.faults.is_empty() {
            return;
        }
        let fault = self.scenario.faults[self.rng.usize(0..self.scenario.faults.len())];
        if let Some(id) = self.victim() {
            self.inject(fault, id);
        }
    }

    /// Often the leader, else anybody that is wanted.
    fn victim(&mut self) -> Option<ReplicaId> {
        if let Some(leader) = self.leader().filter(|_| self.rng.bool()) {
            return Some(leader);
        }
        let wanted: Vec<_> = self.machines.iter().filter(|(_, machine)| machine.wanted).map(|(id, _)| *id).collect();
        self.rng.choice(wanted)
    }

    /// Makes one thing go wrong.
    pub(crate) fn inject(&mut self, fault: Fault, id: ReplicaId) {
        let now = self.now();
        self.trace.mix(&[now, 4, fault as u64, id.into()]);
        self.trace.say(now, format_args!("FAULT {fault:?} {id}"));
        match fault {
            Fault::Kill => self.crash(id, Crash::Process),
            Fault::PowerLoss if self.durability() == Durability::Memory && !self.may_forget(id) => {}
            Fault::PowerLoss => self.crash(id, Crash::Power),
            Fault::DiskLoss if self.may_forget(id) => self.lose_disk(id),
            Fault::DiskLoss => {}
            Fault::Pause => self.pause(id),
            Fault::Terminate => self.terminate(id),
            Fault::Partition => self.partition(id),
            Fault::Isolate => self.isolate(id),
            Fault::Narrow => self.narrow(id),
            Fault::Cut => self.cut(id),
            Fault::SlowDisk | Fault::DiskFull => self.disk_trouble(fault, id),
            Fault::Worker => self.change_workers(),
            Fault::Authority => self.trouble_authority(),
            Fault::Switchover => {
                let request = if self.rng.bool() {
                    HumanRequest::Switchover { to: id }
                } else {
                    HumanRequest::Promote { replica: id, force: false }
                };
                self.requests.push(request);
            }
            Fault::ChangeW => {
                self.wanted.1 = self.rng.u32(1..=self.wanted.0);
                self.choose_r();
            }
            Fault::ChangeN => {
                self.change_n();
                self.choose_r();
            }
            Fault::ChangeR => self.choose_r(),
            Fault::ClockJump => self.jump_clock(id),
            Fault::Upgrade | Fault::MachineLost | Fault::Force | Fault::PauseOperator => self.upkeep(fault, id),
        }
    }

    /// Whether the store can go on when this replica forgets what it held.
    pub(super) fn may_forget(&self, id: ReplicaId) -> bool {
        let Some(record) = self.record() else { return false };
        if self.scenario.is_leaderless() {
            return self.peers_may_forget(record, id);
        }
        if record.old.is_some() || record.leader == 0 {
            return false;
        }
        // The operator may be giving up another one at this moment, and learns of this only afterwards.
        let given_up = |other: &ReplicaId| *other != id && self.machines[other].gone_since.is_some();
        let replaces = self.scenario.replace_lost_after_ms.is_some();
        !(replaces && self.machines.keys().any(given_up)) && self.able(&record.config, Some(id), false)
    }

    /// The same where there is no leader: fewer than w members of each configuration in force have forgotten, those included that may be given up next.
    fn peers_may_forget(&self, record: &Topology, id: ReplicaId) -> bool {
        let forgotten = |member: &Member| {
            let machine = self.machines.get(&member.id);
            member.id == id || machine.is_none_or(|m| !m.is(member.incarnation) || m.gone_since.is_some())
        };
        let configs = [Some(&record.config), record.old.as_ref()].into_iter().flatten();
        let mut members = configs.filter(|config| config.member(id).is_some());
        members.all(|config| config.members.iter().filter(|m| forgotten(m)).count() < config.w as usize)
    }

    /// Whether enough members of a configuration still hold what they held, `without` one: to be sealed, and, where asked, to commit.
    pub(super) fn able(&self, config: &Config, without: Option<ReplicaId>, commits: bool) -> bool {
        let holds = |id: ReplicaId, incarnation| {
            let machine = self.machines.get(&id);
            Some(id) != without && machine.is_some_and(|m| m.wanted && m.incarnation == incarnation && !m.tail_lost)
        };
        let holders = config.members.iter().filter(|member| holds(member.id, member.incarnation)).count();
        let commits = !commits || holders >= config.lease_quorum();
        match self.scenario.policy {
            Policy::NeverLose => commits && holders >= config.seal_quorum(),
            Policy::PreferAvailable => commits && holders >= 1,
        }
    }

    fn pause(&mut self, id: ReplicaId) {
        let duration = if self.rng.bool() { self.rng.u64(10_000..400_000) } else { self.rng.u64(400_000..2_500_000) };
        let Some(process) = self.machines.get_mut(&id).and_then(|machine| machine.process.as_mut()) else { return };
        process.paused = true;
        let life = process.life;
        self.queue.after(duration, Event::Resume(id, life));
    }

    fn terminate(&mut self, id: ReplicaId) {
        let Some(process) = self.machines.get(&id).and_then(|machine| machine.process.as_ref()) else { return };
        let life = process.life;
        self.arrive(id, life, Arrival::Shutdown);
        self.queue.after(3_000_000, Event::Kill(id, life));
    }

    fn everybody(&self) -> Vec<Peer> {
        let replicas = self.machines.iter().filter(|(_, machine)| machine.wanted).map(|(id, _)| Peer::Replica(*id));
        replicas.chain(self.workers.keys().map(|number| Peer::Operator(*number))).collect()
    }

    fn partition(&mut self, id: ReplicaId) {
        let everybody = self.everybody();
        let kind = self.rng.u8(0..6);
        // 0, 1: one replica alone; 2: only its way out; 3: only its way in; 4: two sides; 5: a replica and the operator.
        let side: Vec<Peer> = match kind {
            4 => everybody.iter().copied().filter(|_| self.rng.bool()).collect(),
            _ => vec![Peer::Replica(id)],
        };
        for a in &everybody {
            for b in everybody.iter().filter(|b| *b != a && side.contains(a) != side.contains(b)) {
                let (a_in, b_in) = (side.contains(a), side.contains(b));
                let operator = matches!(a, Peer::Operator(_)) || matches!(b, Peer::Operator(_));
                let blocked = match kind {
                    2 => a_in,
                    3 => b_in,
                    5 => operator,
                    _ => true,
                };
                if blocked {
                    self.network.block(*a, *b);
                }
            }
        }
        let lasts = self.rng.u64(50_000..2_000_000);
        self.queue.after(lasts, Event::Heal(Healing::Network));
        // Some connections do not live through it.
        for other in everybody {
            if self.rng.bool() {
                let after = [self.rng.u64(100_000..2_000_000), self.rng.u64(100_000..2_000_000)];
                let now = self.now();
                self.network.cut_between(now, Peer::Replica(id), other, after, &mut self.rng);
            }
        }
    }

    fn isolate(&mut self, id: ReplicaId) {
        let id = self.leader().filter(|_| self.rng.u8(0..4) > 0).unwrap_or(id);
        let operator_too = self.rng.bool();
        for other in self.everybody() {
            if other != Peer::Replica(id) && (operator_too || matches!(other, Peer::Replica(_))) {
                self.network.block(Peer::Replica(id), other);
                self.network.block(other, Peer::Replica(id));
            }
        }
        let (least, most) = self.scenario.isolated_us;
        let lasts = self.rng.u64(least..most);
        self.queue.after(lasts, Event::Heal(Healing::Network));
    }

    fn narrow(&mut self, id: ReplicaId) {
        let peers = self.everybody().into_iter().filter(|peer| matches!(peer, Peer::Replica(other) if *other != id));
        let mut cut: Vec<Peer> = peers.collect();
        if !cut.is_empty() {
            cut.remove(self.rng.usize(0..cut.len()));
        }
        for other in cut {
            self.network.block(Peer::Replica(id), other);
            self.network.block(other, Peer::Replica(id));
        }
        let lasts = self.rng.u64(50_000..300_000);
        self.queue.after(lasts, Event::Heal(Healing::Network));
    }

    fn cut(&mut self, id: ReplicaId) {
        let everybody = self.everybody();
        let other = everybody[self.rng.usize(0..everybody.len())];
        let late = if self.rng.bool() { 5_000 } else { 1_500_000 };
        let after = [self.rng.u64(0..5_000), self.rng.u64(0..=late)];
        let now = self.now();
        self.network.cut_between(now, Peer::Replica(id), other, after, &mut self.rng);
    }

    fn disk_trouble(&mut self, fault: Fault, id: ReplicaId) {
        let lasts = self.rng.u64(50_000..1_500_000);
        let factor = self.rng.u64(5..100);
        let Some(machine) = self.machines.get_mut(&id) else { return };
        if fault == Fault::SlowDisk {
            machine.disk_factor = factor;
            self.queue.after(lasts, Event::Heal(Healing::Disk(id)));
        } else if let Some(life) = machine.process.as_ref().map(|process| process.life) {
            self.arrive(id, life, Arrival::DiskFull(true));
            self.queue.after(lasts, Event::Heal(Healing::Space(id)));
        }
    }

    fn change_workers(&mut self) {
        let old: Vec<u32> = self.workers.keys().copied().collect();
        let another = self.new_worker();
        if self.rng.bool() {
            old.into_iter().for_each(|number| self.end_worker(number));
        } else {
            let lasts = self.rng.u64(50_000..1_000_000);
            let victim = old.first().copied().unwrap_or(another);
            self.queue.after(lasts, Event::Heal(Healing::Worker(victim)));
        }
    }

    fn trouble_authority(&mut self) {
        if self.rng.bool() {
            self.authority.silent_until = self.now() + self.rng.u64(50_000..1_500_000);
        } else {
            self.authority.forgetful = self.rng.u32(1..4);
            let lasts = self.rng.u64(200_000..2_000_000);
            self.queue.after(lasts, Event::Heal(Healing::Authority));
        }
    }

    fn change_n(&mut self) {
        let (n, w) = self.wanted;
        let n = if self.rng.bool() { (n + 1).min(REPLICAS_MAX) } else { (n - 1).max(1) };
        self.wanted = (n, w.min(n));
    }

    /// Where there is no leader, people change r too: so that reads and writes meet, where they are to meet. A read of one replica alone shows what is not
    /// yet on w of them, and the next one may not: that is no register.
    fn choose_r(&mut self) {
        if !self.scenario.is_leaderless() {
            return;
        }
        let (n, w) = self.wanted;
        let least = if self.scenario.quorums_meet() { (n - w + 1).max(2).min(n) } else { 1 };
        self.wanted_r = self.rng.u32(least..=n);
    }

    /// A wall clock is set, by seconds or by minutes, to and fro.
    fn jump_clock(&mut self, id: ReplicaId) {
        let most = if self.rng.bool() { 4_000 } else { 300_000 };
        let by_ms = self.rng.i64(-most..=most);
        if let Some(machine) = self.machines.get_mut(&id) {
            machine.clock.set_off(by_ms);
        }
    }

    /// The clocks agree again: those that are behind are set; what one that was ahead has said is past soon enough for nobody to wait for it.
    pub(super) fn set_clocks(&mut self) {
        let Some(first) = self.machines.values().map(|machine| machine.clock.off_ms().1).max() else { return };
        for machine in self.machines.values_mut() {
            machine.clock.set_off(first - machine.clock.off_ms().0);
        }
    }

    /// Something that went wrong ends.
    pub(super) fn heal(&mut self, healing: Healing) {
        let now = self.now();
        self.trace.say(now, format_args!("HEAL {healing:?}"));
        match healing {
            Healing::Network => self.network.unblock_all(now, &mut self.rng),
            Healing::Disk(id) => {
                if let Some(machine) = self.machines.get_mut(&id) {
                    machine.disk_factor = 1;
                }
            }
            Healing::Space(id) => {
                if let Some(life) = self.machines.get(&id).and_then(|m| m.process.as_ref()).map(|p| p.life) {
                    self.arrive(id, life, Arrival::DiskFull(false));
                }
            }
            Healing::Machine(id) => self.machine_back(id),
            Healing::Held(id) => self.release(id),
            Healing::Paused => self.paused = false,
            Healing::Authority => self.authority.forgetful = 0,
            Healing::Worker(number) => {
                if self.workers.len() > 1 {
                    self.end_worker(number);
                }
            }
        }
    }
}
