//! What the demo shows.

use std::time::Duration;

use trireme_cli::{
    ledger::{Outcome, Survivors},
    output::{Screen, bytes, thousands},
    table::table,
};
use trireme_local::{Event, View};

use super::{Results, leaderless::Mended, regions::Healed};

/// The demo's screen.
#[derive(Debug)]
pub struct Show {
    screen: Screen,
}

impl Show {
    /// On standard output.
    pub fn new() -> Show {
        Show { screen: Screen::new() }
    }

    /// What will be done.
    pub fn title(&mut self, what: &str, summary: &str, dir: &str) {
        let title = self.screen.bold("trireme demo");
        self.screen.line(&format!("{title}  a store of separate processes; {what}"));
        self.screen.line("");
        self.screen.line(&format!("  {summary}"));
        let dir = self.screen.dim(dir);
        self.screen.line(&format!("  {dir}"));
        self.screen.line("");
    }

    /// Something to know about the machine.
    pub fn note(&mut self, note: &str) {
        self.screen.line(&format!("  note: {note}"));
    }

    /// The replicas and their roles.
    pub fn topology(&mut self, view: &View) {
        let s = &self.screen;
        let mut rows = vec![["  REPLICA", "ROLE", "CLIENTS AT", "PROCESS", "REGION"].map(|h| s.dim(h)).to_vec()];
        for r in &view.replicas {
            let role = if view.leads(&r.name) { s.good("leader") } else { r.role.clone() };
            let region = if r.region.is_empty() { "-" } else { &r.region };
            rows.push(vec![
                format!("  {}", s.name(&r.name)),
                role,
                r.address.to_string(),
                r.pid.to_string(),
                region.to_owned(),
            ]);
        }
        let text = table(&rows);
        self.screen.line(&text);
    }

    /// The load begins.
    pub fn load_begins(&mut self, clients: usize, replicas: usize) {
        self.screen.line(&format!(
            "  {clients} clients write to all {replicas} replicas; each waits for OK before its next write"
        ));
    }

    /// The live line; where nobody looks, a line a second.
    pub fn rate(&mut self, since: Duration, rate: u64, total: u64, view: &View, line: bool) {
        let leader = match (view.leaders.as_slice(), view.leaderless) {
            ([leader], _) => format!("leader {leader}"),
            ([_, ..], _) => format!("{} leaders", view.leaders.len()),
            ([], true) => "no leader".to_owned(),
            ([], false) => "leader none".to_owned(),
        };
        let ready = view.ready();
        let text = format!(
            "  {:5.1} s  {:>9} writes/s  {:>9} acknowledged   {leader}, {ready} of {} ready",
            since.as_secs_f64(),
            thousands(rate),
            thousands(total),
            view.replicas.len()
        );
        if self.screen.is_terminal() {
            let text = self.screen.bold(text);
            self.screen.live(&text);
        } else if line {
            self.screen.line(&text);
        }
    }

    /// The kill.
    pub fn killed(&mut self, victim: &str, pid: i32, (number, of): (u32, u32)) {
        let count = if of > 1 { format!("  (kill {number} of {of})") } else { String::new() };
        self.screen.line("");
        let text = self.screen.bad(format!("SIGKILL to {victim} (process {pid}){count}"));
        self.step(0, "kill", &text);
    }

    /// A line of the timeline.
    pub fn step(&mut self, ms: u64, stage: &str, text: &str) {
        let stage = self.screen.bold(format!("{stage:<9}"));
        self.screen.line(&format!("  {:>8}  {stage} {text}", format!("+{ms} ms")));
    }

    /// An event, timed from the kill. What is only waited for on the way is left out: the timeline shows when it came.
    pub fn event(&mut self, event: &Event, killed_ms: u64, view: &View) {
        let decision = event.get("decision").and_then(|d| d.as_str());
        let ms = event.at_ms.saturating_sub(killed_ms);
        let stage = match (event.kind(), decision) {
            (_, Some("waiting")) => return,
            ("ended", _) => "detected",
            ("started", _) => "restart",
            (_, Some("sealing")) => "seal",
            (_, Some("chosen")) => {
                self.promised(ms, event, view);
                "choice"
            }
            (_, Some("serving")) => "promoted",
            (_, Some("named")) => "named",
            _ => "",
        };
        self.step(ms, stage, event.message());
    }

    /// Who answered the seal, and what each holds.
    fn promised(&mut self, ms: u64, event: &Event, view: &View) {
        let position = |name: &str| view.status.replicas.iter().find(|r| r.name == name).map(|r| r.position.clone());
        let names = event.get("sealed").and_then(|s| s.as_array()).into_iter().flatten().filter_map(|n| n.as_str());
        let promises: Vec<String> =
            names.map(|name| format!("{name} (last entry {})", position(name).unwrap_or_default())).collect();
        self.step(ms, "promises", &promises.join(", "));
    }

    /// More happened than could be shown.
    pub fn missed(&mut self, events: u64) {
        self.screen.line(&format!("            ({events} more events)"));
    }

    /// Clients were served again.
    pub fn served_again(&mut self, after: Duration) {
        let text = self.screen.good("first write acknowledged to a client of a surviving replica");
        self.step(after.as_millis() as u64, "write", &text);
    }

    /// The killed replica is back.
    pub fn whole(&mut self, victim: &str, after: Duration, survivors: &Survivors) {
        let gap = survivors.gap.as_millis();
        let text = self.screen.good(format!("{victim} is back as a full member; the write gap was {gap} ms"));
        self.step(after.as_millis() as u64, "rejoined", &text);
    }

    /// The replica that was away was asked for what it had missed.
    pub fn asked(&mut self, after: Duration, m: &Mended) {
        let text = format!(
            "{} is back and is asked for {} keys that it missed: {} right; it lacked {}, and lacks {} now",
            m.replica, m.asked, m.right, m.lacked, m.lacks_still
        );
        let text = if m.right == m.asked { self.screen.good(text) } else { self.screen.bad(text) };
        self.step(after.as_millis() as u64, "reads", &text);
    }

    /// It lacks nothing any more.
    pub fn healed(&mut self, m: &Mended) {
        let text = self.screen.good(format!("{} lacks nothing: {}", m.replica, mending(m)));
        self.step(m.after.as_millis() as u64, "mended", &text);
    }

    /// A region is cut off.
    pub fn cut_off(&mut self, region: &str) {
        self.screen.line("");
        let text = self.screen.bad(format!("feeds with {region} are paused: it goes on by itself, as the others do"));
        self.screen.line(&format!("  {text}"));
    }

    /// What each region shows of the same keys.
    pub fn looks(&mut self, regions: &[String], names: &[&str], looks: &[Vec<String>]) {
        self.screen.line("  The same keys were written in all regions; each shows what it knows:");
        let s = &self.screen;
        let head = ["  COMMAND".to_owned()].into_iter().chain(regions.iter().map(|region| format!("IN {region}")));
        let mut rows = vec![head.map(|h| s.dim(h)).collect::<Vec<String>>()];
        for (name, values) in names.iter().zip(looks) {
            rows.push([format!("  {name}")].into_iter().chain(values.iter().cloned()).collect());
        }
        let text = table(&rows);
        self.screen.line(text.trim_end());
    }

    /// It is back, and all show the same.
    pub fn together(&mut self, healed: &Healed) {
        let ms = healed.after.as_millis();
        let text = self.screen.good(format!("{} is fed again: {ms} ms later all regions show the same", healed.region));
        self.screen.line(&format!("  {text}"));
        let rows = healed.looks.iter().map(|(name, _, end)| {
            [format!("  {name}")].into_iter().chain(end.iter().cloned()).collect::<Vec<String>>()
        });
        let text = table(&rows.collect::<Vec<_>>());
        self.screen.line(text.trim_end());
    }

    /// The check begins.
    pub fn checks(&mut self, acknowledged: u64, replicas: usize) {
        self.screen.line("");
        self.screen.line(&format!(
            "  The load has ended. Reading all {} acknowledged writes back from each of {replicas} replicas ...",
            thousands(acknowledged)
        ));
    }

    /// What the table says of a region that was away.
    fn converged(&self, results: &Results) -> Vec<(&'static str, String, String)> {
        let Some(healed) = &results.healed else { return Vec::new() };
        let mark = if healed.holds() { self.screen.good("ok") } else { self.screen.bad("FAILED") };
        let text = format!(
            "{} wrote the same keys as the others while apart; {} ms after it was fed again all regions show the same",
            healed.region,
            healed.after.as_millis()
        );
        vec![("converged", text, mark)]
    }

    /// What the table says of replicas that missed something.
    fn mended(&self, results: &Results) -> Vec<(&'static str, String, String)> {
        let s = &self.screen;
        let mark = |good: bool| if good { s.good("ok") } else { s.bad("FAILED") };
        let rows = results.mended.iter().flat_map(|m| {
            let reads = format!(
                "{} of {} right as soon as {} was back, which lacked {}; it lacks {} now",
                m.right, m.asked, m.replica, m.lacked, m.lacks_still
            );
            let deleted =
                format!("{} keys while {} was away, of which {} came back", m.deleted, m.replica, m.came_back);
            [
                ("reads at it", reads, mark(m.right == m.asked && m.lacks_still == 0)),
                ("repair", format!("{}, within {:.1} s of the kill", mending(m), m.after.as_secs_f64()), String::new()),
                ("deleted", deleted, mark(m.came_back == 0)),
            ]
        });
        rows.collect()
    }

    /// The table at the end.
    pub fn results(&mut self, results: &Results) {
        let s = &self.screen;
        let mark = |good: bool| if good { s.good("ok") } else { s.bad("FAILED") };
        let acknowledged = results.count(Outcome::Acknowledged);
        let errors: u64 = results.kills.iter().map(|k| k.errors).sum();
        let lost: u64 = results.found.iter().map(|(_, f)| f.lost).sum();
        let refused: u64 = results.found.iter().map(|(_, f)| f.refused_present).sum();
        let replicas = results.found.len();
        let verified: u64 = results.found.iter().map(|(_, f)| f.acknowledged - f.lost).sum();
        let present = results.found.first().map_or(0, |(_, f)| f.in_doubt_present);
        let v = &results.verification;
        let error = results.first_error.as_deref().map(|e| format!(" (the first: {e})")).unwrap_or_default();
        let rows = [
            ("write gap", gaps(results), String::new()),
            ("errors at survivors", format!("{errors}{error}"), mark(errors == 0)),
            ("acknowledged", thousands(acknowledged), mark(acknowledged > 0)),
            ("lost", lost.to_string(), mark(lost == 0)),
            (
                "in doubt",
                format!(
                    "{} (no answer from the killed process), of which {present} were done",
                    results.count(Outcome::InDoubt)
                ),
                String::new(),
            ),
            (
                "refused",
                format!("{}, of which {refused} were done", results.count(Outcome::Refused)),
                mark(refused == 0),
            ),
            (
                "verified",
                format!("{} reads: every acknowledged write on each of {replicas} replicas", thousands(verified)),
                mark(verified == acknowledged * replicas as u64),
            ),
            ("digests", digests(v), mark(v.holds())),
        ];
        let rows: Vec<Vec<String>> = rows
            .into_iter()
            .chain(self.mended(results))
            .chain(self.converged(results))
            .map(|(what, value, mark)| vec![format!("  {what}"), value, mark])
            .collect();
        let text = table(&rows);
        self.screen.line("");
        self.screen.line(text.trim_end());
        for missing in &v.missing {
            self.screen.line(&format!("  no digests from {missing}"));
        }
        self.screen.line("");
        let verdict = match results.hold() {
            true => self.screen.good("Nothing that was acknowledged is lost, and all replicas are the same."),
            false => self.screen.bad("A promise was broken: see FAILED above."),
        };
        self.screen.line(&format!("  {verdict}"));
    }
}

/// What mended it.
fn mending(m: &Mended) -> String {
    format!(
        "{} keys mended by its reads, {} by comparing slots, for which {} were moved",
        thousands(m.by_reads),
        thousands(m.by_slots),
        bytes(m.bytes)
    )
}

fn digests(v: &trireme_local::Verification) -> String {
    let mut text =
        format!("{} of 16,384 slots are the same on {} replicas", thousands(v.same.into()), v.replicas.len());
    if !v.different.is_empty() {
        text.push_str(&format!(", {} differ", v.different.len()));
    }
    if v.unsettled > 0 {
        text.push_str(&format!(", {} could not be compared", v.unsettled));
    }
    text
}

/// The gap of one kill, or the distribution of many.
fn gaps(results: &Results) -> String {
    let mut gaps: Vec<u128> = results.kills.iter().map(|k| k.gap.as_millis()).collect();
    gaps.sort_unstable();
    match gaps.as_slice() {
        [] => "none: nothing was killed".to_owned(),
        [gap] => {
            format!("{gap} ms: the longest wait of any client of a surviving replica, from the kill to the rejoin")
        }
        all => format!(
            "median {} ms, longest {} ms over {} kills: each the longest wait of any client of a surviving replica, from the kill to the rejoin",
            all[all.len() / 2],
            all[all.len() - 1],
            all.len()
        ),
    }
}
