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
        let mark = match row.reached {
            Some(true) => ": reached",
            Some(false) => ": **not reached**",
            None => "",
        };
        let Row { what, ours, peer, ratio, goal, .. } = row;
        text.push_str(&format!("| {what} | {ours} | {peer} | {ratio} | {goal}{mark} |\n"));
    }
    for row in rows.iter().filter(|row| !row.errors.is_empty()) {
        text.push_str(&format!("\nErrors in \"{}\": {}.\n", row.what, row.errors.join("; ")));
    }
    text
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
