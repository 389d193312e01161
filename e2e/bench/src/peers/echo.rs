//! A bare echo server: what any server can do at most with this client on this machine. One thread reads what is there and answers it with five bytes, as a
//! SET is answered, and knows nothing of what it reads: the client may send one request at a time and connection.

use std::{net::SocketAddr, path::Path, process::Command};

use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::LocalSet,
};

use super::{Process, START_MAX, free_port, local, wait_for};
use crate::load::Stop;

const ANSWER: &[u8] = b"+OK\r\n";
/// Bytes that are read at once.
const READ_BYTES: usize = 16 << 10;

/// Serves until the process ends.
///
/// # Errors
/// When it cannot listen there.
pub fn serve(port: u16) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().map_err(|e| e.to_string())?;
    let all = async {
        let listener = TcpListener::bind(local(port)).await?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            tokio::task::spawn_local(echo(stream));
        }
    };
    let served: Result<(), std::io::Error> = LocalSet::new().block_on(&runtime, all);
    served.map_err(|error| format!("127.0.0.1:{port}: {error}"))
}

async fn echo(mut stream: TcpStream) {
    let mut bytes = vec![0; READ_BYTES];
    // Whatever happens to a connection is its client's business.
    while let Ok(1..) = stream.read(&mut bytes).await {
        if stream.write_all(ANSWER).await.is_err() {
            return;
        }
    }
}

/// A running echo server.
#[derive(Debug)]
pub struct Echo {
    // Before the folder, so that it ends first.
    _process: Process,
    address: SocketAddr,
    _folder: TempDir,
}

impl Echo {
    /// Starts this program once more, as an echo server.
    ///
    /// # Errors
    /// When it does not serve in time.
    pub fn start(folder: &Path, stop: &Stop) -> Result<Echo, String> {
        let folder = tempfile::Builder::new().prefix("echo-").tempdir_in(folder).map_err(|error| error.to_string())?;
        let port = free_port().map_err(|error| error.to_string())?;
        let program = std::env::current_exe().map_err(|error| error.to_string())?;
        let mut command = Command::new(program);
        command.args(["echo", "--port", &port.to_string()]);
        let mut process = Process::start(&mut command, "nothing: it is this program", &folder.path().join("log"))?;
        wait_for("echo server", START_MAX, stop, || {
            process.check("echo server")?;
            Ok(std::net::TcpStream::connect(local(port)).ok())
        })?;
        Ok(Echo { _process: process, address: local(port), _folder: folder })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}
