//! How things are said: for people or for programs.

use std::{
    fmt::Display,
    io::{self, IsTerminal as _, Write as _},
    process::ExitCode,
};

use owo_colors::OwoColorize as _;

/// Whom the output is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Output {
    /// People.
    #[default]
    Human,
    /// Programs: one JSON value a line.
    Json,
}

/// Why a command did not do what was asked.
#[derive(Debug)]
pub enum Failure {
    /// The question makes no sense: a bad file, a directory of another store. Nothing was started or changed.
    Input(String),
    /// It was tried and did not succeed, or what was to be checked does not hold.
    Failed(String),
}

impl Failure {
    /// Something that went wrong underneath.
    pub fn from_error(error: impl Display) -> Failure {
        Failure::Failed(error.to_string())
    }

    /// Says it, and with which status to end.
    pub fn report(&self) -> ExitCode {
        let (message, code) = match self {
            Failure::Input(message) => (message, 2),
            Failure::Failed(message) => (message, 1),
        };
        if !message.is_empty() {
            // Where standard error is gone there is nobody to tell.
            let _ = match io::stderr().is_terminal() {
                true => writeln!(io::stderr(), "{} {message}", "error:".red().bold()),
                false => writeln!(io::stderr(), "error: {message}"),
            };
        }
        ExitCode::from(code)
    }
}

/// Standard output for people: colours and a live line where it is a terminal, plain lines where it is not.
#[derive(Debug)]
pub struct Screen {
    terminal: bool,
    live: bool,
}

impl Screen {
    /// Looks whether anybody looks.
    pub fn new() -> Screen {
        Screen { terminal: io::stdout().is_terminal(), live: false }
    }

    /// Whether it is a terminal.
    pub fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// A line that stays.
    pub fn line(&mut self, text: &str) {
        let clear = if self.live { "\r\x1b[2K" } else { "" };
        self.live = false;
        put(&format!("{clear}{text}\n"));
    }

    /// A line that the next one replaces. Nothing where it is not a terminal.
    pub fn live(&mut self, text: &str) {
        if self.terminal {
            self.live = true;
            put(&format!("\r\x1b[2K{text}"));
        }
    }

    /// Redraws lines that were drawn `before` times already: on a terminal in place.
    pub fn redraw(&mut self, text: &str, lines_before: usize) {
        match self.terminal && lines_before > 0 {
            true => put(&format!("\x1b[{lines_before}A\x1b[J{text}")),
            false => put(text),
        }
    }

    /// Emphasis.
    pub fn bold(&self, text: impl Display) -> String {
        if self.terminal { text.bold().to_string() } else { text.to_string() }
    }

    /// What is only there for context.
    pub fn dim(&self, text: impl Display) -> String {
        if self.terminal { text.dimmed().to_string() } else { text.to_string() }
    }

    /// As it should be.
    pub fn good(&self, text: impl Display) -> String {
        if self.terminal { text.green().to_string() } else { text.to_string() }
    }

    /// As it should not be.
    pub fn bad(&self, text: impl Display) -> String {
        if self.terminal { text.red().bold().to_string() } else { text.to_string() }
    }

    /// The name of something.
    pub fn name(&self, text: impl Display) -> String {
        if self.terminal { text.cyan().to_string() } else { text.to_string() }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        if self.live {
            put("\n");
        }
    }
}

/// Writes to standard output. A reader that has gone (`| head`) ends the process quietly, as it does every other Unix tool.
pub fn put(text: &str) {
    let mut out = io::stdout().lock();
    if out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_err() {
        std::process::exit(0);
    }
}

/// Lines of columns, as wide as needed; two spaces between them.
pub fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns)
        .map(|c| rows.iter().filter_map(|r| r.get(c)).map(|cell| visible(cell)).max().unwrap_or(0))
        .collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, &width) in row.iter().zip(&widths) {
            line.push_str(cell);
            line.push_str(&" ".repeat(width + 2 - visible(cell)));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Characters that take room: not those of colours.
fn visible(cell: &str) -> usize {
    let (mut count, mut escape) = (0, false);
    for c in cell.chars() {
        match (escape, c) {
            (false, '\x1b') => escape = true,
            (true, 'm') => escape = false,
            (false, _) => count += 1,
            (true, _) => {}
        }
    }
    count
}

/// A number with its thousands apart: `1,234,567`.
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_with_and_without_colours() {
        let rows = [vec!["a".to_owned(), "bb".to_owned()], vec!["\x1b[31mccc\x1b[0m".to_owned(), "d".to_owned()]];
        assert_eq!(table(&rows), "a    bb\n\x1b[31mccc\x1b[0m  d\n");
    }

    #[test]
    fn thousands_apart() {
        assert_eq!([0, 999, 1000, 1_234_567].map(thousands), ["0", "999", "1,000", "1,234,567"]);
    }
}
