//! `trireme status`: a running store as the resource's `.status` has it.

use trireme_crds::{ConditionStatus, StorePhase, StoreStatus};
use trireme_local::control::Control;

use super::Running;
use crate::output::{Failure, Output, Screen, put, table, thousands};

#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    running: Running,
}

pub async fn run(arguments: Arguments) -> Result<(), Failure> {
    let mut control = Control::connect(&arguments.running.dir).await.map_err(Failure::from_error)?;
    let status = control.status().await.map_err(Failure::from_error)?;
    match arguments.running.output {
        Output::Json => put(&format!("{}\n", serde_json::to_string(&status).map_err(Failure::from_error)?)),
        Output::Human => put(&text(&status, &Screen::new())),
    }
    Ok(())
}

/// The status for people.
pub fn text(status: &StoreStatus, screen: &Screen) -> String {
    let mut text = String::new();
    let phase = match status.phase {
        StorePhase::Ready => screen.good("Ready"),
        StorePhase::Down => screen.bad("Down"),
        other => screen.bold(format!("{other:?}")),
    };
    for group in &status.groups {
        let leader = if group.leader.is_empty() { "none" } else { &group.leader };
        text.push_str(&format!(
            "{phase}   leader {} {}   epoch {} {}   n={} w={}   a failover needs {} answers\n\n",
            screen.name(leader),
            if group.serving { "(serving)" } else { "(not serving)" },
            group.epoch,
            group.phase,
            group.n,
            group.w,
            group.seal_quorum
        ));
    }
    if status.groups.is_empty() {
        text.push_str(&format!("{phase}   nothing has been decided yet\n\n"));
    }
    text.push_str(&table(&replicas(status, screen)));
    for condition in status.conditions.iter().filter(|c| worth_reading(c)) {
        text.push_str(&format!("\n{}: {}\n", screen.bold(&condition.kind), condition.message));
    }
    if !status.failovers.is_empty() {
        text.push_str(&format!("\n{}", table(&failovers(status, screen))));
    }
    text
}

/// What is as it should be needs no words.
fn worth_reading(condition: &trireme_crds::Condition) -> bool {
    let good = if condition.kind == "Ready" { ConditionStatus::True } else { ConditionStatus::False };
    condition.status != good && !condition.message.is_empty()
}

fn replicas(status: &StoreStatus, screen: &Screen) -> Vec<Vec<String>> {
    let heads = ["REPLICA", "ROLE", "POSITION", "COMMIT", "LAG", "KEYS", "HEARD", "CLIENTS AT", "DIGEST"];
    let mut rows = vec![heads.map(|head| screen.dim(head)).to_vec()];
    for replica in &status.replicas {
        let heard = match (replica.reachable, replica.silent_ms) {
            (true, Some(ms)) => format!("{ms} ms ago"),
            (false, Some(ms)) => screen.bad(format!("silent {ms} ms")),
            (_, None) => screen.bad("never"),
        };
        let role = match (replica.role.as_str(), replica.member) {
            ("Leader", _) => screen.good("Leader"),
            (role, true) => role.to_owned(),
            (role, false) => format!("{role} (no member)"),
        };
        rows.push(vec![
            screen.name(&replica.name),
            role,
            replica.position.clone(),
            replica.commit.to_string(),
            lag(replica.lag_entries, replica.lag_ms),
            thousands(replica.keys),
            heard,
            replica.client_address.clone(),
            replica.digest.clone(),
        ]);
    }
    rows
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

fn failovers(status: &StoreStatus, screen: &Screen) -> Vec<Vec<String>> {
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
    let mut rows = vec![heads.map(|head| screen.dim(head)).to_vec()];
    let ms = |value: Option<u64>| value.map_or_else(|| "-".to_owned(), |ms| format!("{ms} ms"));
    let name = |name: &str| if name.is_empty() { "-".to_owned() } else { name.to_owned() };
    for f in &status.failovers {
        let forced = if f.forced { " (forced)" } else { "" };
        rows.push(vec![
            f.at.clone(),
            name(&f.from),
            name(&f.to),
            f.epoch.clone(),
            ms(f.active_ms),
            ms(f.write_gap_ms),
            f.at_risk.to_string(),
            f.recovered.to_string(),
            if f.lost > 0 { screen.bad(f.lost) } else { "0".to_owned() },
            format!("{}{forced}", f.cause),
        ]);
    }
    rows
}
