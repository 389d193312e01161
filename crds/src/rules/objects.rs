//! Rules that refuse an object: what can never be right of the objects in Kubernetes that a store is made of.

use serde_json::Value;

use super::{Check, REGION_NAME_MAX, REPLACE_MS_MAX, REPLACE_MS_MIN, Rule, Subject};
use crate::{objects::GRACE_SECONDS_MIN, quantity::Millis};

/// Smallest disk of a replica, in bytes.
const STORAGE_BYTES_MIN: u64 = 16 << 20;
/// Environment variables that the operator sets.
const OPERATORS_ENV: [&str; 2] = ["POD_NAME", "ORDINAL"];
/// Labels and annotations under these belong to the operator.
const OPERATORS_LABELS: [&str; 2] = ["trireme.dev/", "app.kubernetes.io/"];

/// Whether a name can be part of names and labels; an empty one can.
pub(super) fn is_label(name: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    !name.starts_with('-') && !name.ends_with('-') && name.bytes().all(inner)
}

fn longest_region<'a>(subject: &Subject<'a>) -> &'a str {
    subject.spec.regions.iter().map(|region| region.name.as_str()).max_by_key(|name| name.len()).unwrap_or("")
}

fn replace_lost_after(subject: &Subject<'_>) -> Option<u64> {
    subject.spec.failover.as_ref().and_then(|f| f.replace_lost_after).map(|ms| ms.0)
}

/// The rules.
pub const RULES: &[Rule] = &[
    Rule {
        id: "regions-labels",
        path: "spec.regions",
        cel: "!has(self.regions) || self.regions.all(a, a.name.matches('^([a-z0-9]([-a-z0-9]*[a-z0-9])?)?$'))",
        says: "",
        check: Check::Object(|subject, _| subject.spec.regions.iter().all(|region| is_label(&region.name))),
        message: |_, _| "the name of a region becomes part of names and labels".to_owned(),
        allowed: "a-z, 0-9 and '-', neither beginning nor ending with '-'",
    },
    Rule {
        id: "names-fit",
        path: "spec.regions",
        cel: "!has(self.spec.regions) || self.spec.regions.all(a, size(self.metadata.name) + 1 + size(a.name) <= 52)",
        says: "",
        check: Check::Object(|subject, _| longest_region(subject).len() + 1 + subject.name.len() <= REGION_NAME_MAX),
        message: |_, _| "the names of the store and of a region are too long together".to_owned(),
        allowed: "STORE-REGION of at most 52 characters",
    },
    Rule {
        id: "replace-lost-after-range",
        path: "spec.failover.replaceLostAfter",
        cel: "!has(self.failover) || !has(self.failover.replaceLostAfter) || (duration(self.failover.replaceLostAfter) >= duration('10s') && duration(self.failover.replaceLostAfter) <= duration('168h'))",
        says: "'a replica that is gone for ' + self.failover.replaceLostAfter + ' would be replaced, and what it has been told be learnt anew'",
        check: Check::Object(|subject, _| {
            replace_lost_after(subject).is_none_or(|ms| (REPLACE_MS_MIN..=REPLACE_MS_MAX).contains(&ms))
        }),
        message: |subject, _| {
            let after = Millis(replace_lost_after(subject).unwrap_or(0));
            format!("a replica that is gone for {after} would be replaced, and what it has been told be learnt anew")
        },
        allowed: "10s to 168h",
    },
    Rule {
        id: "replace-lost-has-source",
        path: "spec.failover.replaceLostAfter",
        cel: "!has(self.failover) || !has(self.failover.replaceLostAfter) || !has(self.n) || self.n > 1",
        says: "",
        check: Check::Object(|subject, s| s.n > 1 || replace_lost_after(subject).is_none()),
        message: |_, _| "with n = 1 there is nobody from whom a new replica could learn the data".to_owned(),
        allowed: "none where n = 1",
    },
    Rule {
        id: "storage-size-useful",
        path: "spec.storage.size",
        cel: "!has(self.storage) || !has(self.storage.size) || quantity(self.storage.size).compareTo(quantity('16Mi')) >= 0",
        says: "'no log and no checkpoint fits on a disk of ' + self.storage.size",
        check: Check::Object(|subject, _| subject.spec.settle_objects().storage.0 >= STORAGE_BYTES_MIN),
        message: |subject, _| {
            format!("no log and no checkpoint fits on a disk of {}", subject.spec.settle_objects().storage)
        },
        allowed: "at least 16Mi",
    },
    Rule {
        id: "auth-secret-used",
        path: "spec.auth.secretName",
        cel: "!has(self.auth) || !has(self.auth.secretName) || !has(self.auth.enabled) || self.auth.enabled",
        says: "",
        check: Check::Object(|subject, _| {
            subject.spec.auth.secret_name.is_none() || subject.spec.auth.enabled.unwrap_or(true)
        }),
        message: |_, _| "a Secret is named, and enabled is false: no password would be asked for".to_owned(),
        allowed: "none where spec.auth.enabled is false",
    },
    Rule {
        id: "grace-period-range",
        path: "spec.pod.terminationGracePeriodSeconds",
        cel: "!has(self.pod) || !has(self.pod.terminationGracePeriodSeconds) || (self.pod.terminationGracePeriodSeconds >= 10 && self.pod.terminationGracePeriodSeconds <= 3600)",
        says: "self.pod.terminationGracePeriodSeconds < 10 ? 'a leader uses up to 10 seconds to hand over' : 'a node that is drained would wait for it longer than an hour'",
        check: Check::Object(|subject, _| {
            let seconds = subject.spec.pod.termination_grace_period_seconds;
            seconds.is_none_or(|seconds| (GRACE_SECONDS_MIN..=3_600).contains(&seconds))
        }),
        message: |subject, _| match subject.spec.settle_objects().grace_seconds {
            ..GRACE_SECONDS_MIN => "a leader uses up to 10 seconds to hand over".to_owned(),
            _ => "a node that is drained would wait for it longer than an hour".to_owned(),
        },
        allowed: "10 to 3600",
    },
    Rule {
        id: "pod-labels-free",
        path: "spec.pod.labels",
        cel: "!has(self.pod) || !has(self.pod.labels) || self.pod.labels.all(k, !k.startsWith('trireme.dev/') && !k.startsWith('app.kubernetes.io/'))",
        says: "",
        check: Check::Object(|subject, _| {
            subject.spec.pod.labels.keys().all(|key| OPERATORS_LABELS.iter().all(|prefix| !key.starts_with(prefix)))
        }),
        message: |_, _| {
            "labels under trireme.dev/ and app.kubernetes.io/ are how the operator finds its pods".to_owned()
        },
        allowed: "labels of your own",
    },
    Rule {
        id: "pod-annotations-free",
        path: "spec.pod.annotations",
        cel: "!has(self.pod) || !has(self.pod.annotations) || self.pod.annotations.all(k, !k.startsWith('trireme.dev/'))",
        says: "",
        check: Check::Object(|subject, _| {
            subject.spec.pod.annotations.keys().all(|key| !key.starts_with(OPERATORS_LABELS[0]))
        }),
        message: |_, _| "annotations under trireme.dev/ belong to the operator".to_owned(),
        allowed: "annotations of your own",
    },
    Rule {
        id: "service-annotations-free",
        path: "spec.service.annotations",
        cel: "!has(self.service) || !has(self.service.annotations) || self.service.annotations.all(k, !k.startsWith('trireme.dev/'))",
        says: "",
        check: Check::Object(|subject, _| {
            subject.spec.service.annotations.keys().all(|key| !key.starts_with(OPERATORS_LABELS[0]))
        }),
        message: |_, _| "annotations under trireme.dev/ belong to the operator".to_owned(),
        allowed: "annotations of your own",
    },
    Rule {
        id: "pod-env-free",
        path: "spec.pod.env",
        cel: "!has(self.pod) || !has(self.pod.env) || self.pod.env.all(e, e.name != 'POD_NAME' && e.name != 'ORDINAL')",
        says: "",
        check: Check::Object(|subject, _| {
            let name = |env: &Value| env.get("name").and_then(Value::as_str).unwrap_or("").to_owned();
            subject.spec.pod.env.iter().all(|env| !OPERATORS_ENV.contains(&name(env).as_str()))
        }),
        message: |_, _| "POD_NAME and ORDINAL tell a replica which one it is".to_owned(),
        allowed: "other names",
    },
];
