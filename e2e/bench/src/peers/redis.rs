//! redis-server, alone or with replicas.

use std::{net::SocketAddr, path::Path, process::Command};

use tempfile::TempDir;

use super::{Process, START_MAX, free_port, local, wait_for};
use crate::{client::Client, load::Stop};

/// The Debian package.
pub const PACKAGE: &str = "redis-server";

/// What a write costs at each server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Persistence {
    /// Memory only.
    None,
    /// `appendfsync always`.
    Always,
}

/// A running redis, with its replicas.
#[derive(Debug)]
pub struct Redis {
    // Before the folder, so that it ends first.
    processes: Vec<Process>,
    address: SocketAddr,
    _folder: TempDir,
}

impl Redis {
    /// Starts a server and as many replicas, and waits until all of these are in sync.
    ///
    /// # Errors
    /// When it is not installed, or does not get there.
    pub fn start(folder: &Path, replicas: usize, persistence: Persistence, stop: &Stop) -> Result<Self, String> {
        let folder = tempfile::Builder::new().prefix("redis-").tempdir_in(folder).map_err(|error| error.to_string())?;
        let mut redis = Redis { processes: Vec::new(), address: local(0), _folder: folder };
        redis.address = redis.server(None, persistence, stop)?;
        for _ in 0..replicas {
            redis.server(Some(redis.address), persistence, stop)?;
        }
        let address = redis.address;
        wait_for("redis replicas in sync", START_MAX, stop, || {
            let info = Client::connect(address).and_then(|mut client| client.bulk(&[b"INFO", b"replication"]))?;
            let text = String::from_utf8_lossy(&info.unwrap_or_default()).into_owned();
            Ok((text.matches("state=online").count() >= replicas).then_some(()))
        })?;
        Ok(redis)
    }

    /// Where writes go.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    fn server(
        &mut self,
        leader: Option<SocketAddr>,
        persistence: Persistence,
        stop: &Stop,
    ) -> Result<SocketAddr, String> {
        let port = free_port().map_err(|error| error.to_string())?;
        let folder = self._folder.path().join(port.to_string());
        std::fs::create_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let mut command = Command::new("redis-server");
        command.args(["--bind", "127.0.0.1", "--save", "", "--repl-diskless-sync", "yes"]);
        command.args(["--repl-diskless-sync-delay", "0", "--port", &port.to_string()]).arg("--dir").arg(&folder);
        match persistence {
            Persistence::None => command.args(["--appendonly", "no"]),
            Persistence::Always => command.args(["--appendonly", "yes", "--appendfsync", "always"]),
        };
        if let Some(leader) = leader {
            command.args(["--replicaof", &leader.ip().to_string(), &leader.port().to_string()]);
        }
        let mut process = Process::start(&mut command, PACKAGE, &folder.join("log"))?;
        wait_for("redis-server", START_MAX, stop, || {
            process.check("redis-server")?;
            Ok(Client::connect(local(port)).ok())
        })?;
        self.processes.push(process);
        Ok(local(port))
    }
}
