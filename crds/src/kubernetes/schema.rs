//! Schemas of the types as an API server wants them: structural, every text and list that a rule reads bounded, with the defaults that never depend on
//! another field.

use std::{borrow::Cow, collections::BTreeMap};

use schemars::{JsonSchema, Schema, SchemaGenerator, generate::SchemaSettings, json_schema};
use serde_json::{Map, Value, json};

use crate::{
    quantity::{Bytes, Millis},
    status::StoreStatus,
    store::ReplicatedStoreSpec,
    topology,
};

/// What [`Millis`] reads and the API server's `duration()` too: each unit once, the largest first.
pub(super) const DURATION: &str =
    r"^(0|(([0-9]{1,5}(\.[0-9]{1,3})?h)?([0-9]{1,6}(\.[0-9]{1,3})?m)?([0-9]{1,8}(\.[0-9]{1,3})?s)?([0-9]{1,9}ms)?))$";
/// What [`Bytes`] reads and the API server's `quantity()` too.
pub(super) const SIZE: &str = r"^([0-9]{1,15}|[0-9]{1,6}(\.[0-9]{1,3})?(k|M|G|T|Ki|Mi|Gi|Ti))$";
/// Any quantity of Kubernetes: the pattern that its own tools write.
const QUANTITY: &str = r"^(\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))))?$";

impl JsonSchema for Millis {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        text(36, DURATION, "duration; write whole milliseconds as in 250ms, 1s, 1m30s")
    }
}

impl JsonSchema for Bytes {
    fn schema_name() -> Cow<'static, str> {
        "Size".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        text(15, SIZE, "size; write a Kubernetes quantity as in 64Mi, 10Gi or 500M")
    }
}

/// A text of this form. A rule says so, rather than a pattern, because what a pattern says when it fails is itself.
fn text(length_max: u32, form: &str, what: &str) -> Schema {
    json_schema!({
        "type": "string",
        "minLength": 1,
        "maxLength": length_max,
        "x-kubernetes-validations": [{
            "rule": format!("self.matches('{}')", form.replace('\\', "\\\\")),
            "messageExpression": format!("'\\'' + self + '\\' is no {what}'"),
        }],
    })
}

/// What the types do not say: bounds, so that the cost of every rule has one; defaults; keys of lists. `[]` is an item.
fn amendments() -> Vec<(&'static str, Value)> {
    let free = json!({"minimum": null});
    vec![
        ("n", json!({"minimum": null, "default": 3})),
        ("w", free.clone()),
        ("r", free),
        ("regions", json!({"maxItems": 15, "x-kubernetes-list-type": "atomic"})),
        ("regions[].name", json!({"maxLength": 50})),
        ("homeRegions", json!({"maxItems": 32, "x-kubernetes-list-type": "atomic"})),
        ("homeRegions[].prefix", json!({"minLength": 1, "maxLength": 64})),
        ("homeRegions[].tag", json!({"minLength": 1, "maxLength": 64})),
        ("homeRegions[].region", json!({"maxLength": 50})),
        ("conflicts.list", json!({"maxLength": 256})),
        ("conflicts.length", json!({"minimum": null})),
        ("edges", json!({"maxItems": 32, "x-kubernetes-list-type": "atomic"})),
        ("edges[].name", json!({"minLength": 1, "maxLength": 50})),
        ("session.guarantees", json!({"maxItems": 5, "x-kubernetes-list-type": "set"})),
        ("session.waitMs", json!({"minimum": 0})),
        ("keyspaceEvents", json!({"maxLength": 32})),
        ("limits.maxClients", json!({"minimum": null})),
        ("slo.objective", json!({"maxLength": 16, "default": "99.9%"})),
        ("slo.window", json!({"default": "720h"})),
        ("durability", json!({"default": "Disk"})),
        ("storage", json!({"default": {}})),
        ("storage.size", json!({"default": "10Gi"})),
        ("storage.storageClassName", json!({"minLength": 1, "maxLength": 253})),
        ("failover", json!({"default": {}})),
        ("failover.suspicion", json!({"default": "1s"})),
        ("failover.lease", json!({"default": "250ms"})),
        ("failover.heartbeat", json!({"default": "50ms"})),
        ("failover.unreplicated", json!({"default": "Recover"})),
        ("failover.preferredRegion", json!({"maxLength": 50})),
        ("requestTimeout", json!({"default": "10s"})),
        ("logRetention", json!({"default": {}})),
        ("logRetention.bytes", json!({"default": "64Mi"})),
        ("volumes", json!({"default": "Retain"})),
    ]
}

/// The same of what only Kubernetes knows, and of the status.
fn object_amendments() -> Vec<(&'static str, Value)> {
    let map = |keys: &[&str]| json!({"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": keys});
    vec![
        ("image", json!({"minLength": 1, "maxLength": 512})),
        (
            "imagePullSecrets",
            json!({"maxItems": 16, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}),
        ),
        ("imagePullSecrets[].name", json!({"minLength": 1, "maxLength": 253})),
        ("auth", json!({"default": {}})),
        ("auth.enabled", json!({"default": true})),
        ("auth.secretName", json!({"minLength": 1, "maxLength": 253})),
        ("pod.labels", json!({"maxProperties": 64})),
        ("pod.annotations", json!({"maxProperties": 64})),
        ("pod.nodeSelector", json!({"maxProperties": 64})),
        ("pod.tolerations", json!({"maxItems": 64})),
        ("pod.topologySpreadConstraints", json!({"maxItems": 16})),
        ("pod.priorityClassName", json!({"minLength": 1, "maxLength": 253})),
        ("pod.env", json!({"maxItems": 64, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]})),
        ("pod.env[].name", json!({"minLength": 1, "maxLength": 256})),
        ("service", json!({"default": {}})),
        ("service.annotations", json!({"maxProperties": 64})),
        ("service.type", json!({"default": "ClusterIP"})),
        ("networkPolicy", json!({"default": {}})),
        ("networkPolicy.enabled", json!({"default": true})),
        ("networkPolicy.clients", json!({"maxItems": 64})),
        ("monitoring", json!({"default": {}})),
        ("monitoring.podMonitor", json!({"default": false})),
        ("monitoring.labels", json!({"maxProperties": 64})),
        ("status.conditions", map(&["type"])),
        ("status.conditions[]", json!({"required": ["type", "status"]})),
        ("status.groups", map(&["group"])),
        ("status.groups[]", json!({"required": ["group"]})),
        ("status.replicas", map(&["name"])),
        ("status.replicas[]", json!({"required": ["name"]})),
    ]
}

/// The schema of a store. YAML before 1.2, which kubectl reads, takes a bare `n` for `false`: the field of that name is there to say so.
pub(super) fn store() -> Value {
    let (mut spec, mut status) = (schema_of::<ReplicatedStoreSpec>(), schema_of::<StoreStatus>());
    for (path, more) in amendments().into_iter().chain(object_amendments()) {
        match path.strip_prefix("status.") {
            Some(path) => amend(&mut status, path, &more),
            None => amend(&mut spec, path, &more),
        }
    }
    spec["properties"]["false"] = json!({
        "description": "Not a field: what YAML makes of n without quotes. Write \"n\": 3.",
        "x-kubernetes-int-or-string": true,
    });
    if let Some(list) = list_in(&mut spec, "x-kubernetes-validations") {
        list.push(json!({
            "rule": "!has(self.__false__)",
            "message": "YAML reads n without quotes as false; allowed: \"n\": 3, with quotes",
            "reason": "FieldValueForbidden",
        }));
    }
    json!({
        "description": "A replicated key-value store that speaks the Redis protocol. Only spec.mode is required.",
        "type": "object",
        "required": ["spec"],
        "properties": {
            "metadata": {"type": "object", "properties": {"name": {"type": "string"}}},
            "spec": spec,
            "status": status,
        },
    })
}

/// The schema of a store's record.
pub(super) fn topology() -> Value {
    let mut root = schema_of::<topology::StoreTopology<Value>>();
    if let Some(properties) = root["properties"].as_object_mut() {
        properties.retain(|name, _| !matches!(name.as_str(), "apiVersion" | "kind" | "metadata"));
    }
    root["required"] = json!(["store", "groups"]);
    let groups = json!({"maxItems": 16, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["group"]});
    for (path, more) in [("groups", groups), ("store", json!({"maxLength": 512}))] {
        amend(&mut root, path, &more);
    }
    root["description"] = "What has been decided about a store. Only the operator writes it; it is rebuilt from the replicas if it is lost. Never edit it."
        .into();
    root
}

/// The list of this name in a schema, made where there is none.
pub(super) fn list_in<'a>(schema: &'a mut Value, name: &str) -> Option<&'a mut Vec<Value>> {
    schema.as_object_mut()?.entry(name).or_insert_with(|| json!([])).as_array_mut()
}

/// The same with all keys in order, whatever order the map of this build keeps.
pub(super) fn sorted(value: &Value) -> Sorted {
    match value {
        Value::Object(map) => Sorted::Map(map.iter().map(|(key, value)| (key.clone(), sorted(value))).collect()),
        Value::Array(items) => Sorted::List(items.iter().map(sorted).collect()),
        scalar => Sorted::Scalar(scalar.clone()),
    }
}

/// A value whose keys are in order.
#[derive(Debug, serde::Serialize)]
#[serde(untagged)]
pub(super) enum Sorted {
    /// An object.
    Map(BTreeMap<String, Sorted>),
    /// An array.
    List(Vec<Sorted>),
    /// Anything else.
    Scalar(Value),
}

fn schema_of<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::openapi3().with(|settings| {
        settings.inline_subschemas = true;
        settings.meta_schema = None;
        settings.transforms.clear();
    });
    let mut schema = settings.into_generator().into_root_schema_for::<T>().to_value();
    restructure(&mut schema);
    schema
}

/// Makes a schema structural: no references, no alternatives but values, nothing that Kubernetes has another word for.
fn restructure(schema: &mut Value) {
    let Some(node) = schema.as_object_mut() else { return };
    for name in ["$schema", "$defs", "title", "default", "nullable"] {
        node.remove(name);
    }
    for name in ["anyOf", "oneOf", "allOf"] {
        if let Some(Value::Array(options)) = node.remove(name) {
            choose(node, options);
        }
    }
    if let Some(Value::Array(types)) = node.get("type") {
        let named = types.iter().find(|kind| *kind != "null").cloned();
        node.insert("type".to_owned(), named.unwrap_or(Value::Null));
    }
    if let Some(Value::Array(values)) = node.get_mut("enum") {
        values.retain(|value| !value.is_null());
    }
    if node.get("format").and_then(Value::as_str).is_some_and(|format| format.starts_with("uint")) {
        node.insert("format".to_owned(), "int64".into());
    }
    if node.get("additionalProperties") == Some(&Value::Bool(false)) {
        node.remove("additionalProperties");
    }
    if node.get("x-kubernetes-int-or-string").is_some() && is_quantity(node) {
        node.insert("description".to_owned(), "A quantity, as in 500m, 2 or 1Gi.".into());
        node.insert("anyOf".to_owned(), json!([{"type": "integer"}, {"type": "string"}]));
        node.insert("pattern".to_owned(), QUANTITY.into());
    }
    if let Some(text) = node.get("description").and_then(Value::as_str).map(plain) {
        node.insert("description".to_owned(), text.into());
    }
    for name in ["items", "additionalProperties"] {
        node.get_mut(name).into_iter().for_each(restructure);
    }
    if let Some(Value::Object(properties)) = node.get_mut("properties") {
        properties.values_mut().for_each(restructure);
    }
}

fn is_quantity(node: &Map<String, Value>) -> bool {
    node.get("description").and_then(Value::as_str).is_some_and(|text| text.starts_with("Quantity is"))
}

/// Takes the only alternative that is not null; or the values, each with its meaning, of an enumeration.
fn choose(node: &mut Map<String, Value>, options: Vec<Value>) {
    let null = |option: &Value| option["type"] == "null" || option["enum"] == json!([null]);
    let mut options: Vec<Value> = options.into_iter().filter(|option| !null(option)).collect();
    if let [Value::Object(only)] = options.as_mut_slice() {
        let mut only = std::mem::take(only);
        for name in ["anyOf", "oneOf"] {
            if let Some(Value::Array(inner)) = only.remove(name) {
                choose(node, inner);
            }
        }
        for (key, value) in only {
            node.entry(key).or_insert(value);
        }
        return;
    }
    let mut values = Vec::new();
    let mut text = node.get("description").and_then(Value::as_str).unwrap_or_default().to_owned();
    for option in &options {
        for value in option.get("const").into_iter().chain(option["enum"].as_array().into_iter().flatten()) {
            let meaning =
                option["description"].as_str().map_or_else(String::new, |meaning| format!(": {}", plain(meaning)));
            text += &format!("\n\n- {}{meaning}", value.as_str().unwrap_or_default());
            values.push(value.clone());
        }
    }
    node.insert("description".to_owned(), text.into());
    node.insert("type".to_owned(), "string".into());
    node.insert("enum".to_owned(), values.into());
}

/// A documentation comment as plain text: lines that belong together joined, no links.
fn plain(text: &str) -> String {
    let joined: Vec<String> =
        text.split("\n\n").map(|part| part.split('\n').map(str::trim).collect::<Vec<_>>().join(" ")).collect();
    joined.join("\n\n").replace("[`", "").replace("`]", "").replace('`', "").trim().to_owned()
}

/// Adds to the schema at a path; null takes away.
fn amend(schema: &mut Value, path: &str, more: &Value) {
    let mut at = schema;
    for part in path.split('.').filter(|part| !part.is_empty()) {
        let name = part.trim_end_matches("[]");
        at = &mut at["properties"][name];
        if part.ends_with("[]") {
            at = &mut at["items"];
        }
    }
    assert!(at.is_object(), "there is no field {path}");
    for (key, value) in more.as_object().into_iter().flatten() {
        if let (true, Some(node)) = (value.is_null(), at.as_object_mut()) {
            node.remove(key);
        } else {
            at[key] = value.clone();
        }
    }
}
