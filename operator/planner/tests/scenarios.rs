//! Scenarios as text, one per file of `scenarios/`, named after what it shows: what is observed, step by step, and after each `plan` what was decided.
//!
//! ```text
//! store n=3 w=2 [policy=PreferAvailable] [giveUp=1000] [replaceLostAfter=60000] [paused]   what is wanted; may come again
//! at 1000                                                 the monotonic clock, in milliseconds
//! see 2 life=9 boot=1 promise=1 last=1/5 lease=200 silence=1200 silent=1500 disk-full leaving drained   what a replica says (what is left out stays)
//! see 2 cut-off=1 lag=500 outdated=1 stopped=1 machine-gone=1                                         and what is seen of it
//! obey [2 3]         these replicas (or all that are there) do what the record says, and report it
//! serve              the leader serves, and its followers have everything
//! end 1, gone 1, back 1    the process ended for sure; it cannot be heard; it is back as a new process, as it is wanted
//! reach 1            the leader reaches only these
//! ask promote 2 [force], ask switchover 2
//! forget             the operator starts anew
//! store leaderless n=3 w=2 r=2                              no leader; then
//! store leaderless n=3 quarantine=s-2                        who is to count for no quorum
//! meet [1 2]         these replicas (or all that are there) reach each other and nobody else, and hold all that any of them does
//! wrote 1 7          replica 1 has taken 7 writes in all under its name, which nobody else has received yet
//! see 3 life=9 empty, see 3 whole=0 spent=1 offset=6000 digest=7 learner    its disk is new and empty; what else it says
//! see 3 address=10.0.9.3                                      it has been given another address
//! plan               plans, prints, and writes the record; status    shows the replicas
//!
//! store leaders regions=eu,us n=3 w=2                       a leader in each region: all the above is about one of them, at first the first
//! in us              from here on it is about this one; without a name about the only group
//! see 1 feed=2:0 feed=3:-7                                  the leader reaches group 2, which lacks nothing, and not group 3, which lacks 7 entries
//! store leaders regions=eu,us pauseFeeds=us                  whose feeds with all others are paused
//! store leaders regions=eu givenUp=us                        and which region is not waited for when it leaves
//! see 1 holds=2.1:40 feed=2:0:5 closed                       what the leader holds of a group's generation; what it lacks of another's; it writes no more
//! left s-us-0                                                what is still there of a group that is gone
//! store leaders regions=eu,us home=at:eu                     keys that begin with `at` are written in eu
//! see 1 settled=3 own=7                                       the leader executes by version 3 of the record, and its group has 7 entries of its own
//! whole              shows the status of the store that its groups' make together
//! ```
//!
//! `UPDATE_GOLDEN=1` writes the answers anew; read the difference before you keep it.

#![allow(clippy::unwrap_used)] // Helpers of tests: clippy's exception knows only functions that are tests themselves.

mod support;
mod words;

use std::{collections::BTreeMap, fmt::Write, fs, path::Path};

use trireme_crds::{
    ConditionStatus, Durability, HomeRegion, Mode, Policy, ReplicatedStoreSpec, StoreStatus, store::Region,
};
use trireme_planner::{Desired, Elsewhere, GIVE_UP, HumanRequest, Memory, Observed, PAUSE_FEEDS, Process, Seen, plan};
use trireme_proto::{
    Epoch, Origin, Position, Report, Topology,
    report::{FeedReport, FollowerReport, OriginSeq, Role},
    topology::{self, Phase},
};

use words::CALM;

struct Stage {
    desired: Desired,
    observed: Observed,
    memory: Memory,
    now: u64,
}

fn desired(words: &[&str], records: &[Topology]) -> Vec<Desired> {
    let value = |key: &str| words.iter().find_map(|word| word.strip_prefix(key));
    let regions: Vec<Region> =
        value("regions=").iter().flat_map(|v| v.split(',')).map(|name| Region { name: name.to_owned() }).collect();
    let mut spec = ReplicatedStoreSpec::new(match () {
        () if words.contains(&"leaderless") => Mode::Leaderless,
        () if words.contains(&"leaders") => Mode::MultiLeader,
        () => Mode::SingleLeader,
    });
    spec.regions = regions;
    spec.home_regions = value("home=")
        .and_then(|home| home.split_once(':'))
        .map(|(prefix, region)| HomeRegion {
            prefix: Some(prefix.to_owned()),
            tag: None,
            region: region.to_owned(),
            when_unreachable: None,
        })
        .into_iter()
        .collect();
    spec.n = value("n=").map(|v| v.parse().unwrap());
    spec.w = value("w=").map(|v| v.parse().unwrap());
    spec.r = value("r=").map(|v| v.parse().unwrap());
    spec.durability = words.contains(&"memory").then_some(Durability::Memory);
    let annotations = [("pauseFeeds=", PAUSE_FEEDS), ("givenUp=", GIVE_UP)];
    let annotations: Vec<(&str, &str)> =
        annotations.iter().filter_map(|(key, name)| Some((*name, value(key)?))).collect();
    let mut groups = support::groups(spec, &annotations, records);
    for desired in &mut groups {
        match value("policy=") {
            Some("PreferAvailable") => desired.failover.policy = Policy::PreferAvailable,
            Some("NeverLose") => desired.failover.policy = Policy::NeverLose,
            other => assert_eq!(other, None),
        }
        desired.quarantine = value("quarantine=").map_or_else(Vec::new, |v| v.split(',').map(str::to_owned).collect());
        desired.paused = words.contains(&"paused");
        desired.failover.replace_lost_after_ms = value("replaceLostAfter=").map(|ms| ms.parse().unwrap());
        if let Some(ms) = value("giveUp=") {
            desired.failover.give_up_after_ms = ms.parse().unwrap();
        }
    }
    groups
}

fn epoch(number: u64) -> Epoch {
    Epoch { number, proposer: 0 }
}

impl Stage {
    fn seen(&mut self, id: u32) -> &mut Seen {
        self.observed.replicas.entry(id).or_insert_with(|| Seen {
            process: Process::Running,
            connected: true,
            silent_ms: 0,
            report: Some(Report { id, incarnation: u64::from(id), boot: u64::from(id), ..Report::default() }),
            outdated: false,
            stopped: false,
            unready: false,
            machine_gone: false,
            peer_address: Some(format!("10.0.0.{id}:7600")),
            client_address: Some(format!("10.0.0.{id}:6379")),
        })
    }

    fn report(&mut self, id: u32) -> &mut Report {
        self.seen(id).report.as_mut().unwrap()
    }

    fn see(&mut self, words: &[&str]) {
        let id: u32 = words[0].parse().unwrap();
        self.seen(id);
        for word in &words[1..] {
            let (key, value) = word.split_once('=').unwrap_or((word, "1"));
            let number = || value.parse::<u64>().unwrap();
            match key {
                "silent" => self.seen(id).silent_ms = number(),
                "life" => self.report(id).incarnation = number(),
                "boot" => self.report(id).boot = number(),
                "promise" => self.report(id).promise = epoch(number()),
                "last" => {
                    let (e, seq) = value.split_once('/').unwrap();
                    self.report(id).last = Position { epoch: epoch(e.parse().unwrap()), seq: seq.parse().unwrap() };
                }
                "version" => self.report(id).topology_version = number(),
                "led" => self.report(id).led_before = Some(epoch(number())),
                "lease" => self.report(id).lease_remaining_ms = number() as u32,
                "silence" => self.report(id).leader_silence_ms = number() as u32,
                "disk-full" => self.report(id).disk_full = true,
                "leaving" => self.report(id).leaving = true,
                "drained" => self.report(id).drained = true,
                "cut-off" => self.report(id).leader_link_closed = number() != 0,
                "outdated" => self.seen(id).outdated = number() != 0,
                "stopped" => self.seen(id).stopped = number() != 0,
                "unready" => self.seen(id).unready = number() != 0,
                "machine-gone" => self.seen(id).machine_gone = number() != 0,
                "feed" => {
                    let (group, lag) = value.split_once(':').unwrap();
                    let (lag, lacks) = lag.split_once(':').unwrap_or((lag, "0"));
                    let (reachable, lag) = (!lag.starts_with('-'), lag.trim_start_matches('-').parse().unwrap());
                    let feed = FeedReport {
                        group: group.parse().unwrap(),
                        reachable,
                        lag_entries: lag,
                        lag_ms: lag,
                        lacks: lacks.parse().unwrap(),
                        ..FeedReport::default()
                    };
                    let feeds = &mut self.report(id).feeds;
                    feeds.retain(|before| before.group != feed.group);
                    feeds.push(feed);
                }
                "holds" => {
                    let (origin, upto) = value.split_once(':').unwrap();
                    let (group, generation) = origin.split_once('.').unwrap();
                    let origin = Origin { group: group.parse().unwrap(), generation: generation.parse().unwrap() };
                    let received = &mut self.report(id).received;
                    received.retain(|seen| seen.origin != origin);
                    received.push(OriginSeq { origin, upto: upto.parse().unwrap(), gaps: 0 });
                }
                "closed" => self.report(id).closed = number() != 0,
                "address" => {
                    let seen = self.seen(id);
                    seen.peer_address = Some(format!("{value}:7600"));
                    seen.client_address = Some(format!("{value}:6379"));
                }
                "lag" => {
                    let leader = self.observed.record.as_ref().unwrap().leader;
                    let last = self.report(leader).last.seq;
                    let follower = self.report(leader).followers.iter_mut().find(|f| f.id == id).unwrap();
                    follower.lag_entries = number();
                    follower.acknowledged = last.saturating_sub(number());
                }
                "snapshot" => {
                    let leader = self.observed.record.as_ref().unwrap().leader;
                    let follower = self.report(leader).followers.iter_mut().find(|f| f.id == id).unwrap();
                    (follower.snapshot_slots, follower.acknowledged) = (Some(number() as u32), 0);
                }
                "not-serving" => self.report(id).serving = false,
                "idle" => self.report(id).role = Role::Idle as i32,
                "learner" => self.report(id).role = Role::Learner as i32,
                "empty" => {
                    let report = self.report(id);
                    let (incarnation, boot) = (report.incarnation, report.boot);
                    *report = Report { id, incarnation, boot, ..Report::default() };
                }
                "whole" => self.report(id).whole = number() != 0,
                "spent" => self.report(id).origin_spent = number() != 0,
                "settled" => self.report(id).settled_version = number(),
                "own" => {
                    let group = self.desired.group;
                    let origin = Origin { group, generation: self.observed.record.as_ref().unwrap().generation };
                    self.report(id).received = vec![OriginSeq { origin, upto: number(), gaps: 0 }];
                }
                "offset" => self.report(id).clock_offset_ms = value.parse().unwrap(),
                "digest" => self.report(id).digest = number(),
                other => panic!("see: {other}"),
            }
        }
    }

    fn obey(&mut self, words: &[&str]) {
        let record = self.observed.record.clone().unwrap();
        let active = record.phase == Phase::Active as i32;
        let ids: Vec<u32> = match words {
            [] => self.observed.replicas.iter().filter(|(_, seen)| seen.alive()).map(|(id, _)| *id).collect(),
            some => some.iter().map(|id| id.parse().unwrap()).collect(),
        };
        for id in ids {
            let report = self.report(id);
            let before = report.promise;
            report.promise = record.epoch;
            report.topology_version = record.version;
            report.leader_silence_ms = 0;
            report.leader_link_closed = false;
            if record.settings.mode() == topology::Mode::Leaderless {
                self.obey_as_peer(id, &record);
                continue;
            }
            let member = record.config.has(id, report.incarnation);
            report.role = match (active, active && id == record.leader && member) {
                (false, _) => Role::Idle,
                (true, true) => Role::Leader,
                (true, false) => {
                    if member {
                        Role::Follower
                    } else {
                        Role::Learner
                    }
                }
            } as i32;
            if report.role == Role::Leader as i32 && report.last.epoch < record.epoch {
                report.last = Position { epoch: record.epoch, seq: report.last.seq + 1 };
            }
            if report.role != Role::Leader as i32 || before < record.epoch {
                (report.serving, report.drained) = (false, false);
                report.followers.clear();
            }
        }
    }

    /// What a replica of a store without a leader says once it knows the record.
    fn obey_as_peer(&mut self, id: u32, record: &Topology) {
        let row = record.replica(id).cloned().unwrap_or_default();
        let report = self.report(id);
        let member = record.config.has(id, report.incarnation);
        let known = row.incarnation == report.incarnation;
        report.role = match (member, known) {
            (true, _) => Role::Peer,
            (_, true) => Role::Learner,
            _ => Role::Idle,
        } as i32;
        (report.serving, report.whole, report.origin_spent) =
            (member && known && !row.quarantined, member || report.whole, false);
        let origin = Origin { group: id, generation: row.generation };
        if known && !report.received.iter().any(|part| part.origin == origin) {
            report.received.push(OriginSeq { origin, upto: 0, gaps: 0 });
        }
    }

    fn wrote(&mut self, id: u32, upto: u64) {
        let generation = self.observed.record.as_ref().unwrap().replica(id).unwrap().generation;
        let origin = Origin { group: id, generation };
        let part = self.report(id).received.iter_mut().find(|part| part.origin == origin).unwrap();
        part.upto = upto;
    }

    fn meet(&mut self, only: &[&str]) {
        let among = |id: &u32| only.is_empty() || only.contains(&id.to_string().as_str());
        let ids: Vec<u32> =
            self.observed.replicas.iter().filter(|(id, s)| s.alive() && among(id)).map(|(id, _)| *id).collect();
        let mut all: BTreeMap<Origin, u64> = BTreeMap::new();
        for part in ids.iter().flat_map(|id| self.observed.replicas[id].report.as_ref().unwrap().received.clone()) {
            let upto = all.entry(part.origin).or_default();
            *upto = part.upto.max(*upto);
        }
        let lives: Vec<(u32, u64)> =
            self.observed.replicas.iter().map(|(id, s)| (*id, s.report.as_ref().unwrap().incarnation)).collect();
        for id in &ids {
            let report = self.report(*id);
            report.received =
                all.iter().map(|(origin, upto)| OriginSeq { origin: *origin, upto: *upto, gaps: 0 }).collect();
            report.followers = lives
                .iter()
                .filter(|(other, _)| other != id)
                .map(|(other, life)| FollowerReport {
                    id: *other,
                    incarnation: *life,
                    reachable: ids.contains(other),
                    ..FollowerReport::default()
                })
                .collect();
            report.whole = true;
        }
    }

    fn serve(&mut self, only: &[&str]) {
        let record = self.observed.record.clone().unwrap();
        let last = self.report(record.leader).last;
        let mut followers = Vec::new();
        for (id, seen) in &mut self.observed.replicas {
            let reachable = seen.alive() && (only.is_empty() || only.contains(&id.to_string().as_str()));
            let report = seen.report.as_mut().unwrap();
            if *id != record.leader {
                if reachable {
                    report.last = last;
                }
                let acknowledged = if reachable { last.seq } else { 0 };
                let lag = if reachable { 0 } else { last.seq };
                followers.push(FollowerReport {
                    id: *id,
                    incarnation: report.incarnation,
                    reachable,
                    acknowledged,
                    lag_entries: lag,
                    ..FollowerReport::default()
                });
            }
        }
        let leader = self.report(record.leader);
        leader.followers = followers;
        leader.commit = last.seq;
        leader.serving = true;
    }

    fn line(&mut self, line: &str) -> String {
        let words: Vec<&str> = line.split_whitespace().collect();
        let id = || words[1].parse::<u32>().unwrap();
        match words[0] {
            "see" => self.see(&words[1..]),
            "obey" => self.obey(&words[1..]),
            "serve" => self.serve(&[]),
            "meet" => self.meet(&words[1..]),
            "wrote" => self.wrote(id(), words[2].parse().unwrap()),
            "reach" => self.serve(&words[1..]),
            "end" => {
                let seen = self.seen(id());
                (seen.process, seen.connected) = (Process::Ended, false);
            }
            "gone" => self.seen(id()).connected = false,
            "back" => {
                let seen = self.seen(id());
                (seen.process, seen.connected, seen.silent_ms) = (Process::Running, true, 0);
                (seen.outdated, seen.stopped, seen.machine_gone) = (false, false, false);
                let report = self.report(id());
                report.boot += 100;
                (report.role, report.serving, report.leaving) = (Role::Idle as i32, false, false);
            }
            "ask" => {
                let replica = words[2].parse().unwrap();
                self.observed.requests.push(match words[1] {
                    "promote" => HumanRequest::Promote { replica, force: words.get(3) == Some(&"force") },
                    "switchover" => HumanRequest::Switchover { to: replica },
                    other => panic!("ask {other}"),
                });
            }
            "plan" => return self.plan(),
            "status" => return words::replicas(&self.status()),
            other => panic!("{other}"),
        }
        String::new()
    }

    fn status(&self) -> StoreStatus {
        trireme_planner::status(&self.desired, &self.observed, &self.memory, self.now, self.now)
    }

    fn plan(&mut self) -> String {
        let plan = plan(&self.desired, &self.observed, &mut self.memory, self.now);
        self.observed.requests.clear();
        let mut out = String::new();
        for decision in &plan.decisions {
            writeln!(out, "> {decision}").unwrap();
        }
        if let Some(record) = &plan.record {
            writeln!(out, "> record {}", words::record(record)).unwrap();
        }
        if !plan.tell.is_empty() {
            writeln!(out, "> tell {:?}", plan.tell).unwrap();
        }
        if let Some(replica) = plan.restart {
            writeln!(out, "> restart {replica}").unwrap();
        }
        if let Some(replica) = plan.replace {
            writeln!(out, "> replace {replica}").unwrap();
        }
        let kinds: Vec<&str> = plan.conditions.iter().map(|c| c.kind.as_str()).collect();
        assert_eq!(
            kinds,
            ["Ready", "Progressing", "Degraded", "ConfigurationWarning", "Paused", "RolloutStalled", "Diverged"]
        );
        let ready = plan.conditions[0].status == ConditionStatus::True;
        for c in
            plan.conditions.iter().filter(|c| !CALM.contains(&c.reason.as_str()) && (ready || c.kind != "Degraded"))
        {
            writeln!(out, "> {} {:?} {}: {}", c.kind, c.status, c.reason, c.message).unwrap();
        }
        writeln!(out, "> recheck in {} ms", plan.recheck_ms.unwrap()).unwrap();
        if plan.record.is_some() {
            self.observed.record = plan.record;
        }
        out
    }
}

/// A store: one stage for each of its groups, by region.
struct World {
    words: Vec<String>,
    stages: BTreeMap<String, Stage>,
    /// Records of groups that have ended, whose regions have others since.
    ended: Vec<Topology>,
    region: String,
    now: u64,
    shown: Option<StoreStatus>,
}

impl World {
    fn groups(&self) -> Vec<Desired> {
        let now = self.stages.values().filter_map(|stage| stage.observed.record.clone());
        let records: Vec<Topology> = now.chain(self.ended.iter().cloned()).collect();
        desired(&self.words.iter().map(String::as_str).collect::<Vec<_>>(), &records)
    }

    /// The stage of a region, with what is wanted and known now.
    fn stage(&mut self, region: &str) -> &mut Stage {
        let groups = self.groups();
        let desired = groups.into_iter().find(|group| group.region == region);
        // The store's only group becomes one of a region, and the last region's the only one.
        let same = |stage: &Stage| {
            stage.observed.record.as_ref().map(|record| record.group) == desired.as_ref().map(|d| d.group)
        };
        let was = self.stages.iter().find(|(_, stage)| same(stage)).map(|(was, _)| was.clone());
        if let Some(stage) = was.filter(|was| was != region).and_then(|was| self.stages.remove(&was)) {
            self.stages.insert(region.to_owned(), stage);
        }
        let others = self.stages.iter().filter(|(other, _)| *other != region);
        let known = |seen: &Seen| Elsewhere {
            alive: seen.alive(),
            report: seen.report.clone(),
            peer: seen.peer_address.clone(),
            client: seen.client_address.clone(),
        };
        let elsewhere: BTreeMap<u32, Elsewhere> = others
            .flat_map(|(_, stage)| &stage.observed.replicas)
            .filter(|(_, seen)| seen.connected)
            .map(|(id, seen)| (*id, known(seen)))
            .collect();
        let desired = desired.unwrap_or_else(|| panic!("no region {region}"));
        let before = self.stages.get(region).and_then(|stage| stage.observed.record.clone());
        if let Some(record) = before.filter(|record| record.group != desired.group) {
            self.ended.push(record);
            self.stages.remove(region);
        }
        let stage = self.stages.entry(region.to_owned()).or_insert_with(|| Stage {
            desired: desired.clone(),
            observed: Observed::default(),
            memory: Memory::default(),
            now: 0,
        });
        (stage.desired, stage.now) = (desired, self.now);
        (stage.observed.elsewhere, stage.observed.wall_ms) = (elsewhere, self.now);
        stage
    }

    fn line(&mut self, line: &str) -> String {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[0] {
            "store" => {
                self.words = words[1..].iter().map(|word| (*word).to_owned()).collect();
                let groups = self.groups();
                if !groups.iter().any(|group| group.region == self.region) {
                    self.region.clone_from(&groups[0].region);
                }
            }
            "at" => self.now = words[1].parse().unwrap(),
            "in" => words.get(1).copied().unwrap_or_default().clone_into(&mut self.region),
            "left" => {
                let region = self.region.clone();
                self.stage(&region).observed.remains = words[1..].iter().map(|word| (*word).to_owned()).collect();
            }
            "forget" => self.stages.values_mut().for_each(|stage| stage.memory = Memory::default()),
            "whole" => {
                let regions: Vec<String> = self.groups().into_iter().map(|group| group.region).collect();
                let statuses: Vec<StoreStatus> = regions.iter().map(|region| self.stage(region).status()).collect();
                let merged = trireme_planner::merge(&statuses, self.shown.as_ref());
                let text = words::store(&merged);
                self.shown = Some(merged);
                return text;
            }
            _ => {
                let region = self.region.clone();
                return self.stage(&region).line(line);
            }
        }
        String::new()
    }
}

fn play(text: &str) -> String {
    let words = ["n=3", "w=2"].map(str::to_owned).to_vec();
    let mut world =
        World { words, stages: BTreeMap::new(), ended: Vec::new(), region: String::new(), now: 0, shown: None };
    let mut out = String::new();
    for line in text.lines().filter(|line| !line.starts_with('>')) {
        writeln!(out, "{line}").unwrap();
        if !line.trim().is_empty() && !line.starts_with('#') {
            out += &world.line(line);
        }
    }
    out
}

#[test]
fn scenarios() {
    let folder = Path::new(&std::env::var("CARGO_MANIFEST_DIR").unwrap()).join("tests/scenarios");
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 10);
    let mut wrong = String::new();
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let found = play(&text);
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&file, &found).unwrap();
        } else if found != text {
            writeln!(wrong, "{}:\n{found}", file.display()).unwrap();
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}
