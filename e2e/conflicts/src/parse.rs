//! The table as it is read: its form is at the head of `table.txt`.

use std::collections::BTreeSet;

use crate::{Expected, REGIONS};

/// Commands, each as words.
pub type Commands = Vec<Vec<String>>;

/// A family of commands.
#[derive(Clone, Debug, Default)]
pub struct Family {
    /// Its name.
    pub name: String,
    /// How concurrent updates of it merge.
    pub merge: String,
    /// Its scenarios.
    pub rows: Vec<Row>,
}

/// One scenario.
#[derive(Clone, Debug, Default)]
pub struct Row {
    /// Its name.
    pub name: String,
    /// What Redis's documentation says of it.
    pub redis: Option<String>,
    /// Why we differ.
    pub differs: Option<String>,
    /// What happens until a sync, and what is seen then, one after the other.
    pub phases: Vec<Phase>,
}

/// Steps while the regions are apart, and what they all answer when they have come together.
#[derive(Clone, Debug, Default)]
pub struct Phase {
    /// The steps, each later than those before.
    pub steps: Vec<Step>,
    /// What is asked of every region then.
    pub checks: Vec<Check>,
    synced: bool,
}

/// Commands in one region.
#[derive(Clone, Debug)]
pub struct Step {
    /// Where.
    pub region: String,
    /// Which.
    pub commands: Commands,
    /// What the last one answers.
    pub reply: Option<Expected>,
}

/// Commands that every region answers in the same way.
#[derive(Clone, Debug)]
pub struct Check {
    /// Which.
    pub commands: Commands,
    /// What the last one answers.
    pub reply: Expected,
}

/// Reads a table.
///
/// # Errors
/// A line that cannot be read: its number, and why.
pub fn parse(text: &str) -> Result<Vec<Family>, String> {
    let mut families: Vec<Family> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        read_line(&mut families, line).map_err(|why| format!("line {}: {why}: {line}", number + 1))?;
    }
    check(&families)?;
    Ok(families)
}

fn read_line(families: &mut Vec<Family>, line: &str) -> Result<(), String> {
    let (word, rest) = line.split_once(':').map_or((line, ""), |(word, rest)| (word, rest.trim()));
    if word == "family" {
        families.push(Family { name: rest.to_owned(), ..Family::default() });
        return Ok(());
    }
    let family = families.last_mut().ok_or("before the first family")?;
    match word {
        "merge" => family.merge = rest.to_owned(),
        "row" => family.rows.push(Row { name: rest.to_owned(), ..Row::default() }),
        _ => {
            let row = family.rows.last_mut().ok_or("before the first row")?;
            read_in_row(row, word, rest)?;
        }
    }
    Ok(())
}

fn read_in_row(row: &mut Row, word: &str, rest: &str) -> Result<(), String> {
    let (commands, reply) = match rest.split_once(" => ") {
        Some((commands, reply)) => (commands, Some(Expected::parse(reply)?)),
        None => (rest, None),
    };
    let commands = || -> Commands {
        commands.split(';').map(|command| command.split_whitespace().map(str::to_owned).collect()).collect()
    };
    match word {
        "redis" => row.redis = Some(rest.to_owned()),
        "differs" => row.differs = Some(rest.to_owned()),
        "sync" => {
            let phase = row.phases.last_mut().filter(|phase| !phase.synced).ok_or("nothing has happened")?;
            phase.synced = true;
        }
        "all" => {
            let phase = row.phases.last_mut().filter(|phase| phase.synced).ok_or("before a sync")?;
            phase.checks.push(Check { commands: commands(), reply: reply.ok_or("without what is expected")? });
        }
        region if REGIONS.contains(&region) => {
            if row.phases.last().is_none_or(|phase| phase.synced) {
                row.phases.push(Phase::default());
            }
            let step = Step { region: region.to_owned(), commands: commands(), reply };
            row.phases.last_mut().ok_or("no phase")?.steps.push(step);
        }
        _ => return Err("no such word or region".to_owned()),
    }
    Ok(())
}

fn check(families: &[Family]) -> Result<(), String> {
    let mut names = BTreeSet::new();
    for family in families {
        if family.merge.is_empty() || family.rows.is_empty() {
            return Err(format!("family {}: say how it merges, and give it a row", family.name));
        }
        for row in &family.rows {
            let last = row.phases.last();
            if last.is_none_or(|phase| !phase.synced || phase.checks.is_empty()) {
                return Err(format!("row {}: it ends without a sync, or without a look", row.name));
            }
            if row.differs.is_some() && row.redis.is_none() {
                return Err(format!("row {}: it differs from nothing", row.name));
            }
            if !names.insert(&row.name) {
                return Err(format!("row {}: there are two", row.name));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "family: f\nmerge: so\nrow: r\n";

    #[test]
    fn rows_have_phases() {
        let text =
            format!("{HEAD}  eu: SET @k 1; GET @k => \"1\"\n  sync\n  us: DEL @k\n  sync\n  all: GET @k => nil\n");
        let families = parse(&text).unwrap();
        let row = &families[0].rows[0];
        assert_eq!((row.phases.len(), row.phases[0].checks.len(), row.phases[1].checks.len()), (2, 0, 1));
        assert_eq!(row.phases[0].steps[0].commands, [vec!["SET", "@k", "1"], vec!["GET", "@k"]]);
    }

    #[test]
    fn a_line_that_cannot_be_read_is_named() {
        for (text, why) in [
            ("row: r".to_owned(), "line 1: before the first family"),
            ("family: f\n eu: GET @k".to_owned(), "line 2: before the first row"),
            (format!("{HEAD} mars: GET @k"), "line 4: no such word or region"),
            (format!("{HEAD} all: GET @k => nil"), "line 4: before a sync"),
            (format!("{HEAD} sync"), "line 4: nothing has happened"),
            (format!("{HEAD} eu: GET @k => what"), "line 4: no reply"),
            (format!("{HEAD} eu: GET @k\n sync\n all: GET @k"), "line 6: without what is expected"),
            (format!("{HEAD} eu: GET @k\n"), "row r: it ends without a sync"),
            (format!("{HEAD} differs: so\n eu: GET @k\n sync\n all: GET @k => nil"), "row r: it differs from nothing"),
        ] {
            let found = parse(&text).unwrap_err();
            assert!(found.starts_with(why), "{found}");
        }
    }
}
