//! How old what is here is, by what a sender has said of its own: a leader of its commit, another group of its entries.
//!
//! Each word has the sender's clock. Clocks of two machines have nothing in common but their rate, so a word is as old as it took longer than the quickest of
//! the last ones: what is not counted is the least time that the way takes. What came while this process was stopped, or was kept back on the way, is so as
//! old as it is, in whatever order and how quickly it is then read. Of a sender that was not heard before there is nothing to compare with, so nothing is
//! taken for fresh before it was listened to for [`LISTENS_US`]; nor after this process was stopped, or the machine asleep, when first what was said before
//! is read.

use super::staleness::Staleness;
use crate::group::LISTENS_US;

/// For how long the quickest message counts, at least; at most twice as long.
const MEASURES_US: u64 = 10_000_000;

/// What a leader says that does not know how far behind it is: longer than anybody allows.
pub(crate) const UNKNOWN: u64 = 1 << 40;

/// How far behind other groups a leader is, in milliseconds and entries, as it says.
pub(crate) type Behind = (u64, u64);

/// When a word came, by this machine, and was sent, by the sender's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    pub(crate) now_us: u64,
    pub(crate) sent_us: u64,
    /// Since when this process has run without being stopped.
    pub(crate) awake_since_us: u64,
}

/// What is known of a sender's words.
#[derive(Clone, Debug)]
pub(crate) struct Freshness<What> {
    way: Way,
    /// When the last word was sent of which all is known to be here; and how far behind the sender was, in milliseconds.
    fresh: Option<(u64, u64)>,
    /// The last word.
    last: Option<Word<What>>,
    /// The first one after `fresh` of which something was not here when it came.
    waits: Option<Word<What>>,
}

/// What was said.
#[derive(Clone, Debug)]
struct Word<What> {
    /// By this machine's clock, the way not counted.
    sent_us: u64,
    what: What,
    behind: Behind,
}

impl<What> Default for Freshness<What> {
    fn default() -> Freshness<What> {
        Freshness { way: Way::default(), fresh: None, last: None, waits: None }
    }
}

impl<What: Clone> Freshness<What> {
    /// A word of somebody who knew all that there was when it was sent. `lacks`: how many entries of what is said are not here for good.
    pub(crate) fn hear(&mut self, times: Times, what: What, behind: Behind, lacks: impl Fn(&What) -> u64) {
        let sent_us = self.way.sent_at(times.now_us, times.sent_us);
        let listens_since_us = times.awake_since_us.max(self.way.first_us);
        if times.now_us < listens_since_us.saturating_add(LISTENS_US) {
            return;
        }
        if let Some(word) = self.waits.take_if(|word| lacks(&word.what) == 0) {
            self.fresh = Some((word.sent_us, word.behind.0));
        }
        let word = Word { sent_us, what, behind };
        if lacks(&word.what) == 0 {
            (self.fresh, self.waits) = (Some((sent_us, behind.0)), None);
        } else {
            self.waits.get_or_insert_with(|| word.clone());
        }
        self.last = Some(word);
    }

    /// The sender's own, if it has said so within the suspicion time.
    pub(super) fn of_sender(&self, now_us: u64, suspicion_us: u64) -> Staleness {
        let told = self.last.as_ref().filter(|word| word.sent_us.saturating_add(suspicion_us) >= now_us);
        let known = |number: u64| Some(number).filter(|number| *number < UNKNOWN);
        told.map_or_else(Staleness::default, |word| Staleness {
            ms: known(word.behind.0),
            entries: known(word.behind.1),
        })
    }

    pub(super) fn staleness(&self, now_us: u64, suspicion_us: u64, lacks: impl Fn(&What) -> u64) -> Staleness {
        let came = self.waits.as_ref().filter(|word| lacks(&word.what) == 0).map(|word| (word.sent_us, word.behind.0));
        let age = |(sent_us, behind_ms): (u64, u64)| {
            let ms = (now_us.saturating_sub(sent_us) / 1_000).saturating_add(behind_ms);
            Some(ms).filter(|_| behind_ms < UNKNOWN)
        };
        let sender = self.of_sender(now_us, suspicion_us);
        let lacking = self.last.as_ref().map(|word| lacks(&word.what));
        Staleness {
            ms: came.or(self.fresh).and_then(age),
            entries: sender.entries.zip(lacking).map(|(behind, lacking)| behind.saturating_add(lacking)),
        }
    }

    /// The machine was asleep for so long, and its monotonic clock with it: everything is so much older.
    pub(super) fn slept(&mut self, us: u64) {
        // What was before the clock began is not known any more.
        let before = |sent_us: u64| sent_us.checked_sub(us);
        self.fresh = self.fresh.and_then(|(sent_us, behind)| Some((before(sent_us)?, behind)));
        for word in [&mut self.last, &mut self.waits] {
            *word = word.take().and_then(|word| Some(Word { sent_us: before(word.sent_us)?, ..word }));
        }
    }

    /// The connection is a new one, perhaps to another process with another clock.
    pub(crate) fn reconnected(&mut self) {
        self.way = Way::default();
    }
}

/// The least difference between the clock that a sender's messages have and this one when they come, of the last [`MEASURES_US`].
#[derive(Clone, Copy, Debug, Default)]
struct Way {
    /// When the first one came; 0: none has.
    first_us: u64,
    /// What is measured now: since when, by both clocks, and the least difference.
    since_us: (u64, u64),
    least_us: i64,
    /// The least of the time before.
    before_us: i64,
}

impl Way {
    /// When a message that came now was sent, by this clock.
    fn sent_at(&mut self, now_us: u64, sent_us: u64) -> u64 {
        let took_us = now_us.wrapping_sub(sent_us) as i64;
        if self.first_us == 0 {
            *self = Way { first_us: now_us, since_us: (now_us, sent_us), least_us: took_us, before_us: i64::MAX };
        }
        // By both clocks: who was stopped for longer finds old messages, and none yet that came in time.
        let long = |since_us: u64, us: u64| us.saturating_sub(since_us) >= MEASURES_US;
        if long(self.since_us.0, now_us) && long(self.since_us.1, sent_us) {
            (self.before_us, self.least_us, self.since_us) = (self.least_us, took_us, (now_us, sent_us));
        }
        self.least_us = self.least_us.min(took_us);
        now_us.saturating_sub(took_us.abs_diff(self.least_us.min(self.before_us)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUSPICION_US: u64 = 1_000_000;
    /// By how much the sender's clock is ahead.
    const AHEAD_US: u64 = 7_000_000_000;

    /// A follower that has applied so much.
    struct Here {
        fresh: Freshness<u64>,
        applied: u64,
        awake_since_us: u64,
    }

    impl Here {
        /// One who has listened for long enough: it is 5 s by its clock.
        fn new() -> Here {
            let mut here = Here { fresh: Freshness::default(), applied: 7, awake_since_us: 0 };
            (0..=20).for_each(|i| here.hear(4_000_000 + i * 50_000, 4_000_000 + i * 50_000, 7, (0, 0)));
            here
        }

        /// What was sent then comes now, by this clock; it took 3 ms at least.
        fn hear(&mut self, now_us: u64, sent_us: u64, commit: u64, behind: Behind) {
            let times = Times { now_us, sent_us: sent_us + AHEAD_US - 3_000, awake_since_us: self.awake_since_us };
            let applied = self.applied;
            self.fresh.hear(times, commit, behind, |commit| commit.saturating_sub(applied));
        }

        fn at(&self, now_us: u64) -> (Option<u64>, Option<u64>) {
            let lacks = |commit: &u64| commit.saturating_sub(self.applied);
            let Staleness { ms, entries } = self.fresh.staleness(now_us, SUSPICION_US, lacks);
            (ms, entries)
        }
    }

    #[test]
    fn it_is_as_old_as_the_last_word_of_which_all_is_here() {
        let mut here = Here::new();
        here.hear(5_050_000, 5_050_000, 12, (0, 0));
        assert_eq!(here.at(5_100_000), (Some(100), Some(5)));
        here.hear(5_100_000, 5_100_000, 15, (40, 3));
        assert_eq!(
            here.at(5_100_000),
            (Some(100), Some(11)),
            "how far behind the sender is now is not of what is here"
        );
        here.applied = 12;
        assert_eq!(here.at(5_150_000), (Some(100), Some(6)), "all of the first of both has come since");
        here.hear(5_150_000, 5_150_000, 15, (30, 2));
        here.applied = 15;
        assert_eq!(here.at(5_150_000), (Some(30), Some(2)));
        assert_eq!(here.at(6_200_000).1, None, "what was heard so long ago says nothing of entries");
    }

    #[test]
    fn what_was_kept_back_is_as_old_as_it_is() {
        for stopped in [false, true] {
            let mut here = Here::new();
            // Ten seconds in which nothing is read; what has come meanwhile is read at once then.
            if stopped {
                here.awake_since_us = 15_000_000;
            }
            for i in 1..=190 {
                here.hear(15_000_000 + i, 5_000_000 + i * 50_000, 7, (0, 0));
                let (ms, _) = here.at(15_000_000 + i);
                let true_ms = 10_000 - i * 50;
                assert!(ms.is_some_and(|ms| ms >= true_ms), "{i}: {ms:?}, {true_ms}");
                assert!(stopped || ms.is_some_and(|ms| ms <= true_ms + 1), "{i}: {ms:?}, {true_ms}");
            }
            here.hear(15_250_000, 15_250_000, 7, (0, 0));
            assert_eq!(here.at(15_250_000).0, Some(0));
        }
    }

    #[test]
    fn nobody_is_believed_before_it_was_listened_to() {
        let mut here = Here { fresh: Freshness::default(), applied: 7, awake_since_us: 0 };
        here.hear(9_000_000, 4_000_000, 7, (0, 0));
        assert_eq!(here.at(9_000_000), (None, None), "it may have been on its way for seconds, and was");
        here.hear(9_000_001, 9_000_000, 7, (0, 0));
        here.hear(9_200_001, 9_200_000, 7, (0, 0));
        assert_eq!(here.at(9_200_001), (Some(0), Some(0)));
        here.fresh.reconnected();
        here.hear(9_300_000, 4_000_000, 7, (0, 0));
        assert_eq!(here.at(9_300_000), (Some(99), Some(0)), "another process may speak there now");
    }

    #[test]
    fn clocks_that_drift_or_stand_still_are_measured_again() {
        let mut here = Here::new();
        // The sender's machine is halted for a minute, and its clock with it: all that it says afterwards seems to have taken so long.
        for i in 0..=500 {
            let now_us = 65_000_000 + i * 50_000;
            here.hear(now_us, now_us - 60_000_000, 7, (0, 0));
            assert!(i < 450 || here.at(now_us).0 == Some(0), "{i}: {:?}", here.at(now_us));
        }
    }

    #[test]
    fn a_machine_that_slept_does_not_take_what_it_has_for_new() {
        let mut here = Here::new();
        here.fresh.slept(3_000_000);
        here.awake_since_us = 5_010_000;
        assert_eq!(here.at(5_010_000), (Some(3_010), None));
        // It had come before.
        here.hear(5_020_000, 5_020_000, 7, (0, 0));
        assert_eq!(here.at(5_020_000), (Some(3_020), None));
        here.fresh.slept(3_600_000_000);
        assert_eq!(here.at(5_020_000), (None, None));
    }

    #[test]
    fn a_leader_that_does_not_know_how_far_behind_it_is_is_not_taken_for_one() {
        let mut here = Here::new();
        here.hear(5_050_000, 5_050_000, 7, (UNKNOWN, UNKNOWN));
        assert_eq!(here.at(5_050_000), (None, None));
        assert_eq!(here.fresh.of_sender(5_050_000, SUSPICION_US), Staleness::default());
        here.hear(5_100_000, 5_100_000, 7, (20, 4));
        let known = Staleness { ms: Some(20), entries: Some(4) };
        assert_eq!(here.fresh.of_sender(6_100_000, SUSPICION_US), known);
        assert_eq!(here.fresh.of_sender(6_100_001, SUSPICION_US), Staleness::default(), "that was long ago");
    }
}
