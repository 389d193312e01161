//! The table as people read it.

use crate::parse::{Commands, Family, Row};

/// What stands before the families.
const HEAD: &str = "# What concurrent commands come to

<!-- Written from src/table.txt: UPDATE_GOLDEN=1 cargo test -p trireme-conflicts -->

Regions that do not hear each other for a while go on reading and writing; when they hear each other again, all of them come to hold the same. The rule
behind every row: **a command removes only what it has seen; what it has not seen survives.** Steps are in the order of their clocks; between two `sync`
nothing passes between regions. What is seen afterwards is seen in every region.

Each row is a test: in the simulation, with real processes (`operator/cli/tests/faults/conflicts.rs`), and on a cluster (`e2e/tests/live/conflicts.rs`).
The last column is what the documentation of Redis's active-active databases says of the same, in our words, and, where we differ on purpose, why; where it
is empty that documentation says nothing.

What has met is listed by `CONFLICTS`, with both values and why one is shown; `CONFLICTS KEY key` shows what a key holds beside what reads show of it.
With `conflicts: {list: NAME}` in the store's spec each region's leader also keeps the list `NAME:REGION` of them, for users to read.
";

/// The table in Markdown.
#[must_use]
pub fn markdown(families: &[Family]) -> String {
    let mut text = HEAD.to_owned();
    for family in families {
        text.push_str(&format!("\n## {}\n\n{}\n\n", family.name, family.merge));
        text.push_str(
            "| scenario | what happens | afterwards, everywhere | Redis's active-active |\n| --- | --- | --- | --- |\n",
        );
        for row in &family.rows {
            text.push_str(&line(row));
        }
    }
    text
}

fn line(row: &Row) -> String {
    let (mut happens, mut afterwards) = (Vec::new(), Vec::new());
    for (number, phase) in row.phases.iter().enumerate() {
        if number > 0 {
            happens.push("*sync*".to_owned());
        }
        for step in &phase.steps {
            let reply = step.reply.as_ref().map(|reply| format!(" → `{reply}`")).unwrap_or_default();
            happens.push(format!("{}: {}{reply}", step.region, code(&step.commands)));
        }
        let last = number + 1 == row.phases.len();
        for check in &phase.checks {
            let seen = format!("{} → `{}`", code(&check.commands), check.reply);
            if last {
                afterwards.push(seen);
            } else {
                happens.push(format!("*sync*, then everywhere {seen}"));
            }
        }
        // A look has said so.
        if !last && !phase.checks.is_empty() {
            happens.push(String::new());
        }
    }
    let happens: Vec<String> = tidy(happens);
    let redis = match (&row.redis, &row.differs) {
        (Some(redis), Some(differs)) => format!("{redis}. **Different here**: {differs}"),
        (Some(redis), None) => redis.clone(),
        _ => String::new(),
    };
    format!("| {} | {} | {} | {redis} |\n", row.name, happens.join("<br>"), afterwards.join("<br>"))
}

/// A sync that a look has told of is not told again.
fn tidy(lines: Vec<String>) -> Vec<String> {
    let mut tidy: Vec<String> = Vec::new();
    let mut told = false;
    for line in lines {
        if line.is_empty() {
            told = true;
        } else if !(told && line == "*sync*") {
            tidy.push(line);
            told = false;
        }
    }
    tidy
}

fn code(commands: &Commands) -> String {
    let plain = |word: &String| word.strip_prefix('@').unwrap_or(word).to_owned();
    let all: Vec<String> =
        commands.iter().map(|command| command.iter().map(plain).collect::<Vec<_>>().join(" ")).collect();
    format!("`{}`", all.join("; "))
}
