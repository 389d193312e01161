//! One replica, without IO: the delta engine, the group log with its failover, and the clients.
//!
//! ```text
//!             Input                                                                Output
//!   clients ─▶ Command ─┐                                              ┌─▶ ready: replies
//!   peers  ─▶ Peer ─────┤    clients/ ──▶ engine/ ──▶ log/ ──▶ group/  ├─▶ send: messages
//!   disk   ─▶ Persisted ┤    execute      delta       entry   commit   ├─▶ persist: disk operations
//!   clock  ─▶ Tick ─────┘                                              └─▶ deadline
//! ```
//!
//! Where nobody leads, each replica is a group of one, and two more parts stand between `clients` and `group`:
//!
//! ```text
//!   clients/ ──▶ quorum/: rounds before reads and writes, what has w copies ──▶ engine/, log/ ──▶ feeds/: entries to and from every other group
//! ```
//!
//! Where there is a leader in each region, the leader has `feeds` to and from the others', beside its followers.
//!
//! * [`io`]: what goes in and what comes out. [`Replica`]: the two calls, [`Replica::step`] and [`Replica::take_output`].
//! * [`engine`]: commands become deltas, deltas join into state. [`log`]: entries as bytes, and the part of the log that is in memory.
//! * `feeds`, `quorum`: see above. `group`: leading, following, committing, promising, leases, snapshots, checkpoints. `clients`: connections, forwarding, replies that wait.
//! * [`Recovery`]: what a disk had, on its way in.
//!
//! # What the caller has to do
//!
//! 1. Call [`Replica::step`] for everything that happens, with a clock read **after** it happened: the lease is judged by that reading.
//! 2. After a batch of inputs, take the output with [`Replica::take_output`]. One batch is one turn: one write, one message per peer.
//! 3. Carry out `persist` in order, and report the last ticket that is as durable as the store asks for. What depends on durability is only handed out
//!    after that report, so messages and replies need not wait for the disk. Carry out `checkpoint` beside that, and report when it is done.
//! 4. Send `send` in order per peer over one connection that neither loses nor reorders; when it breaks, say so by `PeerClosed` before the next
//!    `PeerOpened`.
//! 5. Write the replies of clients in `ready`; read no commands of clients in `paused` until they are in `resumed`; close those in `close`, and at once those in `cut`.
//! 6. Call again with `Input::Tick` when `deadline_us` has come.
//! 7. On `fatal`, end the process without reporting anything more as durable. On `finished`, end it cleanly.
//! 8. Never run two replicas on one disk; give a disk that was empty, or lost its tail, a new incarnation.
//!
//! # Invariants
//!
//! The group log's are in `group`, the clients' in `clients`, the engine's in [`engine`]. Over all: no clock, no randomness, no IO, no thread in here; the
//! same inputs give the same outputs, byte for byte; of those that a caller gave a stopwatch, SLOWLOG and LATENCY excepted.
//!
//! # What is not here yet
//!
//! Reading old log from the disk for whoever is behind (what is kept for that is in memory). In SingleLeader: reads confirmed by r replicas without the
//! leader.

mod clients;
mod disk_queue;
pub mod engine;
mod feeds;
mod group;
pub mod io;
pub mod log;
mod quorum;
mod recovery;
mod replica;

pub use clients::pubsub::SUBSCRIBER_BYTES_HARD;
pub use engine::warm::{Place, Places, TOGETHER as PLACES_AHEAD};
pub use recovery::{Recovery, RecoveryError};
pub use replica::Replica;
