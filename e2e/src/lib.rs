//! # trireme-e2e: tests that need more than one crate
//!
//! There is no code here that ships. The tests stand in `e2e/tests/`, each folder or file one subject:
//!
//! - `architecture`: who may import whom, and how the code is kept readable. It asks cargo what it resolved and reads the sources as text, so that a
//!   rule of ARCHITECTURE.md that a program can check does not depend on anybody remembering it.
//! - `live`: stores on a real cluster, behind the feature of this name; its own front page says how it is run.
//!
//! What other tests need has a crate of its own beside this one: `trireme-sim` is the deterministic world with its faults, invariants and history
//! checkers; `trireme-bench` is the load generator and the peers to compare with.
//!
//! ## Invariants
//!
//! - A test here, a live one aside, starts processes only on loopback, with ports or addresses chosen at run time, in folders that vanish with it, and ends what it started.
//! - No test waits for a fixed time in order to be right: it waits for a state, within a bound.
//! - Everything can fail: each check has been seen red.
