//! The peer port: one connection to each other replica, and any number of operators.
//!
//! ```text
//!   Topology ──▶ directory ──▶ one calling task per replica with a higher number ──┐
//!                                                                                  ├─ Hello ──▶ Link ──▶ core
//!   listener ──▶ one task per connection: lower numbers, operators ────────────────┘
//! ```
//!
//! Of two replicas the lower number calls, from its own address, and calls again as long as the record names the other one ([`call`]). A connection counts
//! when both sides have said [`hello`] and accepted it; a newer one of the same peer, from the same disk, replaces it. Messages are decoded where they
//! lie and given to the core; what the core sends is encoded into the link's outbox and written once a turn, [`packed`] where it goes to another region.
//!
//! Edges are not called: they come by a port of their own, [`doors`], and show a key.

mod call;
pub(crate) mod doors;
pub(crate) mod hello;
mod link;
mod packed;

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, HashMap, HashSet},
    net::IpAddr,
    rc::Rc,
    time::Duration,
};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::Notify,
    task::spawn_local,
};
use trireme_proto::{
    Incarnation, Message, PROTOCOL_VERSION, ReplicaId, Topology, frame,
    ids::Peer,
    message::Hello,
    topology::{FeedCompression, Mode},
};
use trireme_replica::io::{Identity, Input};

use self::{hello::HelloError, packed::Packer};
pub(crate) use self::{link::Link, packed::unpack};
use crate::shell::{Shell, count};

/// Bytes that may wait for one peer before its connection is cut: one frame may be larger, two large ones are too many.
const PENDING_BYTES_MAX: usize = 128 << 20;
/// Connections that have not said Hello yet, at each door.
const GREETING_MAX: usize = 256;
/// Operators and tools at the same time.
const OPERATORS_MAX: usize = 64;

/// Batches that go out as they are after one that did not get smaller.
const REST_BATCHES: u32 = 15;

/// Bytes that went to another group.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sent {
    /// As messages.
    pub(crate) plain: u64,
    /// As they went over the wire.
    pub(crate) wire: u64,
}

/// All connections to peers.
pub(crate) struct Links {
    /// Hello to nobody yet.
    me: Hello,
    /// Where calls come from; `None` where the replica listens on every address.
    source: Option<IpAddr>,
    open: RefCell<HashMap<Peer, Rc<Link>, foldhash::fast::RandomState>>,
    /// Connections that came by the door for edges.
    edges: Cell<usize>,
    /// At an edge: which door has turned it away last, and why.
    turned_away: RefCell<Option<String>>,
    operators: Cell<u32>,
    /// By door.
    greeting: [Cell<usize>; 2],
    /// Peer addresses in the newest record.
    directory: RefCell<BTreeMap<ReplicaId, String>>,
    /// Rung when an address has changed.
    moved: Notify,
    /// Replicas with a calling task.
    called: RefCell<HashSet<ReplicaId>>,
    refused: Cell<u64>,
    last_refusal: RefCell<Option<String>>,
    jitter: Cell<u64>,
    /// Connections closed for what could not be read.
    unreadable: Cell<u64>,
    /// Messages to other groups are packed.
    packs: Cell<bool>,
    packer: RefCell<Packer>,
    /// What each other group was sent.
    sent: RefCell<BTreeMap<u32, Sent>>,
}

impl Links {
    /// No connections.
    pub(crate) fn new(identity: &Identity, listen: IpAddr) -> Links {
        Links {
            me: Hello {
                version: PROTOCOL_VERSION,
                store: identity.store.clone(),
                from: identity.id,
                incarnation: identity.incarnation,
                to: 0,
                boot: identity.boot,
                group: identity.group,
                unpacks: true,
                ..Hello::default()
            },
            source: (!listen.is_unspecified()).then_some(listen),
            open: RefCell::default(),
            edges: Cell::new(0),
            turned_away: RefCell::default(),
            operators: Cell::new(0),
            greeting: Default::default(),
            directory: RefCell::default(),
            moved: Notify::new(),
            called: RefCell::default(),
            refused: Cell::new(0),
            last_refusal: RefCell::new(None),
            jitter: Cell::new(identity.boot | 1),
            unreadable: Cell::new(0),
            packs: Cell::new(false),
            packer: RefCell::default(),
            sent: RefCell::default(),
        }
    }

    /// Connections refused since the process started.
    pub(crate) fn refusals(&self) -> u64 {
        self.refused.get()
    }

    /// The last one, and why.
    pub(crate) fn last_refusal(&self) -> Option<String> {
        self.last_refusal.borrow().clone()
    }

    /// Connections closed for what could not be read, since the process started.
    pub(crate) fn unreadable(&self) -> u64 {
        self.unreadable.get()
    }

    /// What a group was sent since the process started.
    pub(crate) fn sent_to(&self, group: u32) -> Sent {
        self.sent.borrow().get(&group).copied().unwrap_or_default()
    }

    /// Edges that are connected.
    pub(crate) fn edges(&self) -> usize {
        self.edges.get()
    }

    /// At an edge: which door has turned it away last, and why, until one has let it in.
    pub(crate) fn turned_away(&self) -> Option<String> {
        self.turned_away.borrow().clone()
    }

    /// Whether the peer is connected already, from another disk.
    fn is_twin(&self, peer: Peer, incarnation: Incarnation) -> Result<(), HelloError> {
        match (peer, self.open.borrow().get(&peer)) {
            (Peer::Replica(id), Some(old)) if old.incarnation != incarnation => Err(HelloError::Twin(id)),
            _ => Ok(()),
        }
    }

    /// Replicas and operators that are connected.
    pub(crate) fn connected(&self) -> Vec<Peer> {
        let mut peers: Vec<Peer> = self.open.borrow().keys().copied().collect();
        peers.sort_unstable();
        peers
    }

    /// Puts a message into the outbox of its peer, which is returned for the end of the turn; dropped where there is no connection, as
    /// the core has been told, or is being told, that it is gone.
    pub(crate) fn send(&self, peer: Peer, message: Message) -> Option<Rc<Link>> {
        let link = Rc::clone(self.open.borrow().get(&peer)?);
        if link.outbox.pending() > PENDING_BYTES_MAX {
            tracing::warn!(?peer, "a peer does not read what it is sent: connection closed");
            link.outbox.cut();
            return None;
        }
        let mut buffer = link.outbox.buffer();
        if link.is_far {
            // In one piece: it may be packed.
            if link.batch.get().is_none() {
                link.batch.set(Some(buffer.end().len()));
            }
            frame::encode(message, buffer.end());
        } else {
            frame::encode_in_pieces(message, &mut buffer);
        }
        drop(buffer);
        Some(link)
    }

    /// Writes what a turn has for a peer.
    pub(crate) fn flush(&self, link: &Link) {
        if let Some(from) = link.batch.take() {
            let mut buffer = link.outbox.buffer();
            let buffer = buffer.end();
            let plain = buffer.len() - from;
            if self.packs.get() && link.unpacks && plain >= packed::BATCH_BYTES_MIN {
                let rest = match link.rest.get() {
                    0 if self.packer.borrow_mut().pack(buffer, from) => 0,
                    0 => REST_BATCHES,
                    rest => rest - 1,
                };
                link.rest.set(rest);
            }
            let mut sent = self.sent.borrow_mut();
            let sent = sent.entry(link.group).or_default();
            sent.plain += plain as u64;
            sent.wire += (buffer.len() - from) as u64;
        }
        link.outbox.flush();
    }

    /// Has every link look at its state again.
    pub(crate) fn wake_all(&self) {
        self.open.borrow().values().for_each(|link| link.outbox.wake());
    }

    fn refuse(&self, who: &str, error: &HelloError) {
        if error.is_refusal() {
            count(&self.refused);
            tracing::warn!(peer = who, %error, "a peer was refused");
            self.last_refusal.replace(Some(format!("{who}: {error}")));
        } else {
            tracing::debug!(peer = who, %error, "no connection to a peer");
        }
    }

    /// Between half of the time and all of it, so that replicas do not call in step.
    fn jittered(&self, time: Duration) -> Duration {
        let mut state = self.jitter.get();
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        self.jitter.set(state);
        time / 2 + time.mul_f64((state >> 32) as f64 / f64::from(u32::MAX) / 2.0)
    }
}

/// Takes over the addresses of a newer record, and calls whom it has not called yet.
pub(crate) fn follow_record(shell: &Rc<Shell>, topology: &Topology) {
    let links = &shell.links;
    let settings = &topology.settings;
    links.packs.set(settings.mode() == Mode::MultiLeader && settings.feed_compression() == FeedCompression::Lz4);
    let addresses = match shell.config.edge {
        // It knocks at doors.
        Some(_) => BTreeMap::new(),
        None => addresses(topology),
    };
    if links.directory.replace(addresses.clone()) != addresses {
        links.moved.notify_waiters();
    }
    let mut called = links.called.borrow_mut();
    for id in links.directory.borrow().keys() {
        if *id > links.me.from && called.insert(*id) {
            spawn_local(call::keep_calling(Rc::clone(shell), *id));
        }
    }
}

fn addresses(topology: &Topology) -> BTreeMap<ReplicaId, String> {
    let others = topology.groups.iter().flat_map(|group| &group.replicas);
    let all = topology.replicas.iter().chain(others).map(|replica| (replica.id, replica.peer_address.clone()));
    // Edges have none: they come by themselves.
    all.filter(|(_, address)| !address.is_empty()).collect()
}

/// Which port somebody has called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Door {
    /// The one for replicas and operators.
    Peers,
    /// The one for edges.
    Edges,
}

/// Accepts connections for ever.
pub(crate) async fn accept(shell: Rc<Shell>, listener: TcpListener, door: Door) {
    loop {
        match listener.accept().await {
            Ok((stream, address)) if shell.links.greeting[door as usize].get() < GREETING_MAX => {
                spawn_local(welcome(Rc::clone(&shell), stream, address.to_string(), door));
            }
            Ok(_) => tracing::warn!("too many peers that say nothing: connection closed"),
            Err(error) => crate::server::rest_after(&error).await,
        }
    }
}

async fn welcome(shell: Rc<Shell>, mut stream: TcpStream, address: String, door: Door) {
    let links = &shell.links;
    // Strangers at the door for edges take no place from replicas.
    let greeting = &links.greeting[door as usize];
    greeting.set(greeting.get() + 1);
    let greeted = match link::tune(&stream) {
        Ok(()) if door == Door::Edges => {
            hello::open_door(&mut stream, &links.me, |theirs| doors::admit(&shell, theirs)).await
        }
        Ok(()) => hello::answer(&mut stream, &links.me).await,
        Err(error) => Err(error.into()),
    };
    greeting.set(greeting.get() - 1);
    let greeted = match greeted {
        Ok(greeted) => greeted,
        Err(error) => return links.refuse(&address, &error),
    };
    let peer = match greeted.hello.from {
        0 => {
            links.operators.set(links.operators.get().wrapping_add(1));
            let connected = links.open.borrow().keys().filter(|peer| matches!(peer, Peer::Operator(_))).count();
            if connected >= OPERATORS_MAX {
                return tracing::warn!(address, "there are {OPERATORS_MAX} operators already: connection closed");
            }
            Peer::Operator(links.operators.get())
        }
        id => Peer::Replica(id),
    };
    if let Err(error) = link::serve(&shell, stream, peer, greeted, door).await {
        links.refuse(&address, &error);
    }
}

/// Makes a link the one of its peer.
///
/// # Errors
/// The peer is connected already from another disk. Whoever is real calls again; it is let in when the old connection has ended, which it does within
/// seconds where nobody is there any more.
fn open(shell: &Shell, link: &Rc<Link>) -> Result<(), HelloError> {
    shell.links.is_twin(link.peer, link.incarnation)?;
    let mut open = shell.links.open.borrow_mut();
    let old = open.insert(link.peer, Rc::clone(link));
    shell.links.edges.set(open.values().filter(|link| link.edge.is_some()).count());
    drop(open);
    if let Some(old) = old {
        tracing::debug!(peer = ?link.peer, "a newer connection of a peer replaces the old one");
        old.outbox.cut();
        shell.step(Input::PeerClosed(link.peer));
    }
    tracing::info!(peer = ?link.peer, "peer connected");
    shell.step(Input::PeerOpened { peer: link.peer, incarnation: link.incarnation, group: link.group });
    Ok(())
}

/// A link is at its end; the core is told, unless a newer one has taken its place.
fn close(shell: &Shell, link: &Rc<Link>, reason: &str) {
    let mut open = shell.links.open.borrow_mut();
    if open.get(&link.peer).is_some_and(|current| Rc::ptr_eq(current, link)) {
        open.remove(&link.peer);
        shell.links.edges.set(open.values().filter(|link| link.edge.is_some()).count());
        drop(open);
        tracing::info!(peer = ?link.peer, reason, "peer disconnected");
        shell.step(Input::PeerClosed(link.peer));
    }
}
