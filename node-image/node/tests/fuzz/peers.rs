//! What a peer sends: the messages of replicas that work together, damaged as bytes, as messages whose frames are whole, and as records whose checksums are right.
//!
//! Nobody panics, and nobody takes in more than fits; what cannot be read ends the connection. Whoever is told what no replica says may give up, and says why.

use std::collections::BTreeMap;

use bytes::{BufMut, BytesMut};
use fastrand::Rng;
use trireme_proto::{Message, ReplicaId, frame, message::Packed};
use trireme_replica::log::record;

use crate::{
    damage::damage,
    harness::{Ran, fuzz},
    world::World,
};

/// What a seed may take: three replicas, and what a length may announce before its bytes have come.
const MEMORY_MAX: usize = 48 << 20;
/// One batch of messages of so many is damaged.
const ONE_OF: u32 = 12;
const COMMANDS: [&str; 18] = [
    "SET a 1",
    "INCR c",
    "DEL a c",
    "SADD s x y",
    "HSET h f v",
    "HINCRBY h n 2",
    "RPUSH l 1 2",
    "ZADD z 1 m",
    "GET a",
    "EXPIRE a 1",
    "BLPOP l 0",
    "WAIT 1 50",
    "SPOP s",
    "PUBLISH n 1",
    "SUBSCRIBE n",
    "CONSISTENCY ALL",
    "SESSION TOKEN",
    "CONFIG SET notify-keyspace-events KEA",
];

/// Damages what is under way from one replica to another, in one of several ways.
fn spoil(rng: &mut Rng, under_way: &mut BytesMut) {
    let mut frames = Vec::new();
    let mut whole = under_way.clone();
    while let Ok(Some(Some(message))) = frame::decode(&mut whole) {
        frames.push(message);
    }
    if frames.is_empty() || rng.u8(..4) == 0 {
        let mut bytes = under_way.to_vec();
        damage(rng, &mut bytes);
        *under_way = BytesMut::from(&bytes[..]);
        return;
    }
    let chosen = rng.usize(..frames.len());
    under_way.clear();
    for (at, message) in frames.into_iter().enumerate() {
        if at == chosen { spoil_message(rng, message, under_way) } else { frame::encode(message, under_way) }
    }
    if rng.u8(..4) == 0 {
        pack(rng, under_way);
    }
}

/// One message: damaged within a frame of the right length, or within a record of it.
fn spoil_message(rng: &mut Rng, mut message: Message, out: &mut BytesMut) {
    if rng.bool()
        && let Message::Append(append) = &mut message
        && let Some(records) = spoil_records(rng, &append.entries)
    {
        append.entries = records.into();
        return frame::encode(message, out);
    }
    let mut bytes = BytesMut::new();
    frame::encode(message, &mut bytes);
    let mut body = bytes[4..].to_vec();
    damage(rng, &mut body);
    out.put_u32_le(body.len() as u32);
    out.extend_from_slice(&body);
}

/// The same records, one of which says something else under a checksum that is right.
fn spoil_records(rng: &mut Rng, records: &[u8]) -> Option<Vec<u8>> {
    let (mut at, mut starts) = (0, Vec::new());
    while at < records.len() {
        starts.push(at);
        at += record::read(&records[at..]).ok()?.bytes;
    }
    let chosen = *starts.get(rng.usize(..starts.len().max(1)))?;
    let read = record::read(&records[chosen..]).ok()?;
    let mut payload = read.payload.to_vec();
    damage(rng, &mut payload);
    let mut out = records[..chosen].to_vec();
    record::append(&mut out, read.position, read.kind, read.request.as_ref(), |out| out.extend_from_slice(&payload));
    out.extend_from_slice(&records[chosen + read.bytes..]);
    Some(out)
}

/// All of it as packed pieces, of which one may lie.
fn pack(rng: &mut Rng, under_way: &mut BytesMut) {
    let plain = under_way.split();
    for piece in plain.chunks(1 + rng.usize(..60_000)) {
        let mut lz4 = lz4_flex::block::compress(piece);
        let mut bytes = piece.len() as u32;
        match rng.u8(..6) {
            0 => damage(rng, &mut lz4),
            1 => bytes = rng.u32(..),
            _ => {}
        }
        frame::encode(Message::Packed(Packed { bytes, lz4: lz4.into() }), under_way);
    }
}

fn one(rng: &mut Rng) -> Ran {
    let mut world = match rng.u8(..4) {
        0 => World::serving(3, 2),
        1 => World::peers(3, 2, 2),
        _ => World::regions(2, 1 + 2 * rng.u32(..2), 1),
    };
    let ids: Vec<ReplicaId> = world.nodes.keys().copied().collect();
    // No number of a client is used twice.
    let mut clients: BTreeMap<ReplicaId, u64> = ids.iter().map(|id| (*id, 1)).collect();
    clients.iter().for_each(|(id, client)| world.open(*id, *client));
    let mut ran = Ran::default();
    for round in 0..60 {
        let id = ids[rng.usize(..ids.len())];
        let command = format!("{}\r\n", COMMANDS[rng.usize(..COMMANDS.len())]);
        world.feed(id, clients[&id], command.as_bytes(), &|_| false);
        match round % 20 {
            5 => ids[1..].iter().for_each(|other| world.disconnect(ids[0], *other)),
            15 => {
                world.tell();
                world.close(id, clients[&id]);
                clients.entry(id).and_modify(|client| *client += 1);
                world.open(id, clients[&id]);
            }
            _ => {}
        }
        if rng.u8(..3) == 0 {
            world.connect_all();
        }
        for _ in 0..4 {
            world.now_us += rng.u64(..15_000);
            for (from, to) in world.connected() {
                let Some(under_way) = world.under_way(from, to) else { continue };
                let spoilt = !under_way.is_empty() && rng.u32(..ONE_OF) == 0;
                if spoilt {
                    spoil(rng, under_way);
                }
                let part = if spoilt && rng.bool() { 1 + rng.usize(..50) } else { usize::MAX };
                let messages = world.arrive(from, to, part);
                ran.inputs += u64::from(spoilt);
                ran.understood += u64::from(spoilt && messages > 0);
            }
            world.turn();
        }
    }
    ran
}

#[test]
fn peers_send_anything() {
    let ran = fuzz("peers_send_anything", MEMORY_MAX, one);
    assert!(ran.understood > ran.inputs / 8, "{} of {} damaged batches are messages still", ran.understood, ran.inputs);
}
