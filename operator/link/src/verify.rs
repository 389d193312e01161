//! Are the replicas the same? Compares all 16,384 slot digests of all replicas, over their peer ports or in whatever way they can be asked.
//!
//! Two replicas whose slot was last written by the same entry must have the same digest of it. A slot that is being written is asked for again,
//! until the positions meet once or time is up; a difference counts when it is seen twice. Where there is no leader each replica has positions of its own:
//! then digests are compared alone, and one that differs is asked for again until time is up.

use std::{future::Future, time::Duration};

use serde::Serialize;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep_until, timeout_at},
};
use trireme_proto::{Message, SLOTS, message::Digests};

use crate::link::{Connection, OpenError, Target};

/// Pause between two rounds over peer ports.
const ROUND: Duration = Duration::from_millis(50);
/// A slot that differs this often is different.
const SEEN_MAX: u8 = 2;

/// The result.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Verification {
    /// Names of the replicas that were compared.
    pub replicas: Vec<String>,
    /// Names of those that did not answer, each with the reason.
    pub missing: Vec<String>,
    /// Slots that are the same everywhere.
    pub same: u32,
    /// Slots that differ although their last write is the same; where there is no leader, that differed whenever they were compared.
    pub different: Vec<u32>,
    /// Slots whose replicas were not seen at the same write in time: they are being written, or a replica is behind.
    pub unsettled: u32,
    /// Rounds it took.
    pub rounds: u32,
    /// There is no leader: a slot that differs may lack what is still on its way.
    #[serde(skip_serializing_if = "is_false")]
    pub leaderless: bool,
}

fn is_false(value: &bool) -> bool {
    !value
}

impl Verification {
    /// Whether every replica answered and every slot is the same.
    pub fn holds(&self) -> bool {
        self.missing.is_empty() && self.same == u32::from(SLOTS)
    }
}

/// All slots of one replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slots {
    last_writes: Vec<u64>,
    digests: Vec<u64>,
}

impl Slots {
    /// Of each slot the seq of its last write, and its digest after it; `None` unless there are 16,384 of both.
    pub fn new(last_writes: Vec<u64>, digests: Vec<u64>) -> Option<Slots> {
        let all = usize::from(SLOTS);
        (last_writes.len() == all && digests.len() == all).then_some(Slots { last_writes, digests })
    }
}

/// What tells that two replicas must be the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// The same last write: they share a log.
    LastWrite,
    /// Time: they tell each other everything, each in its own order.
    Digest,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Slot {
    Unsettled,
    Same,
    Different(u8),
}

/// Compares the replicas over their peer ports, for at most `within`.
pub async fn verify(targets: Vec<(String, Target)>, by: By, within: Duration) -> Verification {
    compare(targets, by, within, ROUND, |target| async move { ask(&target).await.map_err(|error| error.to_string()) })
        .await
}

/// Compares replicas by name, for at most `within` and with a pause between two rounds; `ask` asks one of them.
pub async fn compare<T, A>(
    targets: Vec<(String, T)>,
    by: By,
    within: Duration,
    pause: Duration,
    ask: impl Fn(T) -> A,
) -> Verification
where
    T: Clone,
    A: Future<Output = Result<Slots, String>> + Send + 'static,
{
    let deadline = Instant::now() + within;
    let mut slots = vec![Slot::Unsettled; usize::from(SLOTS)];
    let mut result = Verification { leaderless: by == By::Digest, ..Verification::default() };
    loop {
        result.rounds += 1;
        let (answers, missing) = ask_all(&targets, deadline, &ask).await;
        result.replicas = answers.iter().map(|(name, _)| name.clone()).collect();
        result.missing = missing;
        for (number, slot) in slots.iter_mut().enumerate() {
            *slot = judge(*slot, by, number, &answers);
        }
        let open = slots.iter().any(|s| !matches!(s, Slot::Same | Slot::Different(SEEN_MAX..)));
        if (!open && result.missing.is_empty()) || Instant::now() + pause >= deadline {
            break;
        }
        sleep_until(Instant::now() + pause).await;
    }
    for (number, slot) in slots.iter().enumerate() {
        match slot {
            Slot::Same => result.same += 1,
            Slot::Different(_) => result.different.push(number as u32),
            Slot::Unsettled => result.unsettled += 1,
        }
    }
    result
}

fn judge(before: Slot, by: By, number: usize, answers: &[(String, Slots)]) -> Slot {
    let Some((_, first)) = answers.first() else { return before };
    let same = answers.iter().all(|(_, a)| a.digests[number] == first.digests[number]);
    let written = answers.iter().any(|(_, a)| a.last_writes[number] != first.last_writes[number]);
    match (before, same) {
        _ if by == By::LastWrite && written => before,
        (_, true) => Slot::Same,
        // What was written since is on its way: that they met is what counts, else a store that is written could never be compared.
        (Slot::Same, false) if by == By::Digest => Slot::Same,
        (_, false) if by == By::Digest => Slot::Different(1),
        (Slot::Different(seen), false) => Slot::Different(seen.saturating_add(1)),
        (_, false) => Slot::Different(1),
    }
}

/// Asks all at the same time; who answered, and who did not and why.
async fn ask_all<T, A>(
    targets: &[(String, T)],
    deadline: Instant,
    ask: &impl Fn(T) -> A,
) -> (Vec<(String, Slots)>, Vec<String>)
where
    T: Clone,
    A: Future<Output = Result<Slots, String>> + Send + 'static,
{
    let mut asking = JoinSet::new();
    for (name, target) in targets.iter().cloned() {
        let answer = ask(target);
        asking.spawn(async move {
            let answer = timeout_at(deadline, answer).await.unwrap_or_else(|_| Err("no answer in time".to_owned()));
            (name, answer)
        });
    }
    let (mut answers, mut missing) = (Vec::new(), Vec::new());
    while let Some(done) = asking.join_next().await {
        match done {
            Ok((name, Ok(slots))) => answers.push((name, slots)),
            Ok((name, Err(why))) => missing.push(format!("{name}: {why}")),
            Err(error) => missing.push(error.to_string()),
        }
    }
    answers.sort_by(|a, b| a.0.cmp(&b.0));
    missing.sort();
    (answers, missing)
}

async fn ask(target: &Target) -> Result<Slots, OpenError> {
    let mut connection = Connection::open(target).await?;
    connection.send(Message::Digests(Digests { ask: true, ..Digests::default() })).await?;
    let all = usize::from(SLOTS);
    let mut slots = Slots { last_writes: vec![0; all], digests: vec![0; all] };
    let mut heard = 0;
    while heard < all {
        let Message::Digests(part) = connection.receive().await? else { continue };
        let first = part.first_slot as usize;
        let length = part.digests.len();
        if length == 0 || part.last_writes.len() != length || first + length > all {
            return Err(OpenError::Refused("its digests make no sense".to_owned()));
        }
        slots.last_writes[first..first + length].copy_from_slice(&part.last_writes);
        slots.digests[first..first + length].copy_from_slice(&part.digests);
        heard += length;
    }
    Ok(slots)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(name: &str, last_write: u64, digest: u64) -> (String, Slots) {
        (name.to_owned(), Slots { last_writes: vec![last_write], digests: vec![digest] })
    }

    #[test]
    fn a_difference_counts_when_seen_twice_at_the_same_write() {
        let differ = [answer("a", 7, 1), answer("b", 7, 2)];
        let once = judge(Slot::Unsettled, By::LastWrite, 0, &differ);
        assert!(once == Slot::Different(1));
        assert!(judge(once, By::LastWrite, 0, &differ) == Slot::Different(2));
        assert!(judge(once, By::LastWrite, 0, &[answer("a", 8, 1), answer("b", 8, 1)]) == Slot::Same);
    }

    #[test]
    fn different_positions_say_nothing() {
        assert!(judge(Slot::Unsettled, By::LastWrite, 0, &[answer("a", 7, 1), answer("b", 8, 2)]) == Slot::Unsettled);
    }

    #[test]
    fn without_a_leader_only_digests_count_and_a_difference_may_pass() {
        let differ = [answer("a", 7, 1), answer("b", 9, 2)];
        let seen = judge(judge(Slot::Unsettled, By::Digest, 0, &differ), By::Digest, 0, &differ);
        assert!(seen == Slot::Different(1), "it is asked for again");
        let same = judge(seen, By::Digest, 0, &[answer("a", 8, 3), answer("b", 9, 3)]);
        assert!(same == Slot::Same);
        assert!(judge(same, By::Digest, 0, &differ) == Slot::Same, "they met once; what came since is on its way");
    }
}
