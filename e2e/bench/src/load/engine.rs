//! The loop: one thread, one `epoll`, any protocol.
//!
//! Sockets are edge-triggered and registered once, so that a request in the closed loop costs one read and one write and its share of one `epoll_wait`.
//! A read that did not fill the buffer has emptied the socket, so none is spent on finding out.

use std::{
    io,
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use rustix::{
    buffer::spare_capacity,
    event::{Timespec, epoll},
    fd::OwnedFd,
};

use super::{
    Keys, Outcome, Protocol, Report, Request, Step, Stop, Workload,
    connection::{Connection, Gone, InFlight},
};

/// Bytes read at once.
const READ_BYTES: usize = 256 * 1024;
/// The loop looks at clock and stop flag at least this often.
const PAUSE_MAX: Duration = Duration::from_millis(50);
/// How long a broken connection waits before it is opened again.
const REOPEN_PAUSE: Duration = Duration::from_millis(20);
/// How long requests already sent are waited for when the time is over.
const DRAIN_MAX: Duration = Duration::from_secs(5);

/// Runs a workload to its end, or until `stop` is set.
///
/// # Errors
/// When a connection cannot be opened at the start, and when `epoll` fails. Whatever happens to connections later is counted in the report.
pub fn run<P: Protocol>(workload: &Workload, protocol: &P, stop: &Stop) -> io::Result<Report> {
    let mut engine = Engine::open(workload, protocol)?;
    let start = Instant::now();
    engine.start = start;
    let measured = start + workload.warm_up;
    let end = measured + workload.duration;
    let mut events = Vec::with_capacity(workload.connections.max(1));
    let mut warm = workload.warm_up.is_zero();
    engine.fill_all(start)?;
    loop {
        let now = Instant::now();
        if !warm && now >= measured {
            warm = true;
            engine.report.restart();
        }
        if now >= end || engine.exhausted() || stop.load(Ordering::Relaxed) {
            engine.report.elapsed = now.saturating_duration_since(measured);
            break;
        }
        let pause = engine.pause(now, if warm { end } else { measured });
        engine.turn(&mut events, pause, true)?;
    }
    let drained = Instant::now() + DRAIN_MAX;
    let finished = engine.report.finished;
    while engine.in_flight() > 0 && Instant::now() < drained && !stop.load(Ordering::Relaxed) {
        engine.turn(&mut events, PAUSE_MAX, false)?;
    }
    let unanswered = engine.in_flight();
    let mut report = engine.report;
    report.finished = finished;
    report.error("unanswered", unanswered as u64);
    Ok(report)
}

struct Engine<'a, P: Protocol> {
    workload: &'a Workload,
    protocol: &'a P,
    poll: OwnedFd,
    connections: Vec<Connection<P::Connection>>,
    /// Broken connections and when they are opened again.
    broken: Vec<(usize, Instant)>,
    report: Report,
    random: fastrand::Rng,
    start: Instant,
    /// Requests sent so far.
    sent: u64,
    batch: Vec<Request>,
    buffer: Vec<u8>,
}

impl<'a, P: Protocol> Engine<'a, P> {
    fn open(workload: &'a Workload, protocol: &'a P) -> io::Result<Self> {
        let recorded = if let Keys::Own(_) = workload.keys { workload.keys.total(workload.connections) } else { 0 };
        let mut engine = Engine {
            workload,
            protocol,
            poll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            connections: Vec::with_capacity(workload.connections),
            broken: Vec::new(),
            report: Report::new(recorded as usize),
            random: fastrand::Rng::with_seed(0x7265_6d65),
            start: Instant::now(),
            sent: 0,
            batch: Vec::with_capacity(workload.pipeline),
            buffer: vec![0; READ_BYTES],
        };
        for id in 0..workload.connections {
            engine.connections.push(Connection::new(id % workload.addresses.len()));
            engine.connect(id)?;
        }
        Ok(engine)
    }

    fn connect(&mut self, id: usize) -> io::Result<()> {
        let connection = &mut self.connections[id];
        let address = self.workload.addresses[connection.server];
        let socket = connection
            .connect(address)
            .map_err(|error| io::Error::new(error.kind(), format!("cannot connect to {address}: {error}")))?;
        let flags = epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::RDHUP | epoll::EventFlags::ET;
        epoll::add(&self.poll, socket, epoll::EventData::new_u64(id as u64), flags)?;
        self.protocol.open(&mut connection.out);
        Ok(())
    }

    fn exhausted(&self) -> bool {
        self.workload.requests_max.is_some_and(|max| self.sent >= max)
    }

    fn in_flight(&self) -> usize {
        self.connections.iter().map(|connection| connection.in_flight.len()).sum()
    }

    /// When the `count`-th request of a connection is meant to be sent.
    fn intended(&self, id: usize, count: u64, rate: f64) -> Instant {
        let place = count * self.workload.connections as u64 + id as u64;
        self.start + Duration::from_secs_f64(place as f64 / rate)
    }

    /// How long the loop may sleep: until the next intended start, reopening, or `end`.
    fn pause(&self, now: Instant, end: Instant) -> Duration {
        let mut next = end.min(now + PAUSE_MAX);
        if let Some(rate) = self.workload.rate {
            for (id, connection) in self.connections.iter().enumerate() {
                if connection.in_flight.is_empty() && connection.socket.is_some() {
                    next = next.min(self.intended(id, connection.sent, rate));
                }
            }
        }
        for (_, reopen) in &self.broken {
            next = next.min(*reopen);
        }
        next.saturating_duration_since(now)
    }

    fn fill_all(&mut self, now: Instant) -> io::Result<()> {
        for id in 0..self.connections.len() {
            self.fill(id, now);
            self.flush(id)?;
        }
        Ok(())
    }

    /// Sends the next batch on a connection that has nothing in flight: a whole one, or what is due by now.
    fn fill(&mut self, id: usize, now: Instant) {
        let left = self.workload.requests_max.map_or(u64::MAX, |max| max.saturating_sub(self.sent));
        let room = (self.workload.pipeline as u64).min(left);
        if self.connections[id].socket.is_none() || !self.connections[id].in_flight.is_empty() {
            return;
        }
        self.batch.clear();
        for _ in 0..room {
            let count = self.connections[id].sent;
            let intended = self.workload.rate.map_or(now, |rate| self.intended(id, count, rate));
            if intended > now {
                break;
            }
            let key = self.key(id, count);
            let connection = &mut self.connections[id];
            connection.sent += 1;
            let request = Request { key, number: connection.sent };
            connection.in_flight.push_back(InFlight { intended, request });
            self.batch.push(request);
        }
        if !self.batch.is_empty() {
            self.sent += self.batch.len() as u64;
            let connection = &mut self.connections[id];
            self.protocol.requests(&mut connection.protocol, &self.batch, &mut connection.out);
        }
    }

    fn key(&mut self, id: usize, count: u64) -> u64 {
        match self.workload.keys {
            Keys::Random(keys) => self.random.u64(..keys),
            Keys::Sequential(keys) => (self.sent + self.batch.len() as u64) % keys,
            Keys::Own(keys) => id as u64 * keys + count % keys,
        }
    }

    /// Waits for something to happen, deals with it, and sends what is due.
    fn turn(&mut self, events: &mut Vec<epoll::Event>, pause: Duration, sending: bool) -> io::Result<()> {
        let timeout = Timespec { tv_sec: pause.as_secs() as i64, tv_nsec: i64::from(pause.subsec_nanos()) };
        events.clear();
        match epoll::wait(&self.poll, spare_capacity(events), Some(&timeout)) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        let now = Instant::now();
        for event in events.iter() {
            let id = event.data.u64() as usize;
            let flags = event.flags;
            if flags.intersects(epoll::EventFlags::IN | epoll::EventFlags::RDHUP | epoll::EventFlags::HUP) {
                self.receive(id, now)?;
            }
            if sending && self.workload.rate.is_none() {
                self.fill(id, now);
            }
            self.flush(id)?;
        }
        if sending && self.workload.rate.is_some() {
            self.fill_all(now)?;
        }
        self.reopen(now);
        Ok(())
    }

    fn flush(&mut self, id: usize) -> io::Result<()> {
        if !self.connections[id].out.is_empty() && self.connections[id].flush().is_err() {
            self.lost(id, "closed");
        }
        Ok(())
    }

    /// Reads all that has come on a connection.
    fn receive(&mut self, id: usize, now: Instant) -> io::Result<()> {
        let mut buffer = std::mem::take(&mut self.buffer);
        loop {
            match self.connections[id].read(&mut buffer) {
                Err(Gone) => self.lost(id, "closed"),
                Ok(0) => {}
                Ok(count) => {
                    self.understand(id, &buffer[..count], now);
                    if count == buffer.len() {
                        continue;
                    }
                }
            }
            break;
        }
        self.buffer = buffer;
        Ok(())
    }

    /// Takes the answers out of what was received; the tail that is no whole answer is kept.
    fn understand(&mut self, id: usize, received: &[u8], now: Instant) {
        let mut leftover = std::mem::take(&mut self.connections[id].leftover);
        let joined = !leftover.is_empty();
        if joined {
            leftover.extend_from_slice(received);
        }
        let input: &[u8] = if joined { &leftover } else { received };
        let mut consumed = 0;
        while consumed < input.len() {
            let connection = &mut self.connections[id];
            match self.protocol.receive(&mut connection.protocol, &input[consumed..], &mut connection.out) {
                Step::Partial => break,
                Step::Consumed(bytes) => consumed += bytes,
                Step::Finished { consumed: bytes, requests, outcome } => {
                    consumed += bytes;
                    self.finished(id, requests, outcome, now);
                }
                Step::Broken(kind) => return self.lost(id, kind),
            }
        }
        if joined {
            leftover.drain(..consumed);
        } else {
            leftover.extend_from_slice(&received[consumed..]);
        }
        self.connections[id].leftover = leftover;
    }

    fn finished(&mut self, id: usize, requests: usize, outcome: Outcome<'_>, now: Instant) {
        for _ in 0..requests {
            let Some(sent) = self.connections[id].in_flight.pop_front() else {
                return self.report.error("answer to nothing", 1);
            };
            self.report.latency(now.saturating_duration_since(sent.intended));
            match outcome {
                Outcome::Failed(kind) => {
                    self.report.error(kind, 1);
                    continue;
                }
                Outcome::Miss => self.report.misses += 1,
                Outcome::Ok => {}
            }
            self.report.finished += 1;
            if let Some(last) = self.report.acknowledged.get_mut(sent.request.key as usize) {
                *last = sent.request.number;
            }
        }
    }

    /// A connection is of no use any more: what was on its way on it has failed, and it is opened again, to the next server, after a pause.
    fn lost(&mut self, id: usize, kind: &str) {
        let connection = &mut self.connections[id];
        if connection.socket.take().is_some() {
            self.report.error(kind, connection.in_flight.len().max(1) as u64);
            connection.in_flight.clear();
            connection.out.clear();
            connection.leftover.clear();
            connection.server = (connection.server + 1) % self.workload.addresses.len();
            self.broken.push((id, Instant::now() + REOPEN_PAUSE));
        }
    }

    fn reopen(&mut self, now: Instant) {
        let mut place = 0;
        while place < self.broken.len() {
            let (id, due) = self.broken[place];
            if due > now {
                place += 1;
            } else if self.connect(id).is_ok() {
                self.broken.swap_remove(place);
                if self.workload.rate.is_none() {
                    self.fill(id, now);
                    if self.connections[id].flush().is_err() {
                        self.lost(id, "closed");
                    }
                }
            } else {
                let connection = &mut self.connections[id];
                connection.server = (connection.server + 1) % self.workload.addresses.len();
                self.broken[place].1 = now + REOPEN_PAUSE;
                self.report.error("connect", 1);
                place += 1;
            }
        }
    }
}
