//! `trireme edge`: a replica outside the store's own machines, a region of one; and `trireme edge-token`, what it joins with.

use std::{io::Read as _, net::Ipv4Addr, path::PathBuf};

use trireme_cli::output::{Failure, Output, put};
use trireme_local::{JoinOptions, Local, Options};
use trireme_proto::{edge::Ticket, topology::Durability};

use crate::page::PageArguments;

use super::{
    node::Copies,
    up::{self, Stop},
};

/// Longest token that is read from standard input, in bytes.
const TOKEN_BYTES_MAX: u64 = 64 << 10;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Token of the edge, printed by `trireme edge-token` where the store runs; `-` reads it from standard input, where nobody sees it. The first time only: it is
    /// kept in the directory. Given again, it brings other doors of the same store.
    #[arg(long, value_name = "TOKEN")]
    join: Option<String>,
    /// Directory for its data; made if it does not exist. Starting again on it finds all data.
    #[arg(long)]
    dir: PathBuf,
    /// Where doors of the store are, instead of those in the token: HOST:PORT, as often as there are doors.
    #[arg(long, value_name = "HOST:PORT", requires = "join")]
    door: Vec<String>,
    /// Loopback address for its clients. Default: 127.0.0.1, or where it was the last time.
    #[arg(long)]
    address: Option<Ipv4Addr>,
    /// When a write counts as kept.
    #[arg(long, value_enum, default_value_t = Copies::Disk)]
    durability: Copies,
    /// For people, or one JSON event a line for programs.
    #[arg(long, value_enum, default_value_t)]
    output: Output,
    #[command(flatten)]
    page: PageArguments,
}

#[derive(Debug, clap::Args)]
pub struct Token {
    /// The edge: one of spec.edges.
    name: String,
    /// The store's directory.
    #[arg(long)]
    dir: PathBuf,
}

/// Runs an edge in the foreground until SIGINT or SIGTERM.
pub async fn run(arguments: Arguments) -> Result<(), Failure> {
    let ticket = arguments.join.as_deref().map(|text| ticket(text, &arguments.door)).transpose()?;
    let stop = Stop::new().map_err(Failure::from_error)?;
    let options = JoinOptions {
        ticket,
        durability: Durability::from(arguments.durability),
        run: Options {
            dir: arguments.dir,
            address: arguments.address,
            restart: true,
            back_off_max: trireme_local::BACK_OFF_MAX,
            program: std::env::current_exe().map_err(Failure::from_error)?,
        },
    };
    let local = Local::join(options).map_err(|error| up::start_failure(&error))?;
    up::watch(local, arguments.output, &arguments.page, stop).await
}

fn ticket(text: &str, doors: &[String]) -> Result<Ticket, Failure> {
    let mut read = String::new();
    let text = match text {
        "-" => {
            std::io::stdin().take(TOKEN_BYTES_MAX).read_to_string(&mut read).map_err(Failure::from_error)?;
            read.as_str()
        }
        text => text,
    };
    let mut ticket = Ticket::from_text(text).map_err(|error| Failure::Input(format!("--join: {error}")))?;
    if !doors.is_empty() {
        ticket.doors = doors.to_vec();
    }
    match ticket.doors.is_empty() {
        true => Err(Failure::Input(
            "--join: the token knows no door of the store: name one with --door HOST:PORT".to_owned(),
        )),
        false => Ok(ticket),
    }
}

/// Prints the token of an edge.
pub fn token(arguments: &Token) -> Result<(), Failure> {
    let ticket = trireme_local::edge::ticket(&arguments.dir, &arguments.name);
    let ticket = ticket.map_err(|error| Failure::Input(error.to_string()))?;
    put(&format!("{}\n", ticket.to_text()));
    Ok(())
}
