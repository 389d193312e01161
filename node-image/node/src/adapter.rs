//! The replica as the shell's core, and as what a disk restores.

use trireme_proto::{Position, Report, Topology, message::Digests};
use trireme_replica::{
    Place, Recovery, RecoveryError, Replica,
    engine::command::config::Tuning,
    io::{ClientId, Input, Meta, Now, Output},
};

use crate::{disk::Restore, shell::Core};

impl Core for Replica {
    fn step(&mut self, input: Input<'_>, now: Now) {
        Replica::step(self, input, now);
    }

    fn warm(&self, places: &[Place<'_>]) {
        Replica::warm(self, places);
    }

    fn take_output(&mut self, output: &mut Output) {
        Replica::take_output(self, output);
    }

    fn take_replies(&mut self, client: ClientId, out: &mut Vec<u8>) -> usize {
        Replica::take_replies(self, client, out)
    }

    fn must_authenticate(&self, client: ClientId) -> bool {
        Replica::must_authenticate(self, client)
    }

    fn report(&self, now: Now) -> Report {
        Replica::report(self, now)
    }

    fn log_bytes(&self) -> u64 {
        Replica::log_bytes(self)
    }

    fn conflict_counts(&self) -> Vec<(&'static str, u64)> {
        Replica::conflict_counts(self).collect()
    }

    fn subscribes(&self, client: ClientId) -> bool {
        Replica::subscribes(self, client)
    }

    fn pubsub_counts(&self) -> [(&'static str, u64); 5] {
        Replica::pubsub_counts(self)
    }

    fn digests(&self) -> Digests {
        Replica::digests(self, 0, trireme_proto::SLOTS)
    }

    fn topology(&self) -> Option<&Topology> {
        Replica::topology(self)
    }

    fn tuning(&self) -> Tuning {
        *Replica::tuning(self)
    }

    fn speaks_for_group(&self) -> bool {
        Replica::speaks_for_group(self)
    }
}

impl Restore for Recovery {
    type Error = RecoveryError;

    fn meta(&mut self, meta: Meta) {
        Recovery::meta(self, meta);
    }

    fn checkpoint(&mut self, start: Position, whole_at: u64, meta: &[u8]) -> Result<(), RecoveryError> {
        Recovery::checkpoint(self, start, whole_at, meta)
    }

    fn slot(&mut self, slot: u16, image: &[u8]) -> Result<(), RecoveryError> {
        Recovery::slot(self, slot, image)
    }

    fn record(&mut self, record: &[u8]) -> Result<(), RecoveryError> {
        Recovery::record(self, record)
    }

    fn committed(&mut self, seq: u64) {
        Recovery::committed(self, seq);
    }
}
