//! Rules that refuse an object: what can never be right of lists of conflicts.

use super::{Check, Rule};
use crate::{
    conflicts::Conflicts,
    homes::HomeRule,
    store::{Mode, Settled},
};

/// Longest name, in bytes.
const NAME_MAX: usize = 100;
/// Most elements of a list.
const LENGTH_MAX: u32 = 100_000;

/// Whether what is said of the lists, if there are any, is as it should be.
fn are(settled: &Settled, right: impl Fn(&Conflicts) -> bool) -> bool {
    settled.conflicts.as_ref().is_none_or(right)
}

/// Whether no key of a home is, or may become, that of a list.
fn apart(list: &str, home: &HomeRule) -> bool {
    let begins = format!("{list}:");
    let by_prefix = !home.prefix.is_empty() && (begins.starts_with(&home.prefix) || home.prefix.starts_with(&begins));
    let by_tag = !home.tag.is_empty() && list.contains(&format!("{{{}}}", home.tag));
    !by_prefix && !by_tag
}

/// The rules.
pub const RULES: &[Rule] = &[
    Rule {
        id: "conflicts-multi-leader",
        path: "spec.conflicts",
        cel: "!has(self.conflicts) || self.mode == 'MultiLeader'",
        says: "'in mode ' + self.mode + ' no region writes them down'",
        check: Check::Object(|_, s| s.conflicts.is_none() || s.mode == Mode::MultiLeader),
        message: |_, s| format!("in mode {:?} no region writes them down", s.mode),
        allowed: "lists of conflicts only with mode MultiLeader",
    },
    Rule {
        id: "conflicts-named",
        path: "spec.conflicts.list",
        cel: "!has(self.conflicts) || (size(self.conflicts.list) >= 1 && size(self.conflicts.list) <= 100)",
        says: "",
        check: Check::Object(|_, s| are(s, |conflicts| (1..=NAME_MAX).contains(&conflicts.list.chars().count()))),
        message: |_, _| "the lists of conflicts have no name, or a very long one".to_owned(),
        allowed: "1 to 100 characters that no other key begins with, as in conflicts",
    },
    Rule {
        id: "conflicts-length-range",
        path: "spec.conflicts.length",
        cel: "!has(self.conflicts) || !has(self.conflicts.length) || (self.conflicts.length >= 1 && self.conflicts.length <= 100000)",
        says: "",
        check: Check::Object(|_, s| are(s, |conflicts| (1..=LENGTH_MAX).contains(&conflicts.length()))),
        message: |_, _| "a list of conflicts has too few elements, or too many to be kept in memory".to_owned(),
        allowed: "1 to 100000",
    },
    Rule {
        id: "conflicts-without-home",
        path: "spec.conflicts.list",
        cel: "!has(self.conflicts) || !has(self.homeRegions) || self.homeRegions.all(h, (!has(h.prefix) || (!(self.conflicts.list + ':').startsWith(h.prefix) && !h.prefix.startsWith(self.conflicts.list + ':'))) && (!has(h.tag) || !self.conflicts.list.contains('{' + h.tag + '}')))",
        says: "",
        check: Check::Object(|_, s| are(s, |conflicts| s.homes.iter().all(|home| apart(&conflicts.list, home)))),
        message: |_, _| {
            "the lists of conflicts are among the keys of a home region, which other regions do not write".to_owned()
        },
        allowed: "a name that no prefix or tag of spec.homeRegions has to do with",
    },
];
