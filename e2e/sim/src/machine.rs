//! A machine with a disk and clocks, and the replica process that runs on it, now and then.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use fastrand::Rng;
use trireme_proto::{Incarnation, ReplicaId, ids::Peer, topology::Durability};
use trireme_replica::{
    Recovery, Replica,
    io::{ClientId, Identity, Input, Now, Output},
};

use crate::{
    clock::{Clock, Micros},
    disk::{Crash, Disk, Image},
    network::Packet,
    scenario::group_of,
    shadow::Shadow,
};

/// Name of the store in every world.
pub const STORE: &str = "simulated";

/// Something on its way into a process.
#[derive(Debug)]
pub enum Arrival {
    /// From a peer's connection.
    Packet(Peer, Packet),
    /// A client has connected.
    ClientOpened(ClientId),
    /// A client is gone.
    ClientClosed(ClientId),
    /// A client sent a command.
    Command(ClientId, Vec<Vec<u8>>),
    /// The disk has done what it was given, up to this ticket.
    Persisted(u64),
    /// It has done the steps of a checkpoint.
    Checkpointed,
    /// The disk is full, or has room again.
    DiskFull(bool),
    /// SIGTERM.
    Shutdown,
    /// The deadline has come.
    Tick,
}

/// A running process.
pub struct Process {
    /// The replica.
    pub replica: Replica,
    /// Which process of this world: events meant for an earlier one are dropped.
    pub life: u64,
    /// What waits to be taken in by the next turn.
    pub inbox: VecDeque<Arrival>,
    /// A turn is in the queue.
    pub turn_armed: bool,
    /// Which revision of its program and settings it runs.
    pub revision: u32,
    /// Stopped by SIGSTOP.
    pub paused: bool,
    /// It was told to end.
    pub leaving: bool,
    /// When the tick that counts comes.
    pub tick_at: Micros,
    /// What the sim knows of its log, as it went to the disk.
    pub shadow: Shadow,
    /// Number of the client connection opened last.
    pub clients: ClientId,
    /// Clients from whom nothing is read now, with what they have sent meanwhile.
    pub held_back: BTreeMap<ClientId, VecDeque<Vec<Vec<u8>>>>,
}

/// A machine.
pub struct Machine {
    /// The number of its replica.
    pub id: ReplicaId,
    /// Its group.
    pub group: u32,
    /// Its clocks.
    pub clock: Clock,
    /// Its disk.
    pub disk: Disk,
    /// Which life of the disk.
    pub incarnation: Incarnation,
    /// The process, when one runs.
    pub process: Option<Process>,
    /// Whether the process may be started: not after the store has been made smaller.
    pub wanted: bool,
    /// How much slower the disk is now.
    pub disk_factor: u64,
    /// Entries were only in memory when power was lost: the next process is a new member.
    pub tail_lost: bool,
    /// When its last process ended, that was known at once: the machine was there to tell.
    pub end_known: bool,
    /// Which revision is started here.
    pub revision: u32,
    /// Rises with each pod: who asks for one to be ended means the one that it saw.
    pub pod: u64,
    /// Gone, and known to be from then on.
    pub gone_since: Option<Micros>,
    /// Somebody sees to it that no process is started.
    pub held: bool,
    lives: u64,
}

impl Machine {
    /// A machine with an empty disk, switched off.
    pub fn new(id: ReplicaId, group: u32, clock: Clock, rng: &mut Rng) -> Machine {
        Machine {
            id,
            group,
            clock,
            disk: Disk::default(),
            incarnation: incarnation(rng),
            process: None,
            wanted: true,
            disk_factor: 1,
            tail_lost: false,
            end_known: false,
            revision: 0,
            pod: 0,
            gone_since: None,
            held: false,
            lives: 0,
        }
    }

    /// What its clocks show.
    pub fn now(&self, time: Micros) -> Now {
        self.clock.now(time)
    }

    /// Whether its disk is this life of it, and holds all that it held.
    pub fn is(&self, incarnation: Incarnation) -> bool {
        self.incarnation == incarnation && !self.tail_lost
    }

    /// The process, if it runs and is not stopped.
    pub fn awake(&self) -> bool {
        self.process.as_ref().is_some_and(|process| !process.paused)
    }

    /// Starts a process on what the disk has.
    ///
    /// # Errors
    /// Where the replica cannot read what it wrote.
    pub fn start(&mut self, time: Micros, durability: Durability, rng: &mut Rng) -> Result<u64, String> {
        if std::mem::take(&mut self.tail_lost) {
            self.incarnation = incarnation(rng);
        }
        self.lives += 1;
        let identity = Identity {
            store: STORE.to_owned(),
            id: self.id,
            incarnation: self.incarnation,
            boot: rng.u64(1..),
            group: self.group,
            durability,
        };
        let image = self.disk.image();
        let recovery = recover(image).map_err(|why| format!("replica {} cannot recover: {why}", self.id))?;
        let shadow = Shadow::new(&image.log, image.checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.whole_at));
        let mut replica = Replica::new(identity, recovery, self.clock.now(time));
        replica.step(Input::SessionKey(STORE.as_bytes()), self.clock.now(time));
        self.process = Some(Process {
            replica,
            life: self.lives,
            inbox: VecDeque::new(),
            turn_armed: false,
            revision: self.revision,
            paused: false,
            leaving: false,
            tick_at: Micros::MAX,
            shadow,
            clients: 0,
            held_back: BTreeMap::new(),
        });
        Ok(self.lives)
    }

    /// Ends the process as the crash has it. Says whether there was one.
    pub fn crash(&mut self, crash: Crash, durability: Durability, rng: &mut Rng) -> bool {
        let ran = self.process.take().is_some();
        self.end_known = crash == Crash::Process;
        self.disk.crash(crash, rng);
        if crash == Crash::Power {
            self.clock.reboot(rng);
            self.tail_lost |= durability == Durability::Memory;
        }
        ran
    }

    /// The disk is replaced by an empty one.
    pub fn lose_disk(&mut self, rng: &mut Rng) {
        self.process = None;
        self.end_known = false;
        self.disk = Disk::default();
        self.incarnation = incarnation(rng);
        self.tail_lost = false;
    }
}

fn incarnation(rng: &mut Rng) -> Incarnation {
    rng.u64(1..)
}

fn recover(image: &Image) -> Result<Recovery, String> {
    let mut recovery = Recovery::new();
    if let Some(meta) = &image.meta {
        recovery.meta(meta.clone());
    }
    if let Some(checkpoint) = &image.checkpoint {
        recovery.checkpoint(checkpoint.start, checkpoint.whole_at, &checkpoint.meta).map_err(|why| why.to_string())?;
        for (slot, bytes) in &checkpoint.slots {
            recovery.slot(*slot, bytes).map_err(|why| why.to_string())?;
        }
    }
    for (_, bytes) in &image.log.records {
        recovery.record(bytes).map_err(|why| why.to_string())?;
    }
    recovery.committed(image.commit);
    Ok(recovery)
}

impl Process {
    /// One turn: takes in everything that waits, and says what is to be done.
    pub fn turn(&mut self, now: Now, output: &mut Output) {
        self.turn_armed = false;
        while let Some(arrival) = self.inbox.pop_front() {
            self.take_in(arrival, now);
        }
        self.replica.take_output(output);
    }

    fn take_in(&mut self, arrival: Arrival, now: Now) {
        let replica = &mut self.replica;
        match arrival {
            Arrival::Packet(peer, Packet::Opened(incarnation)) => {
                let group = if let Peer::Replica(id) = peer { group_of(id) } else { 0 };
                replica.step(Input::PeerOpened { peer, incarnation, group }, now);
            }
            Arrival::Packet(peer, Packet::Message(message)) => replica.step(Input::Peer { peer, message }, now),
            Arrival::Packet(peer, Packet::Closed) => replica.step(Input::PeerClosed(peer), now),
            Arrival::ClientOpened(client) => replica.step(Input::ClientOpened(client), now),
            Arrival::ClientClosed(client) => {
                self.held_back.remove(&client);
                replica.step(Input::ClientClosed(client), now);
            }
            Arrival::Command(client, args) => match self.held_back.get_mut(&client) {
                Some(waiting) => waiting.push_back(args),
                None => {
                    let args: Vec<&[u8]> = args.iter().map(Vec::as_slice).collect();
                    replica.step(Input::Command { client, args: &args }, now);
                }
            },
            Arrival::Persisted(ticket) => replica.step(Input::Persisted(ticket), now),
            Arrival::Checkpointed => replica.step(Input::Checkpointed, now),
            Arrival::DiskFull(full) => replica.step(Input::DiskFull(full), now),
            Arrival::Shutdown => {
                self.leaving = true;
                replica.step(Input::Shutdown, now);
            }
            Arrival::Tick => replica.step(Input::Tick, now),
        }
    }

    /// The replies that may go to a client now.
    pub fn replies(&mut self, client: ClientId) -> Bytes {
        let mut out = Vec::new();
        self.replica.take_replies(client, &mut out);
        out.into()
    }
}
