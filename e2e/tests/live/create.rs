//! A store comes to be: how fast, and from each of the examples.

use std::{
    fs,
    time::{Duration, Instant},
};

use serde_json::json;
use trireme_cli::resp::Reply;
use trireme_crds::ConditionStatus;

use crate::harness::{
    Case, Failure, Outcome, Stage, Store, ensure, figures,
    load::call,
    operator, shell,
    stage::{KUBERNETES, poll},
};

pub const CASES: &[Case] = &[
    Case { name: "apply_to_ready", faults: false, run: apply_to_ready },
    Case { name: "examples", faults: false, run: examples },
    Case { name: "many_stores", faults: false, run: many_stores },
];

/// Longest time from `kubectl apply` until all of a store is ready, images present.
const READY_MAX: Duration = Duration::from_secs(10);

fn apply_to_ready(stage: &Stage) -> Outcome {
    let mut took = Vec::new();
    for round in 0..3 {
        let name = format!("orders{round}");
        let began = Instant::now();
        let store = stage.store(&name, &json!({ "mode": "SingleLeader" }))?;
        took.push(began.elapsed());
        serves(&store)?;
        stage.kubectl(&["delete", "replicatedstore", &name, "--timeout=60s"])?;
    }
    let (median, max) = (figures::median(&took), took.iter().max().copied().unwrap_or_default());
    figures::note(
        "ready",
        &format!("median {:.1}, max {:.1} s of {}", median.as_secs_f32(), max.as_secs_f32(), took.len()),
    );
    ensure(median < figures::allowed(READY_MAX), || format!("Ready only after {took:?}"))
}

/// Each Service leads where its name says, and what is written by one is read by the others.
fn serves(store: &Store<'_>) -> Outcome {
    store.all_pods_ready(3)?;
    let settled = Duration::from_secs(15);
    let said = |service: &str, arguments: &[&str], wanted: Reply| {
        poll(settled, &format!("{arguments:?} through {service} to answer {wanted:?}"), || {
            let reply = call(store, store.service(service)?, arguments)?;
            if reply == wanted { Ok(Some(())) } else { Err(Failure(format!("it answers {reply:?}"))) }
        })
    };
    said("rw", &["SET", "greeting", "hello"], Reply::Bytes(b"OK".to_vec()))?;
    for service in ["rw", "ro", "r"] {
        said(service, &["GET", "greeting"], Reply::Bytes(b"hello".to_vec()))?;
    }
    let without = crate::harness::load::block(async {
        let mut client =
            trireme_cli::resp::Client::connect(store.service("rw")?, None).await.map_err(|error| text(&error))?;
        client.call(&[b"GET", b"greeting"]).await.map_err(|error| text(&error))
    })?;
    ensure(matches!(&without, Reply::Error(error) if error.starts_with("NOAUTH")), || {
        format!("a client without the password was answered {without:?}")
    })
}

fn text(error: &std::io::Error) -> Failure {
    Failure(error.to_string())
}

/// Examples that need what a cluster for tests lacks, and what their stores say of it.
const LACKING: &[(&str, &str)] = &[
    ("monitoring", "PodMonitor"),
    ("own-image", "registry.example.org"),
    ("own-password", "orders-password"),
    ("production", "data-orders-0 of storage class fast"),
    ("three-regions", "cannot be scheduled"),
];

/// Each example is applied as it is; it becomes ready, or says what it lacks.
fn examples(stage: &Stage) -> Outcome {
    let folder = shell::root().join("examples");
    let files = fs::read_dir(&folder).map_err(|error| text(&error))?.flatten().map(|entry| entry.path());
    let mut files: Vec<_> = files.filter(|path| path.extension().is_some_and(|ext| ext == "yaml")).collect();
    files.sort();
    ensure(!files.is_empty(), || "there are no examples".to_owned())?;
    let mut wrong = Vec::new();
    for file in files {
        let (path, stem) =
            (file.display().to_string(), file.file_stem().unwrap_or_default().to_string_lossy().into_owned());
        if let Err(failure) = example(stage, &path, &stem) {
            wrong.push(format!("{stem}: {failure}"));
        }
        stage.kubectl(&["delete", "-f", &path, "--timeout=60s"])?;
        // The next one has the same name, and finds nothing of this one.
        stage.kubectl(&["wait", "--for=delete", "pods", "--all", "--timeout=60s"])?;
        stage.kubectl(&["delete", "pvc", "--all", "--timeout=60s"])?;
    }
    ensure(wrong.is_empty(), || wrong.join("\n"))
}

fn example(stage: &Stage, path: &str, stem: &str) -> Outcome {
    stage.kubectl(&["apply", "--server-side", "--validate=strict", "-f", path])?;
    let name = stage.kubectl(&["get", "-f", path, "-o", "go-template={{.metadata.name}}"])?;
    let store = Store::new(stage, &name);
    match LACKING.iter().find(|(lacking, _)| *lacking == stem) {
        None => store.ready(KUBERNETES).map(drop),
        Some((_, what)) => {
            let message = store.condition("Degraded", ConditionStatus::True, what, KUBERNETES)?;
            println!("    {stem}: {message}");
            Ok(())
        }
    }
}

/// The operator's memory with many stores, and what it asks for while nothing happens. Their pods ask for more than any node has: none of them starts,
/// which is what costs the operator most.
fn many_stores(stage: &Stage) -> Outcome {
    let count = if crate::harness::runner::long() { 100 } else { 20 };
    let spec = json!({
        "mode": "SingleLeader", "resources": { "requests": { "cpu": "900" } }, "networkPolicy": { "enabled": false },
    });
    let text: Vec<String> = (0..count)
        .map(|number| {
            json!({
                "apiVersion": "trireme.dev/v1alpha1", "kind": "ReplicatedStore",
                "metadata": { "name": format!("many{number}") }, "spec": spec,
            })
            .to_string()
        })
        .collect();
    stage.apply(&text.join("\n---\n"))?;
    stage.stores.wait(KUBERNETES * 3, "every store to say that it cannot be scheduled", |stores| {
        let says =
            |store: &serde_json::Value| store["status"]["conditions"].to_string().contains("cannot be scheduled");
        (stores.values().filter(|store| says(store)).count() == count).then_some(())
    })?;
    std::thread::sleep(Duration::from_secs(20));
    let before = requests()?;
    let time = Duration::from_secs(20);
    std::thread::sleep(time);
    let rate = (requests()? - before) / time.as_secs_f64();
    figures::note("requests", &format!("{rate:.2} a second with {count} stores, beside its Lease"));
    ensure(rate < 1.0, || format!("{rate:.2} requests a second for stores to which nothing happens"))?;
    if let Some(mib) = operator::memory_mib() {
        figures::note("memory", &format!("{mib:.0} MiB with {count} stores"));
        ensure(mib <= 60.0, || format!("the operator uses {mib:.0} MiB with {count} stores"))?;
    }
    Ok(())
}

/// Requests that the operator has made of the API server. Its Lease is renewed all the time, and watches go on: they are none of them.
fn requests() -> Outcome<f64> {
    let metrics = operator::metrics(&operator::holder()?)?;
    let lines = metrics.lines().filter(|line| line.starts_with("trireme_operator_api_requests_total{"));
    let asked = lines.filter(|line| !line.contains("\"lease\"") && !line.contains("\"watch\""));
    Ok(asked.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum())
}
