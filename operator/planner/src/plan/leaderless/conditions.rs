//! What users are told where there is no leader: which quorum is lost, reads, writes or both, for whom, and who is missing.

use trireme_crds::ConditionStatus;
use trireme_proto::{Report, Topology};

use super::{
    Reach,
    change::{of, quorums},
    coordinators,
    members::{heard, quarantined},
    reaches,
};
use crate::{
    decision::list,
    desired::QUARANTINE,
    plan::{
        Turn,
        conditions::{missing_machines, say_missing, shortfalls},
    },
};

/// Clocks that differ by more than this are worth a word.
const CLOCK_WORTH_MS: u64 = 1_000;
/// Messages of a clock that is further ahead are refused.
const CLOCK_REFUSED_MS: u64 = 5_000;

/// Whether the coordinator can (write, read).
fn able(record: &Topology, reach: &Reach<'_>) -> (bool, bool) {
    let now = quorums(record);
    let (mut writes, mut reads) = (reach.now >= now.writes_need() as usize, reach.now >= now.reads_need() as usize);
    if let Some(old) = &record.old {
        let q = of(old, record);
        writes &= reach.old >= q.writes_need() as usize;
        reads &= reach.old >= q.reads_need() as usize;
    }
    (writes, reads)
}

/// Ready and Degraded, from what is heard.
pub(super) fn standing(turn: &mut Turn<'_>, record: &Topology) {
    let coordinators = coordinators(turn, record);
    let (n, q) = (record.config.members.len(), quorums(record));
    let missing = unheard(turn, record, &coordinators);
    if coordinators.is_empty() {
        let any = record.config.members.iter().any(|m| heard(turn, record, m.id).is_some());
        let what = match any {
            true => format!("no member takes commands yet; waiting for {}", list(&missing)),
            false => format!("no member is heard, so it is not known who serves; missing {}", list(&missing)),
        };
        match any {
            true => turn.waiting("NobodyCoordinates", &what),
            false => turn.condition("Ready", ConditionStatus::Unknown, "ReplicasUnseen", what),
        }
        return degraded(turn, record, &coordinators);
    }
    let all: Vec<(bool, bool)> = coordinators.iter().map(|c| able(record, c)).collect();
    let (writes, reads) = (all.iter().any(|a| a.0), all.iter().any(|a| a.1));
    let reached = coordinators.iter().map(|c| c.now).max().unwrap_or(0);
    let (needs_w, needs_r) = (q.writes_need(), q.reads_need());
    let numbers = format!(
        "{reached} of {n} members reach each other, writes need {needs_w} (w = {}), reads {needs_r} (r = {}); missing {}{}",
        q.w,
        q.r,
        list(&missing),
        apart(turn, record).map_or_else(String::new, |names| format!(", quarantined {names}"))
    );
    if writes && reads {
        let names = turn.names(coordinators.iter().zip(&all).filter(|(_, a)| a.0 && a.1).map(|(c, _)| c.report.id));
        turn.condition(
            "Ready",
            ConditionStatus::True,
            "Serving",
            format!("reads and writes are served by {}", list(&names)),
        );
    } else {
        let (reason, what) = match (writes, reads) {
            (_, true) => ("WritesLost", "writes are refused, reads go on"),
            (true, _) => ("ReadsLost", "reads are refused, writes that read nothing go on"),
            _ => ("QuorumsLost", "reads and writes are refused"),
        };
        turn.waiting(reason, &format!("{what}: {numbers}"));
    }
    degraded(turn, record, &coordinators);
}

/// Names of the replicas that are quarantined, if any are.
fn apart(turn: &Turn<'_>, record: &Topology) -> Option<String> {
    let names = turn.names(record.replicas.iter().filter(|row| row.quarantined).map(|row| row.id));
    (!names.is_empty()).then(|| list(&names))
}

/// Names of members that are not heard, or take no commands although they should.
fn unheard(turn: &Turn<'_>, record: &Topology, coordinators: &[Reach<'_>]) -> Vec<String> {
    let apart = |id| quarantined(record, id) && heard(turn, record, id).is_some();
    let able = |id| coordinators.iter().any(|c| c.report.id == id) || apart(id);
    turn.names(record.config.members.iter().filter(|m| !able(m.id)).map(|m| m.id))
}

/// What is missing, whether or not the rest serves.
fn degraded(turn: &mut Turn<'_>, record: &Topology, coordinators: &[Reach<'_>]) {
    let mut what = Vec::new();
    let missing = unheard(turn, record, coordinators);
    if !missing.is_empty() {
        what.push(format!("{} cannot be reached, or takes no commands", list(&missing)));
    }
    for reach in coordinators {
        what.extend(cut_off(turn, record, coordinators, reach));
    }
    what.extend(apart(turn, record).map(|names| {
        format!("quarantined as asked, so that no quorum counts on it, until the annotation {QUARANTINE} no longer says so: {names}")
    }));
    what.extend(shortfalls(turn, record));
    what.extend(clocks(turn, record));
    what.extend(missing_machines(turn, record));
    say_missing(turn, &what, "every replica is a member and reaches every other");
}

/// What a coordinator cannot do that others can, because it does not reach those that are heard.
fn cut_off(turn: &Turn<'_>, record: &Topology, coordinators: &[Reach<'_>], reach: &Reach<'_>) -> Option<String> {
    let heard = |id| coordinators.iter().any(|c| c.report.id == id);
    let lacking = record.config.members.iter().filter(|m| heard(m.id) && !reaches(reach.report, m)).map(|m| m.id);
    let lacking = turn.names(lacking);
    if lacking.is_empty() {
        return None;
    }
    let then = match able(record, reach) {
        (true, true) => "",
        (false, true) => ": it refuses writes",
        (true, false) => ": it refuses reads",
        (false, false) => ": it refuses reads and writes",
    };
    Some(format!("{} does not reach {}{then}", turn.name(reach.report.id), list(&lacking)))
}

/// Clocks that differ too much.
fn clocks(turn: &Turn<'_>, record: &Topology) -> Option<String> {
    let reports = record.config.members.iter().filter_map(|m| heard(turn, record, m.id));
    let worst: &Report = reports.max_by_key(|report| report.clock_offset_ms)?;
    // A clock that is behind shows as others ahead of it, there: what is ahead is certain, what seems behind may just have had nothing to say.
    let ms = u64::try_from(worst.clock_offset_ms).unwrap_or(0);
    if ms <= CLOCK_WORTH_MS {
        return None;
    }
    let refused = match ms > CLOCK_REFUSED_MS {
        true => format!(", more than the {} s beyond which messages are refused", CLOCK_REFUSED_MS / 1_000),
        false => String::new(),
    };
    // In whole seconds: what is said should not change with every look.
    let seconds = ms.div_ceil(1_000);
    Some(format!(
        "another replica's clock is ahead of the one of {} by up to {seconds} s{refused}",
        turn.name(worst.id)
    ))
}

/// Replicas that have received the same and are not the same; or that found so themselves.
pub(crate) fn diverged(turn: &mut Turn<'_>, record: &Topology) {
    let reports: Vec<&Report> = record.config.members.iter().filter_map(|m| heard(turn, record, m.id)).collect();
    let parts = |report: &Report| {
        let mut parts: Vec<_> = report.received.iter().map(|p| (p.origin, p.upto, p.gaps)).collect();
        parts.sort_unstable();
        parts
    };
    let same = |a: &Report, b: &Report| {
        let (a, b) = (parts(a), parts(b));
        !a.is_empty() && a == b && a.iter().all(|(.., gaps)| *gaps == 0)
    };
    let mut what = Vec::new();
    for (i, a) in reports.iter().enumerate() {
        for b in
            reports[i + 1..].iter().filter(|b| same(a, b) && a.digest != b.digest && a.digest != 0 && b.digest != 0)
        {
            what.push(format!("{} and {} have received the same and differ", turn.name(a.id), turn.name(b.id)));
        }
        let (found, keys) = (a.counters.digest_mismatches, a.keys);
        if found > 0 {
            what.push(format!(
                "{} ({keys} keys) has found {found} slots to differ at the same position",
                turn.name(a.id)
            ));
        }
    }
    if !what.is_empty() {
        what.push(format!(
            "`trireme verify` names the slots, and the annotation {QUARANTINE} keeps a replica out of all quorums"
        ));
        turn.condition("Diverged", ConditionStatus::True, "DigestsDiffer", what.join("; "));
    }
}
