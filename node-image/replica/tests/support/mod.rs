//! What the scenarios run on: `script` reads their commands, `world` has replicas with links, clients and time, `disk` their disks, `show` puts what
//! happens into words, `flip` damages messages.

#![allow(clippy::unwrap_used)] // Helpers of tests: clippy's exception knows only functions that are tests themselves.

mod disk;
mod flip;
mod script;
mod show;
mod world;

pub use script::play;
