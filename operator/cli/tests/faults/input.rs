//! What a person or a client says wrong: files, directories, bytes on the client port.

use std::{
    fs,
    path::Path,
    process::Output,
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    thread,
};

use rustix::process::Signal;

use crate::{
    support::{Replica, Store, trireme},
    tools::{Raw, SPEC, assert_healed, command, eventually, isolated, metric, tree},
};

const HEAD: &str = "apiVersion: trireme.dev/v1alpha1\nkind: ReplicatedStore\nmetadata:\n  name: orders\nspec:\n";

/// It was refused as input, with exactly this to say.
fn assert_refused(output: &Output, message: &str) {
    assert_eq!(String::from_utf8_lossy(&output.stderr), format!("error: {message}\n"));
    assert_eq!(output.status.code(), Some(2), "{message}");
    assert!(output.stdout.is_empty(), "{output:?}");
}

#[test]
fn a_wrong_file_is_refused_with_its_place_and_what_is_allowed() {
    let fields = "mode, n, w, r, writeOrder, readRepair, feedBytesPerSecond, feedCompression, regions, homeRegions, conflicts, edges, session, keyspaceEvents, slo, durability, storage, failover, requestTimeout, logRetention, limits, volumes, \
                  image, imagePullPolicy, imagePullSecrets, resources, auth, pod, service, networkPolicy, monitoring";
    for (spec, problem) in [
        (
            "  mode: SingleLeader\n  replicas: 3\n",
            format!("7:3: spec.replicas: there is no field 'replicas'; allowed: {fields}"),
        ),
        ("  mode: SingleLeader\n  n: three\n", "7:6: spec.n: this is no whole number; allowed: 1 to 9".into()),
        ("  mode: SingleLeader\n  n: -1\n", "7:6: spec.n: this is no whole number; allowed: 1 to 9".into()),
        ("  mode: SingleLeader\n  n: 0\n", "7:3: spec.n: n is 0; allowed: 1 to 9".into()),
        ("  mode: SingleLeader\n  n: 10\n", "7:3: spec.n: n is 10; allowed: 1 to 9".into()),
        (
            "  mode: SingleLeader\n  n: [3]\n",
            "7:6: spec.n: a list or a mapping does not belong here; allowed: 1 to 9".into(),
        ),
        (
            "  mode: SingleLeader\n  n: 3\n  w: 4\n",
            "8:3: spec.w: w is 4, but there are only n = 3 replicas; allowed: 1 to n".into(),
        ),
        (
            "  mode: SingleLeader\n  failover: 7\n",
            "7:13: spec.failover: this does not belong here; allowed: a mapping".into(),
        ),
        (
            "  mode: Primary\n",
            "6:9: spec.mode: 'Primary' is not known; allowed: SingleLeader, MultiLeader, Leaderless".into(),
        ),
        ("  n: 3\n", "6:3: spec.mode: it is missing; allowed: SingleLeader, MultiLeader or Leaderless".into()),
    ] {
        let root = tempfile::tempdir().unwrap();
        let (file, dir) = (root.path().join("orders.yaml"), root.path().join("data"));
        fs::write(&file, format!("{HEAD}{spec}")).unwrap();
        let output = trireme().arg("up").arg(&file).arg("--dir").arg(&dir).output().unwrap();
        assert_refused(&output, &format!("{}:{problem}", file.display()));
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1, "something was created");
    }
}

#[test]
fn a_directory_that_is_anothers_newer_or_in_use_is_refused_untouched() {
    if !isolated("input::a_directory_that_is_anothers_newer_or_in_use_is_refused_untouched") {
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let mut store = Store::up(root.path(), SPEC, &[]);
    let dir = store.dir.clone();
    let shown = dir.canonicalize().unwrap().display().to_string();
    let yaml = store.yaml.display().to_string();
    let uid = fs::read_to_string(dir.join("uid")).unwrap();
    let uid = uid.lines().find_map(|line| line.strip_prefix("uid ")).unwrap().to_owned();
    let up = fs::read_to_string(dir.join("lock")).unwrap();
    // All processes stand still, so that whatever changes was changed by who was refused.
    let stopped: Vec<Replica> = store.replicas.clone();
    stopped.iter().for_each(|replica| replica.signal(Signal::STOP));
    let before = tree(&dir);
    let in_use = format!(
        "is in use by process {up}, which runs this store; nothing was touched. Stop it first, or use another directory"
    );
    assert_refused(&store.run(&["up", &yaml]), &format!("{shown}: {in_use}"));
    let replica = dir.join("replicas/orders-0");
    let node = |dir: &Path, uid: &str, id: &str| node(dir, uid, id);
    let pid = stopped[0].pid;
    let message = format!("{} is in use by process {pid}: stop it, or use another directory", replica.display());
    assert_refused(&node(&replica, &uid, "1"), &message);
    assert_eq!(tree(&dir), before);
    stopped.iter().for_each(|replica| replica.signal(Signal::CONT));
    store.stop();

    let before = tree(&dir);
    let other = root.path().join("carts.yaml");
    fs::write(&other, format!("{HEAD}{SPEC}").replace("orders", "carts")).unwrap();
    let theirs = "belongs to the store `orders`, but the file describes `carts`; nothing was touched. Choose another directory, or the file of that store";
    assert_refused(&store.run(&["up", other.to_str().unwrap()]), &format!("{}: {theirs}", dir.display()));
    let whose = format!("{} belongs to replica 1 of store {uid}, not to replica", replica.display());
    let advice = "use the right directory, or an empty one";
    assert_refused(&node(&replica, &uid, "2"), &format!("{whose} 2 of store {uid}: {advice}"));
    assert_refused(&node(&replica, "carts", "1"), &format!("{whose} 1 of store carts: {advice}"));
    assert_eq!(tree(&dir), before);

    fs::write(dir.join("uid"), format!("format 2\nstore orders\nuid {uid}\n")).unwrap();
    let identity = fs::read_to_string(replica.join("identity")).unwrap();
    let line = identity.lines().next().unwrap().replace("\"format\":1", "\"format\":2");
    fs::write(replica.join("identity"), format!("{line}\n{:08x}\n", crc32c(line.as_bytes()))).unwrap();
    let before = tree(&dir);
    let newer = "was written in format 2, this version reads up to 1; nothing was touched. Use the version of trireme that wrote it, or a later one";
    assert_refused(&store.run(&["up", &yaml]), &format!("{}: {newer}", dir.display()));
    let newer = "was written by a newer version (format 2; this one reads up to 1): use that version";
    assert_refused(&node(&replica, &uid, "1"), &format!("{} {newer}", replica.display()));
    assert_eq!(tree(&dir), before);
}

/// A replica's own process on this directory, without its log.
fn node(dir: &Path, store: &str, id: &str) -> Output {
    let mut command = trireme();
    command.args(["node", "--listen", "127.0.0.99", "--store", store, "--id", id, "--dir"]).arg(dir);
    command.env("RUST_LOG", "off").output().unwrap()
}

/// CRC-32C, bit by bit.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc: u32, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg()))
    })
}

#[test]
fn what_is_not_the_protocol_closes_only_its_own_connection() {
    let root = tempfile::tempdir().unwrap();
    let mut store = Store::up(root.path(), SPEC, &[]);
    let leader = store.leader();
    let follower = store.replicas.iter().find(|r| r.name != leader).unwrap().clone();
    let wrong: Vec<(Vec<u8>, &str)> = vec![
        (b"*x\r\n".into(), "invalid multibulk length"),
        (b"*99999999999999999999\r\n".into(), "invalid multibulk length"),
        (b"*1\r\n$-1\r\n".into(), "invalid bulk length"),
        (b"*2\r\n$3\r\nGET\r\n$536870913\r\n".into(), "invalid bulk length"),
        (b"*2\r\n$3\r\nGET\r\n:1\r\n".into(), "expected '$', got ':'"),
        (b"SET \"a\r\n".into(), "unbalanced quotes in request"),
        (vec![b'a'; 70_000], "too big inline request"),
        ([&b"*"[..], &[b'1'; 70_000]].concat(), "too big mbulk count string"),
        ([&b"*1\r\n$"[..], &[b'1'; 70_000]].concat(), "too big bulk count string"),
    ];
    let (stop, rounds) = (AtomicBool::new(false), [AtomicU64::new(0), AtomicU64::new(0)]);
    thread::scope(|scope| {
        let targets = [store.replica(&leader), &follower];
        for (replica, rounds) in targets.into_iter().zip(&rounds) {
            scope.spawn(|| pipeline(replica, &stop, rounds));
        }
        for replica in targets {
            for (bytes, error) in &wrong {
                // What came whole before it is answered, what comes after it is not executed.
                let mut client = Raw::connect(replica.address);
                let after = command(&["SET", "never", "executed"]);
                client.send(
                    &[&command(&["ECHO", "before"])[..], bytes, if bytes.len() < 1_000 { &after } else { b"" }]
                        .concat(),
                );
                let answered = String::from_utf8(client.rest()).unwrap();
                assert_eq!(answered, format!("$6\r\nbefore\r\n-ERR Protocol error: {error}\r\n"), "{}", replica.name);
            }
            assert_eq!(metric(replica, "trireme_protocol_errors_total"), wrong.len() as u64);
            // Announced and never sent: it must cost nothing, and disturb nobody.
            let mut idle = Raw::connect(replica.address);
            idle.send(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$536870912\r\nx");
            assert_eq!(replica.client().call(&["EXISTS", "never"]).unwrap(), ":0");
        }
        for rounds in &rounds {
            let before = rounds.load(Relaxed);
            eventually("more pipelines", || rounds.load(Relaxed) > before + 2);
        }
        stop.store(true, Relaxed);
    });
    assert_healed(&store, &["p:leader".into()][..0]);
    store.stop();
}

/// Pipelines of 100 commands, each answered as it must be.
fn pipeline(replica: &Replica, stop: &AtomicBool, rounds: &AtomicU64) {
    let mut client = Raw::connect(replica.address);
    while !stop.load(Relaxed) {
        let number = rounds.load(Relaxed);
        let value = format!("{number}");
        let key = |i: usize| format!("p:{}:{i}", replica.name);
        let batch = (0..50).flat_map(|i| [command(&["SET", &key(i), &value]), command(&["GET", &key(i)])]);
        client.send(&batch.collect::<Vec<_>>().concat());
        for _ in 0..50 {
            assert_eq!(client.line(), "+OK");
            assert_eq!((client.line(), client.line()), (format!("${}", value.len()), value.clone()));
        }
        rounds.fetch_add(1, Relaxed);
    }
}
