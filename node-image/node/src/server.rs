//! The listeners.

use std::{io::ErrorKind, net::SocketAddr, rc::Rc, time::Duration};

use tokio::{
    net::{TcpListener, TcpSocket},
    task::spawn_local,
    time::sleep,
};

use crate::{
    client,
    shell::{Shell, count},
};

/// Connections that the system may hold until they are accepted.
const BACKLOG: u32 = 1024;

/// Listens; port 0 chooses a free one.
///
/// # Errors
/// The address cannot be bound.
pub(crate) fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Accepts clients for ever.
pub(crate) async fn accept_clients(shell: Rc<Shell>, listener: TcpListener) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) if shell.clients.borrow().len() as u64 >= clients_max(&shell) => {
                count(&shell.clients_refused);
                // The socket of a new connection has room for one line; where it has not, closing says enough.
                let _ = stream.try_write(b"-ERR max number of clients reached\r\n");
            }
            Ok((stream, _)) => {
                spawn_local(client::serve(Rc::clone(&shell), stream));
            }
            Err(error) => rest_after(&error).await,
        }
    }
}

/// Connections of clients at the same time: as the store's limits, or CONFIG SET, say, and no more than this process was told it could have.
fn clients_max(shell: &Shell) -> u64 {
    shell.core.borrow().tuning().clients_max.min(shell.config.clients_max as u64)
}

/// After an accept that failed: a connection that is gone already is nothing, but where the system is out of something, trying at once
/// would only burn time.
pub(crate) async fn rest_after(error: &std::io::Error) {
    if !matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset | ErrorKind::Interrupted) {
        tracing::warn!(%error, "a connection could not be accepted: trying again in 100 ms");
        sleep(Duration::from_millis(100)).await;
    }
}
