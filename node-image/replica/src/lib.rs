//! One replica, without IO.
pub mod io;
pub mod log;
