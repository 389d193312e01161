//! What n, w, r, durability and policy mean: what survives, what blocks, what may be stale, what a failover needs. In numbers and plain words.

use std::fmt;

use serde::Serialize;

use crate::store::{Durability, Mode, Policy, Settled};

pub use leaderless::LeaderlessExplanation;
pub use multi_leader::MultiLeaderExplanation;

pub mod leaderless;
pub mod multi_leader;

/// What a store means, whatever its mode.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Meaning {
    /// One with a leader.
    Group(Explanation),
    /// One with a leader in each region.
    MultiLeader(MultiLeaderExplanation),
    /// One without.
    Leaderless(LeaderlessExplanation),
}

/// Explains a store.
pub fn meaning(s: &Settled) -> Meaning {
    let mut meaning = match s.mode {
        Mode::Leaderless => Meaning::Leaderless(leaderless::explain(s)),
        Mode::MultiLeader => Meaning::MultiLeader(multi_leader::explain(s)),
        Mode::SingleLeader => Meaning::Group(explain(s.mode, s.n, s.w, s.r, s.durability, s.policy)),
    };
    let lines = match &mut meaning {
        Meaning::Group(explanation) => &mut explanation.lines,
        Meaning::MultiLeader(explanation) => &mut explanation.each.lines,
        Meaning::Leaderless(explanation) => &mut explanation.lines,
    };
    lines.extend(s.slo.map(|slo| slo.explain()));
    meaning
}

impl fmt::Display for Meaning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Meaning::Group(explanation) => explanation.fmt(f),
            Meaning::MultiLeader(explanation) => explanation.fmt(f),
            Meaning::Leaderless(explanation) => explanation.fmt(f),
        }
    }
}

/// What a choice means. [`fmt::Display`] says it to a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// The mode it is about.
    pub mode: Mode,
    /// Replicas.
    pub n: u32,
    /// Copies before OK.
    pub w: u32,
    /// Replicas that confirm a read.
    pub r: u32,
    /// When a copy counts.
    pub durability: Durability,
    /// What a failover does when too few members answer.
    pub policy: Policy,
    /// Replicas that can be lost, with their disks, without losing an acknowledged write: w - 1.
    pub write_survives: u32,
    /// Replicas that can be down while writes go on without a change of the configuration.
    pub writes_go_on_with_down: u32,
    /// Members that must answer for a failover that cannot lose anything: n - w + 1.
    pub failover_needs: u32,
    /// Replicas, the leader among them, that can be lost so that a failover still comes by itself and loses nothing.
    pub failover_with_down: u32,
    /// Members that the leader must hear from to answer: w, or a majority where w = 1.
    pub lease_needs: u32,
    /// Whether a client of a follower can read what is older than an acknowledged write.
    pub follower_reads_may_be_stale: bool,
    /// The same in sentences, one per line.
    pub lines: Vec<String>,
}

/// Explains a choice. The numbers are those of one group; w and r outside 1 to n are taken as the nearest that is inside.
pub fn explain(mode: Mode, n: u32, w: u32, r: u32, durability: Durability, policy: Policy) -> Explanation {
    let n = n.max(1);
    let (w, r) = (w.clamp(1, n), r.clamp(1, n));
    let lease_needs = if w == 1 { n / 2 + 1 } else { w };
    let failover_needs = n - w + 1;
    let mut explanation = Explanation {
        mode,
        n,
        w,
        r,
        durability,
        policy,
        write_survives: w - 1,
        writes_go_on_with_down: n - lease_needs,
        failover_needs,
        failover_with_down: n - failover_needs,
        lease_needs,
        follower_reads_may_be_stale: r == 1 && n > 1,
        lines: Vec::new(),
    };
    explanation.lines = lines(&explanation);
    explanation
}

fn replicas(count: u32) -> String {
    match count {
        0 => "no replica".to_owned(),
        1 => "1 replica".to_owned(),
        many => format!("{many} replicas"),
    }
}

fn lines(e: &Explanation) -> Vec<String> {
    let mut lines =
        vec![write_line(e), survives_line(e), blocks_line(e), failover_line(e), policy_line(e), reads_line(e)];
    lines.retain(|line| !line.is_empty());
    lines
}

fn write_line(e: &Explanation) -> String {
    let held = match e.durability {
        Durability::Disk => "have it on disk (fsync)",
        Durability::Memory => "have it in memory (disks follow within a second)",
    };
    match (e.n, e.w) {
        (1, _) => format!("A write is acknowledged when the only replica {}.", held.replacen("have", "has", 1)),
        (_, 1) => format!(
            "A write is acknowledged when the leader alone {}: asynchronous replication.",
            held.replacen("have", "has", 1)
        ),
        (n, w) if n == w => format!("A write is acknowledged when all {n} replicas {held}: synchronous replication."),
        (n, w) => format!("A write is acknowledged when {w} of {n} replicas {held}."),
    }
}

fn survives_line(e: &Explanation) -> String {
    let power = match e.durability {
        Durability::Disk => "",
        Durability::Memory => {
            " If that many more machines lose power within the same second, the last second of writes is lost."
        }
    };
    match e.write_survives {
        0 => format!(
            "Survives: an acknowledged write is only certain on 1 replica; if that one is lost with its disk, so are its latest writes.{power}"
        ),
        lost => {
            format!("Survives: an acknowledged write survives the loss of any {} with its disk.{power}", replicas(lost))
        }
    }
}

fn blocks_line(e: &Explanation) -> String {
    let (n, hears) = (e.n, e.lease_needs);
    let then = match e.policy {
        Policy::PreferAvailable if n > 1 => {
            " Past that, the leader goes on with those it hears after giveUpAfter; the members and w are then lowered, and it is said."
        }
        _ => "",
    };
    match e.writes_go_on_with_down {
        0 if n == 1 => "Blocks: everything, while the replica is down.".to_owned(),
        0 => format!(
            "Blocks: writes stop while any 1 of the {n} replicas is down; the leader must hear {hears} of {n}.{then}"
        ),
        down => format!(
            "Blocks: writes go on with {down} down, and stop with {}; the leader must hear {hears} of {n}, itself included.{then}",
            down + 1
        ),
    }
}

fn failover_line(e: &Explanation) -> String {
    if e.n == 1 {
        return "Failover: there is nobody to fail over to; it goes on when the replica is back.".to_owned();
    }
    let (n, w, needs) = (e.n, e.w, e.failover_needs);
    match e.failover_with_down {
        0 => format!(
            "Failover: to lose nothing it needs n - w + 1 = {n} - {w} + 1 = {needs} members, which is all of them, the lost leader included."
        ),
        down => format!(
            "Failover: needs n - w + 1 = {n} - {w} + 1 = {needs} members, so it comes by itself and loses nothing with up to {down} down."
        ),
    }
}

fn policy_line(e: &Explanation) -> String {
    match (e.n, e.policy) {
        (1, _) => String::new(),
        (_, Policy::NeverLose) => format!(
            "With fewer than {} (NeverLose): it stays down, says who is missing, and waits for them or for a person.",
            e.failover_needs
        ),
        (_, Policy::PreferAvailable) => format!(
            "With fewer than {} (PreferAvailable): after giveUpAfter it goes on with the best of those that answer, unless those that are missing could still be led; what is at risk is counted, and recovered when the old leader returns.",
            e.failover_needs
        ),
    }
}

fn reads_line(e: &Explanation) -> String {
    match (e.n, e.r) {
        (1, _) => "Reads: never stale; there is one copy.".to_owned(),
        (_, 1) => "Reads (r = 1): each replica answers from its own state: never stale at the leader; a follower may answer what is older than an acknowledged write, by the lag that status shows, but never what is older than the connection has seen. With r = 2 or more followers ask the leader.".to_owned(),
        (_, r) => format!("Reads: confirmed (r = {r}): followers ask the leader, so what they answer is never stale."),
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:?}, n = {}, w = {}, r = {}, durability {:?}, {:?}",
            self.mode, self.n, self.w, self.r, self.durability, self.policy
        )?;
        for line in &self.lines {
            writeln!(f, "  {line}")?;
        }
        Ok(())
    }
}
