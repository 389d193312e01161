//! The types as objects of an API server, their definitions, and every rule as the API server says it.
//!
//! `tests/cel` holds one object for each rule that the API server checks, with all that must be said of it beside it (`.txt`); where the rule is about a
//! change, with the object as it was before (`.before.yaml`). Here it is held against the rules in Rust; `crds/test` holds the same files against an API
//! server. `UPDATE_GOLDEN=1` writes the answers anew.

#![cfg(feature = "kubernetes")]
#![allow(clippy::unwrap_used)] // Helpers of tests: clippy's exception knows only functions that are tests themselves.

use std::{
    fs,
    path::{Path, PathBuf},
};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube_core::{DeserializeGuard, Resource};
use serde_json::{Value, json};
use trireme_crds::{
    kubernetes::{ReplicatedStore, StoreTopology, definitions},
    rules,
    status::{Condition, FailoverStatus, GroupStatus, ReplicaStatus, StoreStatus},
    validate, validate_change, warnings,
};

fn folder(name: &str) -> PathBuf {
    Path::new(&std::env::var("CARGO_MANIFEST_DIR").unwrap()).join(name)
}

fn read(path: &Path) -> trireme_crds::ReplicatedStore {
    serde_saphyr::from_str(&fs::read_to_string(path).unwrap()).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn store(metadata: &Value, spec: &Value) -> Value {
    json!({"apiVersion": "trireme.dev/v1alpha1", "kind": "ReplicatedStore", "metadata": metadata, "spec": spec})
}

#[test]
fn generated_files_are_current() {
    for definition in definitions() {
        let path = folder("generated").join(&definition.file);
        let found = fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(
            found,
            definition.text().unwrap(),
            "{} is not current: cargo run -p trireme-crds --features kubernetes --bin generate-crds",
            path.display()
        );
    }
}

#[test]
fn every_rule_of_the_api_server_has_an_object_that_breaks_it() {
    let mut answers = String::new();
    for entry in fs::read_dir(folder("tests/cel")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|e| e != "yaml") || path.to_string_lossy().ends_with(".before.yaml") {
            continue;
        }
        let object = read(&path);
        let before = path.with_extension("before.yaml");
        let mut violations = validate(&object);
        if before.exists() {
            violations.extend(validate_change(&read(&before), &object));
        }
        let mut said: Vec<_> =
            violations.iter().map(|v| format!("{}: {}; allowed: {}\n", v.path, v.what, v.allowed)).collect();
        said.sort();
        let answer = path.with_extension("txt");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&answer, said.concat()).unwrap();
        }
        assert_eq!(fs::read_to_string(&answer).unwrap_or_default(), said.concat(), "{}", path.display());
        answers.extend(violations.iter().map(|v| format!("{},", v.rule)));
    }
    for rule in rules::all().filter(|rule| !rule.cel.is_empty()) {
        assert!(answers.split(',').any(|id| id == rule.id), "nothing in tests/cel breaks {}", rule.id);
    }
}

#[test]
fn a_store_of_an_api_server_is_the_same_type() {
    let metadata = json!({
        "name": "orders", "namespace": "shop", "uid": "u", "resourceVersion": "7", "generation": 3,
        "annotations": {"trireme.dev/paused": "true"}, "managedFields": [{"manager": "kubectl"}],
    });
    let object = store(&metadata, &json!({"mode": "SingleLeader", "n": 3, "w": 1}));
    let found: ReplicatedStore = serde_json::from_value(object).unwrap();
    assert_eq!(found.meta().resource_version.as_deref(), Some("7"));
    assert_eq!(trireme_crds::store::Meta::annotation(&found.metadata, "trireme.dev/paused"), Some("true"));
    assert!(validate(&found).is_empty());
    assert_eq!(warnings(&found).len(), 1);
    let path = "/apis/trireme.dev/v1alpha1/namespaces/shop";
    assert_eq!(ReplicatedStore::url_path(&(), Some("shop")), format!("{path}/replicatedstores"));
    assert_eq!(StoreTopology::url_path(&(), Some("shop")), format!("{path}/storetopologies"));
    assert_eq!(found.object_ref(&()).kind.as_deref(), Some("ReplicatedStore"));
}

#[test]
fn one_that_cannot_be_read_does_not_stop_the_others() {
    let list = json!([
        store(&json!({"name": "good"}), &json!({"mode": "SingleLeader"})),
        store(&json!({"name": "bad"}), &json!({"mode": "SingleLeader", "requestTimeout": "soon"})),
        store(&json!({"name": "new"}), &json!({"mode": "SingleLeader", "fieldOfALaterVersion": 1})),
    ]);
    let found: Vec<DeserializeGuard<ReplicatedStore>> = serde_json::from_value(list).unwrap();
    let names: Vec<_> = found.iter().map(|guard| (guard.meta().name.clone().unwrap(), guard.0.is_ok())).collect();
    assert_eq!(names, [("good".to_owned(), true), ("bad".to_owned(), false), ("new".to_owned(), false)]);
    let error = found[1].0.as_ref().unwrap_err().to_string();
    assert!(error.contains("'soon' is no duration"), "{error}");
}

#[test]
fn a_status_of_another_version_can_be_read() {
    let mut object = store(&json!({"name": "orders"}), &json!({"mode": "SingleLeader"}));
    object["status"] = json!({
        "phase": "Ready", "fieldOfALaterVersion": {}, "groups": [{"group": 0, "leader": "orders-0", "another": 1}],
        "conditions": [{"type": "Ready", "status": "True"}],
    });
    let status = serde_json::from_value::<ReplicatedStore>(object).unwrap().status.unwrap();
    assert_eq!((status.groups[0].leader.as_str(), status.conditions[0].kind.as_str()), ("orders-0", "Ready"));
}

#[test]
fn what_is_not_known_is_left_out_of_a_status() {
    let status = StoreStatus {
        replicas: vec![ReplicaStatus::default()],
        failovers: vec![FailoverStatus::default()],
        groups: vec![GroupStatus::default()],
        conditions: vec![Condition::default()],
        ..StoreStatus::default()
    };
    let text = serde_json::to_string(&status).unwrap();
    assert!(!text.contains("null"), "{text}");
    assert_eq!(serde_json::from_str::<StoreStatus>(&text).unwrap(), status);
}

#[test]
fn a_record_with_more_than_is_known_is_refused() {
    let object = |more: Value| {
        let mut object = json!({
            "apiVersion": "trireme.dev/v1alpha1", "kind": "StoreTopology", "metadata": ObjectMeta::default(),
            "store": "shop/orders", "groups": [],
        });
        object.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::from_value::<StoreTopology>(object)
    };
    assert_eq!(object(json!({})).unwrap().store, "shop/orders");
    assert!(object(json!({"fence": 1})).is_err());
}

/// Every field is documented: the definitions are the manual.
#[test]
fn every_field_is_explained() {
    for definition in definitions() {
        let root = &definition.object["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        let mut missing = Vec::new();
        undocumented(root, &definition.file, &mut missing);
        assert!(missing.is_empty(), "{missing:?}");
    }
}

fn undocumented(schema: &Value, path: &str, missing: &mut Vec<String>) {
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        // What every object has is not ours to explain.
        if name == "metadata" {
            continue;
        }
        if field["description"].as_str().unwrap_or_default().is_empty() {
            missing.push(path.clone());
        }
        undocumented(field, &path, missing);
    }
    for inner in ["items", "additionalProperties"] {
        if schema[inner].is_object() {
            undocumented(&schema[inner], &format!("{path}[]"), missing);
        }
    }
}
