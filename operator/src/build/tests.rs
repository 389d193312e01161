use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use trireme_crds::kubernetes::ReplicatedStore;
use trireme_planner::first_replica;
use trireme_proto::topology::Mode;

use super::*;
use crate::store::wanted::Operator;

fn operator() -> Operator {
    Operator { node_image: "registry/node:1".to_owned(), namespace: "trireme-system".to_owned() }
}

/// What this spec (a JSON object without `mode`) wants, by way of the real parser.
fn wanted(spec: &str) -> Wanted {
    of_mode("SingleLeader", spec)
}

fn of_mode(mode: &str, spec: &str) -> Wanted {
    let mut spec: serde_json::Value = serde_json::from_str(spec).unwrap();
    spec["mode"] = mode.into();
    let store: ReplicatedStore = serde_json::from_value(serde_json::json!({
        "apiVersion": "trireme.dev/v1alpha1",
        "kind": "ReplicatedStore",
        "metadata": { "name": "orders", "namespace": "shop", "uid": "u-1" },
        "spec": spec,
    }))
    .unwrap();
    Wanted::parse(&store, &operator()).unwrap()
}

fn built(wanted: &Wanted) -> Objects {
    let groups = wanted.groups(&[], None).into_iter().map(|desired| (desired.group, desired.replicas)).collect();
    objects(wanted, &groups)
}

fn sets(wanted: &Wanted) -> Vec<(String, i32, String)> {
    let of = |set: &StatefulSet| {
        let spec = set.spec.as_ref().unwrap();
        let arguments = spec.template.spec.as_ref().unwrap().containers[0].args.as_ref().unwrap().join(" ");
        let from = arguments.find("--first-id").unwrap();
        let group = arguments
            .find("--group")
            .map_or("", |from| arguments[from - 1..].split(" --session-key-file").next().unwrap());
        let ids = arguments[from..].split(" --listen").next().unwrap().to_owned() + group;
        (set.metadata.name.clone().unwrap(), spec.replicas.unwrap(), ids)
    };
    built(wanted).statefulsets.iter().map(of).collect()
}

#[test]
fn a_store_without_regions_is_one_set() {
    assert_eq!(sets(&wanted("{}")), [("orders".to_owned(), 3, "--first-id 1 --id-step 1".to_owned())]);
}

#[test]
fn regions_share_the_replicas_in_turn() {
    let three = wanted(r#"{"n": 5, "regions": [{"name": "a"}, {"name": "b"}, {"name": "c"}]}"#);
    let expected = [("orders-a", 2, 1), ("orders-b", 2, 2), ("orders-c", 1, 3)]
        .map(|(name, length, first)| (name.to_owned(), length, format!("--first-id {first} --id-step 3")));
    assert_eq!(sets(&three), expected);
    let names: Vec<&str> = three.desired.replicas.iter().map(|r| r.name.as_str()).collect();
    assert_eq!(names, ["orders-a-0", "orders-b-0", "orders-c-0", "orders-a-1", "orders-b-1"]);
    for set in built(&three).statefulsets {
        let pod = set.spec.unwrap().template.spec.unwrap();
        let nodes = pod.affinity.unwrap().node_affinity.unwrap().required_during_scheduling_ignored_during_execution;
        let nodes = nodes.unwrap();
        let rule = &nodes.node_selector_terms[0].match_expressions.as_ref().unwrap()[0];
        let region = set.metadata.labels.unwrap()[REGION].clone();
        assert_eq!((rule.key.as_str(), rule.values.clone()), ("topology.kubernetes.io/region", Some(vec![region])));
    }
}

#[test]
fn a_member_that_has_not_left_keeps_its_pod() {
    let one = wanted(r#"{"n": 1}"#);
    let mut replicas = one.desired.replicas.clone();
    replicas.push(DesiredReplica { id: 3, name: "orders-2".to_owned(), region: String::new() });
    assert_eq!(objects(&one, &Groups::from([(0, replicas)])).statefulsets[0].spec.as_ref().unwrap().replicas, Some(3));
}

#[test]
fn as_many_may_be_evicted_as_writes_can_spare() {
    for (spec, spare) in [
        (r#"{"n": 3, "w": 2}"#, 1),
        (r#"{"n": 5, "w": 3}"#, 2),
        (r#"{"n": 5, "w": 2}"#, 3),
        (r#"{"n": 5, "w": 1}"#, 2),
        (r#"{"n": 3, "w": 3}"#, 1),
        (r#"{"n": 1, "w": 1}"#, 1),
    ] {
        let budget = built(&wanted(spec)).budgets[0].spec.clone().unwrap();
        assert_eq!(budget.max_unavailable, Some(IntOrString::Int(spare)), "{spec}");
    }
}

#[test]
fn pods_are_what_a_restricted_namespace_accepts() {
    let set = &built(&wanted("{}")).statefulsets[0];
    let pod = set.spec.as_ref().unwrap().template.spec.clone().unwrap();
    let context = pod.security_context.unwrap();
    assert_eq!(context.run_as_non_root, Some(true));
    assert_eq!(context.seccomp_profile.unwrap().type_, "RuntimeDefault");
    assert_eq!(pod.automount_service_account_token, Some(false));
    let container = pod.containers[0].security_context.clone().unwrap();
    assert_eq!(container.read_only_root_filesystem, Some(true));
    assert_eq!(container.allow_privilege_escalation, Some(false));
    assert_eq!(container.capabilities.unwrap().drop, Some(vec!["ALL".to_owned()]));
}

#[test]
fn the_password_is_where_the_user_says() {
    let volume = |spec: &str| {
        let objects = built(&wanted(spec));
        let pod = objects.statefulsets[0].spec.clone().unwrap().template.spec.unwrap();
        let said = pod.containers[0].args.clone().unwrap().contains(&"--password-file".to_owned());
        let name = pod.volumes.unwrap().into_iter().find(|volume| volume.name == "auth");
        let name = name.map(|volume| volume.secret.unwrap().secret_name.unwrap());
        assert_eq!(said, name.is_some(), "{spec}");
        (name, objects.secret.is_some())
    };
    assert_eq!(volume("{}"), (Some("orders-auth".to_owned()), true));
    assert_eq!(volume(r#"{"auth": {"secretName": "mine"}}"#), (Some("mine".to_owned()), false));
    assert_eq!(volume(r#"{"auth": {"enabled": false}}"#), (None, false));
}

#[test]
fn a_store_goes_on_without_a_key_for_its_sessions() {
    let objects = built(&wanted("{}"));
    let pod = objects.statefulsets[0].spec.clone().unwrap().template.spec.unwrap();
    let optional = |name: &str| {
        let volume = pod.volumes.iter().flatten().find(|volume| volume.name == name);
        volume.and_then(|volume| volume.secret.clone()).unwrap().optional
    };
    assert_eq!([optional("session"), optional("auth")], [Some(true), None]);
    let why = |key: &str, bytes: usize| {
        let data = [(key.to_owned(), k8s_openapi::ByteString(vec![0; bytes]))].into();
        no_session_key(&Secret { data: Some(data), ..objects.session.clone() })
    };
    assert_eq!([why("key", 16), why("key", 4096)], [None, None]);
    assert!(why("key", 15).unwrap().contains("Secret orders-session has 15 bytes"));
    assert!(why("key", 4097).is_some());
    assert!(why("password", 44).unwrap().contains("Secret orders-session has no key key"));
    assert!(no_session_key(&objects.session).is_some());
}

#[test]
fn services_choose_by_role() {
    let services = built(&wanted(r#"{"service": {"type": "LoadBalancer", "annotations": {"a": "b"}}}"#)).services;
    let of = |service: &Service| {
        let spec = service.spec.as_ref().unwrap();
        let role = spec.selector.as_ref().unwrap().get(ROLE).cloned();
        (service.metadata.name.clone().unwrap(), role, spec.type_.clone(), service.metadata.annotations.is_some())
    };
    let balanced = || Some("LoadBalancer".to_owned());
    let expected = [
        ("orders-peers".to_owned(), None, None, false),
        ("orders-rw".to_owned(), Some("leader".to_owned()), balanced(), true),
        ("orders-ro".to_owned(), Some("follower".to_owned()), balanced(), true),
        ("orders-r".to_owned(), None, balanced(), true),
    ];
    assert_eq!(services.iter().map(of).collect::<Vec<_>>(), expected);
}

/// A leader in each of two regions.
fn multi_leader(spec: &str) -> Wanted {
    let mut spec: serde_json::Value = serde_json::from_str(spec).unwrap();
    spec["regions"] = serde_json::json!([{ "name": "eu" }, { "name": "us" }]);
    of_mode("MultiLeader", &spec.to_string())
}

#[test]
fn edges_have_a_door_and_a_secret_where_there_are_any() {
    let services = |wanted: &Wanted| -> Vec<String> {
        built(wanted).services.iter().map(|service| service.metadata.name.clone().unwrap()).collect()
    };
    let arguments = |wanted: &Wanted| {
        let set = built(wanted).statefulsets.remove(0).spec.unwrap();
        set.template.spec.unwrap().containers.remove(0).args.unwrap().join(" ")
    };
    let doors = |wanted: &Wanted| {
        let rules = built(wanted).policy.unwrap().spec.unwrap().ingress.unwrap();
        let open = |rule: &&k8s_openapi::api::networking::v1::NetworkPolicyIngressRule| rule.from.is_none();
        let ports = rules.iter().filter(open).flat_map(|rule| rule.ports.iter().flatten());
        ports.filter_map(|port| port.port.clone()).collect::<Vec<_>>()
    };
    let without = multi_leader("{}");
    assert!(built(&without).edges.is_none() && !services(&without).contains(&"orders-edges".to_owned()));
    assert!(!arguments(&without).contains("--edge-port"));
    let with = multi_leader(r#"{"edges": [{"name": "anna"}], "service": {"type": "LoadBalancer"}}"#);
    let objects = built(&with);
    assert_eq!(objects.edges.unwrap().metadata.name.unwrap(), "orders-edges");
    let door = objects.services.iter().find(|s| s.metadata.name.as_deref() == Some("orders-edges")).unwrap();
    let spec = door.spec.clone().unwrap();
    assert_eq!((spec.type_.as_deref(), spec.ports.unwrap()[0].port), (Some("LoadBalancer"), 7700));
    assert_eq!(spec.selector.unwrap()[ROLE], "leader");
    assert!(arguments(&with).contains("--edge-port 7700"));
    let port = |number: u16| IntOrString::Int(number.into());
    assert!(doors(&with).contains(&port(EDGE_PORT)) && !doors(&without).contains(&port(EDGE_PORT)));
    assert!(!doors(&with).contains(&port(PEER_PORT)), "the port for peers is never open to all");
}

#[test]
fn where_each_region_has_a_leader_each_is_a_group_with_a_set_of_its_own() {
    let carts = multi_leader(r#"{"n": 2}"#);
    let ids = |first: u32, group: u32| format!("--first-id {first} --id-step 1 --group {group}");
    let expected = [("orders-eu".to_owned(), 2, ids(1, 1)), ("orders-us".to_owned(), 2, ids(17, 2))];
    assert_eq!(sets(&carts), expected);
    // The number of a pod is the one that the planner knows the replica by.
    for desired in carts.groups(&[], None) {
        for (k, replica) in (0..).zip(&desired.replicas) {
            assert_eq!(
                (replica.id, &replica.name),
                (first_replica(desired.group) + k, &format!("orders-{}-{k}", desired.region))
            );
        }
    }
    let regions = |objects: &Objects| -> Vec<String> {
        objects.statefulsets.iter().map(|set| set.metadata.labels.clone().unwrap()[REGION].clone()).collect()
    };
    assert_eq!(regions(&built(&carts)), ["eu", "us"]);
    // A member that has not left yet keeps its pod, and a group of which nothing is known yet is left as it is.
    let mut groups = Groups::from([(2, carts.groups(&[], None)[1].replicas.clone())]);
    groups.get_mut(&2).unwrap().push(DesiredReplica {
        id: 20,
        name: "orders-us-3".to_owned(),
        region: "us".to_owned(),
    });
    let objects = objects(&carts, &groups);
    assert_eq!(regions(&objects), ["us"]);
    assert_eq!(objects.statefulsets[0].spec.as_ref().unwrap().replicas, Some(4));
}

#[test]
fn where_each_region_has_a_leader_each_has_services_of_its_own() {
    let services = built(&multi_leader("{}")).services;
    let of = |service: &Service| {
        let selector = service.spec.as_ref().unwrap().selector.clone().unwrap();
        let of = |label: &str| selector.get(label).cloned().unwrap_or_default();
        format!("{} {} {}", service.metadata.name.as_ref().unwrap(), of(REGION), of(ROLE)).trim().to_owned()
    };
    let expected = [
        "orders-peers",
        "orders-rw  leader",
        "orders-ro  follower",
        "orders-r",
        "orders-eu-rw eu leader",
        "orders-eu-ro eu follower",
        "orders-eu-r eu",
        "orders-us-rw us leader",
        "orders-us-ro us follower",
        "orders-us-r us",
    ];
    assert_eq!(services.iter().map(of).collect::<Vec<_>>(), expected);
}

#[test]
fn where_each_region_has_a_leader_each_spares_as_many_as_its_own_writes_can() {
    let budgets = |spec: &str| -> Vec<(String, String, IntOrString)> {
        let of = |budget: &PodDisruptionBudget| {
            let spec = budget.spec.clone().unwrap();
            let region = spec.selector.unwrap().match_labels.unwrap()[REGION].clone();
            (budget.metadata.name.clone().unwrap(), region, spec.max_unavailable.unwrap())
        };
        built(&multi_leader(spec)).budgets.iter().map(of).collect()
    };
    let each =
        |spare| ["eu", "us"].map(|region| (format!("orders-{region}"), region.to_owned(), IntOrString::Int(spare)));
    assert_eq!(budgets("{}"), each(1));
    assert_eq!(budgets(r#"{"n": 5, "w": 3}"#), each(2));
}

/// The same without a leader.
fn leaderless(spec: &str, r: u32) -> Wanted {
    let mut wanted = wanted(spec);
    wanted.desired.settings.mode = Mode::Leaderless as i32;
    wanted.desired.settings.r = r;
    wanted
}

#[test]
fn without_a_leader_every_replica_that_is_ready_is_served_from() {
    let services = built(&leaderless("{}", 2)).services;
    let of = |service: &Service| {
        let role = service.spec.as_ref().unwrap().selector.as_ref().unwrap().get(ROLE).cloned();
        (service.metadata.name.clone().unwrap(), role)
    };
    let expected = ["orders-peers", "orders-rw", "orders-r"].map(|name| (name.to_owned(), None));
    assert_eq!(services.iter().map(of).collect::<Vec<_>>(), expected);
}

#[test]
fn without_a_leader_as_many_may_be_evicted_as_reads_and_writes_can_miss() {
    let spare =
        |spec: &str, r: u32| built(&leaderless(spec, r)).budgets[0].spec.clone().unwrap().max_unavailable.unwrap();
    assert_eq!(spare("{}", 2), IntOrString::Int(1));
    assert_eq!(spare(r#"{"n": 5}"#, 3), IntOrString::Int(2));
    // A read that finds a difference repairs it on w before it answers.
    assert_eq!(spare(r#"{"n": 5, "w": 4}"#, 2), IntOrString::Int(1));
    assert_eq!(spare(r#"{"n": 5, "w": 2}"#, 4), IntOrString::Int(1));
    assert_eq!(spare(r#"{"n": 3, "w": 3}"#, 1), IntOrString::Int(1), "at least one: nodes must be drained");
}

#[test]
fn users_settings_come_through() {
    let wanted = wanted(
        r#"{"image": "mine:2", "resources": {"limits": {"memory": "1Gi"}}, "volumes": "Delete", "monitoring": {"podMonitor": true, "labels": {"team": "a"}},
            "networkPolicy": {"enabled": false}, "storage": {"size": "20Gi", "storageClassName": "fast"},
            "pod": {"labels": {"cost": "1"}, "env": [{"name": "MIMALLOC_ALLOW_THP", "value": "1"}], "terminationGracePeriodSeconds": 60}}"#,
    );
    let objects = built(&wanted);
    assert!(objects.policy.is_none());
    assert_eq!(objects.monitor.unwrap()["metadata"]["labels"]["team"], "a");
    let spec = objects.statefulsets[0].spec.clone().unwrap();
    assert_eq!(spec.persistent_volume_claim_retention_policy.unwrap().when_deleted.unwrap(), "Delete");
    let claim = spec.volume_claim_templates.unwrap()[0].spec.clone().unwrap();
    assert_eq!(claim.storage_class_name.as_deref(), Some("fast"));
    assert_eq!(claim.resources.unwrap().requests.unwrap()["storage"].0, "20Gi");
    assert_eq!(spec.template.metadata.unwrap().labels.unwrap()["cost"], "1");
    let pod = spec.template.spec.unwrap();
    assert_eq!(pod.termination_grace_period_seconds, Some(60));
    let container = &pod.containers[0];
    assert_eq!(container.image.as_deref(), Some("mine:2"));
    assert_eq!(container.resources.as_ref().unwrap().limits.as_ref().unwrap()["memory"].0, "1Gi");
    let env: Vec<_> = container.env.iter().flatten().filter(|e| e.name == "MIMALLOC_ALLOW_THP").collect();
    assert_eq!(env.len(), 1, "the user's value replaces ours");
    assert_eq!(env[0].value.as_deref(), Some("1"));
}

#[test]
fn what_makes_no_sense_is_named() {
    let store = |spec: serde_json::Value| -> Result<Wanted, String> {
        let store: ReplicatedStore = serde_json::from_value(serde_json::json!({
            "apiVersion": "trireme.dev/v1alpha1", "kind": "ReplicatedStore",
            "metadata": { "name": "orders", "namespace": "shop" }, "spec": spec,
        }))
        .unwrap();
        Wanted::parse(&store, &operator()).map_err(|error| error.to_string())
    };
    let error = store(serde_json::json!({ "mode": "SingleLeader", "n": 3, "w": 4 })).unwrap_err();
    assert!(error.contains("spec.w: w is 4, but there are only n = 3 replicas"), "{error}");
    let bad = serde_json::json!({ "mode": "SingleLeader", "pod": { "tolerations": [{ "operator": 7 }] } });
    assert!(store(bad).unwrap_err().starts_with("spec.pod.tolerations: "));
}

/// What is built of a store whose mode has changed: its sets with the labels that they select pods by, its budgets, and those that go.
fn after_a_change(wanted: &Wanted, groups: &[(u32, &str, &str)]) -> [Vec<String>; 3] {
    let replica = |group: u32, set: &str, region: &str| DesiredReplica {
        id: first_replica(group),
        name: format!("{set}-0"),
        region: region.to_owned(),
    };
    let groups: Groups =
        groups.iter().map(|(group, set, region)| (*group, vec![replica(*group, set, region)])).collect();
    let objects = objects(wanted, &groups);
    let of = |set: &StatefulSet| {
        let spec = set.spec.as_ref().unwrap();
        let label = |labels: &Option<BTreeMap<String, String>>| labels.as_ref().unwrap().get(REGION).cloned();
        let (selects, pods) =
            (label(&spec.selector.match_labels), label(&spec.template.metadata.as_ref().unwrap().labels));
        let nodes =
            spec.template.spec.as_ref().unwrap().affinity.as_ref().map(|all| all.node_affinity.clone().unwrap());
        let must = nodes.is_some_and(|nodes| nodes.required_during_scheduling_ignored_during_execution.is_some());
        assert_eq!(must, selects.is_some(), "volumes may be bound to nodes of another region where none was named");
        format!("{} selects {selects:?} of {pods:?}", set.metadata.name.as_ref().unwrap())
    };
    let budgets = objects.budgets.iter().map(|budget| budget.metadata.name.clone().unwrap()).collect();
    [objects.statefulsets.iter().map(of).collect(), budgets, superseded_budgets(wanted, &groups)]
}

#[test]
fn a_set_keeps_its_name_and_its_selector_when_the_mode_changes() {
    let (many, one) = (multi_leader("{}"), wanted("{}"));
    let set = |name: &str, selects: Option<&str>, of: Option<&str>| {
        format!("{name} selects {:?} of {:?}", selects.map(str::to_owned), of.map(str::to_owned))
    };
    let (eu, us) = (Some("eu"), Some("us"));
    assert_eq!(
        after_a_change(&many, &[(0, "orders", "eu"), (2, "orders-us", "us")]),
        [
            vec![set("orders", None, eu), set("orders-us", us, us)],
            vec!["orders-eu".to_owned(), "orders-us".to_owned()],
            vec!["orders".to_owned()],
        ]
    );
    // On the way back each region's is as it was, until one is left.
    let both = after_a_change(&one, &[(1, "orders-eu", "eu"), (2, "orders-us", "us")]);
    assert_eq!(both, [vec![set("orders-eu", eu, eu), set("orders-us", us, us)], Vec::new(), Vec::new()]);
    assert_eq!(
        after_a_change(&one, &[(2, "orders-us", "us")]),
        [vec![set("orders-us", us, us)], vec!["orders".to_owned()], vec!["orders-us".to_owned()]]
    );
    let first = [vec![set("orders", None, None)], vec!["orders".to_owned()], Vec::new()];
    assert_eq!(after_a_change(&one, &[(0, "orders", "")]), first);
}
