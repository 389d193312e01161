//! Received sets as messages.

use trireme_proto::message::Seen;

use crate::engine::{ReceivedSet, vector};

fn of(seen: &vector::Seen) -> Seen {
    Seen {
        origin: seen.origin,
        upto: seen.upto,
        beyond: seen.beyond.iter().flat_map(|(first, last)| [*first, *last]).collect(),
    }
}

/// A whole set.
pub(crate) fn to_message(set: &ReceivedSet) -> Vec<Seen> {
    set.origins().iter().map(of).collect()
}

/// One origin's part of it.
pub(crate) fn part_to_message(set: &ReceivedSet, origin: trireme_proto::ids::Origin) -> Seen {
    set.seen(origin).map_or(Seen { origin, upto: 0, beyond: Vec::new() }, of)
}

/// What a message says. Intervals that are none are left out.
pub(crate) fn from_message(all: &[Seen]) -> ReceivedSet {
    let mut set = ReceivedSet::default();
    for seen in all {
        let prefix = [1, seen.upto];
        for pair in prefix.chunks_exact(2).chain(seen.beyond.chunks_exact(2)) {
            if pair[0] > 0 && pair[0] <= pair[1] && pair[1] <= vector::SEQ_MAX {
                set.insert_range(seen.origin, pair[0], pair[1]);
            }
        }
    }
    set
}
