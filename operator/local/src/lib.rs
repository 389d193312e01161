//! A store as plain processes on loopback, driven by the planner.
