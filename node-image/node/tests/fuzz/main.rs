//! Whatever comes in, from clients, from peers or from the disk: no panic, no unbounded memory, and an answer that says what is wrong.
//!
//! Each target makes inputs from a seed: right ones of the real thing (commands of the golden files, messages of replicas that work together, a folder that a
//! replica has written), and damages them, some so that their checksums are right again. A failure prints its seed and how to run that one again.
//!
//! `TRIREME_FUZZ_SECONDS=600 cargo test -p trireme-node --test fuzz TARGET -- --nocapture` goes on for so long; two seconds are the default.

#![allow(clippy::unwrap_used, reason = "a test ends with whatever goes wrong; what helps tests counts as one")]

mod clients;
mod damage;
mod disk;
mod harness;
mod peers;
mod replies;
mod world;
