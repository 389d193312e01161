//! # trireme-bench: how fast, against whom, by which measure
//!
//! Two programs share this library:
//!
//! - `trireme-load` drives one server with many connections and prints what it answered and how long that took ([`load`]);
//! - `trireme-bench compare` starts Trireme and its peers (redis-server, etcd-server) as processes on loopback ([`peers`]), runs the same load against
//!   each in interleaved rounds ([`compare`]), and prints a table of medians and ratios, which it can also write into the README.
//!
//! ## How it measures
//!
//! - **One thread, one `epoll`.** The generator shares the machine with what it measures, so every microsecond it takes is taken from the server. It
//!   knows two protocols, RESP and just enough gRPC to put a key into etcd, and runs both through the same loop, so that no contender has a costlier client.
//! - **Interleaved rounds, ratios within a round.** The speed of a shared machine moves by a fifth within minutes. Contenders take turns, a ratio is
//!   formed between neighbours in time, and the median of the rounds is what is reported.
//! - **Closed loop for throughput, open loop for latency under a given rate.** In the open loop every request has an intended start, and its latency
//!   counts from there: a stall is charged to every request that it delayed (no coordinated omission).
//! - **An error is an error.** Refusals, answers that confirm too few copies, closed connections and requests never answered are counted by kind, and
//!   `compare` says so beside the figure.
//! - **What is asked for is the same.** The peers are run the way that gives them their best figure for the same promise: `WAIT` once for a whole
//!   pipelined batch, diskless synchronisation, etcd over gRPC at its leader.
//!
//! ## Invariants
//!
//! - Whatever a comparison starts, it ends: on success, on error, and on SIGINT or SIGTERM ([`peers::Process`]).
//! - Nothing uses a fixed port, and nothing listens beyond loopback.
//! - No figure enters the README but from a run: the table between the markers is written by `compare --write-readme` alone.
//!
//! ## What is missing
//!
//! No TLS, no RESP3, no other peers than those two, no CPU pinning: on two cores it made the figures worse.

pub mod client;
pub mod compare;
pub mod load;
pub mod peers;
