//! `trireme node`: one replica. `trireme up` starts these, and so does the container image.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use trireme_cli::Failure;
use trireme_node::{Edge, NodeConfig, NodeError, Parent, Supervised};
use trireme_proto::{edge::Ticket, topology::Durability};

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The replica's own directory; made if it does not exist.
    #[arg(long)]
    dir: PathBuf,
    /// Unique name of the store: a replica refuses peers and disks of any other.
    #[arg(long)]
    store: String,
    /// Number of the replica within the store, from 1.
    #[arg(long, required_unless_present = "ordinal", value_parser = clap::value_parser!(u32).range(1..))]
    id: Option<u32>,
    /// Instead of --id, in a pod: its place within its StatefulSet, from 0. Its number is then FIRST_ID + ORDINAL * ID_STEP.
    #[arg(long, conflicts_with = "id", requires = "first_id", requires = "id_step")]
    ordinal: Option<u32>,
    /// With --ordinal: the number of the StatefulSet's first replica.
    #[arg(long, requires = "ordinal", value_parser = clap::value_parser!(u32).range(1..))]
    first_id: Option<u32>,
    /// With --ordinal: from one replica's number to the next; with R regions that is R.
    #[arg(long, requires = "ordinal", value_parser = clap::value_parser!(u32).range(1..))]
    id_step: Option<u32>,
    /// Its name as users see it. Default: replica- and its number.
    #[arg(long)]
    name: Option<String>,
    /// Its group within the store.
    #[arg(long, default_value_t = 0)]
    group: u32,
    /// Address that it listens on, and dials from.
    #[arg(long, default_value = "0.0.0.0")]
    listen: IpAddr,
    /// Port for clients.
    #[arg(long, default_value_t = trireme_node::config::CLIENT_PORT)]
    client_port: u16,
    /// Port for peers and the operator.
    #[arg(long, default_value_t = trireme_node::config::PEER_PORT)]
    peer_port: u16,
    /// Port for HTTP: health, metrics, status.
    #[arg(long, default_value_t = trireme_node::config::ADMIN_PORT)]
    admin_port: u16,
    /// Port for edges.
    #[arg(long)]
    edge_port: Option<u16>,
    /// This replica is an edge, whose token is in this file.
    #[arg(long)]
    edge_token: Option<PathBuf>,
    /// When a copy counts, until the store's record says otherwise.
    #[arg(long, value_enum, default_value_t = Copies::Disk)]
    durability: Copies,
    /// Clients at the same time, whatever the limits of the store say: each takes a file of the process.
    #[arg(long, default_value_t = 65_000)]
    clients_max: usize,
    /// Milliseconds to hand over what is led here after SIGTERM.
    #[arg(long, default_value_t = 10_000)]
    grace_ms: u64,
    /// End, without handing over, when standard input closes: whoever started this replica is gone, and the whole store with it.
    #[arg(long)]
    exit_with_stdin: bool,
    /// Clients must say AUTH with the password in this file, which is read again when it changes.
    #[arg(long)]
    password_file: Option<PathBuf>,
    /// Session tokens are sealed with what is in this file, which is read again when it changes. All replicas of a store need the same.
    #[arg(long)]
    session_key_file: Option<PathBuf>,
    /// Run the replica as a child, and when that ends unasked, tell whoever connects to the peer port so: for a container's first process.
    #[arg(long)]
    supervised: bool,
    /// From the parent of a supervised replica: the random number that this process is known by.
    #[arg(long, hide = true, requires = "parent")]
    boot: Option<u64>,
    /// From the parent of a supervised replica: its process.
    #[arg(long, hide = true, requires = "boot", conflicts_with = "supervised")]
    parent: Option<u32>,
}

impl Arguments {
    /// The replica's number, however it was given.
    fn number(&self) -> Result<u32, Failure> {
        if let Some(id) = self.id {
            return Ok(id);
        }
        // That these are there together is seen to where they are parsed.
        let (ordinal, first, step) =
            (self.ordinal.unwrap_or_default(), self.first_id.unwrap_or(1), self.id_step.unwrap_or(1));
        let number = ordinal.checked_mul(step).and_then(|offset| offset.checked_add(first));
        number.ok_or_else(|| {
            let most = u32::MAX;
            Failure::Input(format!("--first-id {first} --ordinal {ordinal} --id-step {step}: numbers end at {most}"))
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Copies {
    /// When it is fsynced.
    Disk,
    /// When the other process has it; fsynced once a second.
    Memory,
}

impl From<Copies> for Durability {
    fn from(copies: Copies) -> Durability {
        match copies {
            Copies::Disk => Durability::Disk,
            Copies::Memory => Durability::Memory,
        }
    }
}

/// What an edge comes with.
fn edge(token: &Path) -> Result<Edge, Failure> {
    let wrong = |why: &dyn std::fmt::Display| Failure::Input(format!("--edge-token {}: {why}", token.display()));
    let text = std::fs::read_to_string(token).map_err(|error| wrong(&error))?;
    let ticket = Ticket::from_text(&text).map_err(|error| wrong(&error))?;
    Ok(Edge { key: ticket.key, doors: ticket.doors })
}

pub fn run(arguments: Arguments) -> Result<(), Failure> {
    let id = arguments.number()?;
    if arguments.supervised {
        return supervise(&arguments, id);
    }
    let mut config = NodeConfig::new(arguments.dir, arguments.store, id);
    if let Some(name) = arguments.name {
        config.name = name;
    }
    config.group = arguments.group;
    config.listen = arguments.listen;
    config.client_port = arguments.client_port;
    config.peer_port = arguments.peer_port;
    config.admin_port = arguments.admin_port;
    config.edge_port = arguments.edge_port;
    config.edge = arguments.edge_token.as_deref().map(edge).transpose()?;
    config.durability = arguments.durability.into();
    config.clients_max = arguments.clients_max;
    config.grace = Duration::from_millis(arguments.grace_ms);
    config.exit_with_stdin = arguments.exit_with_stdin;
    config.password_file = arguments.password_file;
    config.session_key_file = arguments.session_key_file;
    config.parent = arguments.boot.zip(arguments.parent).map(|(boot, pid)| Parent { pid, boot });
    trireme_node::run(config).map(|_| ()).map_err(|error| failure(&error))
}

/// Runs this program again, as a child, and ends as that one does.
fn supervise(arguments: &Arguments, id: u32) -> Result<(), Failure> {
    let supervised = Supervised {
        program: std::env::current_exe().map_err(Failure::from_error)?,
        arguments: std::env::args_os().skip(1).filter(|argument| argument != "--supervised").collect(),
        listen: arguments.listen,
        peer_port: arguments.peer_port,
        store: arguments.store.clone(),
        id,
    };
    let status = trireme_node::supervise(&supervised).map_err(|error| failure(&error))?;
    std::process::exit(status.into())
}

fn failure(error: &NodeError) -> Failure {
    match error.exit_status() {
        2 => Failure::Input(error.to_string()),
        _ => Failure::Failed(error.to_string()),
    }
}
