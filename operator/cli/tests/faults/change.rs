//! n, w and r of a store that runs, changed under its clients.

use crate::{
    support::Store,
    tools::{Load, acknowledged, assert_healed, assert_undisturbed, eventually, metric},
};

fn under_load(specs: &[&str]) {
    let root = tempfile::tempdir().unwrap();
    let mut store = Store::up(root.path(), specs[0], &[]);
    let mut keys = Vec::new();
    for (round, spec) in specs.iter().enumerate().skip(1) {
        let three = &store.replicas[..3];
        let load = Load::start_reading(&format!("l{round}"), three);
        store.apply(spec);
        let commands = metric(&store.replicas[0], "trireme_commands_total");
        eventually("more requests", || metric(&store.replicas[0], "trireme_commands_total") > commands + 20);
        let logs = load.finish();
        assert_undisturbed(&logs);
        keys.extend(acknowledged(&logs));
        store.wait_whole();
        store.look_again();
        let (status, wanted) =
            (store.status(), trireme_crds::parse(&std::fs::read_to_string(&store.yaml).unwrap(), "spec"));
        let settled = wanted.unwrap().spec.settle();
        let group = &status["groups"][0];
        assert_eq!((&group["n"], &group["w"]), (&settled.n.into(), &settled.w.into()), "{status}");
        assert_eq!(store.replicas.len(), settled.n as usize);
        assert_healed(&store, &keys);
    }
    store.stop();
}

#[test]
fn cassandra_n_w_and_r_change_under_load_without_an_error() {
    under_load(&[
        "  mode: Leaderless\n  \"n\": 3\n  w: 2\n  r: 2\n",
        "  mode: Leaderless\n  \"n\": 5\n  w: 3\n  r: 3\n",
        "  mode: Leaderless\n  \"n\": 5\n  w: 4\n  r: 2\n",
        "  mode: Leaderless\n  \"n\": 3\n  w: 2\n  r: 2\n",
        "  mode: Leaderless\n  \"n\": 3\n  w: 1\n  r: 3\n",
        "  mode: Leaderless\n  \"n\": 3\n  w: 3\n  r: 1\n",
        "  mode: Leaderless\n  \"n\": 3\n  w: 2\n  r: 2\n",
    ]);
}

#[test]
fn a_store_with_a_leader_grows_and_shrinks_under_load() {
    under_load(&[
        "  mode: SingleLeader\n  \"n\": 3\n",
        "  mode: SingleLeader\n  \"n\": 5\n",
        "  mode: SingleLeader\n  \"n\": 5\n  w: 2\n",
        "  mode: SingleLeader\n  \"n\": 3\n",
    ]);
}

#[test]
fn what_cannot_become_of_a_running_store_is_refused_and_nothing_is_changed() {
    let root = tempfile::tempdir().unwrap();
    let mut store = Store::up(root.path(), "  mode: Leaderless\n", &[]);
    let record = std::fs::read(store.dir.join("topology.json")).unwrap();
    let head = "apiVersion: trireme.dev/v1alpha1\nkind: ReplicatedStore\nmetadata:\n  name: ";
    for (rest, words) in [
        ("orders\nspec:\n  mode: SingleLeader\n", "spec.mode"),
        ("carts\nspec:\n  mode: Leaderless\n", "this is the store `orders`, but the file describes `carts`"),
        ("orders\nspec:\n  mode: Leaderless\n  durability: Memory\n", "spec.durability: the replicas run with disk"),
        ("orders\nspec:\n  mode: Leaderless\n  w: 4\n", "w is 4, but there are only n = 3 replicas"),
        ("orders\nspec:\n  mode: Leaderless\n  wrong: 4\n", "there is no field 'wrong'"),
    ] {
        let file = root.path().join("other.yaml");
        std::fs::write(&file, format!("{head}{rest}")).unwrap();
        let refused = store.run(&["apply", file.to_str().unwrap()]);
        let message = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(2), "{message}");
        assert!(message.contains(words) && refused.stdout.is_empty(), "{message}");
    }
    for nobody in [&["promote", "orders-1"][..], &["promote", "orders-1", "--force"], &["switchover"]] {
        let refused = store.run(nobody);
        let message = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(2), "{message}");
        assert!(message.starts_with("error: this store has no leader (mode Leaderless): "), "{message}");
    }
    assert_eq!(std::fs::read(store.dir.join("topology.json")).unwrap(), record);
    store.stop();
}
