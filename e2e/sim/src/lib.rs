//! Replicas, planner and authority in one deterministic world with faults.
