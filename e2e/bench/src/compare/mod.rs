//! The comparison: every figure that is promised, measured beside the peer that it is promised against.
//!
//! A [`Scenario`] is a row of the table: what is measured and what should come out. [`throughput`] measures those that are a load on two servers,
//! [`failover`], [`restart`], [`idle`], [`leaderless`], [`regions`], [`sessions`] and [`tails`] those that are a time or a size. [`table`] writes down what came out.

pub mod failover;
pub mod idle;
pub mod leaderless;
pub mod machine;
pub mod neighbours;
pub mod regions;
pub mod restart;
pub mod sessions;
pub mod table;
pub mod tails;
pub mod throughput;

use std::{path::PathBuf, time::Duration};

use crate::load::Stop;
use neighbours::Large;
use table::Row;

/// What a comparison is run with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The `trireme` program.
    pub trireme: PathBuf,
    /// Where the data of all servers goes.
    pub folder: PathBuf,
    /// Turns that each contender gets.
    pub rounds: usize,
    /// How long a turn is.
    pub turn: Duration,
    /// How many leaders are killed.
    pub kills: usize,
    /// Pairs in the store that is started again.
    pub pairs: u64,
}

/// A row to be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scenario {
    /// SET, durability Memory, against redis with two replicas and WAIT 1.
    SetMemory,
    /// The same against an echo server.
    SetMemoryEcho,
    /// SET in batches of 16, durability Memory, against a single redis.
    SetMemoryP16,
    /// SET, durability Disk, against redis with two replicas, `appendfsync always` and WAIT 1.
    SetDisk,
    /// The same in batches of 16.
    SetDiskP16,
    /// SET, durability Disk, against etcd's put.
    SetEtcd,
    /// SET over one connection, durability Disk, against redis as in `SetDisk`: the latency.
    SetOne,
    /// GET at the leader against a single redis.
    Get,
    /// The same in batches of 16.
    GetP16,
    /// ZADD in batches of 16, durability Memory, against a single redis.
    ZAddP16,
    /// HSET, the same.
    HSetP16,
    /// LPUSH, the same.
    LPushP16,
    /// SADD, the same.
    SAddP16,
    /// INCR, the same.
    IncrP16,
    /// The leader is killed under load.
    Kill,
    /// The leader is stopped under load.
    Pause,
    /// A store full of data is started again.
    Restart,
    /// The slowest answers while checkpoints are written.
    Checkpoints,
    /// The slowest answers beside connections that write large values.
    Neighbours,
    /// The same beside connections that read such.
    NeighboursGet,
    /// The same as [`Scenario::Neighbours`], all at a replica that asks the leader.
    NeighboursFollower,
    /// The same where nobody leads.
    NeighboursLeaderless,
    /// Memory of connections that say nothing.
    Idle,
    /// SET without a leader, against a single redis.
    LeaderlessSet,
    /// The same in batches of 16.
    LeaderlessSetP16,
    /// GET that two replicas answer for, against a single redis.
    LeaderlessGet,
    /// The same in batches of 16.
    LeaderlessGetP16,
    /// SET without a leader, durability Disk, against the same with one.
    LeaderlessSetDisk,
    /// A replica of a store without a leader is killed under load on the others.
    LeaderlessKill,
    /// A replica is found to differ, and mended.
    LeaderlessRepair,
    /// Memory that a pair takes, with a leader and without.
    LeaderlessMemory,
    /// SET in one of three regions of one replica each, against a single redis.
    RegionsSet,
    /// The same where regions have three replicas.
    RegionsSetThree,
    /// Writes on both sides of a cut between regions, which is mended.
    RegionsHeal,
    /// The leader of a region is killed under load there and in another one.
    RegionsKill,
    /// How far regions are behind each other under a steady load.
    RegionsLag,
    /// SET with what every session is promised, against a store that promises nothing.
    SessionsSet,
    /// GET, the same.
    SessionsGet,
    /// A read at a follower with the token of a write at the leader.
    SessionsRead,
}

impl Scenario {
    /// All of them, in the order of the table.
    pub const ALL: [Scenario; 39] = [
        Scenario::SetMemory,
        Scenario::SetMemoryEcho,
        Scenario::SetMemoryP16,
        Scenario::SetDisk,
        Scenario::SetDiskP16,
        Scenario::SetEtcd,
        Scenario::SetOne,
        Scenario::Get,
        Scenario::GetP16,
        Scenario::ZAddP16,
        Scenario::HSetP16,
        Scenario::LPushP16,
        Scenario::SAddP16,
        Scenario::IncrP16,
        Scenario::Kill,
        Scenario::Pause,
        Scenario::Restart,
        Scenario::Checkpoints,
        Scenario::Neighbours,
        Scenario::NeighboursGet,
        Scenario::NeighboursFollower,
        Scenario::NeighboursLeaderless,
        Scenario::Idle,
        Scenario::LeaderlessSet,
        Scenario::LeaderlessSetP16,
        Scenario::LeaderlessGet,
        Scenario::LeaderlessGetP16,
        Scenario::LeaderlessSetDisk,
        Scenario::LeaderlessKill,
        Scenario::LeaderlessRepair,
        Scenario::LeaderlessMemory,
        Scenario::RegionsSet,
        Scenario::RegionsSetThree,
        Scenario::RegionsHeal,
        Scenario::RegionsKill,
        Scenario::RegionsLag,
        Scenario::SessionsSet,
        Scenario::SessionsGet,
        Scenario::SessionsRead,
    ];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Scenario::SetMemory => "set-memory",
            Scenario::SetMemoryEcho => "set-memory-echo",
            Scenario::SetMemoryP16 => "set-memory-p16",
            Scenario::SetDisk => "set-disk",
            Scenario::SetDiskP16 => "set-disk-p16",
            Scenario::SetEtcd => "set-etcd",
            Scenario::SetOne => "set-one",
            Scenario::Get => "get",
            Scenario::GetP16 => "get-p16",
            Scenario::ZAddP16 => "zadd-p16",
            Scenario::HSetP16 => "hset-p16",
            Scenario::LPushP16 => "lpush-p16",
            Scenario::SAddP16 => "sadd-p16",
            Scenario::IncrP16 => "incr-p16",
            Scenario::Kill => "kill",
            Scenario::Pause => "pause",
            Scenario::Restart => "restart",
            Scenario::Checkpoints => "checkpoints",
            Scenario::Neighbours => "neighbours",
            Scenario::NeighboursGet => "neighbours-get",
            Scenario::NeighboursFollower => "neighbours-follower",
            Scenario::NeighboursLeaderless => "neighbours-leaderless",
            Scenario::Idle => "idle-connections",
            Scenario::LeaderlessSet => "leaderless-set",
            Scenario::LeaderlessSetP16 => "leaderless-set-p16",
            Scenario::LeaderlessGet => "leaderless-get",
            Scenario::LeaderlessGetP16 => "leaderless-get-p16",
            Scenario::LeaderlessSetDisk => "leaderless-set-disk",
            Scenario::LeaderlessKill => "leaderless-kill",
            Scenario::LeaderlessRepair => "leaderless-repair",
            Scenario::LeaderlessMemory => "leaderless-memory",
            Scenario::RegionsSet => "regions-set",
            Scenario::RegionsSetThree => "regions-set-three",
            Scenario::RegionsHeal => "regions-heal",
            Scenario::RegionsKill => "regions-kill",
            Scenario::RegionsLag => "regions-lag",
            Scenario::SessionsSet => "sessions-set",
            Scenario::SessionsGet => "sessions-get",
            Scenario::SessionsRead => "sessions-read",
        }
    }

    /// Measures it; `say` is told how it goes.
    ///
    /// # Errors
    /// When a server cannot be started or driven.
    pub fn measure(self, settings: &Settings, stop: &Stop, say: &mut dyn FnMut(String)) -> Result<Row, String> {
        match self {
            Scenario::Kill => failover::kill(settings, stop, say),
            Scenario::Pause => failover::pause(settings, stop, say),
            Scenario::Restart => restart::measure(settings, stop, say),
            Scenario::Checkpoints => tails::checkpoints(settings, stop, say),
            Scenario::Neighbours => neighbours::measure(Large::Set, settings, stop, say),
            Scenario::NeighboursGet => neighbours::measure(Large::Get, settings, stop, say),
            Scenario::NeighboursFollower => neighbours::measure(Large::SetAtFollower, settings, stop, say),
            Scenario::NeighboursLeaderless => neighbours::measure(Large::SetLeaderless, settings, stop, say),
            Scenario::Idle => idle::measure(settings, stop, say),
            Scenario::LeaderlessKill => leaderless::kill(settings, stop, say),
            Scenario::LeaderlessRepair => leaderless::repair(settings, stop, say),
            Scenario::LeaderlessMemory => leaderless::memory(settings, stop, say),
            Scenario::RegionsHeal => regions::heal(settings, stop, say),
            Scenario::RegionsKill => regions::kill(settings, stop, say),
            Scenario::RegionsLag => regions::lag(settings, stop, say),
            Scenario::SessionsRead => sessions::read_after_write(settings, stop, say),
            _ => throughput::measure(self, settings, stop, say),
        }
    }
}

/// The middle of some measurements; of an even number the mean of the two in the middle.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        length if length.is_multiple_of(2) => f64::midpoint(sorted[length / 2 - 1], sorted[length / 2]),
        length => sorted[length / 2],
    }
}

/// The middle of some ratios, with the least and the greatest, in words.
pub fn spread(ratios: &[f64]) -> String {
    let low = ratios.iter().copied().fold(f64::INFINITY, f64::min);
    let high = ratios.iter().copied().fold(0.0, f64::max);
    format!("{:.2} ({low:.2}–{high:.2})", median(ratios))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn names_are_unique() {
        let mut names: Vec<_> = Scenario::ALL.iter().map(|scenario| scenario.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Scenario::ALL.len());
    }
}
