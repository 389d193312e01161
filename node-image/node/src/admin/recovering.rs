//! What the port answers while the disk is being read: the replica is alive as long as that gets on.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

use axum::http::StatusCode;
use trireme_proto::Position;
use trireme_replica::{Recovery, RecoveryError, io::Meta};

use super::{Answer, Ask, JSON, METRICS, TEXT, metrics::Page};
use crate::disk::Restore;

/// A disk that gives nothing for this long has stopped: longer than it takes to make a state of what was read, in which nothing more comes.
const STALLED_AFTER: Duration = Duration::from_secs(300);

/// How much was read of the disk: counted by the thread that reads it.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    read: AtomicU64,
}

impl Progress {
    fn count(&self) {
        self.read.fetch_add(1, Relaxed);
    }

    pub(super) fn read(&self) -> u64 {
        self.read.load(Relaxed)
    }
}

/// Reads into a replica's state, and counts.
pub(crate) struct Counted<'a> {
    pub(crate) recovery: &'a mut Recovery,
    pub(crate) progress: &'a Progress,
}

impl Restore for Counted<'_> {
    type Error = RecoveryError;

    fn meta(&mut self, meta: Meta) {
        Restore::meta(self.recovery, meta);
    }

    fn checkpoint(&mut self, start: Position, whole_at: u64, meta: &[u8]) -> Result<(), RecoveryError> {
        Restore::checkpoint(self.recovery, start, whole_at, meta)
    }

    fn slot(&mut self, slot: u16, image: &[u8]) -> Result<(), RecoveryError> {
        self.progress.count();
        Restore::slot(self.recovery, slot, image)
    }

    fn record(&mut self, record: &[u8]) -> Result<(), RecoveryError> {
        self.progress.count();
        Restore::record(self.recovery, record)
    }

    fn committed(&mut self, seq: u64) {
        Restore::committed(self.recovery, seq);
    }
}

/// Answers from what was read so far.
pub(super) struct Recovering {
    read: u64,
    since: Instant,
    labels: String,
}

impl Recovering {
    pub(super) fn new(labels: String) -> Recovering {
        Recovering { read: 0, since: Instant::now(), labels }
    }

    pub(super) fn answer(&mut self, what: Ask, read: u64) -> Answer {
        if self.read != read {
            (self.read, self.since) = (read, Instant::now());
        }
        let words = format!("its disk is being read: {read} slots and records so far\n");
        match what {
            Ask::Live if self.since.elapsed() > STALLED_AFTER => {
                let words = format!("nothing has come from its disk for {} s\n", self.since.elapsed().as_secs());
                (StatusCode::SERVICE_UNAVAILABLE, TEXT, words)
            }
            Ask::Live => (StatusCode::OK, TEXT, words),
            Ask::Metrics => {
                let mut page = Page::new(self.labels.clone());
                page.build();
                page.gauge("recovering", "1 while the disk is being read after a start.", 1);
                page.counter("recovered_records_total", "Slots and records read since the start.", read);
                (StatusCode::OK, METRICS, page.text)
            }
            Ask::Status => {
                (StatusCode::SERVICE_UNAVAILABLE, JSON, format!("{{\"recovering\":true,\"recoveredRecords\":{read}}}"))
            }
            Ask::Ready | Ask::Digests => (StatusCode::SERVICE_UNAVAILABLE, TEXT, words),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_is_being_read_is_alive_and_not_ready() {
        let mut recovering = Recovering::new("store=\"s\"".into());
        for read in [0, 7] {
            let (code, _, body) = recovering.answer(Ask::Live, read);
            assert_eq!(code, StatusCode::OK);
            assert!(body.contains(&format!("{read} slots and records")), "{body}");
        }
        assert_eq!(recovering.answer(Ask::Ready, 7).0, StatusCode::SERVICE_UNAVAILABLE);
        let (_, _, page) = recovering.answer(Ask::Metrics, 7);
        assert!(page.contains("trireme_recovered_records_total{store=\"s\"} 7\n"), "{page}");
        let Some(long_ago) = Instant::now().checked_sub(STALLED_AFTER * 2) else { return };
        recovering.since = long_ago;
        assert_eq!(recovering.answer(Ask::Live, 7).0, StatusCode::SERVICE_UNAVAILABLE, "nothing has come since");
        assert_eq!(recovering.answer(Ask::Live, 8).0, StatusCode::OK);
    }
}
