//! The end of a run: faults stop, the store must serve and converge soon, and what is in it is compared with what was asked of it.

use trireme_proto::{ReplicaId, Topology};

use super::{Event, Healing, World};
use crate::{
    clock::Micros,
    history::{History, Outcome},
    invariants::{Found, Violation, atomic, counters, linearizable, liveness, once, peers, session, sets},
    machine::Machine,
    scenario::{Fault, Scenario},
    trace::Keep,
};

/// How long clients go on after the last fault.
const CALM_US: Micros = 600_000;

/// What a run that ended had in it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Summary {
    /// Events of the world.
    pub events: u64,
    /// Simulated time.
    pub simulated_us: Micros,
    /// Operations answered, refused, unknown.
    pub operations: (usize, usize, usize),
    /// Epochs that were led.
    pub epochs: usize,
    /// Times that two replicas' digests were compared at the same position.
    pub digests_compared: u64,
    /// A failover that may have lost acknowledged entries was recorded.
    pub lossy: bool,
    /// Too many members are gone for good: the store stays down, as it must.
    pub down: bool,
    /// Keys whose operations were too many to decide.
    pub undecided: usize,
}

impl Summary {
    /// Adds what another world's run had in it.
    pub fn add(&mut self, other: &Summary) {
        self.events += other.events;
        self.simulated_us = self.simulated_us.max(other.simulated_us);
        let (answered, refused, unknown) = other.operations;
        self.operations = (self.operations.0 + answered, self.operations.1 + refused, self.operations.2 + unknown);
        self.epochs += other.epochs;
        self.digests_compared += other.digests_compared;
        self.lossy |= other.lossy;
        self.down |= other.down;
        self.undecided += other.undecided;
    }
}

/// A run.
pub struct Ended {
    /// The world as it is now.
    pub world: World,
    /// How it went.
    pub result: Result<Summary, Violation>,
}

impl World {
    /// Runs a scenario from its beginning to its end.
    pub fn play(scenario: Scenario, keep: Keep) -> Ended {
        let mut world = World::new(scenario, keep);
        let result = world.run();
        Ended { world, result }
    }

    /// Runs to the end.
    ///
    /// # Errors
    /// The first invariant that does not hold.
    pub fn run(&mut self) -> Result<Summary, Violation> {
        self.run_until(self.scenario.faults_until)?;
        self.end_faults();
        self.run_until(self.now() + CALM_US)?;
        self.quiet = true;
        let leader = self.converge()?;
        if let Some(leader) = leader {
            self.read_all(&[1], leader)?;
        }
        self.judge(leader.is_none())
    }

    /// Nothing goes wrong from now on, and what went wrong ends.
    pub fn end_faults(&mut self) {
        self.faults_over = true;
        self.heal(Healing::Network);
        self.heal(Healing::Authority);
        self.heal(Healing::Paused);
        self.end_upgrades();
        if self.scenario.has(Fault::ClockJump) {
            self.set_clocks();
        }
        self.authority.silent_until = 0;
        let ids: Vec<ReplicaId> = self.machines.keys().copied().collect();
        for id in ids {
            self.heal(Healing::Disk(id));
            self.heal(Healing::Space(id));
            self.heal(Healing::Machine(id));
            self.heal(Healing::Held(id));
            self.queue.after(1_000, Event::Start(id));
            if let Some(life) = self.machines.get(&id).and_then(|m| m.process.as_ref()).map(|p| p.life) {
                self.resume(id, life);
            }
        }
        let workers: Vec<u32> = self.workers.keys().copied().collect();
        for number in workers.iter().skip(1) {
            self.end_worker(*number);
        }
    }

    /// Waits until the store serves and all replicas are the same: its leader. `None` where it must stay down.
    pub(crate) fn converge(&mut self) -> Result<Option<ReplicaId>, Violation> {
        let begin = self.now();
        let bound = liveness::bound(&self.scenario);
        let mut missing = String::new();
        while self.now() < begin + bound {
            self.run_until(self.now() + 50_000)?;
            if self.clients.iter().all(crate::client::Client::idle) {
                match self.settled() {
                    Ok(leader) => return Ok(Some(leader)),
                    Err(why) => missing = why,
                }
            } else {
                "clients still wait".clone_into(&mut missing);
            }
        }
        if self.must_stay_down() {
            return Ok(None);
        }
        liveness::late(bound, &missing)?;
        Ok(None)
    }

    /// Whether members that can never come back keep the store down: too few for a seal, or for a commit of the leader's start entry, without which a new disk
    /// cannot take the place of a lost one.
    pub(crate) fn must_stay_down(&self) -> bool {
        if self.scenario.is_leaderless() {
            return false;
        }
        self.record().is_some_and(|record| {
            !self.able(&record.config, None, true)
                || record.old.as_ref().is_some_and(|old| !self.able(old, None, false))
        })
    }

    /// Whether everything is as it should be after the last fault: the leader, or what is missing.
    pub(crate) fn settled(&self) -> Result<ReplicaId, String> {
        let record: &Topology = self.record().ok_or("there is no record")?;
        if let Some((id, _)) = self.machines.iter().find(|(_, machine)| machine.wanted && self.outdated(machine)) {
            return Err(format!("replica {id} is not of revision {}", self.revision));
        }
        let ends = |machine: &Machine| machine.process.as_ref().is_some_and(|process| process.leaving);
        if let Some((id, _)) = self.machines.iter().find(|(_, machine)| ends(machine)) {
            return Err(format!("replica {id} was told to end, and has not yet"));
        }
        let states: Vec<_> = self
            .machines
            .iter()
            .filter_map(|(id, machine)| machine.process.as_ref().map(|process| (*id, machine, process)))
            .map(|(id, machine, process)| liveness::State {
                id,
                incarnation: machine.incarnation,
                report: process.replica.report(machine.now(self.now())),
                replica: &process.replica,
            })
            .collect();
        if self.scenario.is_leaderless() {
            return peers::settled(record, self.wanted, self.wanted_r, &states);
        }
        liveness::settled(record, self.wanted, &states)
    }

    /// Clients read everything that they use at the leader.
    pub(crate) fn read_all(&mut self, readers: &[u32], leader: ReplicaId) -> Found {
        let before = self.history.entries.len();
        for reader in readers {
            let at = *reader as usize - 1;
            self.clients[at].readonly = false;
            let session = self.clients[at].session;
            self.hang_up(*reader, session);
            self.connect(*reader, leader);
            let now = self.now();
            let commands = self.clients[at].read_all(now, &mut self.history);
            self.send_commands(*reader, commands);
        }
        self.run_until(self.now() + 2_000_000)?;
        for entry in &self.history.entries[before..] {
            if !matches!(entry.outcome, Outcome::Answered(..)) {
                liveness::unanswered(entry)?;
            }
        }
        Ok(())
    }

    /// What was seen of the keys that only this world's clients use, and of those that clients of all regions use.
    pub(crate) fn histories(&self) -> (History, History) {
        let own = self.scenario.clients - self.scenario.place.between;
        self.history.split(|client| client <= own)
    }

    /// Looks at what clients saw of what only they use.
    pub(crate) fn judge(&self, down: bool) -> Result<Summary, Violation> {
        let lossy = self.decided.lossy() || self.forgot;
        let (history, _) = self.histories();
        let history = &history;
        atomic::end(history)?;
        let mut undecided = 0;
        if self.scenario.is_leaderless() {
            counters::end(history)?;
            sets::end(history, self.scenario.quorums_meet())?;
            self.watch.levels.end(history)?;
            undecided = linearizable::end(history)?;
            return Ok(Summary {
                events: self.events(),
                simulated_us: self.now(),
                operations: history.counts(),
                epochs: self.watch.overlap.epochs(),
                digests_compared: self.watch.same.compared(),
                undecided,
                ..Summary::default()
            });
        }
        if !lossy {
            session::end(history)?;
            undecided = linearizable::end(history)?;
        }
        if !down {
            once::end(history, lossy)?;
        }
        Ok(Summary {
            events: self.events(),
            simulated_us: self.now(),
            operations: history.counts(),
            epochs: self.watch.leader.epochs(),
            digests_compared: self.watch.digests.compared(),
            lossy,
            down,
            undecided,
        })
    }
}
