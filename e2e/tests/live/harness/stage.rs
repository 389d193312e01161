//! The namespace of one test: everything in it goes when the test ends.

use std::{
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use super::{Failure, Outcome, Store, runner::keep, shell, watch::Watch};

/// Longest wait for what Kubernetes itself does: a pod that starts or ends, a namespace that goes.
pub const KUBERNETES: Duration = Duration::from_secs(150);
/// How often is looked again at what is not watched.
const LOOK_AGAIN: Duration = Duration::from_millis(400);

/// A namespace that enforces the `restricted` standard, and watches of what is in it.
pub struct Stage {
    /// Its name.
    pub namespace: String,
    /// Stores.
    pub stores: Watch,
    /// Pods.
    pub pods: Watch,
    /// The test has failed: whoever asked to keep things wants to see them.
    pub failed: bool,
}

impl Stage {
    /// Makes it.
    pub fn new(name: &str) -> Outcome<Stage> {
        let namespace = format!("live-{}", name.replace('_', "-"));
        // A run before may have been ended in the middle.
        shell::kubectl(&["delete", "namespace", &namespace, "--ignore-not-found", "--timeout=90s"])?;
        shell::run(
            "kubectl",
            &["apply", "-f", "-"],
            Some(&format!(
                "{{apiVersion: v1, kind: Namespace, metadata: {{name: {namespace}, labels: {{\
                 trireme.dev/live: test, pod-security.kubernetes.io/enforce: restricted}}}}}}"
            )),
        )?;
        let (stores, pods) = (Watch::start(&namespace, "replicatedstores"), Watch::start(&namespace, "pods"));
        Ok(Stage { namespace, stores, pods, failed: false })
    }

    /// kubectl in this namespace.
    pub fn kubectl(&self, arguments: &[&str]) -> Outcome<String> {
        shell::kubectl(&[&["-n", &self.namespace], arguments].concat())
    }

    /// An object, or a list, of this namespace.
    pub fn get(&self, arguments: &[&str]) -> Outcome<Value> {
        shell::get(&[&["-n", &self.namespace], arguments].concat())
    }

    /// Applies a text by the server, with strict validation.
    pub fn apply(&self, text: &str) -> Outcome<String> {
        shell::apply(&self.namespace, text)
    }

    /// Applies a store of this spec, without waiting for it.
    pub fn apply_store(&self, name: &str, spec: &Value) -> Outcome<Store<'_>> {
        let store = serde_json::json!({
            "apiVersion": "trireme.dev/v1alpha1", "kind": "ReplicatedStore", "metadata": { "name": name }, "spec": spec,
        });
        self.apply(&store.to_string())?;
        Ok(Store::new(self, name))
    }

    /// Makes a store and waits until all of it is ready.
    pub fn store(&self, name: &str, spec: &Value) -> Outcome<Store<'_>> {
        let store = self.apply_store(name, spec)?;
        store.ready(KUBERNETES)?;
        Ok(store)
    }

    /// The notes of all Events with this reason.
    pub fn events(&self, reason: &str) -> Outcome<Vec<String>> {
        let events = self.get(&["events.events.k8s.io"])?;
        let items = events["items"].as_array().cloned().unwrap_or_default();
        let with_reason = items.iter().filter(|event| event["reason"] == reason);
        Ok(with_reason.filter_map(|event| event["note"].as_str().map(str::to_owned)).collect())
    }

    /// Waits for an Event with this reason and this in its note.
    pub fn event(&self, reason: &str, part: &str, within: Duration) -> Outcome<String> {
        let found = poll(within, &format!("an Event {reason} with '{part}'"), || {
            Ok(self.events(reason)?.into_iter().find(|note| note.contains(part)))
        });
        found.map_err(|failure| Failure(format!("{failure}; there are {:?}", self.events(reason).unwrap_or_default())))
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if self.failed && keep() {
            return;
        }
        // Stores first, while the operator is there; what is left is said, and stops no other test.
        let gone = self
            .kubectl(&["delete", "replicatedstores", "--all", "--timeout=60s"])
            .and_then(|_| shell::kubectl(&["delete", "namespace", &self.namespace, "--wait=false"]));
        if let Err(failure) = gone {
            eprintln!("    {} could not be deleted: {failure}", self.namespace);
        }
    }
}

/// Asks again and again until there is an answer.
pub fn poll<T>(within: Duration, what: &str, mut ask: impl FnMut() -> Outcome<Option<T>>) -> Outcome<T> {
    let end = Instant::now() + within;
    loop {
        let answer = ask();
        match answer {
            Ok(Some(it)) => return Ok(it),
            _ if Instant::now() < end => thread::sleep(LOOK_AGAIN),
            Ok(None) => return Err(Failure(format!("not within {} s: {what}", within.as_secs_f32()))),
            Err(failure) => return Err(Failure(format!("not within {} s: {what}: {failure}", within.as_secs_f32()))),
        }
    }
}
