//! The operator's link to one replica: the record goes down, reports come up.
//!
//! Both are states, not commands, so nothing is queued: a link that comes up again sends the newest record, and hears the newest report.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use bytes::BytesMut;
use rustix::net::sockopt;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::{mpsc, watch},
    task::JoinHandle,
    time::{sleep, timeout},
};
use trireme_proto::{
    Message, PROTOCOL_VERSION, PROTOCOL_VERSION_MIN, ReplicaId, Report, Topology, frame,
    message::{Ended, Hello, Probe, Probed},
};

/// After a connection was closed: soon enough to hear a parent say that the process has ended, before that goes, too.
const BACK_OFF_FIRST: Duration = Duration::from_millis(2);
const BACK_OFF_MAX: Duration = Duration::from_millis(100);
/// Longest wait for a connection, and for the other side's first frame.
const HELLO_MAX: Duration = Duration::from_secs(2);
/// A silent connection is probed after this time, and given up after three probes a second apart: the operator mostly listens, so after a partition in which
/// the replica gave the connection up, nothing else would tell it.
const PROBE_AFTER: Duration = Duration::from_secs(2);
/// What was sent and not acknowledged by the other side's system for this long means that it is gone.
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(5);

/// Whom to talk to, and as whom.
#[derive(Clone, Debug)]
pub struct Target {
    /// The replica's number.
    pub id: ReplicaId,
    /// Its peer port.
    pub address: SocketAddr,
    /// Unique name of the store.
    pub store: String,
    /// Random number of this process.
    pub boot: u64,
}

/// What all links of a store follow.
#[derive(Clone, Debug, Default)]
pub struct Orders {
    /// The record to be sent.
    pub topology: Option<Arc<Topology>>,
    /// Number of the newest write of nothing that is asked for: what was asked for before a connection is not asked for again on it.
    pub probe: u64,
    /// How often each replica's process was started, by number: a rise means that connecting is worth a try at once.
    pub starts: u64,
}

/// What is heard over a link.
#[derive(Clone, Debug, PartialEq)]
pub enum Said {
    /// The link is up: both said Hello.
    Opened {
        /// The replica.
        id: ReplicaId,
        /// Random number of its process.
        boot: u64,
    },
    /// The replica reported.
    Heard {
        /// The replica.
        id: ReplicaId,
        /// What it said.
        report: Box<Report>,
    },
    /// A write of nothing is acknowledged.
    Probed {
        /// The replica.
        id: ReplicaId,
        /// Which, and where it stands.
        probed: Probed,
    },
    /// The link is down.
    Closed {
        /// The replica.
        id: ReplicaId,
    },
    /// The replica's process has ended for certain, says its parent. Said once for each process.
    Ended {
        /// The replica.
        id: ReplicaId,
        /// Random number of the process that has ended.
        boot: u64,
        /// How it ended, for people.
        how: String,
    },
    /// Who answers at the replica's address is not that replica.
    Refused {
        /// The replica.
        id: ReplicaId,
        /// Why not.
        why: String,
    },
}

impl Said {
    /// Which replica it is about.
    pub fn id(&self) -> ReplicaId {
        match self {
            Said::Opened { id, .. }
            | Said::Heard { id, .. }
            | Said::Probed { id, .. }
            | Said::Closed { id }
            | Said::Ended { id, .. }
            | Said::Refused { id, .. } => *id,
        }
    }
}

/// A link that keeps itself up until dropped.
#[derive(Debug)]
pub struct Link(JoinHandle<()>);

impl Link {
    /// Starts it. What is heard goes to `heard`, in the words of whoever listens.
    pub fn start<H>(target: Target, orders: watch::Receiver<Orders>, heard: mpsc::Sender<H>) -> Link
    where
        H: From<Said> + Send + 'static,
    {
        Link(tokio::spawn(keep(target, orders, heard)))
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn keep<H: From<Said>>(target: Target, mut orders: watch::Receiver<Orders>, heard: mpsc::Sender<H>) {
    let id = target.id;
    let mut back_off = BACK_OFF_FIRST;
    let (mut starts, mut ended) = (0, None);
    while !heard.is_closed() {
        match Connection::open(&target).await {
            Ok(connection) => {
                let boot = connection.hello.boot;
                let _ = heard.send(Said::Opened { id, boot }.into()).await;
                back_off = BACK_OFF_FIRST;
                if let Err(error) = converse(connection, &mut orders, &heard, id).await {
                    tracing::debug!(replica = id, %error, "operator link closed");
                }
                let _ = heard.send(Said::Closed { id }.into()).await;
            }
            Err(OpenError::Ended(Ended { boot, how })) => {
                if ended.replace(boot) != Some(boot) {
                    let _ = heard.send(Said::Ended { id, boot, how }.into()).await;
                }
            }
            Err(OpenError::Refused(why)) => {
                let _ = heard.send(Said::Refused { id, why }.into()).await;
            }
            // Nobody listens: that is what the back-off is for.
            Err(OpenError::Io(error)) => tracing::trace!(replica = id, %error, "no operator link"),
        }
        tokio::select! {
            () = sleep(back_off) => back_off = (back_off * 2).min(BACK_OFF_MAX),
            started = orders.wait_for(|orders| orders.starts > starts) => match started {
                Ok(orders) => (starts, back_off) = (orders.starts, BACK_OFF_FIRST),
                Err(_) => return,
            },
        }
    }
}

/// Sends every new record and passes every report on, until the connection fails.
async fn converse<H: From<Said>>(
    mut connection: Connection,
    orders: &mut watch::Receiver<Orders>,
    heard: &mpsc::Sender<H>,
    id: ReplicaId,
) -> io::Result<()> {
    let mut sent: Option<Arc<Topology>> = None;
    let mut asked = orders.borrow().probe;
    loop {
        let (newest, probe) = {
            let orders = orders.borrow_and_update();
            (orders.topology.clone(), orders.probe)
        };
        if let Some(topology) = newest
            && sent.as_ref().is_none_or(|sent| !Arc::ptr_eq(sent, &topology))
        {
            connection.send(Message::Topology(Box::new(Topology::clone(&topology)))).await?;
            sent = Some(topology);
        }
        if probe != asked {
            connection.send(Message::Probe(Probe { number: probe })).await?;
            asked = probe;
        }
        tokio::select! {
            message = connection.receive() => {
                let said = match message? {
                    Message::Report(report) => Said::Heard { id, report },
                    Message::Probed(probed) => Said::Probed { id, probed },
                    _ => continue,
                };
                if heard.send(said.into()).await.is_err() {
                    return Ok(());
                }
            }
            changed = orders.changed() => if changed.is_err() { return Ok(()) },
        }
    }
}

/// Why a connection did not come about.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Somebody answers, but not whom we want.
    #[error("{0}")]
    Refused(String),
    /// The parent of the process that we want answers: that has ended.
    #[error("its process has ended: {}", .0.how)]
    Ended(Ended),
    /// Nobody answers.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// No delay, and an end when the other side is gone without a word.
fn tune(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, PROBE_AFTER)?;
    sockopt::set_tcp_keepintvl(stream, Duration::from_secs(1))?;
    sockopt::set_tcp_keepcnt(stream, 3)?;
    sockopt::set_tcp_user_timeout(stream, UNACKNOWLEDGED_MAX.as_millis() as u32)?;
    Ok(())
}

/// An operator's connection to a replica, after both have said Hello.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    input: BytesMut,
    /// What the other side said.
    pub hello: Hello,
}

impl Connection {
    /// Connects and says Hello.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub async fn open(target: &Target) -> Result<Connection, OpenError> {
        let late = |_| io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {HELLO_MAX:?}"));
        let stream = timeout(HELLO_MAX, TcpStream::connect(target.address)).await.map_err(late)??;
        tune(&stream)?;
        let mut connection = Connection { stream, input: BytesMut::new(), hello: Hello::default() };
        let hello = Hello {
            version: PROTOCOL_VERSION,
            store: target.store.clone(),
            to: target.id,
            boot: target.boot,
            ..Hello::default()
        };
        connection.send(Message::Hello(hello)).await?;
        match timeout(HELLO_MAX, connection.receive()).await.map_err(late)?? {
            Message::Hello(hello) => connection.hello = hello,
            _ => return Err(OpenError::Refused("its first frame is not a Hello".to_owned())),
        }
        let hello = &connection.hello;
        if !(PROTOCOL_VERSION_MIN..=PROTOCOL_VERSION + 1).contains(&hello.version) {
            let version = hello.version;
            return Err(OpenError::Refused(format!(
                "it speaks version {version} of the protocol, this is {PROTOCOL_VERSION}"
            )));
        }
        if hello.store != target.store || hello.from != target.id {
            return Err(OpenError::Refused(format!("it is replica {} of the store {}", hello.from, hello.store)));
        }
        if hello.incarnation == 0 {
            return match timeout(HELLO_MAX, connection.receive()).await.map_err(late)?? {
                Message::Ended(ended) => Err(OpenError::Ended(ended)),
                _ => Err(OpenError::Refused("it names no incarnation".to_owned())),
            };
        }
        Ok(connection)
    }

    /// Sends one message.
    ///
    /// # Errors
    /// Where the connection fails, or the other side does not read.
    pub async fn send(&mut self, message: Message) -> io::Result<()> {
        let mut frame = BytesMut::new();
        frame::encode(message, &mut frame);
        // A replica that is stopped must not hold this task for ever; the link is opened anew when it answers again.
        match timeout(HELLO_MAX, self.stream.write_all(&frame)).await {
            Ok(result) => result,
            Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "it does not read what it is sent")),
        }
    }

    /// The next message of a kind that is known here. Safe to drop at any await: what was read stays.
    ///
    /// # Errors
    /// Where the connection fails, or what comes is no frame.
    pub async fn receive(&mut self) -> io::Result<Message> {
        loop {
            match frame::decode(&mut self.input) {
                Ok(Some(Some(message))) => return Ok(message),
                Ok(Some(None)) => {}
                Ok(None) => {
                    if self.stream.read_buf(&mut self.input).await? == 0 {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                }
                Err(error) => return Err(io::Error::new(io::ErrorKind::InvalidData, error)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::{net::TcpListener, time::Instant};

    use super::*;

    /// Answers one call as replica 1, with these messages behind the Hello.
    async fn answer(listener: &TcpListener, incarnation: u64, boot: u64, more: Option<Message>) -> TcpStream {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.read_buf(&mut BytesMut::with_capacity(1 << 10)).await.unwrap();
        let hello =
            Hello { version: PROTOCOL_VERSION, store: "s".into(), from: 1, incarnation, boot, ..Hello::default() };
        let mut out = BytesMut::new();
        [Some(Message::Hello(hello)), more].into_iter().flatten().for_each(|message| frame::encode(message, &mut out));
        stream.write_all(&out).await.unwrap();
        stream
    }

    /// After a partition the replica has given the connection up, and what it said of that is lost: only probes find out.
    #[tokio::test]
    async fn a_connection_that_nobody_answers_on_is_given_up() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = Target { id: 1, address: listener.local_addr().unwrap(), store: "s".into(), boot: 1 };
        let (opened, _stream) = tokio::join!(Connection::open(&target), answer(&listener, 5, 6, None));
        let stream = opened.unwrap().stream;
        assert!(sockopt::socket_keepalive(&stream).unwrap());
        assert_eq!(sockopt::tcp_keepidle(&stream).unwrap(), PROBE_AFTER);
        assert_eq!(sockopt::tcp_keepcnt(&stream).unwrap(), 3);
        assert_eq!(sockopt::tcp_user_timeout(&stream).unwrap(), 5_000);
    }

    #[tokio::test]
    async fn a_parent_is_heard_at_once_and_each_end_is_said_once() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = Target { id: 1, address: listener.local_addr().unwrap(), store: "s".into(), boot: 3 };
        let (_orders, followed) = watch::channel(Orders::default());
        let (heard, mut said) = mpsc::channel::<Said>(8);
        let _link = Link::start(target, followed, heard);
        let (how, mut ends) = ("killed (SIGKILL)".to_owned(), Vec::new());
        let ended = |boot| Some(Message::Ended(Ended { boot, how: how.clone() }));
        drop(answer(&listener, 9, 7, None).await);
        let closed = Instant::now();
        for boot in [7, 7, 8] {
            drop(answer(&listener, 0, boot, ended(boot)).await);
            ends.push(closed.elapsed());
        }
        let _alive = answer(&listener, 9, 10, None).await;
        let mut next = async || timeout(Duration::from_secs(10), said.recv()).await.unwrap().unwrap();
        assert_eq!(next().await, Said::Opened { id: 1, boot: 7 });
        assert_eq!(next().await, Said::Closed { id: 1 });
        assert_eq!(next().await, Said::Ended { id: 1, boot: 7, how: how.clone() });
        assert_eq!(next().await, Said::Ended { id: 1, boot: 8, how: how.clone() });
        assert_eq!(next().await, Said::Opened { id: 1, boot: 10 });
        assert!(ends[0] < Duration::from_millis(200), "{ends:?}");
    }
}
