//! One status of a store out of those of its groups.

use trireme_crds::{Condition, ConditionStatus, StorePhase, StoreStatus};

use super::lag;
use crate::{decision::list, plan::CHANGES_MAX};

/// How a store stands whose groups stand like this, each as [`super::status()`] says it, in order of the groups' numbers; the only one's as it is. `before` is
/// what was last made here, by this operator or an earlier one: what has not changed since goes on to hold since when it did.
///
/// Ready holds where it does for all groups, every other condition where it does for any; the message is that of the groups that decide, each after its
/// region unless all groups say the same.
pub fn merge(groups: &[StoreStatus], before: Option<&StoreStatus>) -> StoreStatus {
    let first = match groups {
        [] => return StoreStatus::default(),
        [only] => return only.clone(),
        // One that has left counts no replicas any more.
        [first, ..] => groups.iter().find(|group| group.n > 0).unwrap_or(first),
    };
    let leaders: Vec<&str> = groups.iter().map(|group| group.leader.as_str()).filter(|name| !name.is_empty()).collect();
    let replicas: Vec<_> = groups.iter().flat_map(|group| &group.replicas).cloned().collect();
    let serving = replicas.iter().filter(|replica| replica.member && replica.reachable).count();
    let mut failovers: Vec<_> = groups.iter().flat_map(|group| &group.failovers).cloned().collect();
    // Times are all written alike, so that their order is that of the texts.
    failovers.sort_by(|a, b| b.at.cmp(&a.at));
    failovers.truncate(CHANGES_MAX);
    let worst = groups.iter().map(|group| group.phase).max_by_key(|phase| badness(*phase));
    let kinds = first.conditions.iter().map(|condition| condition.kind.as_str());
    StoreStatus {
        phase: worst.unwrap_or_default(),
        observed_generation: groups.iter().map(|group| group.observed_generation).min().unwrap_or(0),
        n: first.n,
        w: first.w,
        r: first.r,
        ready: format!("{serving}/{}", groups.iter().map(|group| group.n).sum::<u32>()),
        leader: leaders.join(","),
        lag: lag(!leaders.is_empty(), false, &replicas),
        conditions: kinds.map(|kind| condition(kind, groups, before)).collect(),
        groups: groups.iter().flat_map(|group| &group.groups).cloned().collect(),
        replicas,
        failovers,
        // Whoever measures, and whoever takes requests up, adds these.
        slo: None,
        request: None,
    }
}

/// Which phase of one group is worse for a store than which: its clients in that region are served less, and longer.
fn badness(phase: StorePhase) -> u8 {
    match phase {
        StorePhase::Ready => 0,
        StorePhase::Degraded => 1,
        StorePhase::Creating => 2,
        StorePhase::FailingOver => 3,
        StorePhase::Down => 4,
    }
}

/// The region of a group: all its replicas are there.
fn region(group: &StoreStatus) -> &str {
    group.replicas.first().map_or("", |replica| replica.region.as_str())
}

/// One condition of the store.
fn condition(kind: &str, groups: &[StoreStatus], before: Option<&StoreStatus>) -> Condition {
    let of = |status: &StoreStatus| status.conditions.iter().find(|condition| condition.kind == kind).cloned();
    let all: Vec<(&str, Condition)> = groups.iter().filter_map(|group| Some((region(group), of(group)?))).collect();
    let any = |status: ConditionStatus| all.iter().any(|(_, condition)| condition.status == status);
    // Whichever of these a group says decides for the store.
    let (one, other) = match kind {
        "Ready" => (ConditionStatus::False, ConditionStatus::True),
        _ => (ConditionStatus::True, ConditionStatus::False),
    };
    let status = [one, ConditionStatus::Unknown].into_iter().find(|status| any(*status)).unwrap_or(other);
    let deciding: Vec<&(&str, Condition)> = all.iter().filter(|(_, condition)| condition.status == status).collect();
    // What is the same in every group has changed when the last of them did.
    let latest = all.iter().map(|(_, condition)| condition.last_transition_time.as_str()).max().unwrap_or_default();
    let kept = before.and_then(of).filter(|condition| condition.status == status);
    Condition {
        kind: kind.to_owned(),
        status,
        reason: deciding.first().map(|(_, condition)| condition.reason.clone()).unwrap_or_default(),
        message: message(&deciding, all.len()),
        observed_generation: all.iter().map(|(_, condition)| condition.observed_generation).min().unwrap_or(0),
        last_transition_time: kept.map_or_else(|| latest.to_owned(), |condition| condition.last_transition_time),
    }
}

/// What these of so many groups say: each message once, after the regions that say it, or alone where all do.
fn message(deciding: &[&(&str, Condition)], groups: usize) -> String {
    let mut said: Vec<(&str, Vec<String>)> = Vec::new();
    for (region, condition) in deciding {
        match said.iter_mut().find(|(message, _)| *message == condition.message) {
            Some((_, regions)) => regions.push((*region).to_owned()),
            None => said.push((&condition.message, vec![(*region).to_owned()])),
        }
    }
    let parts = said.iter().map(|(message, regions)| match regions.len() == groups {
        true => (*message).to_owned(),
        // What a region that has left says, names it.
        false if regions.iter().all(String::is_empty) => (*message).to_owned(),
        false => format!("{}: {message}", list(regions)),
    });
    parts.collect::<Vec<String>>().join("; ")
}
