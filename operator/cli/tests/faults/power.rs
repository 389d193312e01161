//! Everything ends at once, without a word.

use std::{fs, path::Path, thread, time::Duration};

use rustix::process::{Pid, Signal, kill_process};

use crate::{
    support::Store,
    tools::{Load, SPEC, acknowledged, assert_healed, eventually},
};

/// Number of the process that runs the store.
fn up(store: &Store) -> i32 {
    fs::read_to_string(store.dir.join("lock")).unwrap().parse().unwrap()
}

fn kill(pid: i32) {
    kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
}

/// Whether it runs no more: it may still wait for somebody to ask how it ended.
fn is_gone(pid: i32) -> bool {
    match fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat")) {
        Ok(stat) => stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('Z')),
        Err(_) => true,
    }
}

#[test]
fn replicas_end_with_who_started_them_and_a_new_start_finds_all_data() {
    let root = tempfile::tempdir().unwrap();
    let mut store = Store::up(root.path(), SPEC, &[]);
    let load = Load::start("l", &store.replicas);
    thread::sleep(Duration::from_millis(300));
    let parent = up(&store);
    kill(parent);
    eventually("gone", || is_gone(parent));
    for replica in &store.replicas {
        eventually(&format!("{} gone", replica.name), || is_gone(replica.pid));
    }
    let logs = load.finish();
    let keys = acknowledged(&logs);
    assert!(keys.len() > 20, "only {} writes", keys.len());
    store.start(&[]);
    assert_healed(&store, &keys);
    store.stop();
}

#[test]
fn nothing_acknowledged_is_lost_when_all_processes_are_killed_at_once() {
    let root = tempfile::tempdir().unwrap();
    let mut store = Store::up(root.path(), SPEC, &[]);
    let mut keys = Vec::new();
    for round in 0..3 {
        let load = Load::start(&format!("l{round}"), &store.replicas);
        thread::sleep(Duration::from_millis(250));
        let pids: Vec<i32> = store.replicas.iter().map(|r| r.pid).chain([up(&store)]).collect();
        pids.iter().copied().for_each(kill);
        let logs = load.finish();
        assert!(logs.iter().all(|log| log.errors.is_empty()), "{logs:?}");
        let more = acknowledged(&logs);
        assert!(more.len() > 20, "only {} writes", more.len());
        keys.extend(more);
        eventually("all gone", || pids.iter().copied().all(is_gone));
        store.start(&[]);
        assert_healed(&store, &keys);
    }
    store.stop();
}
