//! `status`: a store as the resource's `.status` has it, on one screen.

use trireme_crds::{
    ConditionStatus, StorePhase, StoreStatus,
    status::{Asked, FeedStatus, GroupStatus, Outcome, ReplicaStatus, RequestStatus},
};

use crate::{
    history::{from_rfc3339, rfc3339},
    output::{Failure, Output, Screen, json_line, put, thousands},
    peers,
    store::Store,
};

/// Shows it.
///
/// # Errors
/// Where the store does not answer.
pub async fn run(store: &mut impl Store, output: Output) -> Result<(), Failure> {
    let status = store.look().await?;
    match output {
        Output::Json => put(&json_line(&status)?),
        Output::Text => put(&text(&status, &Screen::new())),
    }
    Ok(())
}

/// The status for people.
pub fn text(status: &StoreStatus, screen: &Screen) -> String {
    let mut text = String::new();
    let phase = phase(status.phase, screen);
    let regions = status.groups.len() > 1;
    if regions {
        let (n, w) = (status.n, status.w);
        text.push_str(&format!(
            "{phase}   {} regions, each with a leader; n={n} w={w} in each\n\n",
            status.groups.len()
        ));
    }
    for group in &status.groups {
        if regions {
            text.push_str(&region(group, screen));
        } else {
            text.push_str(&format!("{phase}   {}\n", leadership(status, group, screen)));
            text.push_str(&behind(group, screen));
        }
        if !group.old_members.is_empty() {
            let until = if group.r.is_some() { "hold what these hold" } else { "have committed" };
            text.push_str(&format!(
                "the members until now, {}, count too until the new ones, {}, {until}\n",
                group.old_members.join(", "),
                group.members.join(", ")
            ));
        }
        text.push('\n');
    }
    if status.groups.is_empty() {
        text.push_str(&format!("{phase}   nothing has been decided yet\n\n"));
    }
    text.push_str(&replicas(status, screen));
    text.push_str(&peers::repairs(status, screen));
    text.push_str(peers::what_goes_on(status));
    text.push_str(&crate::slo::budgets(status, screen));
    for condition in status.conditions.iter().filter(|c| worth_reading(c)) {
        let kind = if condition.kind == "Ready" && condition.status == ConditionStatus::False {
            "Not ready"
        } else {
            &condition.kind
        };
        text.push_str(&format!("\n{}: {}\n", screen.bold(kind), condition.message));
    }
    if let Some(request) = &status.request {
        text.push_str(&format!("\n{}\n", asked(request, screen)));
    }
    if !status.failovers.is_empty() {
        text.push_str(&format!("\n{}", failovers(status, screen)));
    }
    text
}

/// One word for the whole, in the colour that it deserves.
pub fn phase(phase: StorePhase, screen: &Screen) -> String {
    match phase {
        StorePhase::Ready => screen.good("Ready"),
        StorePhase::Down => screen.bad("Down"),
        other => screen.bold(format!("{other:?}")),
    }
}

fn leadership(status: &StoreStatus, group: &GroupStatus, screen: &Screen) -> String {
    if let Some(r) = group.r {
        return peers::standing(status, group, r, screen);
    }
    let leader = if group.leader.is_empty() { "none" } else { &group.leader };
    format!(
        "leader {} {}   epoch {} {}   n={} w={}   a failover needs {} answers",
        screen.name(leader),
        if group.serving { "(serving)" } else { "(not serving)" },
        group.epoch,
        group.phase,
        group.n,
        group.w,
        group.seal_quorum
    )
}

/// A region: who leads it, and how far the others are behind what it wrote.
fn region(group: &GroupStatus, screen: &Screen) -> String {
    let leader = if group.leader.is_empty() { "none" } else { &group.leader };
    let serving = if group.serving { screen.good("serving") } else { screen.bad("not serving") };
    let name = screen.bold(&group.region);
    let first = format!("{name}: leader {} ({serving})   epoch {} {}\n", screen.name(leader), group.epoch, group.phase);
    first + &behind(group, screen)
}

/// How far other regions, and edges, are behind what was written in this one: a line for each kind.
fn behind(group: &GroupStatus, screen: &Screen) -> String {
    let how = |feed: &FeedStatus| match (feed.reachable, feed.lag_entries) {
        (true, 0) => format!("{} has everything", feed.region),
        (true, lag) => {
            let progress =
                crate::lag::catching_up(feed).map(|progress| format!(", catching up: {progress}")).unwrap_or_default();
            let (lag, ms) = (thousands(lag), thousands(feed.lag_ms));
            format!("{} is {lag} entries ({ms} ms) behind{progress}", feed.region)
        }
        (false, lag) if feed.edge => format!("{} is away, {} entries behind", feed.region, thousands(lag)),
        (false, lag) => screen.bad(format!("{} is not reached, {} entries behind", feed.region, thousands(lag))),
    };
    let line = |edges: bool, begin: &str| {
        let feeds: Vec<String> = group.feeds.iter().filter(|feed| feed.edge == edges).map(how).collect();
        if feeds.is_empty() { String::new() } else { format!("  {begin}{}\n", feeds.join(", ")) }
    };
    line(false, "") + &line(true, "edges: ")
}

/// What is as it should be needs no words.
fn worth_reading(condition: &trireme_crds::Condition) -> bool {
    let good = if condition.kind == "Ready" { ConditionStatus::True } else { ConditionStatus::False };
    condition.status != good && !condition.message.is_empty()
}

fn asked(request: &RequestStatus, screen: &Screen) -> String {
    let what = match request.asked {
        Asked::Switchover => "switchover",
        Asked::Promote => "promotion",
        Asked::PromoteForce => "forced promotion",
    };
    let to = if request.replica.is_empty() { "a follower" } else { &request.replica };
    let outcome = match request.outcome {
        Outcome::Pending => screen.bold("pending"),
        Outcome::Done => screen.good("done"),
        Outcome::Refused => screen.bad("refused"),
    };
    let at = from_rfc3339(&request.at).map_or_else(|| request.at.clone(), rfc3339);
    let message = if request.message.is_empty() { String::new() } else { format!(": {}", request.message) };
    format!("{} of {at}: {what} to {to}: {outcome}{message}", screen.bold("Last request"))
}

fn replicas(status: &StoreStatus, screen: &Screen) -> String {
    if status.groups.iter().any(|group| group.r.is_some()) {
        return peers::replicas(status, screen);
    }
    let heads = ["REPLICA", "ROLE", "POSITION", "COMMIT", "LAG", "KEYS", "HEARD", "CLIENTS AT", "DIGEST"];
    let row = |replica: &ReplicaStatus| {
        vec![
            screen.name(&replica.name),
            role(replica, screen),
            dash(&replica.position),
            replica.commit.to_string(),
            lag(replica.lag_entries, replica.lag_ms),
            thousands(replica.keys),
            heard(replica, screen),
            dash(&replica.client_address),
            digest(replica, status, screen),
        ]
    };
    screen.table(&heads, &status.replicas.iter().map(row).collect::<Vec<_>>())
}

pub(crate) fn role(replica: &ReplicaStatus, screen: &Screen) -> String {
    let role = match (replica.role.as_str(), replica.member) {
        ("Leader", _) => screen.good("Leader"),
        ("Peer", true) => screen.good("Peer"),
        // It is a member, and counts for nothing as long as a person says so.
        ("Quarantined", _) => screen.bad("Quarantined"),
        (role, true) => role.to_owned(),
        (role, false) => format!("{role} (no member)"),
    };
    let disk = if replica.disk_full { format!(", {}", screen.bad("disk full")) } else { String::new() };
    format!("{role}{disk}")
}

/// Where only a cluster's operator knows when, that it was heard at all is what counts.
pub(crate) fn heard(replica: &ReplicaStatus, screen: &Screen) -> String {
    match (replica.reachable, replica.silent_ms) {
        (true, Some(ms)) => format!("{ms} ms ago"),
        (true, None) => "yes".to_owned(),
        (false, Some(ms)) => screen.bad(format!("silent {ms} ms")),
        (false, None) => screen.bad("never"),
    }
}

/// Replicas that have applied the same must have the same digest.
pub(crate) fn digest(replica: &ReplicaStatus, status: &StoreStatus, screen: &Screen) -> String {
    match status.digest_differs(replica) {
        true => screen.bad(format!("{} DIFFERS", replica.digest)),
        false => dash(&replica.digest),
    }
}

/// What is not known, or not there.
pub(crate) fn dash(text: &str) -> String {
    if text.is_empty() { "-".to_owned() } else { text.to_owned() }
}

/// How far a replica is behind, in few words.
pub fn lag(entries: Option<u64>, ms: Option<u64>) -> String {
    match (entries, ms) {
        (Some(0), _) => "0".to_owned(),
        (Some(entries), Some(ms)) => format!("{} ({ms} ms)", thousands(entries)),
        (Some(entries), None) => thousands(entries),
        (None, _) => "-".to_owned(),
    }
}

/// The latest changes of leader.
pub fn failovers(status: &StoreStatus, screen: &Screen) -> String {
    let heads = [
        "LAST CHANGES OF LEADER",
        "FROM",
        "TO",
        "EPOCH",
        "SERVING AFTER",
        "WRITE GAP",
        "AT RISK",
        "RECOVERED",
        "LOST",
        "CAUSE",
    ];
    let ms = |value: Option<u64>| value.map_or_else(|| "-".to_owned(), |ms| format!("{ms} ms"));
    let row = |f: &trireme_crds::status::FailoverStatus| {
        let forced = if f.forced { " (forced)" } else { "" };
        vec![
            f.at.clone(),
            dash(&f.from),
            dash(&f.to),
            f.epoch.clone(),
            ms(f.active_ms),
            ms(f.write_gap_ms),
            f.at_risk.to_string(),
            f.recovered.to_string(),
            if f.lost > 0 { screen.bad(f.lost) } else { "0".to_owned() },
            format!("{}{forced}", f.cause),
        ]
    };
    screen.table(&heads, &status.failovers.iter().map(row).collect::<Vec<_>>())
}
