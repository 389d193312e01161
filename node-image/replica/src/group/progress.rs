//! What a leader knows of one other replica.

use trireme_proto::Incarnation;

use super::sweep::Sweep;

/// Bytes of a snapshot that may be under way: the receiver takes them in at its own speed.
const SNAPSHOT_BYTES_IN_FLIGHT_MAX: u64 = 8 << 20;
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
    /// Seq at its start; none until it has begun, at a moment without uncommitted entries.
    pub(crate) start: Option<u64>,
    pub(crate) sweep: Sweep,
    /// Bytes of images and entries sent, and of these taken in.
    pub(crate) bytes_sent: u64,
    pub(crate) bytes_taken: u64,
    /// Every slot is sent: the state is whole with the log up to the first, which is sent up to the second.
    pub(crate) tail: Option<(u64, u64)>,
    pub(crate) ended: bool,
}

impl Transfer {
    /// The receiver has room for more.
    pub(crate) fn has_room(&self) -> bool {
        !self.ended
            && self.start.is_some()
            && self.bytes_sent < self.bytes_taken.saturating_add(SNAPSHOT_BYTES_IN_FLIGHT_MAX)
    }

    /// It waits for a moment without uncommitted entries: to begin, or to take the slots that are written all the time.
    pub(crate) fn wants_quiet(&self) -> bool {
        self.start.is_none() || (self.tail.is_none() && self.sweep.needs_quiet())
    }
}

/// One follower or learner.
#[derive(Debug)]
pub(crate) struct Progress {
    pub(crate) incarnation: Incarnation,
    pub(crate) stage: Stage,
    /// Everything up to here is durable there, acknowledged in this epoch.
    pub(crate) acknowledged: u64,
    /// Everything up to here is in its log as far as is known, whatever became of its connection; none before it has said so in this epoch.
    pub(crate) holds: Option<u64>,
    /// When it came, or the epoch began.
    pub(crate) since_us: u64,
    /// The largest of our own clock readings that it brought back: the lease runs from it.
    pub(crate) echo_us: u64,
    pub(crate) heard_us: u64,
    /// The commit last sent.
    pub(crate) commit_sent: u64,
    /// Its clients wait for the next one.
    pub(crate) awaits_commit: bool,
    pub(crate) connected: bool,
    /// Where the log ended when its cut suffix had been appended again.
    pub(crate) suffix_taken: u64,
}

impl Progress {
    pub(crate) fn new(incarnation: Incarnation, now_us: u64) -> Progress {
        Progress {
            incarnation,
            stage: Stage::Probe,
            acknowledged: 0,
            holds: None,
            since_us: now_us,
            echo_us: 0,
            heard_us: now_us,
            commit_sent: 0,
            awaits_commit: false,
            connected: true,
            suffix_taken: 0,
        }
    }
}
