//! SLOWLOG and LATENCY: what this replica has executed for long.
//!
//! The core has no clock within a turn, so who runs it gives it a stopwatch ([`Replica::set_stopwatch`]); without one nothing is measured. It is read before and
//! after a command whose time grows with its data; those that are fast by their row, and blind writes, are measured only where the threshold is below
//! [`FINE_US`]. What is measured is the execution, not the wait for copies. Nothing of this gets into a delta.

use std::collections::{BTreeMap, VecDeque};

use trireme_proto::ReplicaId;

use crate::{
    engine::command::{Error, Reply, Spec, config::Tuning, connection::help, integer_argument, resolve, table::flag},
    io::ClientId,
    replica::Replica,
};

use super::{Clients, Flow, execute::Work};

/// A threshold below which every command is measured, in microseconds.
const FINE_US: i64 = 1_000;
/// Arguments that are kept of a slow command, and bytes of each.
const ARGUMENTS: usize = 32;
const BYTES: usize = 128;
/// Samples that are kept of an event.
const SAMPLES: usize = 160;
/// Entries that SLOWLOG GET gives when it is not said how many.
const SHOWN: usize = 10;

/// For whom something was executed: a client of this replica, or another replica, which has it from one of its own.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Asker {
    Client(ClientId),
    Replica(ReplicaId),
}

/// Measures time in microseconds, from any start.
type Stopwatch = Box<dyn Fn() -> u64 + Send>;

struct Entry {
    number: u64,
    at_s: u64,
    took_us: u64,
    args: Vec<Vec<u8>>,
    address: String,
    name: Vec<u8>,
}

/// Samples of one event: when, in seconds, and how long, in milliseconds.
#[derive(Default)]
struct Event {
    samples: VecDeque<(u64, u64)>,
    longest_ms: u64,
}

/// What was measured.
#[derive(Default)]
pub(crate) struct Slow {
    stopwatch: Option<Stopwatch>,
    entries: VecDeque<Entry>,
    last: u64,
    events: BTreeMap<&'static str, Event>,
    /// Of each command: executions by the power of two of microseconds that they took at most.
    histograms: BTreeMap<&'static str, [u64; 32]>,
}

impl std::fmt::Debug for Slow {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Slow").field("entries", &self.entries.len()).finish_non_exhaustive()
    }
}

impl Slow {
    /// The time before a unit of work is executed, if that is to be measured.
    pub(crate) fn begin(&self, work: &Work<'_>, tuning: &Tuning) -> Option<u64> {
        let stopwatch = self.stopwatch.as_ref()?;
        let all = (0..FINE_US).contains(&tuning.slow_us);
        let may_be_slow = match work {
            Work::One(spec, _) => !spec.has(flag::FAST) && !spec.has(flag::BLIND),
            Work::Transaction(..) => true,
        };
        (all || may_be_slow).then(stopwatch)
    }

    /// It has been executed.
    pub(crate) fn end(
        &mut self,
        began_us: u64,
        work: &Work<'_>,
        tuning: &Tuning,
        now_s: u64,
        who: impl FnOnce() -> (String, Vec<u8>),
    ) {
        let Some(stopwatch) = &self.stopwatch else { return };
        let took_us = stopwatch().saturating_sub(began_us);
        let (name, fast) = match work {
            Work::One(spec, _) => (spec.name, spec.has(flag::FAST)),
            Work::Transaction(..) => ("exec", false),
        };
        let place = (u64::BITS - took_us.saturating_sub(1).leading_zeros()).min(31) as usize;
        self.histograms.entry(name).or_insert([0; 32])[place] += 1;
        if tuning.latency_ms > 0 && took_us >= tuning.latency_ms.saturating_mul(1_000) {
            self.sample(if fast { "fast-command" } else { "command" }, now_s, took_us / 1_000);
        }
        if tuning.slow_us < 0 || took_us < tuning.slow_us.cast_unsigned() || tuning.slow_length == 0 {
            return;
        }
        let args = match work {
            Work::One(_, args) => shown(args),
            Work::Transaction(..) => vec![b"EXEC".to_vec()],
        };
        let (address, name) = who();
        self.entries.push_front(Entry { number: self.last, at_s: now_s, took_us, args, address, name });
        self.last += 1;
        self.entries.truncate(tuning.slow_length);
    }

    fn sample(&mut self, event: &'static str, now_s: u64, ms: u64) {
        let event = self.events.entry(event).or_default();
        event.longest_ms = event.longest_ms.max(ms);
        match event.samples.back_mut() {
            // One a second: the longest.
            Some((at_s, most)) if *at_s == now_s => *most = (*most).max(ms),
            _ => {
                event.samples.push_back((now_s, ms));
                if event.samples.len() > SAMPLES {
                    event.samples.pop_front();
                }
            }
        }
    }

    fn slowlog(&mut self, args: &[&[u8]], reply: &mut Reply<'_>) -> Result<(), Error> {
        match resolve(args)?.name {
            "slowlog|get" => {
                if args.len() > 3 {
                    let why = "ERR unknown subcommand or wrong number of arguments for 'get'. Try SLOWLOG HELP.";
                    return Err(Error::Fixed(why));
                }
                let bad = Error::Fixed("ERR count should be greater than or equal to -1");
                let count = match args.get(2).map(|count| integer_argument(count)) {
                    None => SHOWN,
                    Some(Ok(-1)) => usize::MAX,
                    Some(count) => count.ok().and_then(|count| usize::try_from(count).ok()).ok_or(bad)?,
                };
                reply.array(self.entries.len().min(count));
                self.entries.iter().take(count).for_each(|entry| entry.write(reply));
            }
            "slowlog|len" => reply.count(self.entries.len()),
            "slowlog|reset" => {
                self.entries.clear();
                reply.ok();
            }
            _ => help(reply, &SLOWLOG_HELP),
        }
        Ok(())
    }

    fn latency(&mut self, args: &[&[u8]], reply: &mut Reply<'_>) -> Result<(), Error> {
        let asked = |event: &str| args[2..].iter().any(|name| name.eq_ignore_ascii_case(event.as_bytes()));
        match resolve(args)?.name {
            "latency|latest" => {
                reply.array(self.events.len());
                for (name, event) in &self.events {
                    let (at_s, ms) = event.samples.back().copied().unwrap_or_default();
                    reply.array(4);
                    reply.bulk(name.as_bytes());
                    [at_s, ms, event.longest_ms].into_iter().for_each(|number| count(reply, number));
                }
            }
            "latency|history" => {
                let event = self.events.iter().find(|(name, _)| asked(name)).map(|(_, event)| event);
                reply.array(event.map_or(0, |event| event.samples.len()));
                for (at_s, ms) in event.into_iter().flat_map(|event| &event.samples) {
                    reply.array(2);
                    [*at_s, *ms].into_iter().for_each(|number| count(reply, number));
                }
            }
            "latency|reset" => {
                let before = self.events.len();
                self.events.retain(|name, _| args.len() > 2 && !asked(name));
                reply.count(before - self.events.len());
            }
            "latency|histogram" => self.histogram(&|name| args.len() == 2 || asked(name), reply),
            "latency|graph" => match self.events.iter().find(|(name, _)| asked(name)) {
                Some((name, event)) => reply.verbatim("txt", event.graph(name).as_bytes()),
                None => return Err(Error::Text([b"ERR No samples available for event '", args[2], b"'"].concat())),
            },
            "latency|doctor" => reply.verbatim("txt", DOCTOR.as_bytes()),
            _ => help(reply, &LATENCY_HELP),
        }
        Ok(())
    }

    fn histogram(&self, asked: &dyn Fn(&str) -> bool, reply: &mut Reply<'_>) {
        let found = || self.histograms.iter().filter(|(name, _)| asked(name));
        reply.map(found().count());
        for (name, places) in found() {
            reply.bulk(name.as_bytes());
            reply.map(2);
            reply.bulk(b"calls");
            count(reply, places.iter().sum());
            reply.bulk(b"histogram_usec");
            // Each bound with all that took at most so long.
            reply.map(places.iter().filter(|calls| **calls > 0).count());
            let mut sum = 0;
            for (place, calls) in places.iter().enumerate().filter(|(_, calls)| **calls > 0) {
                sum += calls;
                count(reply, 1 << place);
                count(reply, sum);
            }
        }
    }
}

fn count(reply: &mut Reply<'_>, number: u64) {
    reply.integer(i64::try_from(number).unwrap_or(i64::MAX));
}

/// So much of a command as is kept.
fn shown(args: &[&[u8]]) -> Vec<Vec<u8>> {
    let kept = if args.len() > ARGUMENTS { ARGUMENTS - 1 } else { args.len() };
    let mut shown: Vec<Vec<u8>> = args[..kept]
        .iter()
        .map(|arg| match arg.len().checked_sub(BYTES) {
            None | Some(0) => arg.to_vec(),
            Some(more) => [&arg[..BYTES], format!("... ({more} more bytes)").as_bytes()].concat(),
        })
        .collect();
    if kept < args.len() {
        shown.push(format!("... ({} more arguments)", args.len() - kept).into_bytes());
    }
    shown
}

impl Entry {
    fn write(&self, reply: &mut Reply<'_>) {
        reply.array(6);
        [self.number, self.at_s, self.took_us].into_iter().for_each(|number| count(reply, number));
        reply.array(self.args.len());
        self.args.iter().for_each(|arg| reply.bulk(arg));
        reply.bulk(self.address.as_bytes());
        reply.bulk(&self.name);
    }
}

impl Event {
    /// A bar for each of the latest samples.
    fn graph(&self, name: &str) -> String {
        let mut text = format!("{name}: longest {} ms\n", self.longest_ms);
        for (at_s, ms) in self.samples.iter().rev().take(40) {
            let bar = (ms * 60).div_ceil(self.longest_ms.max(1)) as usize;
            text.push_str(&format!("{at_s} {ms:>6} ms {}\n", "#".repeat(bar.min(60))));
        }
        text
    }
}

const DOCTOR: &str = "LATENCY LATEST and HISTORY have what took longer than latency-monitor-threshold, SLOWLOG GET what took longer than \
                      slowlog-log-slower-than; how long disks and copies take is in the metrics of the replica's HTTP port.\n";

const SLOWLOG_HELP: [&str; 10] = [
    "SLOWLOG <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "GET [<count>]",
    "    Return the top <count> entries of what this replica has executed (default: 10, -1 mean all):",
    "    id, timestamp, time in microseconds, arguments array, client IP and port, client name",
    "LEN",
    "    Return the length of the slowlog.",
    "RESET",
    "    Reset the slowlog.",
    "HELP",
    "    Prints this help.",
];

const LATENCY_HELP: [&str; 15] = [
    "LATENCY <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "DOCTOR",
    "    Says where to look.",
    "GRAPH <event>",
    "    Return the latest samples of <event> as bars.",
    "HISTOGRAM [COMMAND ...]",
    "    How long commands took whose time grows with their data: others are not measured.",
    "HISTORY <event>",
    "    Return time-latency samples for the <event>: command or fast-command.",
    "LATEST",
    "    Return the latest latency samples for all events.",
    "RESET [<event> ...]",
    "    Reset latency data of one or more <event>s; all without one.",
    "HELP",
    "    Prints this help.",
];

impl Replica {
    /// What measures how long commands take, in microseconds from any start: a clock of whoever runs this. Without one SLOWLOG and LATENCY have nothing to tell.
    pub fn set_stopwatch(&mut self, stopwatch: Box<dyn Fn() -> u64 + Send>) {
        self.clients.slow.stopwatch = Some(stopwatch);
    }

    /// The time before a unit of work is executed, if that is to be measured.
    pub(super) fn begin_to_measure(&self, work: &Work<'_>) -> Option<u64> {
        self.clients.slow.begin(work, self.clients.parameters.tuning())
    }

    /// It has been executed.
    pub(super) fn measured(&mut self, began_us: u64, work: &Work<'_>, asker: Asker) {
        let topology = self.meta.topology.as_ref();
        let Clients { slow, parameters, map, .. } = &mut self.clients;
        let who = || match asker {
            Asker::Client(id) => {
                map.get(&id).map(|client| (client.state.address.clone(), client.state.name.clone())).unwrap_or_default()
            }
            Asker::Replica(id) => {
                let row = topology.and_then(|topology| topology.replica(id));
                (row.map_or_else(String::new, |row| row.name.clone()), Vec::new())
            }
        };
        slow.end(began_us, work, parameters.tuning(), self.now.wall_ms / 1_000, who);
    }

    /// SLOWLOG, LATENCY.
    pub(super) fn slow_command(&mut self, id: ClientId, spec: &Spec, args: &[&[u8]]) -> Flow {
        let mut bytes = Vec::new();
        let resp3 = self.clients.get_mut(id).is_some_and(|client| client.state.resp3);
        let mut reply = Reply::new(&mut bytes, resp3);
        let slow = &mut self.clients.slow;
        let result = match spec.name.starts_with("slowlog") {
            true => slow.slowlog(args, &mut reply),
            false => slow.latency(args, &mut reply),
        };
        match result {
            Ok(()) => self.answer(id, |reply| reply.raw(&bytes)),
            Err(error) => return self.refuse(id, &error),
        }
        Flow::Done
    }

    /// CONFIG RESETSTAT.
    pub(super) fn reset_statistics(&mut self) {
        self.clients.slow.histograms.clear();
    }
}
