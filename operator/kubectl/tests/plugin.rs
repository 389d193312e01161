//! The plugin as a process, against an API server on loopback: what it asks for, what it shows, how it ends.

#![allow(clippy::unwrap_used)] // Helpers of tests: clippy's exception knows only functions that are tests themselves.

use std::process::Output;

use serde_json::{Value, json};
use support::{Api, Objects};

mod support;

/// A store of three replicas as its operator writes it.
fn orders(leader: &str, epoch: &str) -> Value {
    let replica = |i: u32| {
        let name = format!("orders-{i}");
        let role = if name == leader { "Leader" } else { "Follower" };
        json!({
            "name": name, "id": i + 1, "region": "", "role": role, "member": true, "reachable": true,
            "silentMs": 7, "position": "1/10", "commit": 10, "applied": 10, "lagEntries": 0, "lagBytes": 0, "lagMs": 0,
            "snapshotSlots": null, "incarnation": "00000000000000aa", "diskFull": false, "keys": 4,
            "digest": "00000000000000ff", "digestMismatches": 0, "peerRefusals": 0, "clientAddress": "10.0.0.1:6379",
        })
    };
    json!({
        "apiVersion": "trireme.dev/v1alpha1", "kind": "ReplicatedStore",
        "metadata": { "name": "orders", "namespace": "shop" },
        "spec": { "mode": "SingleLeader", "n": 3, "w": 2 },
        "status": {
            "phase": "Ready", "observedGeneration": 1, "conditions": [], "failovers": [],
            "ready": "3/3", "leader": leader, "lag": "12 ms",
            "groups": [{
                "group": 0, "epoch": epoch, "phase": "Active", "leader": leader, "serving": true, "n": 3, "w": 2,
                "sealQuorum": 2, "members": ["orders-0", "orders-1", "orders-2"], "oldMembers": [], "generation": 0,
                "version": 2,
            }],
            "replicas": [replica(0), replica(1), replica(2)],
        },
    })
}

/// An operator that does what it is asked for, and says so.
fn obliging(objects: &mut Objects, name: &str) {
    let store = objects.stores[&("shop".to_owned(), name.to_owned())].clone();
    let asked = store["metadata"]["annotations"].as_object().cloned().unwrap_or_default();
    for (annotation, asked) in asked.iter().map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned())) {
        let kind = match annotation.as_str() {
            "trireme.dev/switchover" => "Switchover",
            "trireme.dev/promote" => "Promote",
            "trireme.dev/promote-force" => "PromoteForce",
            _ => continue,
        };
        let to = if asked.is_empty() { "orders-2".to_owned() } else { asked };
        let refused = to == "orders-1" && kind == "Switchover";
        if refused {
            objects.decide(name, "Refused", "refused to hand over to orders-1: it lags");
        } else {
            objects.decide(name, "HandingOver", &format!("orders-0 hands over to {to}: a person asked for it"));
            objects.decide(name, "Serving", &format!("{to} serves epoch 2; write gap 9 ms"));
        }
        let (outcome, message) = match refused {
            true => ("Refused", "refused to hand over to orders-1: it lags".to_owned()),
            false => ("Done", format!("{to} leads")),
        };
        let mut next = if refused { store.clone() } else { orders(&to, "2") };
        next["status"]["request"] = json!({ "asked": kind, "replica": to, "outcome": outcome, "message": message, "at": "2026-11-25T12:00:00.000Z" });
        next["metadata"]["annotations"] = json!({});
        objects.put_store(next);
    }
}

fn idle(_: &mut Objects, _: &str) {}

async fn api(operator: fn(&mut Objects, &str)) -> Api {
    let api = Api::start(operator).await;
    api.objects().put_store(orders("orders-0", "1"));
    api
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[track_caller]
fn ended(output: &Output, code: i32) -> (String, String) {
    let said = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{said:?}");
    said
}

#[tokio::test]
async fn a_hand_over_is_asked_for_and_followed_to_its_end() {
    let api = api(obliging).await;
    let (said, _) = ended(&api.run(&["switchover", "orders"]).await, 0);
    assert_eq!(
        said,
        "    +0 ms  orders-0 hands over to orders-2: a person asked for it\n\
         \x20   +1 ms  orders-2 serves epoch 2; write gap 9 ms\n\
         orders-2 leads\n"
    );
    assert_eq!(api.objects().patches, [json!({ "metadata": { "annotations": { "trireme.dev/switchover": "" } } })]);
    let (said, _) = ended(&api.run(&["-o", "json", "promote", "orders", "orders-0"]).await, 0);
    let lines: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2, "what was told before is not told again: {said}");
    assert_eq!(lines[1]["decision"], "serving");
}

#[tokio::test]
async fn a_refusal_is_said_in_the_operators_words() {
    let api = api(obliging).await;
    let (_, why) = ended(&api.run(&["switchover", "orders", "orders-1"]).await, 1);
    assert_eq!(why, "error: refused to hand over to orders-1: it lags\n");
    let (_, why) = ended(&api.run(&["switchover", "orders", "orders-7"]).await, 1);
    assert_eq!(why, "error: the store has no replica `orders-7`; it has orders-0, orders-1, orders-2\n");
    let (_, why) = ended(&api.run(&["promote", "orders", "orders-0"]).await, 1);
    assert_eq!(why, "error: orders-0 leads already\n");
    assert_eq!(api.objects().patches.len(), 1, "what makes no sense is not asked for");
}

#[tokio::test]
async fn where_each_region_has_a_leader_a_hand_over_names_who_takes_over() {
    let api = api(obliging).await;
    let mut several = orders("orders-0", "1");
    let mut other = several["status"]["groups"][0].clone();
    (other["group"], other["region"], other["leader"]) = (json!(2), json!("us"), json!("orders-us-0"));
    several["status"]["groups"].as_array_mut().unwrap().push(other);
    api.objects().put_store(several);
    let (_, why) = ended(&api.run(&["switchover", "orders"]).await, 1);
    assert_eq!(why, "error: each region has a leader of its own: name the replica that is to take over\n");
    assert!(api.objects().patches.is_empty(), "nothing was asked for");
    ended(&api.run(&["switchover", "orders", "orders-2"]).await, 0);
}

#[tokio::test]
async fn the_outcome_is_known_without_events_too() {
    let api = api(obliging).await;
    api.objects().refused.push(("events", 403));
    let (said, _) = ended(&api.run(&["switchover", "orders", "orders-2"]).await, 0);
    assert_eq!(said, "orders-2 leads\n");
}

#[tokio::test]
async fn an_operator_that_says_nothing_of_requests_is_understood_by_who_leads() {
    let api = api(|objects, name| {
        objects.decide(name, "Serving", "orders-1 serves epoch 2; write gap 9 ms");
        objects.put_store(orders("orders-1", "2"));
    })
    .await;
    let (said, _) = ended(&api.run(&["promote", "orders", "orders-1"]).await, 0);
    assert!(said.ends_with("orders-1 leads\n"), "{said}");
}

#[tokio::test]
async fn a_forced_promotion_needs_a_person_or_a_yes() {
    let api = api(obliging).await;
    let (_, why) = ended(&api.run(&["promote", "orders", "orders-1", "--force"]).await, 2);
    assert!(why.contains("--yes"), "{why}");
    assert!(api.objects().patches.is_empty());
    ended(&api.run(&["promote", "orders", "orders-1", "--force", "--yes"]).await, 0);
    let asked = json!({ "metadata": { "annotations": { "trireme.dev/promote-force": "orders-1" } } });
    assert_eq!(api.objects().patches, [asked]);
}

#[tokio::test]
async fn an_unknown_store_is_answered_with_those_that_there_are() {
    let api = api(idle).await;
    let (_, why) = ended(&api.run(&["status", "order"]).await, 1);
    assert_eq!(why, "error: there is no store order in the namespace shop; there is: orders\n");
    let (_, why) = ended(&api.run(&["lag", "orders", "-n", "bank"]).await, 1);
    assert_eq!(
        why,
        "error: there is no store orders in the namespace bank; it is in the namespace shop: try -n shop\n"
    );
    let (_, why) = ended(&api.run(&["verify", "order", "--namespace", "bank"]).await, 1);
    assert_eq!(
        why,
        "error: there is no store order in the namespace bank; there is none there; elsewhere: shop/orders\n"
    );
}

#[tokio::test]
async fn refusals_of_the_cluster_say_what_to_do() {
    let api = api(idle).await;
    for (code, words) in [
        (401, "does not know who you are"),
        (403, "ask whoever runs the cluster for a role"),
        (404, "is not installed"),
    ] {
        api.objects().refused = vec![("replicatedstores", code)];
        let (_, why) = ended(&api.run(&["status"]).await, 1);
        assert!(why.contains(words), "{code}: {why}");
    }
    let nobody = tempfile::tempdir().unwrap();
    let path = nobody.path().join("kubeconfig");
    // Nobody listens on the port of a listener that is gone.
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    std::fs::write(&path, support::kubeconfig(address)).unwrap();
    let plugin = |arguments: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_kubectl-trireme"));
        command
            .args(arguments)
            .env("HOME", nobody.path())
            .env_remove("KUBECONFIG")
            .env_remove("KUBERNETES_SERVICE_HOST");
        command.output().unwrap()
    };
    let path = path.to_str().unwrap();
    for (arguments, words) in [
        (vec!["status", "--kubeconfig", path], "does not answer"),
        (vec!["status", "--kubeconfig", path, "--context", "other"], "there is no context other; there is: test"),
        (vec!["status", "--kubeconfig", "/nowhere/config"], "/nowhere/config"),
        (vec!["status"], "no cluster is known"),
    ] {
        let (_, why) = ended(&plugin(&arguments), 1);
        assert!(why.contains(words), "{arguments:?}: {why}");
    }
    ended(&plugin(&["explain", "--n", "5"]), 0);
    ended(&plugin(&["explain", "orders", "--n", "5"]), 2);
}

#[tokio::test]
async fn all_stores_are_a_line_each() {
    let api = api(idle).await;
    let (said, _) = ended(&api.run(&["status", "-A"]).await, 0);
    assert_eq!(
        said,
        "NAMESPACE  NAME    MODE          N  W  R  READY  LEADER    LAG    STATUS  AGE\n\
         shop       orders  SingleLeader  3  2  1  3/3    orders-0  12 ms  Ready   -\n"
    );
    let (said, note) = ended(&api.run(&["status", "-n", "bank"]).await, 0);
    assert_eq!((said.as_str(), note.as_str()), ("", "there is no store in the namespace bank\n"));
    let (said, _) = ended(&api.run(&["explain", "orders"]).await, 0);
    assert!(said.contains("acknowledged when 2 of 3 replicas have it on disk"), "{said}");
}

#[tokio::test]
async fn replicas_say_themselves_how_they_stand_where_they_may_be_asked() {
    let api = api(idle).await;
    let said = |id: u32, role: &str| {
        let followers = [2, 3].map(|id| json!({ "id": id, "lagEntries": 5, "lagBytes": 500, "lagMs": 3 }));
        json!({
            "id": id, "role": role, "serving": role == "Leader", "last": "1/1005", "commit": 1005, "applied": 1005,
            "keys": 77, "digest": "00000000000000aa", "incarnation": "00000000000000aa", "counters": {},
            "followers": if role == "Leader" { json!(followers) } else { json!([]) },
        })
    };
    {
        let mut objects = api.objects();
        objects.pods.insert("orders-0/status".to_owned(), said(1, "Leader"));
        objects.pods.insert("orders-1/status".to_owned(), said(2, "Follower"));
    }
    let (shown, note) = ended(&api.run(&["lag", "orders", "--count", "1", "-o", "json"]).await, 0);
    let lines: Vec<Value> = shown.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(
        (&lines[0]["lagEntries"], &lines[1]["lagEntries"], &lines[2]["lagMs"]),
        (&json!(0), &json!(5), &json!(3))
    );
    assert_eq!(note, "");
    let (shown, _) = ended(&api.run(&["status", "orders", "-o", "json"]).await, 0);
    let status: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!((&status["replicas"][1]["keys"], &status["replicas"][2]["keys"]), (&json!(77), &json!(4)));
    api.objects().refused.push(("proxy", 403));
    api.objects().pods.clear();
    let (shown, note) = ended(&api.run(&["status", "orders"]).await, 0);
    assert!(shown.contains("orders-0"), "{shown}");
    assert!(note.contains("this is what the operator last wrote"), "{note}");
}

#[tokio::test]
async fn digests_of_all_pods_are_compared() {
    let api = api(idle).await;
    let digests = |changed: Option<usize>| {
        let mut digests = vec![json!("00000000000000aa"); 16_384];
        if let Some(slot) = changed {
            digests[slot] = json!("00000000000000ab");
        }
        digests[1] = json!("");
        json!({ "applied": 9, "firstSlot": 0, "lastWrites": vec![9; 16_384], "digests": digests })
    };
    for pod in ["orders-0", "orders-1", "orders-2"] {
        api.objects().pods.insert(format!("{pod}/digests"), digests(None));
    }
    let (said, _) = ended(&api.run(&["verify", "orders"]).await, 0);
    assert_eq!(said, "16,384 of 16,384 slots are the same on orders-0, orders-1, orders-2\n");
    api.objects().pods.insert("orders-2/digests".to_owned(), digests(Some(700)));
    let (said, why) = ended(&api.run(&["verify", "orders", "--within", "4"]).await, 1);
    assert!(said.contains("1 slot differs at the same last write: 700"), "{said}");
    assert_eq!(why, "error: the replicas could not be shown to be the same\n");
    api.objects().pods.remove("orders-2/digests");
    let (said, _) = ended(&api.run(&["verify", "orders", "--within", "1"]).await, 1);
    assert!(said.contains("no answer from orders-2"), "{said}");
}

#[tokio::test]
async fn the_log_of_failovers_is_events_and_pods_in_order() {
    let api = api(idle).await;
    {
        let mut objects = api.objects();
        objects.decide("orders", "Sealing", "sealing epoch 2");
        objects.decide("orders", "Serving", "orders-1 serves epoch 2");
        objects.decide("carts", "Serving", "somebody else's");
        let printed =
            "2026-11-25T12:00:00.000500Z 2026-11-25T12:00:00.0005Z  INFO promised\n2026-11-25T09:00:00Z long ago\n";
        objects.logs.insert("orders-1".to_owned(), printed.to_owned());
    }
    let (said, _) = ended(&api.run(&["logs", "orders", "--replicas"]).await, 0);
    assert_eq!(
        said,
        "the leader has never changed\n\n\
         2026-11-25T12:00:00.000Z  sealing epoch 2\n\
         2026-11-25T12:00:00.000Z  orders-1  INFO promised\n\
         2026-11-25T12:00:00.001Z  orders-1 serves epoch 2\n"
    );
}

#[tokio::test]
async fn a_pause_is_done_when_the_operator_says_so() {
    let api = api(|objects, name| {
        objects.change(name, |store| {
            let paused = store["metadata"]["annotations"]["trireme.dev/paused"] == "true";
            let (status, message) =
                if paused { ("True", "nothing is begun") } else { ("False", "reconciliation goes on") };
            store["status"]["conditions"] = json!([{
                "type": "Paused", "status": status, "reason": "Annotation", "message": message,
                "observedGeneration": 1, "lastTransitionTime": "2026-11-25T12:00:00.000Z",
            }]);
        });
    })
    .await;
    let (said, _) = ended(&api.run(&["pause", "orders"]).await, 0);
    assert_eq!(said, "orders: nothing is begun\n");
    let (said, _) = ended(&api.run(&["resume", "orders"]).await, 0);
    assert_eq!(said, "orders: reconciliation goes on\n");
    ended(&api.run(&["restart", "orders"]).await, 0);
    let patches = api.objects().patches.clone();
    let annotation = |i: usize, name: &str| patches[i]["metadata"]["annotations"][name].clone();
    assert_eq!(
        (annotation(0, "trireme.dev/paused"), annotation(1, "trireme.dev/paused")),
        (json!("true"), Value::Null)
    );
    assert!(annotation(2, "trireme.dev/restart").is_string());
}
