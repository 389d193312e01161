//! The scenarios' language: see the front page of `scenarios.rs`.

use std::{collections::BTreeMap, fmt::Write, path::Path};

use bytes::Bytes;
use trireme_proto::{
    Epoch, Message, Position, ReplicaId, Topology,
    ids::Peer,
    message::{Append, AppendAck},
    topology::{Config, Durability, Member, Phase, Replica as Row, Settings, Unreplicated},
};

use super::{
    show,
    world::{Arrival, Machine, STORE, World},
};

/// Microseconds on the clock when a scenario begins.
const START_US: u64 = 1_000_000;

struct Stage {
    world: World,
    record: Topology,
}

/// The words of a line after its command: plain ones, `key=value` ones, and the replicas after `to`.
struct Words<'a> {
    plain: Vec<&'a str>,
    values: BTreeMap<&'a str, &'a str>,
    to: Option<Vec<ReplicaId>>,
}

fn ids(text: &str) -> Vec<ReplicaId> {
    text.split(',').map(|id| id.parse().unwrap()).collect()
}

impl<'a> Words<'a> {
    fn of(line: &'a str) -> Words<'a> {
        let mut words = Words { plain: Vec::new(), values: BTreeMap::new(), to: None };
        let mut rest = line.split_whitespace().skip(1);
        while let Some(word) = rest.next() {
            match word.split_once('=') {
                Some((key, value)) => drop(words.values.insert(key, value)),
                None if word == "to" => words.to = rest.next().map(ids),
                None => words.plain.push(word),
            }
        }
        words
    }

    fn id(&self) -> ReplicaId {
        self.plain[0].parse().unwrap()
    }

    fn number<T: std::str::FromStr>(&self, key: &str) -> Option<T> {
        self.values.get(key).map(|value| value.parse().unwrap_or_else(|_| panic!("{key}={value}")))
    }

    fn says(&self, word: &str) -> bool {
        self.plain.contains(&word)
    }
}

/// `100ms`, `2s`.
fn micros(text: &str) -> u64 {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap());
    let unit = match unit {
        "us" => 1,
        "ms" => 1_000,
        "s" => 1_000_000,
        other => panic!("no unit of time: {other}"),
    };
    number.parse::<u64>().unwrap() * unit
}

/// `1->2` is one link, `1-2` is both.
fn links(text: &str) -> Vec<(ReplicaId, ReplicaId)> {
    let id = |text: &str| text.parse().unwrap();
    match text.split_once("->") {
        Some((from, to)) => vec![(id(from), id(to))],
        None => {
            let (a, b) = text.split_once('-').unwrap();
            vec![(id(a), id(b)), (id(b), id(a))]
        }
    }
}

/// `SET a "x y"`... without spaces: `""` is empty, `v*9` is nine of them.
fn args(text: &str) -> Vec<Vec<u8>> {
    let arg = |word: &str| match word.split_once('*') {
        Some((byte, count)) if byte.len() == 1 && count.parse::<usize>().is_ok() => {
            byte.repeat(count.parse().unwrap()).into_bytes()
        }
        _ if word == "\"\"" => Vec::new(),
        _ => word.as_bytes().to_vec(),
    };
    text.split_whitespace().map(arg).collect()
}

impl Stage {
    fn line(&mut self, line: &str) {
        if line.contains(" > ") && !line.starts_with("repeat ") {
            self.commands(line);
            return self.world.settle();
        }
        let words = Words::of(line);
        let command = line.split_whitespace().next().unwrap();
        match command {
            "start" | "serving" => {
                self.start(&words);
                if command == "serving" {
                    self.serving();
                }
            }
            "seal" | "lead" | "record" => self.decide(command, &words),
            "client" => self.world.open_client(words.plain[0], words.plain[2].parse().unwrap()),
            "close" => {
                let client = self.world.clients.remove(words.plain[0]).unwrap();
                self.world.process(client.replica).inbox.push_back(Arrival::ClientClosed(client.id));
            }
            "repeat" => {
                let (count, commands) = line["repeat ".len()..].split_once(' ').unwrap();
                for i in 1..=count.parse::<usize>().unwrap() {
                    self.commands(&commands.replace('#', &i.to_string()));
                    self.world.settle();
                }
            }
            "tick" => self.world.pass(micros(words.plain[0])),
            "show" => self.world.shown.extend(words.plain.iter().map(|word| (*word).to_owned())),
            "hide" => self.world.shown.clear(),
            "state" | "digests" | "disks" | "report" => self.ask(command, &words),
            "say" => self.forge(&words),
            _ => self.happen(command, &words),
        }
        self.world.settle();
    }

    /// What happens to links, disks and processes.
    fn happen(&mut self, command: &str, words: &Words<'_>) {
        let count = |at: usize| words.plain.get(at).map_or(1, |word| word.parse().unwrap_or(usize::MAX));
        match (command, words.plain[0]) {
            ("hold" | "free", "disk") => {
                let id = words.plain[1].parse().unwrap();
                self.world.machines.get_mut(&id).unwrap().disk.held = command == "hold";
            }
            ("hold" | "free", link) => {
                for (from, to) in links(link) {
                    self.world.hold_link(from, to, command == "hold");
                }
            }
            ("deliver", link) => links(link).iter().for_each(|(from, to)| self.world.deliver(*from, *to, count(1))),
            ("disk", _) => {
                let disk = &mut self.world.machines.get_mut(&words.id()).unwrap().disk;
                if let Some(ticket) = disk.complete(count(1)) {
                    self.world.process(words.id()).inbox.push_back(Arrival::Persisted(ticket));
                }
            }
            ("steps", _) => {
                if self.world.machines.get_mut(&words.id()).unwrap().disk.complete_checkpoint() {
                    self.world.process(words.id()).inbox.push_back(Arrival::Checkpointed);
                }
            }
            ("cut" | "join", link) => {
                let (a, b) = links(link)[0];
                let pair = (a.min(b), a.max(b));
                if command == "cut" {
                    self.world.cut.insert(pair);
                    self.world.disconnect(a, b);
                } else {
                    self.world.cut.remove(&pair);
                    self.world.connect(a, b);
                }
            }
            ("flip", link) => links(link).iter().for_each(|(from, to)| self.world.flip(*from, *to, words.plain[1])),
            _ => self.happen_to(command, words.id(), words),
        }
    }

    /// What happens to one replica.
    fn happen_to(&mut self, command: &str, id: ReplicaId, words: &Words<'_>) {
        match command {
            "crash" | "wipe" => {
                if self.world.machines[&id].process.is_some() {
                    self.world.end(id);
                }
                let machine = self.world.machines.get_mut(&id).unwrap();
                machine.disk.crash();
                if command == "wipe" {
                    *machine = Machine::new(machine.incarnation + 10);
                }
            }
            "restart" => self.world.start(id),
            "add" => {
                self.world.machines.insert(id, Machine::new(id.into()));
                self.world.start(id);
            }
            "pause" | "resume" => self.world.process(id).paused = command == "pause",
            "terminate" => self.world.process(id).inbox.push_back(Arrival::Shutdown),
            "full" | "room" => self.world.process(id).inbox.push_back(Arrival::DiskFull(command == "full")),
            "drift" => self.world.machines.get_mut(&id).unwrap().drift_ms = micros(words.plain[1]) / 1_000,
            other => panic!("no such command: {other}"),
        }
    }

    fn commands(&mut self, line: &str) {
        for part in line.split(" || ") {
            let (name, pipeline) = part.split_once(" > ").unwrap();
            for command in pipeline.split(" | ") {
                self.world.command(name.trim(), args(command));
            }
        }
    }

    fn start(&mut self, words: &Words<'_>) {
        let n: ReplicaId = words.number("n").unwrap();
        for id in 1..=n {
            self.world.machines.insert(id, Machine::new(id.into()));
        }
        let mut settings = Settings::standard();
        if words.values.get("durability") == Some(&"Memory") {
            settings.durability = Durability::Memory as i32;
            self.world.durability = Some(Durability::Memory);
        }
        settings.r = words.number("r").unwrap_or(1);
        settings.lease_ms = words.number("lease").unwrap_or(settings.lease_ms);
        settings.request_timeout_ms = words.number("timeout").unwrap_or(settings.request_timeout_ms);
        settings.log_bytes_max = words.number("log").unwrap_or(settings.log_bytes_max);
        if words.says("discard") {
            settings.unreplicated = Unreplicated::Discard as i32;
        }
        let members = (1..=n).map(|id| Member { id, incarnation: id.into() }).collect();
        self.record.config = Config { members, w: words.number("w").unwrap() };
        self.record.settings = settings;
        for id in 1..=n {
            self.world.start(id);
        }
    }

    fn serving(&mut self) {
        self.decide("seal", &Words::of("seal"));
        self.world.settle();
        self.decide("lead", &Words::of("lead 1"));
        // Followers learn of the first commit.
        self.world.pass(10_000);
        self.world.out.clear();
    }

    /// The operator's next record.
    fn decide(&mut self, command: &str, words: &Words<'_>) {
        let record = &mut self.record;
        record.version = words.number("version").unwrap_or(record.version + 1);
        if let Some(members) = words.values.get("members") {
            record.old = Some(record.config.clone());
            let incarnation = |id: &ReplicaId| self.world.machines[id].incarnation;
            record.config.members =
                ids(members).iter().map(|id| Member { id: *id, incarnation: incarnation(id) }).collect();
        }
        if let Some(w) = words.number("w") {
            record.old.get_or_insert_with(|| record.config.clone());
            record.config.w = w;
        }
        match command {
            "seal" => {
                if record.leader != 0 {
                    record.previous_leader = record.leader;
                }
                record.epoch = words.values.get("epoch").map_or(record.epoch.next(), |epoch| show::epoch_of(epoch));
                (record.phase, record.leader, record.handover) = (Phase::Sealing as i32, 0, 0);
            }
            "lead" => {
                record.epoch = words.values.get("epoch").map_or(record.epoch, |epoch| show::epoch_of(epoch));
                (record.phase, record.leader) = (Phase::Active as i32, words.id());
            }
            _ => record.handover = words.number("handover").unwrap_or(record.handover),
        }
        record.generation = words.number("gen").unwrap_or(record.generation);
        if words.says("done") {
            record.old = None;
        }
        let row = |id: &ReplicaId| Row { id: *id, name: format!("s-{}", id - 1), ..Row::default() };
        record.replicas = self.world.machines.keys().map(row).collect();
        let mut sent = record.clone();
        if let Some(epoch) = words.values.get("epoch").filter(|_| command == "record") {
            sent.epoch = show::epoch_of(epoch);
        }
        if let Some(store) = words.values.get("store") {
            sent.store = (*store).to_owned();
        }
        let all: Vec<ReplicaId> = self.world.machines.keys().copied().collect();
        self.world.tell(&sent, words.to.as_ref().unwrap_or(&all));
    }

    /// A message that its sender never sent.
    fn forge(&mut self, words: &Words<'_>) {
        let (from, to) = links(words.plain[0])[0];
        let epoch = words.values.get("epoch").map_or(Epoch::ZERO, |epoch| show::epoch_of(epoch));
        let message = match words.plain[1] {
            "ack" => {
                let sent_us = if words.says("lease") { self.world.now_us } else { 0 };
                Message::AppendAck(AppendAck {
                    epoch,
                    durable: words.number("durable").unwrap_or(0),
                    sent_us,
                    ..AppendAck::default()
                })
            }
            "append" => Message::Append(Append {
                epoch,
                previous: words.values.get("previous").map_or(Position::ZERO, |previous| show::position(previous)),
                commit: words.number("commit").unwrap_or(0),
                entries: Bytes::new(),
                sent_us: self.world.now_us,
                clock: 0,
                lease_ms: self.record.settings.lease_ms,
                unheard_ms: words.number("unheard").unwrap_or(0) as u32,
                ..Append::default()
            }),
            other => panic!("say: {other}"),
        };
        self.world.process(to).inbox.push_back(Arrival::Message(Peer::Replica(from), message));
    }

    /// What the replicas say of themselves.
    fn ask(&mut self, command: &str, words: &Words<'_>) {
        let now = |world: &World| trireme_replica::io::Now { mono_us: world.now_us, wall_ms: 0 };
        let running = |world: &World| -> Vec<(ReplicaId, trireme_proto::Report)> {
            let machines = world.machines.iter();
            machines.filter_map(|(id, m)| Some((*id, m.process.as_ref()?.replica.report(now(world))))).collect()
        };
        let reports = running(&self.world);
        match command {
            "state" => reports.iter().for_each(|(id, report)| self.world.say(&format!("{id} {}", show::state(report)))),
            "digests" => {
                let mut groups: BTreeMap<(u64, u64), Vec<String>> = BTreeMap::new();
                for (id, report) in &reports {
                    groups.entry((report.applied, report.digest)).or_default().push(id.to_string());
                }
                for ((applied, _), same) in groups {
                    self.world.say(&format!("at {applied}, with one digest: {}", same.join(" ")));
                }
            }
            "disks" => {
                let lines: Vec<String> =
                    self.world.machines.iter().map(|(id, m)| format!("{id} {}", m.disk.describe())).collect();
                lines.iter().for_each(|line| self.world.say(line));
            }
            _ => {
                let (id, report) = reports.iter().find(|(id, _)| *id == words.id()).unwrap();
                show::report(report).iter().for_each(|line| self.world.say(&format!("{id} {line}")));
            }
        }
    }
}

/// Plays a scenario: its text with what comes of it.
pub fn play(text: &str, file: &Path) -> String {
    let record = Topology { store: STORE.to_owned(), generation: 1, ..Topology::default() };
    let mut stage = Stage { world: World::at(START_US), record };
    let mut out = String::new();
    for line in text.lines().filter(|line| !line.starts_with('>')) {
        writeln!(out, "{line}").unwrap();
        if !line.trim().is_empty() && !line.starts_with('#') {
            let played = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| stage.line(line)));
            assert!(played.is_ok(), "{}: {line}", file.display());
        }
        for same in std::mem::take(&mut stage.world.out).chunk_by(|a, b| a == b) {
            match same {
                [one] => writeln!(out, "{one}").unwrap(),
                several => writeln!(out, "{} ({} times)", several[0], several.len()).unwrap(),
            }
        }
    }
    out
}
