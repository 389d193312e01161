//! A store as plain processes on loopback, driven by the planner.
pub mod addresses;
pub mod control;
pub mod directory;
mod events { #[derive(Debug,Clone,serde::Serialize,serde::Deserialize)] pub struct Event; }
mod happening;
mod link;
mod process;
pub mod verify;
