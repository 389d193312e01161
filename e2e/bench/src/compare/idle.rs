//! What a connection costs that says nothing: memory of the process, beside what the system keeps for the socket.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    sync::atomic::Ordering,
    time::Duration,
};

use super::{Settings, table::Row};
use crate::{
    client::Client,
    load::Stop,
    peers::{
        START_MAX,
        redis::{Persistence, Redis},
        trireme::{Durability, Spec, Trireme},
        wait_for,
    },
};

/// Connections.
const CONNECTIONS: usize = 10_000;
/// What each may take, in bytes.
const EACH_MAX: f64 = 20.0 * 1024.0;
/// Replies are waited for as long.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of the value that each has written and read before it falls silent.
const VALUE_BYTES: usize = 1_000;

/// As many connections as asked for, each of which has been used: it has written a value and read it.
fn connections(address: SocketAddr, count: usize, stop: &Stop) -> Result<Vec<TcpStream>, String> {
    let value = "v".repeat(VALUE_BYTES);
    let set =
        format!("*3\r\n$3\r\nSET\r\n$4\r\nidle\r\n${VALUE_BYTES}\r\n{value}\r\n*2\r\n$3\r\nGET\r\n$4\r\nidle\r\n");
    let wanted = format!("+OK\r\n${VALUE_BYTES}\r\n{value}\r\n");
    let mut answer = vec![0; wanted.len()];
    let mut open = Vec::with_capacity(count);
    while open.len() < count {
        if stop.load(Ordering::Relaxed) {
            return Err("interrupted".into());
        }
        let mut use_one = || {
            let mut stream = TcpStream::connect(address)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.write_all(set.as_bytes())?;
            stream.read_exact(&mut answer)?;
            Ok::<_, std::io::Error>(stream)
        };
        let stream = use_one().map_err(|error| format!("connection {} to {address}: {error}", open.len() + 1))?;
        if answer != wanted.as_bytes() {
            return Err(format!("connection {}: {}", open.len() + 1, String::from_utf8_lossy(&answer)));
        }
        open.push(stream);
    }
    Ok(open)
}

/// Bytes that each of many connections takes of a server's memory, which `resident` tells. The first ones are not counted: what all share is there then.
fn measure_one(
    address: SocketAddr,
    stop: &Stop,
    mut resident: impl FnMut() -> Result<u64, String>,
) -> Result<f64, String> {
    let (first, counted) = (CONNECTIONS / 10, CONNECTIONS - CONNECTIONS / 10);
    Client::connect(address)?.bulk(&[b"CONFIG", b"SET", b"maxclients", b"12000"])?;
    let shared = connections(address, first, stop)?;
    let before = resident()?;
    let open = connections(address, counted, stop)?;
    let after = resident()?;
    // All of them are still there.
    let mut told = Client::connect(address)?;
    wait_for("all connections counted", START_MAX, stop, || {
        let info = told.bulk(&[b"INFO", b"clients"])?.unwrap_or_default();
        let text = String::from_utf8_lossy(&info).into_owned();
        let count = text.lines().find_map(|line| line.strip_prefix("connected_clients:")?.trim().parse().ok());
        Ok(count.filter(|count: &usize| *count >= shared.len() + open.len()))
    })?;
    Ok(after.saturating_sub(before) as f64 / counted as f64)
}

/// Bytes of an idle connection at a leader, beside a single redis.
///
/// # Errors
/// When a server cannot be started or driven; where this process may not have as many files.
pub fn measure(settings: &Settings, stop: &Stop, say: &mut dyn FnMut(String)) -> Result<Row, String> {
    let store = Trireme::start(&settings.trireme, &settings.folder, Spec::single_leader(Durability::Memory), stop)?;
    let leader = store.healed(stop)?;
    let ours = measure_one(leader.address, stop, || store.resident_bytes(&leader.name))?;
    drop(store);
    let redis = Redis::start(&settings.folder, 0, Persistence::None, stop)?;
    let mut told = Client::connect(redis.address())?;
    let peer = measure_one(redis.address(), stop, || {
        let info = told.bulk(&[b"INFO", b"memory"])?.unwrap_or_default();
        let text = String::from_utf8_lossy(&info).into_owned();
        let bytes = text.lines().find_map(|line| line.strip_prefix("used_memory_rss:")?.trim().parse().ok());
        bytes.ok_or_else(|| "redis does not tell its memory".to_owned())
    })?;
    say(format!("{ours:.0} bytes a connection, redis {peer:.0}"));
    Ok(Row {
        what: format!("memory of {CONNECTIONS} idle connections at a replica"),
        ours: format!("{:.1} KiB each", ours / 1024.0),
        peer: format!("redis: {:.1} KiB each", peer / 1024.0),
        ratio: format!("{:.2}", ours / peer.max(1.0)),
        goal: format!("≤ {:.0} KiB each", EACH_MAX / 1024.0),
        reached: Some(ours <= EACH_MAX),
        errors: Vec::new(),
    })
}
