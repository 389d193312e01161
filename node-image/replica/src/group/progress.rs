//! What a leader knows of one other replica.

use trireme_proto::Incarnation;

use super::sweep::Sweep;

/// Bytes of log that may be under way to a follower before its acknowledgements come.
pub(crate) const IN_FLIGHT_BYTES_MAX: u64 = 32 << 20;

/// How its log relates to the leader's.
#[derive(Debug)]
pub(crate) enum Stage {
    /// It has not said what its log looks like, on this connection.
    Probe,
    /// Its log agrees up to somewhere: entries are streamed.
    Stream {
        /// Seq of the last entry sent.
        sent: u64,
    },
    /// It is too far behind for the log.
    Snapshot(Box<Transfer>),
}

/// A snapshot on its way.
#[derive(Debug)]
pub(crate) struct Transfer {
    pub(crate) number: u64,
    /// Seq at its start; 0 until it has begun: it begins at a moment without uncommitted entries.
    pub(crate) start: Option<u64>,
    pub(crate) sweep: Sweep,
    /// Slots sent, and of these taken in.
    pub(crate) sent: u32,
    pub(crate) taken: u32,
    pub(crate) ended: bool,
}

/// One follower or learner.
#[derive(Debug)]
pub(crate) struct Progress {
    pub(crate) incarnation: Incarnation,
    pub(crate) stage: Stage,
    /// Everything up to here is durable there, acknowledged in this epoch.
    pub(crate) acknowledged: u64,
    /// The largest of our own clock readings that it brought back: the lease runs from it.
    pub(crate) echo_us: u64,
    pub(crate) heard_us: u64,
    /// The commit last sent.
    pub(crate) commit_sent: u64,
    pub(crate) connected: bool,
}

impl Progress {
    pub(crate) fn new(incarnation: Incarnation, now_us: u64) -> Progress {
        Progress {
            incarnation,
            stage: Stage::Probe,
            acknowledged: 0,
            echo_us: 0,
            heard_us: now_us,
            commit_sent: 0,
            connected: true,
        }
    }

    /// The log is needed from the entry after this one, if it is needed at all.
    pub(crate) fn needs_after(&self) -> Option<u64> {
        match &self.stage {
            Stage::Probe => None,
            Stage::Stream { .. } => Some(self.acknowledged),
            Stage::Snapshot(transfer) => transfer.start,
        }
    }
}
