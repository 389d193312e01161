//! What has been given to the disk and is not durable yet: the ticket of each operation, and what becomes true when it is.

use std::collections::VecDeque;

use trireme_proto::{Epoch, ids::Origin};

use crate::io::DiskOp;

/// What becomes true with an operation's durability.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Becomes {
    /// The log up to this seq is durable.
    Log(u64),
    /// This promise may be answered.
    Promise(Epoch),
    /// This epoch is known to be led by this replica, so that it never is again by another process on this disk.
    Led(Epoch),
    /// This is the name under which this process writes.
    Named(Origin),
    /// The snapshot being received is in force.
    Installed,
}

/// Operations on their way to the disk.
#[derive(Debug, Default)]
pub(crate) struct DiskQueue {
    ticket: u64,
    waiting: VecDeque<(u64, Becomes)>,
}

impl DiskQueue {
    /// Hands an operation out, with what it makes true.
    pub(crate) fn put(&mut self, op: DiskOp, becomes: Option<Becomes>, persist: &mut Vec<(u64, DiskOp)>) {
        self.ticket += 1;
        persist.push((self.ticket, op));
        if let Some(becomes) = becomes {
            self.waiting.push_back((self.ticket, becomes));
        }
    }

    /// Everything up to this ticket is durable: what that makes true, in order.
    pub(crate) fn durable(&mut self, ticket: u64) -> impl Iterator<Item = Becomes> + '_ {
        std::iter::from_fn(move || {
            self.waiting.pop_front_if(|(waiting, _)| *waiting <= ticket).map(|(_, becomes)| becomes)
        })
    }

    /// The log was cut: appends on their way make no more durable than what is left of them.
    pub(crate) fn cut(&mut self, seq: u64) {
        for (_, becomes) in &mut self.waiting {
            if let Becomes::Log(last) = becomes {
                *last = (*last).min(seq);
            }
        }
    }
}
