//! The Kubernetes shell of the planner.

fn main() {}
