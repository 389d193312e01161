//! Regions in whose world nothing goes wrong by itself: somebody asks, cuts them off and mends them by hand.

use fastrand::Rng;
use trireme_proto::{ReplicaId, ids::Peer};

use super::{Event, Regions};
use crate::{
    clock::Micros, invariants::Violation, machine::Arrival, resp, scenario::Scenario, trace::Keep, world::World,
};

/// Longest time until a command is answered.
const ANSWERED_US: Micros = 5_000_000;

impl Scenario {
    /// The same store, without clients and faults of its own, and with clocks that are right.
    fn calm(mut self) -> Scenario {
        self.faults.clear();
        (self.clients, self.place.between) = (0, 0);
        (self.drift_ppm, self.wall_ms, self.begins_at) = (0, 0, 0);
        self
    }
}

impl Regions {
    /// The regions of a seed, which serve.
    ///
    /// # Errors
    /// They do not come to serve.
    pub fn calm(seed: u64, keep: Keep) -> Result<Regions, Violation> {
        let scenarios: Vec<Scenario> = Scenario::regions(seed).into_iter().map(Scenario::calm).collect();
        let mut regions = Regions::of(&scenarios, Rng::with_seed(seed), keep);
        regions.faults_over = true;
        regions.worlds.iter_mut().for_each(World::end_faults);
        regions.converge()?;
        Ok(regions)
    }

    /// Sends commands to the leader of a region, over one connection, and gives the bytes of each reply.
    ///
    /// # Errors
    /// They were not all answered in time, or an invariant does not hold.
    pub fn ask(&mut self, at: usize, commands: Vec<Vec<Vec<u8>>>) -> Result<Vec<Vec<u8>>, Violation> {
        let (begin, wanted) = (self.now(), commands.len());
        let Some(connection) = self.worlds[at].ask_leader(commands) else {
            return Err(hand(format!("nobody leads region {at}")));
        };
        while self.now() < begin + ANSWERED_US {
            self.run_until(self.now() + 500)?;
            let heard = self.worlds[at].outside.get(&connection).map_or(&[][..], |heard| heard);
            let replies = replies_of(heard).map_err(hand)?;
            if replies.len() == wanted {
                self.worlds[at].outside.remove(&connection);
                return Ok(replies);
            }
        }
        Err(hand(format!("region {at} does not answer")))
    }

    /// Time goes by.
    ///
    /// # Errors
    /// An invariant does not hold.
    pub fn wait(&mut self, us: Micros) -> Result<(), Violation> {
        self.run_until(self.now() + us)
    }

    /// No region hears another one from now on.
    pub fn cut_off(&mut self) {
        for i in 0..self.worlds.len() {
            let foreign = self.foreign(i);
            let own: Vec<ReplicaId> = self.worlds[i].machines.keys().copied().collect();
            for (one, other) in own.into_iter().flat_map(|one| foreign.iter().map(move |other| (one, *other))) {
                self.network.block(Peer::Replica(one), Peer::Replica(other));
            }
        }
    }

    /// They hear each other, and this returns when they hold the same.
    ///
    /// # Errors
    /// They do not come to that, or an invariant does not hold.
    pub fn mend(&mut self) -> Result<(), Violation> {
        self.happen(Event::Heal);
        self.converge().map(drop)
    }
}

fn hand(what: String) -> Violation {
    Violation { invariant: "hand", what }
}

/// The whole replies at the beginning of what was heard, each as its bytes.
fn replies_of(mut heard: &[u8]) -> Result<Vec<Vec<u8>>, String> {
    let mut replies = Vec::new();
    while let Some((_, length)) = resp::parse(heard)? {
        replies.push(heard[..length].to_vec());
        heard = &heard[length..];
    }
    Ok(replies)
}

impl World {
    /// Connects to the leader and sends it commands: the connection, whose replies come to be in `outside`.
    fn ask_leader(&mut self, commands: Vec<Vec<Vec<u8>>>) -> Option<(ReplicaId, u64)> {
        let ids: Vec<ReplicaId> = self.machines.keys().copied().collect();
        let leader = ids.into_iter().find(|id| self.thinks_it_leads(*id))?;
        let process = self.machines.get_mut(&leader)?.process.as_mut()?;
        process.clients += 1;
        let (life, number) = (process.life, process.clients);
        self.outside.insert((leader, number), Vec::new());
        self.arrive(leader, life, Arrival::ClientOpened(number));
        commands.into_iter().for_each(|args| self.arrive(leader, life, Arrival::Command(number, args)));
        Some((leader, number))
    }
}
