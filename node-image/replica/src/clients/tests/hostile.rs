//! Whatever a peer says, in whatever place of the protocol: nobody panics, and nobody takes in more than fits.
//!
//! Replicas that work together are told damaged messages among the right ones, as bytes: what still is a message arrives. `TRIREME_FUZZ_SECONDS=600` goes on
//! for so long, beyond the seeds that every run has.

use std::time::{Duration, Instant};

use bytes::BytesMut;
use fastrand::Rng;
use trireme_proto::{Message, frame};

use super::rig::Rig;

const SEEDS: u64 = 400;
/// One message of so many is damaged.
const ONE_OF: u32 = 12;
const COMMANDS: [&str; 13] = [
    "SET a 1",
    "INCR c",
    "DEL a c",
    "SADD s x y",
    "HSET h f v",
    "RPUSH l 1 2",
    "ZADD z 1 m",
    "GET a",
    "EXPIRE a 1",
    "BLPOP l 0",
    "WAIT 1 50",
    "SPOP s",
    "PUBLISH n 1",
];

/// The bytes of a message with a few changes; `None` where they are no message any more.
fn damaged(message: Message, rng: &mut Rng) -> Option<Message> {
    let mut bytes = BytesMut::new();
    frame::encode(message, &mut bytes);
    // The length stays: another one ends the connection.
    let head = 4.min(bytes.len());
    let mut body = bytes[head..].to_vec();
    for _ in 0..[1, 1, 1, 2, 4][rng.usize(..5)] {
        let at = rng.usize(..body.len().max(1)).min(body.len());
        match rng.u8(..6) {
            _ if at == body.len() => body.push(rng.u8(..)),
            0 => body[at] ^= 1 << rng.u8(..8),
            1 => body[at] = rng.u8(..),
            2 => body[at] = [0, 1, 0x7f, 0x80, 0xff][rng.usize(..5)],
            3 => body.truncate(at),
            4 => body.insert(at, rng.u8(..)),
            _ => {
                // A piece once more, somewhere else.
                let piece = body[at..(at + rng.usize(..16)).min(body.len())].to_vec();
                let to = rng.usize(..=body.len());
                body.splice(to..to, piece);
            }
        }
    }
    let mut whole = BytesMut::from(&(body.len() as u32).to_le_bytes()[..]);
    whole.extend_from_slice(&body);
    frame::decode(&mut whole).ok().flatten().flatten()
}

/// Damages some of what is under way: how many of these messages are messages still.
fn damage(rig: &mut Rig, rng: &mut Rng) -> u32 {
    let mut arrive = 0;
    for (from, to, message) in std::mem::take(&mut rig.under_way) {
        if rng.u32(..ONE_OF) > 0 {
            rig.under_way.push_back((from, to, message));
        } else if let Some(message) = damaged(message, rng) {
            arrive += 1;
            rig.under_way.push_back((from, to, message));
        }
    }
    arrive
}

fn run(seed: u64) -> u32 {
    let mut rng = Rng::with_seed(seed);
    let mut rig = match rng.u8(..4) {
        0 => Rig::serving(3, 2),
        1 => Rig::peers(3, 2, 2),
        _ => Rig::regions(2, 1 + 2 * rng.u32(..2), 1),
    };
    rig.gives_up = true;
    let ids: Vec<u32> = rig.nodes.keys().copied().collect();
    ids.iter().for_each(|id| rig.open(*id, 7));
    let mut arrived = 0;
    for round in 0..100 {
        let id = ids[rng.usize(..ids.len())];
        if rig.nodes[&id].running {
            rig.say(id, 7, COMMANDS[rng.usize(..COMMANDS.len())]);
        }
        match round % 50 {
            10 if rig.nodes[&1].running => rig.isolate(1),
            20 => ids[1..].iter().for_each(|other| rig.connect(1, *other)),
            30 => rig.tell(),
            _ => {}
        }
        for _ in 0..6 {
            rig.now_us += rng.u64(..10_000);
            arrived += damage(&mut rig, &mut rng);
            rig.turn();
        }
    }
    arrived
}

#[test]
fn whatever_a_peer_says_nobody_panics() {
    let seconds = std::env::var("TRIREME_FUZZ_SECONDS").ok().and_then(|seconds| seconds.parse().ok()).unwrap_or(0);
    let (began, mut seed, mut arrived) = (Instant::now(), 0, 0);
    while seed < SEEDS || began.elapsed() < Duration::from_secs(seconds) {
        arrived += std::panic::catch_unwind(|| run(seed)).unwrap_or_else(|_| panic!("seed {seed}"));
        seed += 1;
    }
    assert!(arrived > 5 * SEEDS as u32, "{arrived} damaged messages arrived");
}
