//! What users write: programs with the client libraries of four languages (`e2e/clients`), and the web application of the examples, at stores of real
//! processes. What they need is installed by `e2e/clients/client install`.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[allow(dead_code, reason = "shared with the other tests of the command, which use more of it")]
#[path = "../support/mod.rs"]
mod support;
#[allow(dead_code, reason = "shared with the tests of faults, which use more of it")]
#[path = "../faults/tools.rs"]
mod tools;

mod programs;
mod web;
