//! Rules that refuse a change: what cannot be altered once a store exists.

use super::{Check, Rule, Subject};
use crate::{quantity::Bytes, store::Mode};

fn size(subject: &Subject<'_>) -> Bytes {
    subject.spec.settle_objects().storage
}

/// The size of a disk as an expression.
macro_rules! size {
    ($spec:literal) => {
        concat!("(has(", $spec, ".storage) && has(", $spec, ".storage.size) ? ", $spec, ".storage.size : '10Gi')")
    };
}

/// The rules.
pub const RULES: &[Rule] = &[
    Rule {
        id: "mode-immutable",
        path: "spec.mode",
        cel: "self.mode == oldSelf.mode",
        says: "'the mode cannot be changed to ' + self.mode + ': data is laid out for the one it was created with'",
        check: Check::Transition(|before, after| before.spec.mode == after.spec.mode),
        message: |_, s| {
            format!("the mode cannot be changed to {:?}: data is laid out for the one it was created with", s.mode)
        },
        allowed: "the mode it was created with; copy the data to a new store to change it",
    },
    Rule {
        id: "name-immutable",
        path: "metadata.name",
        cel: "",
        says: "",
        check: Check::Transition(|before, after| before.name == after.name),
        message: |store, _| format!("the name cannot be changed to '{}'", store.name),
        allowed: "the name it was created with",
    },
    Rule {
        id: "storage-class-immutable",
        path: "spec.storage.storageClassName",
        cel: "(has(self.storage) && has(self.storage.storageClassName) ? self.storage.storageClassName : '') == (has(oldSelf.storage) && has(oldSelf.storage.storageClassName) ? oldSelf.storage.storageClassName : '')",
        says: "",
        check: Check::Transition(|before, after| {
            let class = |store: &Subject<'_>| store.spec.storage.as_ref().and_then(|s| s.storage_class_name.clone());
            class(before) == class(after)
        }),
        message: |_, _| "the storage class of disks that exist cannot be changed".to_owned(),
        allowed: "the storage class it was created with",
    },
    Rule {
        id: "storage-size-grows",
        path: "spec.storage.size",
        cel: concat!("quantity(", size!("self"), ").compareTo(quantity(", size!("oldSelf"), ")) >= 0"),
        says: concat!("'disks that exist cannot be made smaller: ' + ", size!("self"), " + ' is less than they have'"),
        check: Check::Transition(|before, after| size(before) <= size(after)),
        message: |after, _| format!("disks that exist cannot be made smaller: {} is less than they have", size(after)),
        allowed: "the size that they have, or more",
    },
    Rule {
        id: "regions-immutable",
        path: "spec.regions",
        cel: "self.mode == 'MultiLeader' || (has(self.regions) ? self.regions : []) == (has(oldSelf.regions) ? oldSelf.regions : [])",
        says: "",
        check: Check::Transition(|before, after| {
            after.spec.mode == Mode::MultiLeader || before.spec.regions == after.spec.regions
        }),
        message: |_, _| "the regions cannot be changed: each replica belongs to one by its number".to_owned(),
        allowed: "the regions it was created with, in their order; copy the data to a new store to change them",
    },
];
