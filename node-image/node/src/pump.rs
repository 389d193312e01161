//! The one task that carries out what the core asks for.
//!
//! Connections step the core and ring the bell; the pump runs after all that were ready in this turn, so that what they caused together is one write to disk,
//! one frame per peer and one write per client. A turn, in order:
//!
//! 1. what the disk has done is told to the core, and what time it is;
//! 2. messages are encoded, one write per peer;
//! 3. disk operations are handed on ([`crate::writer`]);
//! 4. replies are written, clients paused, resumed and closed.
//!
//! Nothing here decides what may be sent: the core hands out only what no longer depends on anything.

use std::{
    pin::{Pin, pin},
    rc::Rc,
    time::{Duration, Instant},
};

use tokio::time::{Sleep, sleep_until};
use trireme_proto::{Epoch, Message};
use trireme_replica::io::{Event, Input, Output};

use crate::{
    client::{Client, LARGE_BYTES_PER_TURN},
    memory,
    peers::{self, Link},
    shell::Shell,
    writer::{Writer, Written},
};

/// Rounds of one turn: each gives the core what the round before made durable. What is left comes in the next turn.
const ROUNDS_MAX: usize = 4;

/// So much waits for a peer's line that it gets nothing of what it missed besides: what is written now goes first, and a slow line is not cut for it.
const PEER_BUSY_BYTES: usize = 4 << 20;

/// Shortest time to an alarm.
const ALARM_MIN: Duration = Duration::from_millis(1);

/// Why the pump has ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The core has handed over what it led.
    Finished,
    /// It has not, within the time that it was given.
    OutOfTime,
    /// It cannot go on.
    Fatal(String),
}

/// See the module.
pub(crate) struct Pump {
    shell: Rc<Shell>,
    writer: Writer,
    output: Output,
    written: Vec<Written>,
    /// Connections that have something to write in this turn.
    clients: Vec<Rc<Client>>,
    links: Vec<Rc<Link>>,
    record: (Epoch, u64),
    /// When the core wants to be called again.
    deadline: Instant,
    /// When memory is to be looked at.
    look_at: Instant,
}

impl Pump {
    /// A pump for this shell and disk.
    pub(crate) fn new(shell: Rc<Shell>, writer: Writer) -> Pump {
        let deadline = Instant::now();
        Pump {
            shell,
            writer,
            output: Output::default(),
            written: Vec::new(),
            clients: Vec::new(),
            links: Vec::new(),
            record: (Epoch::ZERO, 0),
            deadline,
            look_at: deadline,
        }
    }

    /// Runs until the replica ends; hands the disk back.
    pub(crate) async fn run(mut self) -> (Ending, Writer) {
        let mut alarm = pin!(sleep_until(self.deadline.into()));
        let mut alarm_at = self.deadline;
        let shell = Rc::clone(&self.shell);
        loop {
            if let Some(ending) = self.turn() {
                return (ending, self.writer);
            }
            let next = self.next_wakeup();
            // An alarm that is set too early costs one turn; to set it anew in each turn would cost more.
            if next < alarm_at || alarm_at <= Instant::now() {
                alarm_at = next;
                alarm.as_mut().reset(next.into());
            }
            wait(&shell, alarm.as_mut()).await;
        }
    }

    fn next_wakeup(&self) -> Instant {
        let others = [self.writer.care_at(), self.shell.stop_at.get()];
        let next = others.into_iter().flatten().fold(self.deadline, Instant::min);
        // A deadline that has passed already was told to the core in this turn; it may not keep the thread from everything else.
        next.max(Instant::now() + ALARM_MIN)
    }

    fn turn(&mut self) -> Option<Ending> {
        let shell = Rc::clone(&self.shell);
        let now = Instant::now();
        self.writer.advance(&mut self.written);
        for _ in 0..ROUNDS_MAX {
            if let Some(ending) = self.tell_written() {
                return Some(ending);
            }
            // The lease is judged by the clock as it is now, not as it was when a command was read.
            self.step(Input::Tick);
            shell.core.borrow_mut().take_output(&mut self.output);
            self.send();
            self.writer.put(&mut self.output.persist, &mut self.output.checkpoint);
            self.writer.advance(&mut self.written);
            self.answer();
            self.output.events.drain(..).for_each(|event| log(&event));
            self.deadline = shell.clock.instant(self.output.deadline_us);
            if let Some(why) = self.output.fatal.take() {
                return Some(Ending::Fatal(why));
            }
            if self.written.is_empty() {
                break;
            }
        }
        self.flush();
        shell.large_left.set(LARGE_BYTES_PER_TURN);
        self.follow_record();
        self.look_at = memory::look(&shell, self.look_at);
        peers::doors::look_after(&shell);
        shell.set_congested(self.writer.is_congested());
        shell.disk_times.set(self.writer.times());
        if !self.written.is_empty() {
            shell.wake.notify_one();
        }
        self.ending(now)
    }

    fn ending(&self, now: Instant) -> Option<Ending> {
        let stop_at = self.shell.stop_at.get()?;
        match () {
            () if self.output.finished => Some(Ending::Finished),
            () if now >= stop_at => Some(Ending::OutOfTime),
            () => None,
        }
    }

    fn step(&self, input: Input<'_>) {
        self.shell.core.borrow_mut().step(input, self.shell.clock.now());
    }

    /// Tells the core what has become of the disk operations.
    fn tell_written(&mut self) -> Option<Ending> {
        for written in std::mem::take(&mut self.written) {
            match written {
                Written::Durable(ticket) => self.step(Input::Persisted(ticket)),
                Written::Checkpointed => self.step(Input::Checkpointed),
                Written::Full(full) => {
                    tracing::warn!(
                        full,
                        "{}",
                        if full { "the disk is full: writes are refused" } else { "the disk has room again" }
                    );
                    self.step(Input::DiskFull(full));
                }
                Written::Failed(error) => return Some(Ending::Fatal(error.to_string())),
            }
        }
        None
    }

    /// Messages, each into the outbox of its peer.
    fn send(&mut self) {
        for (peer, mut message) in self.output.send.drain(..) {
            if let Message::Report(report) = &mut message {
                // Only the shell sees who is turned away.
                report.counters.peer_refusals += self.shell.links.refusals();
                report.turned_away = self.shell.links.turned_away().unwrap_or_default();
            }
            if let Some(link) = self.shell.links.send(peer, message)
                && !self.links.iter().any(|known| Rc::ptr_eq(known, &link))
            {
                self.links.push(link);
            }
        }
        // Peers first: they have a way to go.
        for link in self.links.drain(..) {
            self.shell.links.flush(&link);
            let busy = link.outbox.pending() > PEER_BUSY_BYTES;
            if link.busy.replace(busy) != busy {
                self.shell.step(Input::PeerBusy(link.peer, busy));
            }
        }
    }

    /// Replies into the outboxes of their clients, and what else becomes of clients.
    fn answer(&mut self) {
        let clients = self.shell.clients.borrow();
        let mut core = self.shell.core.borrow_mut();
        for id in self.output.ready.drain(..) {
            if let Some(client) = clients.get(&id) {
                client.take_replies(&mut **core);
                self.clients.push(Rc::clone(client));
            }
        }
        for (ids, paused) in [(&mut self.output.paused, true), (&mut self.output.resumed, false)] {
            ids.drain(..).filter_map(|id| clients.get(&id)).for_each(|client| client.set_paused(paused));
        }
        self.output.close.drain(..).filter_map(|id| clients.get(&id)).for_each(|client| client.close());
        self.output.cut.drain(..).filter_map(|id| clients.get(&id)).for_each(|client| client.cut());
    }

    fn flush(&mut self) {
        if self.clients.is_empty() {
            return;
        }
        let core = self.shell.core.borrow();
        let tuning = core.tuning();
        self.clients.drain(..).for_each(|client| client.flush(&tuning, || core.subscribes(client.id())));
    }

    /// Looks whether there is a newer record, and takes over what the shell needs of it.
    fn follow_record(&mut self) {
        let core = self.shell.core.borrow();
        let Some(topology) = core.topology().filter(|topology| topology.order() != self.record) else { return };
        self.record = topology.order();
        self.writer.set_durability(topology.settings.durability());
        peers::follow_record(&self.shell, topology);
    }
}

/// Until the bell rings or the alarm goes off.
async fn wait(shell: &Shell, alarm: Pin<&mut Sleep>) {
    tokio::select! {
        biased;
        () = shell.wake.notified() => {}
        () = alarm => {}
    }
}

/// Tells people what the core tells.
fn log(event: &Event) {
    match event {
        Event::Named(origin) => {
            tracing::info!(group = origin.group, generation = origin.life(), "writes under this name");
        }
        Event::Promised(epoch) => tracing::info!(%epoch, "promised"),
        Event::Leads(epoch) => tracing::info!(%epoch, "leads; its start entry is not committed yet"),
        Event::Serves(epoch) => tracing::info!(%epoch, "serves as leader"),
        Event::Follows(leader, epoch) => tracing::info!(leader, %epoch, "follows"),
        Event::Deposed { by, undone } => tracing::warn!(%by, undone, "deposed"),
        Event::Cut { last, entries } => tracing::warn!(%last, entries, "log cut; the entries are kept in a file"),
        Event::NotRecovered { from, entries } => tracing::error!(
            from,
            entries,
            "entries cut off a former leader are too many generations old to be recovered; they are in its file of cut entries"
        ),
        Event::Recovered { from, entries } => {
            tracing::info!(from, entries, "entries of a former leader appended again");
        }
        Event::SnapshotInstalled(at) => tracing::info!(%at, "snapshot installed"),
        Event::CheckpointFinished(at) => tracing::info!(%at, "checkpoint finished"),
        Event::DigestMismatch { slot, seq } => {
            tracing::error!(slot, seq, "a slot differs from the leader's at the same position");
        }
        Event::DiskFull(full) => tracing::warn!(full, "the disk's room has changed"),
    }
}
