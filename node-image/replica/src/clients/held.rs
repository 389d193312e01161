//! Replies that wait for the commit of what they depend on.
//!
//! One queue for all clients, ordered by the seq that is waited for: a reply that depends on less than the one before it waits for that one's seq. What
//! is under way at a time is one group commit, so the difference is less than a round trip, and releasing is popping from the front.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use trireme_proto::{ReplicaId, message::Reply};

use crate::{io::ClientId, quorum::level::Quorum};

use super::session::staleness::Staleness;

/// One reply.
#[derive(Debug)]
pub(crate) struct Held {
    /// Released when everything up to this seq is committed.
    pub(crate) seq: u64,
    pub(crate) since_us: u64,
    pub(crate) of: Of,
    pub(crate) to: HeldFor,
    /// The reply of a command on data, where nobody leads: how far it reaches.
    pub(crate) reach: Option<Reach>,
}

/// How far a command on data reaches where nobody leads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reach {
    /// Whose copies its reply waits for.
    pub(crate) quorum: Quorum,
    /// This replica's own entries that it depends on, first and last, as far as they had not enough copies for the store; 0 for none.
    pub(crate) own: (u64, u64),
    /// It wrote: who holds its entries counts.
    pub(crate) wrote: bool,
    /// How many members' states were joined before it ran, this replica's own included.
    pub(crate) r: usize,
    /// How many members were known to hold what it shows.
    pub(crate) w: usize,
    /// The client wants to be told with the reply.
    pub(crate) told: bool,
    /// Of a read of such a client: how far behind this replica was then.
    pub(crate) behind: Option<Staleness>,
}

/// What it is the reply of: what is said if the commit does not come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Of {
    /// A write: whether it happened is in doubt.
    Write,
    /// A read of what was not committed: it may be asked again.
    Read,
    /// Neither: it only comes after one of these, and stays as it is.
    Neither,
}

/// Whose reply it is.
#[derive(Debug)]
pub(crate) enum HeldFor {
    /// A client of this replica: the next `bytes` of its `out` after what is ready.
    Local {
        client: ClientId,
        /// Length of the reply in bytes.
        bytes: usize,
    },
    /// A client of another replica.
    Remote { replica: ReplicaId, reply: Reply },
}

/// The queue.
#[derive(Debug, Default)]
pub(crate) struct HeldQueue(VecDeque<Held>);

/// Queues of replies that wait for other copies than the store's w, one for each quorum: none of them delays another one. All replies of a client that
/// wait are in one queue.
#[derive(Debug, Default)]
pub(crate) struct Leveled(BTreeMap<Quorum, HeldQueue>);

impl Leveled {
    pub(crate) fn push(&mut self, quorum: Quorum, held: Held) {
        self.0.entry(quorum).or_default().push(held);
    }

    /// Takes out the first reply of any queue that need not wait any longer.
    pub(crate) fn release(&mut self, may_go: impl Fn(Quorum, &Held) -> bool) -> Option<Held> {
        let (_, queue) =
            self.0.iter_mut().find(|(quorum, queue)| queue.0.front().is_some_and(|h| may_go(**quorum, h)))?;
        queue.0.pop_front()
    }

    /// See [`HeldQueue::take_late`].
    pub(crate) fn take_late(&mut self, since_us: u64) -> Vec<Held> {
        self.0.retain(|_, queue| !queue.0.is_empty());
        self.0.values_mut().flat_map(|queue| queue.take_late(since_us)).collect()
    }
}

impl HeldQueue {
    pub(crate) fn push(&mut self, mut held: Held) {
        held.seq = self.0.back().map_or(held.seq, |back| back.seq.max(held.seq));
        self.0.push_back(held);
    }

    /// The next reply that the commit of `seq` releases.
    pub(crate) fn release(&mut self, seq: u64) -> Option<Held> {
        self.0.pop_front_if(|held| held.seq <= seq)
    }

    /// Takes out everything that waits for more than `seq`, in order.
    pub(crate) fn cut(&mut self, seq: u64) -> Vec<Held> {
        let keep = self.0.partition_point(|held| held.seq <= seq);
        self.0.split_off(keep).into()
    }

    /// Forgets the replies for other replicas' clients that this names: their forwarders ask again.
    pub(crate) fn forget_remote(&mut self, of: impl Fn(ReplicaId) -> bool) {
        self.0.retain(|held| !matches!(&held.to, HeldFor::Remote { replica, .. } if of(*replica)));
    }

    /// Takes out everything of those clients here for whom something has waited since then or longer. Other clients' replies stay, and so do other
    /// replicas': their forwarders have time-outs of their own.
    pub(crate) fn take_late(&mut self, since_us: u64) -> Vec<Held> {
        let here = |held: &Held| match held.to {
            HeldFor::Local { client, .. } => Some(client),
            HeldFor::Remote { .. } => None,
        };
        let late: BTreeSet<ClientId> =
            self.0.iter().take_while(|held| held.since_us <= since_us).filter_map(here).collect();
        if late.is_empty() {
            return Vec::new();
        }
        let is_late = |held: &Held| here(held).is_some_and(|client| late.contains(&client));
        let (taken, kept): (Vec<Held>, Vec<Held>) = self.0.drain(..).partition(is_late);
        self.0 = kept.into();
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(seq: u64) -> Held {
        Held { seq, since_us: 0, of: Of::Write, to: HeldFor::Local { client: seq, bytes: 5 }, reach: None }
    }

    #[test]
    fn replies_are_released_in_order() {
        let mut queue = HeldQueue::default();
        for seq in [3, 2, 5] {
            queue.push(held(seq));
        }
        assert!(queue.release(2).is_none(), "the second depends on less, but comes after the first");
        assert_eq!([queue.release(3).map(|h| h.seq), queue.release(3).map(|h| h.seq)], [Some(3), Some(3)]);
        assert_eq!(queue.cut(4).len(), 1);
        assert!(queue.take_late(u64::MAX).is_empty());
    }
}
