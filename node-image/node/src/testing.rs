//! A stand-in for core and disk, so that the shell is tested alone: each test decides what the core asks for.

use std::{
    cell::RefCell,
    collections::HashMap,
    rc::Rc,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::{LocalSet, spawn_local},
};
use trireme_proto::{Report, Topology, message::Digests, topology::Durability};
use trireme_replica::{
    engine::command::config::Tuning,
    io::{CheckpointOp, ClientId, DiskOp, Identity, Input, Now, Output},
};

use crate::{
    config::NodeConfig,
    disk::{Applied, CheckpointWork, DiskError, InForce, Reached, Space, SyncWork},
    process::Listening,
    pump::{Ending, Pump},
    shell::{Clock, Core, Shell},
    writer::{MUCH_BYTES, Store, Writer},
};

/// Length of BIG's reply.
pub(crate) const BIG_BYTES: usize = 64 << 10;

/// What a test sees and decides.
#[derive(Default)]
pub(crate) struct Script {
    /// What happened to the core, in words.
    pub(crate) seen: Vec<String>,
    /// What it asks for next.
    pub(crate) next: Output,
    /// Replies are kept back as long as this is true.
    pub(crate) held: bool,
    /// How often BIG was executed.
    pub(crate) bigs: usize,
    /// In this turn, and in the turn with the most.
    pub(crate) bigs_of_turn: usize,
    pub(crate) bigs_most: usize,
}

/// Knows PING, ECHO, BIG (a reply of [`BIG_BYTES`]), WRITE (answered when it is on disk), MUCH (the same of [`MUCH_BYTES`]) and QUIT.
pub(crate) struct FakeCore {
    script: Rc<RefCell<Script>>,
    replies: HashMap<ClientId, Vec<u8>>,
    quitting: Vec<(ClientId, Vec<u8>)>,
    writes: Vec<(u64, ClientId)>,
    ticket: u64,
}

impl Core for FakeCore {
    fn step(&mut self, input: Input<'_>, _: Now) {
        let mut script = self.script.borrow_mut();
        match input {
            Input::Command { client, args } => {
                let replies = self.replies.entry(client).or_default();
                match args[0] {
                    b"PING" => replies.extend_from_slice(b"+PONG\r\n"),
                    b"ECHO" => replies.extend_from_slice(&[b"+", args[1], b"\r\n"].concat()),
                    b"BIG" => {
                        replies.resize(replies.len() + BIG_BYTES, b'x');
                        script.bigs += 1;
                        script.bigs_of_turn += 1;
                    }
                    b"QUIT" => self.quitting.push((client, b"+OK\r\n".to_vec())),
                    b"WRITE" | b"MUCH" => {
                        self.ticket += 1;
                        self.writes.push((self.ticket, client));
                        let (first, bytes) = (self.ticket, Bytes::from_static(&[0; MUCH_BYTES]));
                        let much = DiskOp::Append { first, last: first, bytes };
                        let operation = if args[0] == b"MUCH" { much } else { DiskOp::Commit(first) };
                        script.next.persist.push((self.ticket, operation));
                    }
                    _ => replies.extend_from_slice(b"-ERR\r\n"),
                }
            }
            Input::Persisted(upto) => {
                let (done, waiting): (Vec<_>, Vec<_>) = self.writes.drain(..).partition(|(ticket, _)| *ticket <= upto);
                self.writes = waiting;
                for (_, client) in done {
                    self.replies.entry(client).or_default().extend_from_slice(b"+WRITTEN\r\n");
                }
                script.seen.push(format!("Persisted({upto})"));
            }
            Input::LastWords { client, words } => self.quitting.push((client, words.to_vec())),
            Input::Tick | Input::Memory(_) | Input::ClientFrom { .. } => {}
            Input::Shutdown => {
                script.seen.push("Shutdown".into());
                script.next.finished = true;
            }
            other => script.seen.push(format!("{other:?}")),
        }
    }

    fn warm(&self, _: &[trireme_replica::Place<'_>]) {}

    fn take_output(&mut self, output: &mut Output) {
        let mut script = self.script.borrow_mut();
        std::mem::swap(output, &mut script.next);
        output.deadline_us = u64::MAX;
        script.bigs_most = script.bigs_most.max(std::mem::take(&mut script.bigs_of_turn));
        if !script.held {
            // Who quits is answered after everything before it.
            let writes = &self.writes;
            for (id, words) in self.quitting.extract_if(.., |(id, _)| !writes.iter().any(|(_, writer)| writer == id)) {
                self.replies.entry(id).or_default().extend_from_slice(&words);
                output.close.push(id);
            }
            output.ready.extend(self.replies.iter().filter(|(_, bytes)| !bytes.is_empty()).map(|(id, _)| *id));
        }
    }

    fn take_replies(&mut self, client: ClientId, out: &mut Vec<u8>) -> usize {
        let replies = self.replies.entry(client).or_default();
        let longest = if replies.contains(&b'x') { BIG_BYTES } else { replies.len() };
        out.append(replies);
        longest
    }

    fn must_authenticate(&self, _: ClientId) -> bool {
        false
    }

    fn report(&self, _: Now) -> Report {
        Report { id: 2, incarnation: 42, ..Report::default() }
    }

    fn log_bytes(&self) -> u64 {
        77
    }

    fn subscribes(&self, _: ClientId) -> bool {
        false
    }

    fn pubsub_counts(&self) -> [(&'static str, u64); 5] {
        [("", 0); 5]
    }

    fn conflict_counts(&self) -> Vec<(&'static str, u64)> {
        vec![("string", 6)]
    }

    fn digests(&self) -> Digests {
        Digests { last_writes: vec![3, 0], digests: vec![5, 0], applied: 4, ..Digests::default() }
    }

    fn topology(&self) -> Option<&Topology> {
        None
    }

    fn tuning(&self) -> Tuning {
        Tuning::default()
    }

    fn speaks_for_group(&self) -> bool {
        false
    }
}

/// A disk that only counts, and fails when told to.
#[derive(Clone, Default)]
pub(crate) struct FakeDisk {
    pub(crate) state: Arc<Mutex<FakeDiskState>>,
}

#[derive(Default)]
pub(crate) struct FakeDiskState {
    pub(crate) batches: Vec<usize>,
    pub(crate) room: Option<usize>,
    pub(crate) broken: bool,
    pub(crate) closed: bool,
    /// The next sync waits for it.
    pub(crate) sync_gate: Option<std::sync::mpsc::Receiver<()>>,
    pub(crate) syncs: usize,
    /// The same for the next batch.
    pub(crate) apply_gate: Option<std::sync::mpsc::Receiver<()>>,
    /// The same for the next steps of a checkpoint; and how many were carried out.
    pub(crate) checkpoint_gate: Option<std::sync::mpsc::Receiver<()>>,
    pub(crate) steps: usize,
    /// Threads that carried out a batch, in words.
    pub(crate) threads: Vec<Option<String>>,
}

/// Waits until somebody opens a gate, if there is one.
fn pass(gate: Option<std::sync::mpsc::Receiver<()>>) -> Result<(), DiskError> {
    gate.map_or(Ok(()), |gate| gate.recv().map_err(|_| DiskError::Stopped("nobody opens the gate".into())))
}

impl Store for FakeDisk {
    fn apply(&mut self, batch: &mut Vec<(u64, DiskOp)>) -> Result<Applied, DiskError> {
        let gate = self.state.lock().unwrap().apply_gate.take();
        pass(gate)?;
        let mut state = self.state.lock().unwrap();
        if state.broken {
            return Err(DiskError::Sync { file: "log".into(), source: std::io::ErrorKind::Other.into() });
        }
        let fits = state.room.unwrap_or(batch.len()).min(batch.len());
        let done = batch.drain(..fits).next_back().map(|(ticket, _)| ticket);
        state.batches.push(fits);
        state.threads.push(std::thread::current().name().map(str::to_owned));
        if batch.is_empty() { Ok(Applied { ticket: done }) } else { Err(DiskError::Full { done, needed: 1 }) }
    }

    fn sync_work(&mut self) -> Result<Option<SyncWork>, DiskError> {
        let state = Arc::clone(&self.state);
        Ok(Some(Box::new(move || {
            let held = state.lock().unwrap().sync_gate.take();
            match held.map(|gate| gate.recv()) {
                // A gate that nobody opens is a device that fails.
                Some(Err(_)) => Err(DiskError::Sync { file: "log".into(), source: std::io::ErrorKind::Other.into() }),
                _ => {
                    state.lock().unwrap().syncs += 1;
                    Ok(Reached::default())
                }
            }
        })))
    }

    fn synced(&mut self, result: Result<Reached, DiskError>) -> Result<(), DiskError> {
        result.map(|_| ())
    }

    fn checkpoint_work(&mut self, steps: Vec<CheckpointOp>) -> Result<CheckpointWork, DiskError> {
        let state = Arc::clone(&self.state);
        Ok(Box::new(move || {
            let gate = state.lock().unwrap().checkpoint_gate.take();
            pass(gate)?;
            state.lock().unwrap().steps += steps.len();
            Ok(None)
        }))
    }

    fn checkpointed(&mut self, result: Result<Option<InForce>, DiskError>) -> Result<(), DiskError> {
        result.map(|_| ())
    }

    fn set_durability(&mut self, _: Durability) -> Result<(), DiskError> {
        Ok(())
    }

    fn space(&mut self) -> Space {
        Space { full: self.state.lock().unwrap().room.is_some(), reserved: 0 }
    }

    fn close(self: Box<Self>) -> Result<(), DiskError> {
        self.state.lock().unwrap().closed = true;
        Ok(())
    }
}

/// A shell with its pump, and what a test needs of it.
pub(crate) struct World {
    pub(crate) shell: Rc<Shell>,
    pub(crate) script: Rc<RefCell<Script>>,
    pub(crate) disk: FakeDisk,
    pub(crate) at: Listening,
    pub(crate) pump: tokio::task::JoinHandle<Ending>,
}

pub(crate) fn identity(id: u32) -> Identity {
    Identity {
        store: "test".into(),
        id,
        incarnation: 40 + u64::from(id),
        boot: 7,
        group: 0,
        durability: Durability::Disk,
    }
}

/// Runs a test in a world of its own: all on this thread, for a minute at most.
pub(crate) fn in_world(durability: Durability, test: impl AsyncFnOnce(World)) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, async {
        let world = World::new(durability, 2);
        tokio::time::timeout(Duration::from_secs(60), test(world)).await.expect("the test hangs");
    });
}

impl World {
    pub(crate) fn new(durability: Durability, id: u32) -> World {
        let listener = || crate::server::listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let (client, peer, admin) = (listener(), listener(), listener());
        let at = Listening {
            client: client.local_addr().unwrap(),
            peer: peer.local_addr().unwrap(),
            admin: admin.local_addr().unwrap(),
            edge: None,
        };
        let script = Rc::new(RefCell::new(Script::default()));
        let core = FakeCore {
            script: Rc::clone(&script),
            replies: HashMap::new(),
            quitting: Vec::new(),
            writes: Vec::new(),
            ticket: 0,
        };
        let config = NodeConfig { clients_max: 4, ..NodeConfig::new("unused".into(), "test", id) };
        let shell = Shell::new(Box::new(core), identity(id), config, Clock::start());
        let disk = FakeDisk::default();
        let writer = Writer::start(Box::new(disk.clone()), durability, shell.wake.clone()).unwrap();
        spawn_local(crate::server::accept_clients(Rc::clone(&shell), client));
        spawn_local(crate::peers::accept(Rc::clone(&shell), peer, crate::peers::Door::Peers));
        spawn_local(crate::admin::open(admin).answer(Rc::clone(&shell)));
        let pump = Pump::new(Rc::clone(&shell), writer);
        let pump = spawn_local(async move {
            let (ending, writer) = pump.run().await;
            // What a broken disk has to say was said in the ending.
            let _ = writer.close();
            ending
        });
        World { shell, script, disk, at, pump }
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.at.client).await.unwrap()
    }

    /// Rings for the pump after the script was changed.
    pub(crate) fn ring(&self) {
        self.shell.wake.notify_one();
    }

    /// Waits until the core has seen what begins like this.
    pub(crate) async fn until_seen(&self, words: &str) {
        while !self.script.borrow().seen.iter().any(|seen| seen.starts_with(words)) {
            tokio::task::yield_now().await;
        }
    }
}

/// Sends bytes, and reads as many as are expected.
pub(crate) async fn exchange(stream: &mut TcpStream, send: &[u8], expect: &[u8]) {
    stream.write_all(send).await.unwrap();
    let mut got = vec![0; expect.len()];
    stream.read_exact(&mut got).await.unwrap();
    assert_eq!(got.escape_ascii().to_string(), expect.escape_ascii().to_string());
}

/// Reads to the end of the connection.
pub(crate) async fn read_to_end(stream: &mut TcpStream) -> String {
    let mut got = Vec::new();
    stream.read_to_end(&mut got).await.unwrap();
    String::from_utf8_lossy(&got).into_owned()
}
