//! Whether replicas hold the same, as far as their reports show it.

use crate::{StoreStatus, status::ReplicaStatus};

/// What the digests of a store's replicas say of each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Digests {
    /// Too few replicas are heard.
    Unknown,
    /// They are at different positions, so that nothing follows from their being different.
    Moving,
    /// All that are heard have the same digest, so that they hold the same.
    Same,
    /// Two that have received the same hold something else.
    Differ,
}

impl StoreStatus {
    /// What the digests of all replicas say.
    pub fn digests(&self) -> Digests {
        let heard: Vec<&ReplicaStatus> =
            self.replicas.iter().filter(|r| r.reachable && r.member && !r.digest.is_empty()).collect();
        match heard.as_slice() {
            _ if self.replicas.iter().any(|replica| self.digest_differs(replica)) => Digests::Differ,
            [] | [_] => Digests::Unknown,
            [first, rest @ ..] if rest.iter().all(|other| other.digest == first.digest) => Digests::Same,
            _ => Digests::Moving,
        }
    }

    /// Whether a replica was found to differ, or has another digest than one that has applied the same.
    pub fn digest_differs(&self, replica: &ReplicaStatus) -> bool {
        replica.digest_mismatches > 0 || self.replicas.iter().any(|other| self.contradicts(replica, other))
    }

    fn contradicts(&self, one: &ReplicaStatus, other: &ReplicaStatus) -> bool {
        let received = |r: &ReplicaStatus| {
            let mut received = r.peer.as_ref().map(|peer| peer.received.clone());
            received.iter_mut().for_each(|received| received.sort());
            received
        };
        // Where there is no leader each has a log of its own: what it has received of the others is what counts. Where each region has a leader, each has a
        // log of its own, too, and the numbers of one say nothing of another's.
        let same = || match (&one.peer, &other.peer) {
            (None, None) if self.groups.len() > 1 && one.region != other.region => false,
            (None, None) => other.applied == one.applied,
            _ => received(one) == received(other),
        };
        !one.digest.is_empty() && !other.digest.is_empty() && other.digest != one.digest && same()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::GroupStatus;

    fn replica(region: &str, applied: u64, digest: &str) -> ReplicaStatus {
        ReplicaStatus {
            region: region.to_owned(),
            applied,
            digest: digest.to_owned(),
            reachable: true,
            member: true,
            ..ReplicaStatus::default()
        }
    }

    #[test]
    fn only_what_can_be_compared_is() {
        let store = |groups: usize, replicas: &[ReplicaStatus]| StoreStatus {
            groups: vec![GroupStatus::default(); groups],
            replicas: replicas.to_vec(),
            ..StoreStatus::default()
        };
        let (a, b) = (replica("eu", 5, "aa"), replica("us", 5, "bb"));
        assert_eq!(store(1, &[a.clone(), b.clone()]).digests(), Digests::Differ);
        // Logs of two regions have nothing to do with each other.
        assert_eq!(store(2, &[a.clone(), b]).digests(), Digests::Moving);
        assert_eq!(store(2, &[a.clone(), replica("us", 9, "aa")]).digests(), Digests::Same);
        assert_eq!(store(1, &[a.clone(), replica("eu", 4, "cc")]).digests(), Digests::Moving);
        assert_eq!(store(1, std::slice::from_ref(&a)).digests(), Digests::Unknown);
        let mismatch = ReplicaStatus { digest_mismatches: 1, ..a };
        assert_eq!(store(1, &[mismatch]).digests(), Digests::Differ);
    }
}
