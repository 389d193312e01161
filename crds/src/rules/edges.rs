//! Rules that refuse an object: what can never be right of edges.

use super::{Check, Rule, objects::is_label};
use crate::store::{Mode, Settled};

/// Longest name of an edge.
const NAME_MAX: usize = 40;

fn is_named_once(settled: &Settled, name: &String) -> bool {
    settled.edges.iter().filter(|other| *other == name).count() == 1 && !settled.regions.contains(name)
}

/// The rules.
pub const RULES: &[Rule] = &[
    Rule {
        id: "edges-multi-leader",
        path: "spec.edges",
        cel: "!has(self.edges) || size(self.edges) == 0 || self.mode == 'MultiLeader'",
        says: "'in mode ' + self.mode + ' there are no regions of one that write for themselves'",
        check: Check::Object(|_, s| s.edges.is_empty() || s.mode == Mode::MultiLeader),
        message: |_, s| format!("in mode {:?} there are no regions of one that write for themselves", s.mode),
        allowed: "edges only with mode MultiLeader",
    },
    Rule {
        id: "edges-labels",
        path: "spec.edges",
        cel: "!has(self.edges) || self.edges.all(a, size(a.name) <= 40 && a.name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$'))",
        says: "",
        check: Check::Object(|_, s| {
            s.edges.iter().all(|name| !name.is_empty() && name.len() <= NAME_MAX && is_label(name))
        }),
        message: |_, _| "an edge has no name, or one that is no label".to_owned(),
        allowed: "1 to 40 of a-z, 0-9 and '-', neither beginning nor ending with '-'",
    },
    Rule {
        id: "edges-once",
        path: "spec.edges",
        cel: "!has(self.edges) || self.edges.all(a, self.edges.exists_one(b, a.name == b.name) && (!has(self.regions) || !self.regions.exists(r, r.name == a.name)))",
        says: "",
        check: Check::Object(|_, s| s.edges.iter().all(|name| is_named_once(s, name))),
        message: |_, _| "two edges, or an edge and a region, have one name".to_owned(),
        allowed: "for each edge a name of its own",
    },
];
