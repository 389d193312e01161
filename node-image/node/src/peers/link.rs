//! One connection to a peer, once both sides have accepted each other.

use std::{
    cell::Cell,
    future::poll_fn,
    pin::pin,
    rc::Rc,
    task::{Context, Poll, ready},
    time::Duration,
};

use rustix::net::sockopt;
use tokio::{
    io::AsyncReadExt,
    net::{TcpStream, tcp::OwnedReadHalf},
};
use trireme_proto::{Incarnation, Message, edge::verifier, ids::Peer, message::TurnedAway, pieces::Pieces};
use trireme_replica::io::Input;

use super::{
    Door,
    hello::{Greeted, HelloError},
};
use crate::{
    incoming::Incoming,
    outbox::Outbox,
    shell::{READ_BYTES, Shell, count},
};

/// What was sent and not acknowledged by the other side's system for this long means that it is gone.
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(5);
/// A silent connection is probed after this time, and given up after three probes a second apart.
const PROBE_AFTER: Duration = Duration::from_secs(2);
/// Least room in bytes for a read to be worth it.
const READ_BYTES_MIN: usize = 8 << 10;

/// An open connection.
pub(crate) struct Link {
    pub(crate) peer: Peer,
    /// Which disk of it; 0 for an operator.
    pub(crate) incarnation: Incarnation,
    /// Its group within the store.
    pub(crate) group: u32,
    /// It came by the door for edges, with a key that is known by this.
    pub(crate) edge: Option<Vec<u8>>,
    pub(crate) outbox: Outbox<Pieces>,
    /// The core was told that much waits for it.
    pub(crate) busy: Cell<bool>,
    /// It is a replica of another group.
    pub(super) is_far: bool,
    /// It understands what is packed.
    pub(super) unpacks: bool,
    /// Where this turn's messages begin in the outbox.
    pub(super) batch: Cell<Option<usize>>,
    /// So many batches are not tried to be packed.
    pub(super) rest: Cell<u32>,
}

/// Sets what every connection between peers has: no delay, and an end when the other side is gone without a word.
pub(super) fn tune(stream: &TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, PROBE_AFTER)?;
    sockopt::set_tcp_keepintvl(stream, Duration::from_secs(1))?;
    sockopt::set_tcp_keepcnt(stream, 3)?;
    sockopt::set_tcp_user_timeout(stream, UNACKNOWLEDGED_MAX.as_millis() as u32)?;
    Ok(())
}

/// Serves a connection to its end.
///
/// # Errors
/// The replica is connected already, as another incarnation.
pub(super) async fn serve(
    shell: &Shell,
    stream: TcpStream,
    peer: Peer,
    greeted: Greeted,
    door: Door,
) -> Result<(), HelloError> {
    let (half, write) = stream.into_split();
    let link = Rc::new(Link {
        peer,
        incarnation: greeted.hello.incarnation,
        group: greeted.hello.group,
        edge: (door == Door::Edges).then(|| verifier(&greeted.hello.key)),
        outbox: Outbox::new(write),
        busy: Cell::new(false),
        is_far: matches!(peer, Peer::Replica(_)) && greeted.hello.group != shell.identity.group,
        unpacks: greeted.hello.unpacks,
        batch: Cell::new(None),
        rest: Cell::new(0),
    });
    super::open(shell, &link)?;
    let mut reader = Reader { shell, link: &link, half, incoming: Incoming::new(greeted.rest) };
    let reason = match reader.deliver() {
        Ok(()) => poll_fn(|context| reader.poll(context)).await,
        Err(reason) => reason,
    };
    super::close(shell, &link, &reason);
    Ok(())
}

struct Reader<'a> {
    shell: &'a Shell,
    link: &'a Link,
    half: OwnedReadHalf,
    incoming: Incoming,
}

impl Reader<'_> {
    /// Goes on as far as it can; ready with the reason when the connection is at its end.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<String> {
        self.link.outbox.register(context);
        let _ = self.link.outbox.poll_flush(context);
        if self.link.outbox.is_broken() {
            return Poll::Ready("cut, or a write failed".into());
        }
        loop {
            if self.shell.congested.get() {
                return Poll::Pending;
            }
            let buffer = self.incoming.buffer();
            if buffer.capacity() - buffer.len() < READ_BYTES_MIN {
                buffer.reserve(READ_BYTES);
            }
            let room = buffer.capacity() - buffer.len();
            let read = pin!(self.half.read_buf(buffer));
            match ready!(Future::poll(read, context)) {
                Ok(0) => return Poll::Ready("closed by the peer".into()),
                Ok(count) => {
                    if let Err(reason) = self.deliver() {
                        return Poll::Ready(reason);
                    }
                    if count == room {
                        // There is more, but it is others' turn.
                        context.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                }
                Err(error) => return Poll::Ready(error.to_string()),
            }
        }
    }

    /// Gives the core every whole message that has come.
    fn deliver(&mut self) -> Result<(), String> {
        let delivered = self.deliver_all();
        if delivered.is_err() {
            count(&self.shell.links.unreadable);
        }
        delivered
    }

    fn deliver_all(&mut self) -> Result<(), String> {
        let shell = self.shell;
        let mut core = shell.core.borrow_mut();
        let now = shell.clock.now();
        shell.wake.notify_one();
        while let Some(message) = self.incoming.next_message()? {
            match message {
                Some(Message::Hello(_)) => return Err("it said Hello twice".into()),
                // What it knows of the store it was told.
                Some(Message::TurnedAway(TurnedAway { why })) if shell.config.edge.is_some() => {
                    // Whoever said so closes the connection.
                    shell.links.turned_away.replace(Some(why));
                }
                Some(Message::Regions(_)) if self.link.edge.is_some() => {
                    return Err("an edge tells of the store's regions".into());
                }
                Some(message) => core.step(Input::Peer { peer: self.link.peer, message }, now),
                // Of a later version: what it needs an answer to, it does not send to this one.
                None => {}
            }
        }
        Ok(())
    }
}
