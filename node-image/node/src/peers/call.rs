//! Calling a replica again and again.

use std::{
    net::{IpAddr, SocketAddr},
    rc::Rc,
    time::{Duration, Instant},
};

use tokio::{
    net::{TcpSocket, TcpStream, lookup_host},
    time::{sleep, timeout},
};
use trireme_proto::{ReplicaId, ids::Peer, message::Hello};

use super::{
    Door,
    hello::{self, Greeted, HelloError},
    link,
};
use crate::shell::Shell;

/// Pause after the first failure; doubled with each further one.
const PAUSE_MIN: Duration = Duration::from_millis(10);
/// Longest pause.
const PAUSE_MAX: Duration = Duration::from_millis(500);
/// A connection must come about within this time.
const CONNECT_PATIENCE: Duration = Duration::from_secs(1);
/// A connection that lasted this long counts as a success.
const SUCCESS: Duration = Duration::from_secs(1);

/// Keeps a connection to this replica, as long as the record names it.
pub(super) async fn keep_calling(shell: Rc<Shell>, id: ReplicaId) {
    let mut pause = PAUSE_MIN;
    loop {
        let address = shell.links.directory.borrow().get(&id).cloned();
        let Some(address) = address else {
            shell.links.called.borrow_mut().remove(&id);
            return;
        };
        let begin = Instant::now();
        // A replica that has moved is not at its old address any more: an attempt there would last for as long as it may.
        let called = tokio::select! {
            biased;
            () = moved_from(&shell, id, &address) => None,
            called = call(&shell, id, &address) => Some(called),
        };
        match called {
            None => {
                pause = PAUSE_MIN;
                continue;
            }
            Some(Ok((stream, greeted))) => {
                if let Err(error) = link::serve(&shell, stream, Peer::Replica(id), greeted, Door::Peers).await {
                    shell.links.refuse(&format!("replica {id} at {address}"), &error);
                }
                if begin.elapsed() >= SUCCESS {
                    pause = PAUSE_MIN;
                }
            }
            Some(Err(error)) => shell.links.refuse(&format!("replica {id} at {address}"), &error),
        }
        tokio::select! {
            biased;
            () = moved_from(&shell, id, &address) => pause = PAUSE_MIN,
            () = sleep(shell.links.jittered(pause)) => pause = (pause * 2).min(PAUSE_MAX),
        }
    }
}

/// Waits until the record names another address for it, or none.
async fn moved_from(shell: &Shell, id: ReplicaId, address: &str) {
    loop {
        let moved = shell.links.moved.notified();
        if shell.links.directory.borrow().get(&id).is_none_or(|now| now != address) {
            return;
        }
        moved.await;
    }
}

async fn call(shell: &Shell, id: ReplicaId, address: &str) -> Result<(TcpStream, Greeted), HelloError> {
    let mut stream = connect(shell.links.source, address).await?;
    let mine = Hello { to: id, ..shell.links.me.clone() };
    let greeted = hello::call(&mut stream, &mine).await?;
    Ok((stream, greeted))
}

/// A connection to whichever address of this name takes it in time.
pub(super) async fn connect(source: Option<IpAddr>, address: &str) -> Result<TcpStream, HelloError> {
    timeout(CONNECT_PATIENCE, connect_to_any(source, address)).await.unwrap_or(Err(HelloError::Silent))
}

async fn connect_to_any(source: Option<IpAddr>, address: &str) -> Result<TcpStream, HelloError> {
    let mut last = std::io::Error::new(std::io::ErrorKind::NotFound, "the name has no address");
    for target in lookup_host(address).await? {
        match connect_to(source, target).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last.into())
}

async fn connect_to(source: Option<IpAddr>, target: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = if target.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A partition of this replica is then one firewall rule about its address.
    if let Some(source) = source.filter(|source| source.is_ipv4() == target.is_ipv4()) {
        socket.set_reuseaddr(true)?;
        socket.bind(SocketAddr::new(source, 0))?;
    }
    let stream = socket.connect(target).await?;
    link::tune(&stream)?;
    Ok(stream)
}
