//! What sessions have to show: a read at a follower right after a write at the leader, that the token brings along.

use std::time::Instant;

use super::{Settings, table::Row};
use crate::{
    client::Client,
    load::Stop,
    peers::trireme::{Durability, Spec, Trireme},
};

/// Writes, each read at a follower.
const TIMES: u64 = 10_000;
/// How long such a read may take, with the token that it goes on from, at the 99th percentile.
const READ_MAX_MS: f64 = 2.0;

/// A write at the leader and its token; then the token and a read at a follower: how long that takes, and how often it shows less.
///
/// # Errors
/// When the store cannot be started or driven.
pub fn read_after_write(settings: &Settings, stop: &Stop, say: &mut dyn FnMut(String)) -> Result<Row, String> {
    let store = Trireme::start(&settings.trireme, &settings.folder, Spec::single_leader(Durability::Memory), stop)?;
    let leader = store.healed(stop)?;
    let follower = store.replicas().iter().find(|replica| replica.address != leader.address).ok_or("one replica")?;
    let (with, stale) = rounds(&leader.address, &follower.address, true)?;
    say(format!("with a token: p50 {:.3} ms, p99 {:.3} ms, {stale} older", at(&with, 0.5), at(&with, 0.99)));
    // The other side: without it, what the follower has is what is read.
    let (without, older) = rounds(&leader.address, &follower.address, false)?;
    say(format!("without: p50 {:.3} ms, p99 {:.3} ms, {older} older", at(&without, 0.5), at(&without, 0.99)));
    let p99 = at(&with, 0.99);
    Ok(Row {
        what: "GET at a follower right after a SET at the leader, with its session's token".into(),
        ours: format!("p50 {:.2}, p99 {p99:.2} ms; {stale} of {TIMES} showed less", at(&with, 0.5)),
        peer: format!(
            "without the token: p50 {:.2}, p99 {:.2} ms; {older} showed less",
            at(&without, 0.5),
            at(&without, 0.99)
        ),
        ratio: String::new(),
        goal: format!("p99 ≤ {READ_MAX_MS} ms, never less"),
        reached: Some(p99 <= READ_MAX_MS && stale == 0),
        errors: Vec::new(),
    })
}

/// How long each read took, in milliseconds, sorted; and how many showed less than was written.
fn rounds(
    leader: &std::net::SocketAddr,
    follower: &std::net::SocketAddr,
    token: bool,
) -> Result<(Vec<f64>, u64), String> {
    let (mut writer, mut reader) = (Client::connect(*leader)?, Client::connect(*follower)?);
    reader.bulk(&[b"READONLY"])?;
    let (mut took, mut less) = (Vec::new(), 0);
    for number in 0..TIMES {
        let value = number.to_string().into_bytes();
        writer.bulk(&[b"SET", b"bench:session", &value])?;
        let carried = if token { writer.bulk(&[b"SESSION", b"TOKEN"])?.unwrap_or_default() } else { Vec::new() };
        let start = Instant::now();
        let resume: &[&[u8]] = &[b"SESSION", b"RESUME", &carried];
        let commands: &[&[&[u8]]] = &[resume, &[b"GET", b"bench:session"]];
        let found = reader.last_of(if token { commands } else { &commands[1..] })?;
        took.push(start.elapsed().as_secs_f64() * 1e3);
        less += u64::from(found.as_ref() != Some(&value));
    }
    took.sort_by(f64::total_cmp);
    Ok((took, less))
}

fn at(sorted: &[f64], share: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    sorted.get((last as f64 * share).round() as usize).copied().unwrap_or(f64::NAN)
}
