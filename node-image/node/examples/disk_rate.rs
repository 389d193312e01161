//! How many batches a second the disk takes: `cargo run --release -p trireme-node --example disk_rate -- DIR [SECONDS]`.
//! DIR must be empty or not exist; it is left behind. Batches of 1 and of 25 records, 150 bytes each.

use std::{
    convert::Infallible,
    path::Path,
    time::{Duration, Instant},
};

use trireme_node::disk::{self, Restore, Sizes};
use trireme_proto::{Epoch, Position, topology::Durability};
use trireme_replica::{
    io::{DiskOp, Meta},
    log::record::{self, Kind},
};

/// Counts what is handed out.
struct Count(u64);

impl Restore for Count {
    type Error = Infallible;
    fn meta(&mut self, _: Meta) {}
    fn checkpoint(&mut self, _: Position, _: u64, _: &[u8]) -> Result<(), Infallible> {
        Ok(())
    }
    fn slot(&mut self, _: u16, _: &[u8]) -> Result<(), Infallible> {
        Ok(())
    }
    fn record(&mut self, _: &[u8]) -> Result<(), Infallible> {
        self.0 += 1;
        Ok(())
    }
    fn committed(&mut self, _: u64) {}
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let dir = args.next().ok_or("usage: disk_rate DIR [SECONDS]")?;
    let seconds = args.next().map_or(Ok(4), |text| text.parse::<u64>())?;
    let mut opened = disk::open(Path::new(&dir), "rate", 1, 1, Durability::Disk, Sizes::default())?;
    let mut seq = opened.disk.recover(&mut Count(0))?.last.seq;
    std::thread::sleep(Duration::from_millis(300));
    for records in [1, 25, 200] {
        let mut times = Vec::new();
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_secs(seconds) {
            let first = seq + 1;
            let mut bytes = Vec::new();
            for _ in 0..records {
                seq += 1;
                let position = Position { epoch: Epoch { number: 1, proposer: 0 }, seq };
                record::append(&mut bytes, position, Kind::Delta, None, |out| out.extend_from_slice(&[7; 120]));
            }
            let mut batch = vec![(seq, DiskOp::Append { first, last: seq, bytes: bytes.into() })];
            let at = Instant::now();
            opened.disk.apply(&mut batch)?;
            times.push(at.elapsed());
            opened.disk.space();
        }
        times.sort_unstable();
        let (p50, p99) = (times[times.len() / 2], times[times.len() * 99 / 100]);
        let rate = times.len() as f64 / begin.elapsed().as_secs_f64();
        println!(
            "{records} records a batch: {rate:.0} batches/s, p50 {p50:?}, p99 {p99:?}, max {:?}",
            times[times.len() - 1]
        );
    }
    opened.disk.close()?;
    let at = Instant::now();
    let mut count = Count(0);
    disk::open(Path::new(&dir), "rate", 1, 1, Durability::Disk, Sizes::default())?.disk.recover(&mut count)?;
    println!("recovery of {} records: {:?}", count.0, at.elapsed());
    Ok(())
}
