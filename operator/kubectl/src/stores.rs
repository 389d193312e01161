//! `status` without a name: all stores of a namespace, a line each.

use jiff::Timestamp;
use serde_json::json;
use trireme_cli::{
    Failure, Output, Screen,
    output::{json_line, put},
    status::phase,
};
use trireme_crds::{Mode, StoreStatus};

use crate::object::Object;

/// Shows them.
///
/// # Errors
/// None that is known of.
pub fn show(stores: &[Object], namespaces: bool, output: Output) -> Result<(), Failure> {
    match output {
        Output::Json => put(&json(stores)?),
        Output::Text => put(&text(stores, namespaces, &Screen::new(), Timestamp::now())),
    }
    Ok(())
}

fn json(stores: &[Object]) -> Result<String, Failure> {
    let line = |store: &Object| {
        let status = match store.status() {
            Ok(status) => json!(status),
            Err(Failure::Failed(why) | Failure::Input(why)) => json!({ "unreadable": why }),
        };
        json_line(&json!({ "namespace": store.namespace(), "name": store.name(), "status": status }))
    };
    stores.iter().map(line).collect()
}

fn text(stores: &[Object], namespaces: bool, screen: &Screen, now: Timestamp) -> String {
    let heads = ["NAMESPACE", "NAME", "MODE", "N", "W", "R", "READY", "LEADER", "LAG", "STATUS", "AGE"];
    let heads = if namespaces { &heads[..] } else { &heads[1..] };
    let row = |store: &Object| {
        let mut cells = vec![screen.name(store.name())];
        cells.extend(wanted(store));
        cells.extend(match store.status() {
            Ok(status) => standing(store, &status, screen),
            Err(_) => ["-", "-", "-"].map(str::to_owned).into_iter().chain([screen.bad("unreadable")]).collect(),
        });
        cells.push(age(store, now));
        if namespaces {
            cells.insert(0, store.namespace().to_owned());
        }
        cells
    };
    screen.table(heads, &stores.iter().map(row).collect::<Vec<_>>())
}

fn wanted(store: &Object) -> [String; 4] {
    match store.spec() {
        Ok(spec) => {
            let settled = spec.settle();
            [format!("{:?}", settled.mode), settled.n.to_string(), settled.w.to_string(), settled.r.to_string()]
        }
        Err(_) => ["-", "-", "-", "-"].map(str::to_owned),
    }
}

/// The words of `kubectl get`.
fn standing(store: &Object, status: &StoreStatus, screen: &Screen) -> Vec<String> {
    let or = |text: &str, otherwise: String| if text.is_empty() { otherwise } else { text.to_owned() };
    let wanted = store.spec().map_or(0, |spec| {
        let settled = spec.settle();
        // In mode MultiLeader n is that of each region.
        if settled.mode == Mode::MultiLeader { settled.n * settled.regions.len() as u32 } else { settled.n }
    });
    vec![
        or(&status.ready, format!("0/{wanted}")),
        or(&status.leader, "none".to_owned()),
        or(&status.lag, "-".to_owned()),
        phase(status.phase, screen),
    ]
}

/// As kubectl says it: one unit, two where that is coarse.
fn age(store: &Object, now: Timestamp) -> String {
    let Some(created) = &store.metadata.creation_timestamp else { return "-".to_owned() };
    let seconds = now.duration_since(created.0).as_secs().max(0);
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7_200 => format!("{}m", seconds / 60),
        7_200..172_800 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store(value: serde_json::Value) -> Object {
        serde_json::from_value::<kube::api::DynamicObject>(value).unwrap().into()
    }

    #[test]
    fn a_store_that_cannot_be_read_hides_no_other() {
        let created = "2026-11-25T12:00:00Z";
        let metadata = |name: &str| json!({ "name": name, "namespace": "shop", "creationTimestamp": created });
        let stores = [
            store(json!({ "metadata": metadata("carts"), "spec": { "mode": "Telepathy" }, "status": { "phase": 7 } })),
            store(json!({ "metadata": metadata("orders"), "spec": { "mode": "SingleLeader" } })),
            store(
                json!({ "metadata": metadata("votes"), "spec": { "mode": "MultiLeader", "regions": [{ "name": "eu" }, { "name": "us" }] } }),
            ),
        ];
        let now = "2026-11-25T14:30:00Z".parse().unwrap();
        assert_eq!(
            text(&stores, true, &Screen::plain(), now),
            "NAMESPACE  NAME    MODE          N  W  R  READY  LEADER  LAG  STATUS      AGE\n\
             shop       carts   -             -  -  -  -      -       -    unreadable  2h\n\
             shop       orders  SingleLeader  3  2  1  0/3    none    -    Creating    2h\n\
             shop       votes   MultiLeader   3  2  1  0/6    none    -    Creating    2h\n"
        );
        assert!(
            json(&stores)
                .unwrap()
                .starts_with("{\"name\":\"carts\",\"namespace\":\"shop\",\"status\":{\"unreadable\":")
        );
    }
}
