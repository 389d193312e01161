//! Rules that refuse an object: what can never be right of home regions.

use super::{Check, Rule};
use crate::{homes::HomeRule, store::Mode};

/// Whether it names its keys in one way, which can be one.
fn names_keys(home: &HomeRule) -> bool {
    home.prefix.is_empty() != home.tag.is_empty() && !home.tag.contains(['{', '}'])
}

/// Whether all keys of the first are keys of the other one.
fn of_both(a: &HomeRule, b: &HomeRule) -> bool {
    match (a.prefix.is_empty(), b.prefix.is_empty()) {
        (true, true) => a.tag == b.tag,
        (false, false) => a.prefix.starts_with(&b.prefix),
        _ => false,
    }
}

/// Of a home region a, as an expression: no other one names its keys.
macro_rules! once {
    () => {
        "self.homeRegions.exists_one(b, (has(a.prefix) && has(b.prefix) && a.prefix.startsWith(b.prefix)) || (has(a.tag) && has(b.tag) && a.tag == b.tag))"
    };
}

/// The rules.
pub const RULES: &[Rule] = &[
    Rule {
        id: "homes-multi-leader",
        path: "spec.homeRegions",
        cel: "!has(self.homeRegions) || size(self.homeRegions) == 0 || self.mode == 'MultiLeader'",
        says: "'in mode ' + self.mode + ' regions do not write for themselves'",
        check: Check::Object(|_, s| s.homes.is_empty() || s.mode == Mode::MultiLeader),
        message: |_, s| format!("in mode {:?} regions do not write for themselves", s.mode),
        allowed: "home regions only with mode MultiLeader",
    },
    Rule {
        id: "homes-name-keys",
        path: "spec.homeRegions",
        cel: "!has(self.homeRegions) || self.homeRegions.all(h, has(h.prefix) != has(h.tag) && (!has(h.prefix) || h.prefix != '') && (!has(h.tag) || (h.tag != '' && !h.tag.contains('{') && !h.tag.contains('}'))))",
        says: "",
        check: Check::Object(|_, s| s.homes.iter().all(names_keys)),
        message: |_, _| {
            "a home region has neither a prefix nor a tag of keys, or both, or a tag with a brace in it".to_owned()
        },
        allowed: "for each either prefix or tag, not empty, the tag without its braces",
    },
    Rule {
        id: "homes-region-known",
        path: "spec.homeRegions",
        cel: "!has(self.homeRegions) || self.homeRegions.all(h, has(self.regions) && self.regions.exists(r, r.name == h.region))",
        says: "",
        check: Check::Object(|_, s| s.homes.iter().all(|home| s.regions.contains(&home.region))),
        message: |_, _| "a home region is none of the regions".to_owned(),
        allowed: "the name of one of spec.regions for each region",
    },
    Rule {
        id: "homes-apart",
        path: "spec.homeRegions",
        cel: concat!("!has(self.homeRegions) || self.homeRegions.all(a, ", once!(), ")"),
        says: "",
        check: Check::Object(|_, s| s.homes.iter().all(|a| s.homes.iter().filter(|b| of_both(a, b)).count() == 1)),
        message: |_, _| "some keys have two home regions".to_owned(),
        allowed: "prefixes none of which begins with another one, and tags that are named once; where both fit a key, its tag counts",
    },
];
