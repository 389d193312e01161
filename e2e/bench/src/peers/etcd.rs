//! etcd-server with three members.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::Command,
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;

use super::{Process, START_MAX, free_port, local, wait_for};
use crate::load::Stop;

/// The Debian package.
pub const PACKAGE: &str = "etcd-server";
const MEMBERS: usize = 3;
const ANSWER_MAX: Duration = Duration::from_secs(2);

/// A running etcd.
#[derive(Debug)]
pub struct Etcd {
    // Before the folder, so that it ends first.
    _processes: Vec<Process>,
    leader: SocketAddr,
    _folder: TempDir,
}

impl Etcd {
    /// Starts three members and waits until one of them leads.
    ///
    /// # Errors
    /// When it is not installed, or does not get there.
    pub fn start(folder: &Path, stop: &Stop) -> Result<Self, String> {
        let folder = tempfile::Builder::new().prefix("etcd-").tempdir_in(folder).map_err(|error| error.to_string())?;
        let mut ports = Vec::new();
        for _ in 0..MEMBERS {
            let port = || free_port().map_err(|error| error.to_string());
            ports.push((port()?, port()?));
        }
        let url = |port: u16| format!("http://127.0.0.1:{port}");
        let members: Vec<String> =
            ports.iter().enumerate().map(|(id, (_, peer))| format!("m{id}={}", url(*peer))).collect();
        let mut processes = Vec::new();
        for (id, (client, peer)) in ports.iter().enumerate() {
            let mut command = Command::new("etcd");
            command.arg("--data-dir").arg(folder.path().join(format!("m{id}")));
            command.args(["--name", &format!("m{id}"), "--initial-cluster", &members.join(",")]);
            command.args(["--listen-client-urls", &url(*client), "--advertise-client-urls", &url(*client)]);
            command.args(["--listen-peer-urls", &url(*peer), "--initial-advertise-peer-urls", &url(*peer)]);
            command.args(["--initial-cluster-state", "new", "--logger", "zap", "--log-level", "error"]);
            processes.push(Process::start(&mut command, PACKAGE, &folder.path().join(format!("log{id}")))?);
        }
        let leader = wait_for("etcd leader", START_MAX, stop, || {
            for process in &mut processes {
                process.check("etcd")?;
            }
            Ok(ports.iter().map(|(client, _)| local(*client)).find(|address| leads(*address)))
        })?;
        Ok(Etcd { _processes: processes, leader, _folder: folder })
    }

    /// Where the leader serves clients.
    pub fn leader(&self) -> SocketAddr {
        self.leader
    }
}

/// Whether this member says that it leads.
fn leads(address: SocketAddr) -> bool {
    let Some(status) = status(address) else { return false };
    let leader = &status["leader"];
    leader.is_string() && *leader == status["header"]["member_id"]
}

fn status(address: SocketAddr) -> Option<Value> {
    let mut socket = TcpStream::connect_timeout(&address, ANSWER_MAX).ok()?;
    socket.set_read_timeout(Some(ANSWER_MAX)).ok()?;
    let request = "POST /v3/maintenance/status HTTP/1.0\r\nHost: etcd\r\nContent-Length: 2\r\n\r\n{}";
    socket.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer).ok()?;
    serde_json::from_str(answer.split_once("\r\n\r\n")?.1).ok()
}
