//! Feeds in small worlds of replicas: where every one is a group of its own, and where groups have leaders.

mod conflicts;
mod groups;
mod peers;
