//! What a choice means where there is no leader.

use std::fmt;

use serde::Serialize;

use super::replicas;
use crate::{
    quorums::Quorums,
    store::{Durability, Mode, ReadRepair, Settled, WriteOrder},
};

/// What a choice means. [`fmt::Display`] says it to a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LeaderlessExplanation {
    /// The mode it is about.
    pub mode: Mode,
    /// Replicas.
    pub n: u32,
    /// Copies before OK.
    pub w: u32,
    /// Replicas that a read asks.
    pub r: u32,
    /// When a copy counts.
    pub durability: Durability,
    /// What orders writes.
    pub write_order: WriteOrder,
    /// When replicas get what a read found them to lack.
    pub read_repair: ReadRepair,
    /// Replicas that can be lost, with their disks, without losing an acknowledged write: w - 1.
    pub write_survives: u32,
    /// Members that a coordinator must reach, itself included, to write.
    pub writes_need: u32,
    /// Members that a coordinator must reach, itself included, to read.
    pub reads_need: u32,
    /// Replicas that can be down while writes go on.
    pub writes_go_on_with_down: u32,
    /// Replicas that can be down while reads go on.
    pub reads_go_on_with_down: u32,
    /// Whether each read asks a replica that has the latest acknowledged write.
    pub quorums_meet: bool,
    /// Whether each key is a linearizable register.
    pub linearizable: bool,
    /// Of how many equally likely choices of r replicas, this many miss a write that w have and no others.
    pub reads_that_may_miss: (u64, u64),
    /// The same in sentences, one per line.
    pub lines: Vec<String>,
}

/// Explains a choice. w and r outside 1 to n are taken as the nearest that is inside.
pub fn explain(settled: &Settled) -> LeaderlessExplanation {
    let n = settled.n.max(1);
    let q = Quorums { n, w: settled.w.clamp(1, n), r: settled.r.clamp(1, n), ..Quorums::of(settled) };
    let mut explanation = LeaderlessExplanation {
        mode: settled.mode,
        n,
        w: q.w,
        r: q.r,
        durability: settled.durability,
        write_order: q.order,
        read_repair: q.repair,
        write_survives: q.w - 1,
        writes_need: q.writes_need(),
        reads_need: q.reads_need(),
        writes_go_on_with_down: n - q.writes_need(),
        reads_go_on_with_down: n - q.reads_need(),
        quorums_meet: q.meet(),
        linearizable: is_linearizable(&q),
        reads_that_may_miss: q.misses(),
        lines: Vec::new(),
    };
    explanation.lines = lines(&explanation);
    explanation
}

/// With r = 1 a read asks nobody else, so there is nothing that it could repair: only where every replica has every acknowledged write is it the latest, and
/// then a write that is not acknowledged yet may be seen here and not there.
fn is_linearizable(q: &Quorums) -> bool {
    let repaired = q.repair == ReadRepair::Blocking && q.r > 1;
    q.n == 1 || (q.meet() && q.order == WriteOrder::Strict && repaired)
}

fn lines(e: &LeaderlessExplanation) -> Vec<String> {
    vec![write_line(e), survives_line(e), blocks_line(e), reads_line(e), order_line(e)]
}

fn write_line(e: &LeaderlessExplanation) -> String {
    let held = match e.durability {
        Durability::Disk => "on disk (fsync)",
        Durability::Memory => "in memory (disks follow within a second)",
    };
    if e.n == 1 {
        return format!("A write is acknowledged when the only replica has it {held}.");
    }
    format!(
        "Any of the {} takes writes and reads. A write is acknowledged when {} of {} {} it {held}.",
        replicas(e.n),
        e.w,
        e.n,
        if e.w == 1 { "has" } else { "have" }
    )
}

fn survives_line(e: &LeaderlessExplanation) -> String {
    match e.write_survives {
        0 => "Survives: an acknowledged write is only certain on 1 replica; if that one is lost with its disk before others have it, so is the write.".to_owned(),
        1 => "Survives: an acknowledged write survives the loss of any 1 replica with its disk.".to_owned(),
        lost => {
            format!("Survives: an acknowledged write survives the loss of any {} with their disks.", replicas(lost))
        }
    }
}

fn blocks_line(e: &LeaderlessExplanation) -> String {
    if e.n == 1 {
        return "Blocks: everything, while the replica is down.".to_owned();
    }
    let down = |down: u32| match down {
        0 => format!("stop while any 1 of the {} is down", e.n),
        down => format!("go on with {down} down"),
    };
    let copies = if e.w == 1 { "copy" } else { "copies" };
    let clocks = match (e.write_order, e.n + 1 - e.w) {
        (WriteOrder::Strict, 1) => format!(" (w = {} copies; its own clock is enough, n - w + 1 = 1)", e.w),
        (WriteOrder::Strict, clocks) => format!(" (w = {} {copies}, and n - w + 1 = {clocks} clocks before)", e.w),
        (WriteOrder::Clock, _) => format!(" (w = {} {copies})", e.w),
    };
    format!(
        "Blocks: nobody has to be chosen when a replica is lost. Writes need {} of {n}{clocks} and {}; reads need {} of {n} and {}. What reads before it writes (INCR, DEL, ...) needs both.",
        e.writes_need,
        down(e.writes_go_on_with_down),
        e.reads_need,
        down(e.reads_go_on_with_down),
        n = e.n
    )
}

fn reads_line(e: &LeaderlessExplanation) -> String {
    let sum = format!("w + r = {} + {} = {}", e.w, e.r, e.w + e.r);
    if e.n == 1 {
        return "Reads: never stale; there is one copy.".to_owned();
    }
    if !e.quorums_meet {
        return format!("Reads: {sum} is not more than n = {}: {}", e.n, odds(e.reads_that_may_miss, e.w, e.r));
    }
    let meet = format!(
        "Reads: {sum} is more than n = {}: each read asks a replica that has the latest acknowledged write",
        e.n
    );
    match (e.read_repair, e.r) {
        (_, 1) => format!(
            "{meet}, which is any; a write that is not acknowledged yet may be seen on one replica and not on the next."
        ),
        (ReadRepair::Blocking, _) => format!("{meet}, and what one read has shown every later one shows."),
        (ReadRepair::Async, _) => format!(
            "{meet}; what it finds stale is repaired after the answer, so that of two reads during a write the later one may show what is older."
        ),
        (ReadRepair::Off, _) => format!(
            "{meet}; reads repair nothing, so that of two reads during a write the later one may show what is older."
        ),
    }
}

fn order_line(e: &LeaderlessExplanation) -> String {
    let order = match e.write_order {
        WriteOrder::Strict => {
            "a write wins over each one that was acknowledged before it began, whatever the clocks say".to_owned()
        }
        WriteOrder::Clock => {
            "the later clock wins: a write that was acknowledged loses to an earlier one whose replica's clock is ahead"
                .to_owned()
        }
    };
    format!(
        "Order ({:?}): {order}; of writes at the same time the one with the later clock is read. {}",
        e.write_order,
        register(e)
    )
}

/// Whether a key is a linearizable register, and where it is not, the first reason, and what else would have to be chosen.
fn register(e: &LeaderlessExplanation) -> String {
    let why = match (e.quorums_meet, e.r, e.write_order) {
        _ if e.linearizable => return "Each key written with SET is a linearizable register.".to_owned(),
        (_, 1, _) => {
            "with r = 1 a read asks nobody else, so that even with w = n a write that is under way may be seen by one read and not by a later one elsewhere; r must be 2 or more"
        }
        (false, ..) => "w + r must be more than n",
        (_, _, WriteOrder::Clock) => "clocks are trusted; writeOrder must be Strict",
        _ => "a later read may show what is older; readRepair must be Blocking",
    };
    format!("No key is a linearizable register: {why}.")
}

/// The odds that a read misses a write, in words.
pub(crate) fn odds((missed, of): (u64, u64), w: u32, r: u32) -> String {
    let percent = (missed * 100 + of / 2) / of.max(1);
    format!(
        "a read that begins the moment a write is acknowledged misses it in up to {percent} of 100 cases ({missed} of {of} sets of {} include none of the {} that have it), and more seldom with every copy that arrives after; what is missed is older, not lost.",
        replicas(r),
        w
    )
}

impl fmt::Display for LeaderlessExplanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:?}, n = {}, w = {}, r = {}, durability {:?}, writeOrder {:?}, readRepair {:?}",
            self.mode, self.n, self.w, self.r, self.durability, self.write_order, self.read_repair
        )?;
        for line in &self.lines {
            writeln!(f, "  {line}")?;
        }
        Ok(())
    }
}
