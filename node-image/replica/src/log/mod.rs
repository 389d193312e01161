//! The group's log: its records ([`record`]).

pub mod record;
