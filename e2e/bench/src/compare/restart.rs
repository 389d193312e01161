//! How long a store full of data takes from being started to serving.

use std::time::{Duration, Instant};

use super::{Settings, median, table::Row, throughput::fill};
use crate::{
    client::Client,
    load::Stop,
    peers::{
        START_MAX,
        trireme::{Durability, Spec, Trireme},
        wait_for,
    },
};

/// How often it is started again.
const TIMES: usize = 3;
/// The longest that it should take.
const GOAL: Duration = Duration::from_secs(2);

/// Fills a store, and ends and starts it again.
///
/// # Errors
/// When the store cannot be started or driven, or has lost a pair.
pub fn measure(settings: &Settings, stop: &Stop, say: &mut dyn FnMut(String)) -> Result<Row, String> {
    let mut store = Trireme::start(&settings.trireme, &settings.folder, Spec::single_leader(Durability::Disk), stop)?;
    fill(store.healed(stop)?.address, settings.pairs, stop)?;
    let mut seconds = Vec::new();
    for _ in 0..TIMES {
        store.down();
        let start = Instant::now();
        store.up(stop)?;
        let address = store.replicas().first().ok_or("a store without replicas")?.address;
        wait_for("the first write", START_MAX, stop, || {
            Ok(Client::connect(address).and_then(|mut client| client.bulk(&[b"SET", b"started", b"again"])).ok())
        })?;
        seconds.push(start.elapsed().as_secs_f64());
        let mut client = Client::connect(store.leader(stop)?.address)?;
        let count = client.bulk(&[b"DBSIZE"])?.unwrap_or_default();
        let count = String::from_utf8_lossy(&count).into_owned();
        say(format!("serving after {:.2} s with {count} keys", seconds.last().copied().unwrap_or_default()));
        if count != (settings.pairs + 1).to_string() {
            return Err(format!("{} keys were written, {count} are there", settings.pairs + 1));
        }
    }
    let middle = median(&seconds);
    Ok(Row {
        what: format!("restart of all replicas with {} pairs until a write is answered", settings.pairs),
        ours: format!("{middle:.2} s"),
        peer: String::new(),
        ratio: String::new(),
        goal: format!("≤ {} s", GOAL.as_secs()),
        reached: Some(middle <= GOAL.as_secs_f64()),
        errors: Vec::new(),
    })
}
