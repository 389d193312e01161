//! The shell around a replica: sockets, disk, admin port.

pub mod disk;
pub mod resp;
