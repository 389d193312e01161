//! How the operator is started.

use std::{io::IsTerminal as _, net::SocketAddr};

use clap::{Parser, Subcommand, ValueEnum};
use tracing_subscriber::EnvFilter;

use crate::check::CheckArguments;

/// The Kubernetes operator of replicated key-value stores.
#[derive(Debug, Parser)]
#[command(name = "trireme-operator", version)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Takes care of the stores of a cluster until told to end.
    Run(RunArguments),
    /// Says whether an operator acts in this cluster; `helm test` runs it.
    Check(CheckArguments),
}

#[derive(Debug, clap::Args)]
pub(crate) struct RunArguments {
    /// Namespaces whose stores are taken care of; all where none is named. May be given several times, or with commas.
    #[arg(long = "namespace", env = "WATCH_NAMESPACES", value_delimiter = ',')]
    pub namespaces: Vec<String>,
    /// Where health and metrics are served over HTTP.
    #[arg(long, env = "HTTP_LISTEN", default_value = "0.0.0.0:9600")]
    pub http_listen: SocketAddr,
    /// What replicas run where a store names no image.
    #[arg(long, env = "NODE_IMAGE", default_value = concat!("ghcr.io/trireme-dev/trireme-node:", env!("CARGO_PKG_VERSION")))]
    pub node_image: String,
    /// Name of the Lease that makes one of several operators the one that acts.
    #[arg(long, env = "LEASE_NAME", default_value = "trireme-operator")]
    pub lease_name: String,
    /// Its namespace: the operator's own.
    #[arg(long, env = "POD_NAMESPACE", default_value = "default")]
    pub lease_namespace: String,
    /// Name of this operator, unlike that of any other.
    #[arg(long, env = "POD_NAME", default_value = "trireme-operator")]
    pub identity: String,
    /// How its log is written.
    #[arg(long, env = "LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One object a line, for programs.
    Json,
}

impl RunArguments {
    /// Logs go to standard error; `RUST_LOG` chooses what.
    pub fn log(&self) {
        let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
        let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
        let started = match self.log_format {
            LogFormat::Text => log.with_ansi(std::io::stderr().is_terminal()).try_init(),
            LogFormat::Json => log.json().try_init(),
        };
        if let Err(error) = started {
            eprintln!("no log: {error}");
        }
    }
}
