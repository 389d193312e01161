//! Rules that refuse a change: what cannot be altered once a store exists.

use super::{Check, Rule, Subject};
use crate::{quantity::Bytes, store::Mode};

fn size(subject: &Subject<'_>) -> Bytes {
    subject.spec.settle_objects().storage
}

/// From one leader to a leader in each region.
fn comes_to_have_leaders(before: &Subject<'_>, after: &Subject<'_>) -> bool {
    before.spec.mode == Mode::SingleLeader && after.spec.mode == Mode::MultiLeader
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
        id: "mode-has-leaders",
        path: "spec.mode",
        cel: "self.mode == oldSelf.mode || (self.mode != 'Leaderless' && oldSelf.mode != 'Leaderless')",
        says: "'the mode cannot be changed to ' + self.mode + ': where there is no leader, each replica writes under names of its own'",
        check: Check::Transition(|before, after| {
            before.spec.mode == after.spec.mode || ![before, after].iter().any(|s| s.spec.mode == Mode::Leaderless)
        }),
        message: |_, s| {
            format!(
                "the mode cannot be changed to {:?}: where there is no leader, each replica writes under names of its own",
                s.mode
            )
        },
        allowed: "the mode it was created with, and from SingleLeader to MultiLeader and back; copy the data to a new store for others",
    },
    Rule {
        id: "mode-of-one-region",
        path: "spec.mode",
        cel: "self.mode != 'MultiLeader' || oldSelf.mode != 'SingleLeader' || !has(oldSelf.regions) || size(oldSelf.regions) <= 1",
        says: "",
        check: Check::Transition(|before, after| {
            !comes_to_have_leaders(before, after) || before.spec.regions.len() <= 1
        }),
        message: |_, _| {
            "the replicas of its one leader are in several regions, and those of a region's leader are all in it"
                .to_owned()
        },
        allowed: "MultiLeader for a store in mode SingleLeader that names no region, or one; copy the data to a new store for others",
    },
    Rule {
        id: "mode-keeps-region",
        path: "spec.regions",
        cel: "self.mode != 'MultiLeader' || oldSelf.mode != 'SingleLeader' || !has(oldSelf.regions) || size(oldSelf.regions) != 1 || (has(self.regions) && self.regions.exists(r, r.name == oldSelf.regions[0].name))",
        says: "",
        check: Check::Transition(|before, after| match before.spec.regions.as_slice() {
            [only] if comes_to_have_leaders(before, after) => after.spec.regions.contains(only),
            _ => true,
        }),
        message: |_, _| "the region that the store is in is none of those that are to have a leader".to_owned(),
        allowed: "the region that it is in among others; it can leave when they have what it has",
    },
    Rule {
        id: "mode-one-stays",
        path: "spec.regions",
        cel: "self.mode != 'SingleLeader' || oldSelf.mode != 'MultiLeader' || !has(self.regions) || size(self.regions) == 0 || (size(self.regions) == 1 && has(oldSelf.regions) && oldSelf.regions.exists(r, r.name == self.regions[0].name))",
        says: "",
        check: Check::Transition(|before, after| {
            let back = before.spec.mode == Mode::MultiLeader && after.spec.mode == Mode::SingleLeader;
            !back
                || match after.spec.regions.as_slice() {
                    [] => true,
                    [only] => before.spec.regions.contains(only),
                    _ => false,
                }
        }),
        message: |_, _| "the replicas of one of the regions stay, and of no more".to_owned(),
        allowed: "the one of its regions that stays, or none for the one whose group has the lowest number",
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
        cel: "self.mode == 'MultiLeader' || oldSelf.mode == 'MultiLeader' || (has(self.regions) ? self.regions : []) == (has(oldSelf.regions) ? oldSelf.regions : [])",
        says: "",
        check: Check::Transition(|before, after| {
            let many = |store: &Subject<'_>| store.spec.mode == Mode::MultiLeader;
            many(after) || many(before) || before.spec.regions == after.spec.regions
        }),
        message: |_, _| "the regions cannot be changed: each replica belongs to one by its number".to_owned(),
        allowed: "the regions it was created with, in their order; copy the data to a new store to change them",
    },
];
