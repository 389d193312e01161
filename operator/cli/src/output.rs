//! How things are said: for people or for programs.

use std::{
    fmt::Display,
    io::{self, IsTerminal as _, Write as _},
    process::ExitCode,
    time::{SystemTime, UNIX_EPOCH},
};

use owo_colors::OwoColorize as _;
use serde::Serialize;

use crate::table;

/// Whom the output is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Output {
    /// People.
    #[default]
    #[value(alias = "human")]
    Text,
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

/// Standard output for people: colours, a live line and a width where it is a terminal, plain lines where it is not.
#[derive(Debug)]
pub struct Screen {
    /// Characters in a line; `None` where it is not a terminal.
    width: Option<usize>,
    /// Lines of the terminal, where it says.
    height: Option<usize>,
    colours: bool,
    live: bool,
}

impl Screen {
    /// Looks whether anybody looks. `NO_COLOR` in the environment is obeyed.
    pub fn new() -> Screen {
        let terminal = io::stdout().is_terminal();
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty());
        let (columns, lines) = size();
        let (width, height) = (terminal.then_some(columns), lines.filter(|_| terminal));
        Screen { width, height, colours: terminal && wanted, live: false }
    }

    /// A file or a pipe.
    pub fn plain() -> Screen {
        Screen { width: None, height: None, colours: false, live: false }
    }

    /// A terminal of this width.
    pub fn terminal(width: usize, colours: bool) -> Screen {
        Screen { width: Some(width), height: None, colours, live: false }
    }

    /// Whether it is a terminal.
    pub fn is_terminal(&self) -> bool {
        self.width.is_some()
    }

    /// The same with so many lines.
    pub fn of_height(mut self, lines: usize) -> Screen {
        self.height = Some(lines);
        self
    }

    /// Characters in a line; `None` where it is not a terminal.
    pub fn width(&self) -> Option<usize> {
        self.width
    }

    /// Lines, where it is a terminal that says.
    pub fn height(&self) -> Option<usize> {
        self.height
    }

    /// Lines of columns, the first row their heads. Where the terminal is too narrow for them, a paragraph for each row.
    pub fn table(&self, heads: &[&str], rows: &[Vec<String>]) -> String {
        let heads: Vec<String> = heads.iter().map(|head| self.dim(head)).collect();
        table::fit(&heads, rows, self.width)
    }

    /// A line that stays.
    pub fn line(&mut self, text: &str) {
        let clear = if self.live { "\r\x1b[2K" } else { "" };
        self.live = false;
        put(&format!("{clear}{text}\n"));
    }

    /// A line that the next one replaces. Nothing where it is not a terminal.
    pub fn live(&mut self, text: &str) {
        if self.is_terminal() {
            self.live = true;
            put(&format!("\r\x1b[2K{text}"));
        }
    }

    /// Redraws lines that were drawn `before` times already: on a terminal in place.
    pub fn redraw(&mut self, text: &str, lines_before: usize) {
        match self.is_terminal() && lines_before > 0 {
            true => put(&format!("\x1b[{lines_before}A\x1b[J{text}")),
            false => put(text),
        }
    }

    /// Emphasis.
    pub fn bold(&self, text: impl Display) -> String {
        if self.colours { text.bold().to_string() } else { text.to_string() }
    }

    /// What is only there for context.
    pub fn dim(&self, text: impl Display) -> String {
        if self.colours { text.dimmed().to_string() } else { text.to_string() }
    }

    /// As it should be.
    pub fn good(&self, text: impl Display) -> String {
        if self.colours { text.green().to_string() } else { text.to_string() }
    }

    /// As it should not be.
    pub fn bad(&self, text: impl Display) -> String {
        if self.colours { text.red().bold().to_string() } else { text.to_string() }
    }

    /// The name of something.
    pub fn name(&self, text: impl Display) -> String {
        if self.colours { text.cyan().to_string() } else { text.to_string() }
    }
}

impl Default for Screen {
    fn default() -> Screen {
        Screen::new()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        if self.live {
            put("\n");
        }
    }
}

/// Characters in a line of the terminal, 80 where it does not say; and lines.
fn size() -> (usize, Option<usize>) {
    let said = rustix::termios::tcgetwinsize(io::stdout()).map_or((0, 0), |size| (size.ws_col, size.ws_row));
    let known = |count: u16| (count > 0).then_some(usize::from(count));
    (known(said.0).unwrap_or(80), known(said.1))
}

/// Writes to standard output. A reader that has gone (`| head`) ends the process quietly, as it does every other Unix tool.
pub fn put(text: &str) {
    let mut out = io::stdout().lock();
    if out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_err() {
        std::process::exit(0);
    }
}

/// A value for programs: one line of JSON.
///
/// # Errors
/// Where it is not JSON: never, for what is shown here.
pub fn json_line(value: &impl Serialize) -> Result<String, Failure> {
    let mut line = serde_json::to_string(value).map_err(Failure::from_error)?;
    line.push('\n');
    Ok(line)
}

/// Milliseconds since 1970.
pub fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64
}

/// A number of bytes for people.
pub fn bytes(count: u64) -> String {
    match count {
        0..1_024 => format!("{count} bytes"),
        1_024..1_048_576 => format!("{:.1} KiB", count as f64 / 1_024.0),
        _ => format!("{:.1} MiB", count as f64 / 1_048_576.0),
    }
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
    fn thousands_apart() {
        assert_eq!([0, 999, 1000, 1_234_567].map(thousands), ["0", "999", "1,000", "1,234,567"]);
    }
}
