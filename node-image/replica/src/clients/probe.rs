//! Writes of nothing, which an operator asks for to learn whether writes are acknowledged, and who has them.
//!
//! Such a write is an entry like any other, whose delta has no changes: it goes to the disk, to the followers and from group to group, and is answered when a
//! client's write would be. No key has to do with it, so no client can see it. What cannot be done at once is not done: who asks asks again.

use std::collections::VecDeque;

use trireme_proto::{
    Message,
    ids::{Dot, Peer},
    message::Probed,
};

use crate::{
    engine::At,
    group::Role,
    quorum::level::{Quorum, Side},
    replica::Replica,
};

use super::execute::MayExecute;

/// Writes of nothing that may wait for their copies.
const WAITING_MAX: usize = 64;

/// Those that wait, the oldest first.
#[derive(Debug, Default)]
pub(crate) struct Probes(VecDeque<(u32, Probed)>);

impl Replica {
    /// An operator asks for one.
    pub(crate) fn on_probe(&mut self, operator: u32, number: u64) {
        if self.probes.0.len() == WAITING_MAX || !self.may_write() {
            return;
        }
        let at = At { seq: self.batch_last + 1, now_ms: self.now.wall_ms, keep_undo: true };
        self.delta.clear();
        self.engine.execute(&at, &mut self.delta, |access| access.write_nothing());
        let origin = self.engine.origin();
        let dot = Dot { origin, seq: self.engine.received().highest(origin) };
        let seq = self.append_delta(None);
        self.probes.0.push_back((operator, Probed { number, seq, dot }));
    }

    /// Whether a client's write would be executed here, now.
    fn may_write(&self) -> bool {
        match &self.role {
            Role::Leader(_) => matches!(self.may_execute(true), MayExecute::Yes),
            Role::Peer(_) => {
                let reaches_enough = self.too_few_peers(Side::Writes, Quorum::Store, true).is_none();
                self.may_coordinate() && !self.disk_full && reaches_enough
            }
            Role::Idle | Role::Follower(_) => false,
        }
    }

    /// Tells those who wait for what is acknowledged by now. What a deposed leader could not commit is answered by nobody.
    pub(crate) fn answer_probes(&mut self) {
        if !self.leads() && !matches!(self.role, Role::Peer(_)) {
            return self.probes.0.clear();
        }
        let settled = self.settled();
        while let Some((operator, probed)) = self.probes.0.pop_front_if(|(_, probed)| probed.seq <= settled) {
            if self.operators.contains(&operator) {
                self.output.send.push((Peer::Operator(operator), Message::Probed(probed)));
            }
        }
    }
}
