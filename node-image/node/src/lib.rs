//! The shell around a replica: sockets, disk, admin port.

mod admin;
mod client;
pub mod config;
pub mod disk;
mod outbox;
mod peers;
mod process;
mod pump;
pub mod resp;
mod server;
mod shell;
mod writer;

pub use self::{
    config::{ExitReason, NodeConfig, NodeError},
    process::Listening,
};

#[cfg(test)]
mod shell_tests;
#[cfg(test)]
mod testing;
