//! What came out, as a table that a README can hold.

use std::path::Path;

/// The line after which the table stands in the README.
pub const BEGIN: &str = "<!-- bench: written by `trireme-bench compare --write-readme`, not by hand -->";
/// The line before which it ends.
pub const END: &str = "<!-- end of bench -->";

/// A row.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// What was measured.
    pub what: String,
    /// What Trireme did.
    pub ours: String,
    /// What the peer did, and who it is; empty where there is none.
    pub peer: String,
    /// The ratio within a round: median, least and greatest.
    pub ratio: String,
    /// What should come out; empty for what is only compared.
    pub goal: String,
    /// Whether it did.
    pub reached: Option<bool>,
    /// Whatever went wrong during the runs.
    pub errors: Vec<String>,
}

/// The table with the line above it.
pub fn markdown(heading: &str, rows: &[Row]) -> String {
    let mut text = format!(
        "{heading}\n\n| what | Trireme | peer | ratio, median (min–max) | goal |\n| --- | --- | --- | --- | --- |\n"
    );
    for row in rows {
        text.push_str(&line(row, ""));
    }
    for row in rows.iter().filter(|row| !row.errors.is_empty()) {
        text.push_str(&format!("\nErrors in \"{}\": {}.\n", row.what, row.errors.join("; ")));
    }
    text
}

/// A row as a line; `when` stands behind what Trireme did.
fn line(row: &Row, when: &str) -> String {
    let mark = match row.reached {
        Some(true) => ": reached",
        Some(false) => ": **not reached**",
        None => "",
    };
    let Row { what, ours, peer, ratio, goal, .. } = row;
    format!("| {what} | {ours}{when} | {peer} | {ratio} | {goal}{mark} |\n")
}

/// Puts some rows into the table that a file has, in the place of those that have their names or behind all others, with this date.
///
/// # Errors
/// When there is no table, the file cannot be read or written, or a row's name tells nothing without the one above it.
pub fn write_some(file: &Path, rows: &[Row], date: &str) -> Result<(), String> {
    let name = file.display();
    if let Some(row) = rows.iter().find(|row| row.what.starts_with("the same")) {
        return Err(format!("'{}' stands for another row above it: measure all rows to write it", row.what));
    }
    let text = std::fs::read_to_string(file).map_err(|error| format!("{name}: {error}"))?;
    let table = text.split_once(BEGIN).and_then(|(_, rest)| rest.split_once(END)).map(|(table, _)| table);
    let table = table.ok_or_else(|| format!("{name} has no lines `{BEGIN}` and `{END}`"))?;
    write_between(file, &with_rows(table, rows, date))
}

fn with_rows(table: &str, rows: &[Row], date: &str) -> String {
    let mut lines: Vec<String> = table.trim().lines().map(|line| format!("{line}\n")).collect();
    for row in rows {
        let new = line(row, &format!(" ({date})"));
        let begin = format!("| {} |", row.what);
        match lines.iter_mut().find(|line| line.starts_with(&begin)) {
            Some(old) => *old = new,
            None => {
                let end = lines.iter().rposition(|line| line.starts_with("| ")).map_or(lines.len(), |last| last + 1);
                lines.insert(end, new);
            }
        }
    }
    lines.concat()
}

/// Replaces what stands between the two lines in a file.
///
/// # Errors
/// When the lines are not there, or the file cannot be read or written.
pub fn write_between(file: &Path, table: &str) -> Result<(), String> {
    let name = file.display();
    let text = std::fs::read_to_string(file).map_err(|error| format!("{name}: {error}"))?;
    let replaced = replace(&text, table).ok_or_else(|| format!("{name} has no lines `{BEGIN}` and `{END}`"))?;
    std::fs::write(file, replaced).map_err(|error| format!("{name}: {error}"))
}

fn replace(text: &str, table: &str) -> Option<String> {
    let (before, rest) = text.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n\n{}\n\n{END}{after}", table.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_stands_between_the_lines_is_replaced() {
        let text = format!("a\n{BEGIN}\nold\n{END}\nz\n");
        let once = replace(&text, "new\n").unwrap();
        assert_eq!(once, format!("a\n{BEGIN}\n\nnew\n\n{END}\nz\n"));
        assert_eq!(replace(&once, "new\n").unwrap(), once);
        assert_eq!(replace("nothing", "new"), None);
    }

    #[test]
    fn the_readme_has_a_place_for_the_table() {
        let readme = Path::new(&std::env::var("CARGO_MANIFEST_DIR").unwrap()).join("../../README.md");
        assert!(replace(&std::fs::read_to_string(readme).unwrap(), "table").is_some());
    }

    #[test]
    fn some_rows_take_the_place_of_those_with_their_names_or_the_last_one() {
        let row = |what: &str, ours: &str| Row {
            what: what.into(),
            ours: ours.into(),
            peer: String::new(),
            ratio: String::new(),
            goal: String::new(),
            reached: None,
            errors: Vec::new(),
        };
        let table = markdown("H", &[row("a", "1"), row("the same, larger", "2"), row("b", "3")]) + "\nA note.\n";
        let some = with_rows(&table, &[row("b", "4"), row("c", "5")], "today");
        let cells: Vec<&str> = some.lines().filter(|line| line.starts_with("| ")).skip(2).collect();
        assert_eq!(
            cells,
            [
                "| a | 1 |  |  |  |",
                "| the same, larger | 2 |  |  |  |",
                "| b | 4 (today) |  |  |  |",
                "| c | 5 (today) |  |  |  |"
            ]
        );
        assert!(some.ends_with("A note.\n"), "{some}");
        assert!(write_some(Path::new("x"), &[row("the same, larger", "2")], "today").is_err());
    }

    #[test]
    fn a_goal_that_was_missed_is_said_so() {
        let row = Row {
            what: "SET".into(),
            ours: "1/s".into(),
            peer: "redis: 2/s".into(),
            ratio: "0.5".into(),
            goal: "≥ 2 x".into(),
            reached: Some(false),
            errors: vec!["trireme: 3 closed".into()],
        };
        let text = markdown("Heading", &[row]);
        assert!(text.contains("| SET | 1/s | redis: 2/s | 0.5 | ≥ 2 x: **not reached** |"), "{text}");
        assert!(text.contains("Errors in \"SET\": trireme: 3 closed."), "{text}");
    }
}
