//! A `ReplicatedStore` from YAML (or JSON, which is YAML), with every problem where it stands.

use std::fmt;

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{MapAccess, SeqAccess, Visitor},
};
use serde_saphyr::{Error, Location, Spanned};

use crate::{
    rules,
    store::{API_VERSION, ReplicatedStore, STORE_KIND},
};

/// Largest text that is read, in bytes: the API server's own limit for an object is of this size.
pub const TEXT_BYTES_MAX: usize = 1 << 20;

/// One thing that is wrong with a text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// The file's name as it was given.
    pub file: String,
    /// Line from 1; 0 where it has no place.
    pub line: u64,
    /// Column from 1; 0 where it has no place.
    pub column: u64,
    /// The field, as `spec.failover.lease`; empty where it is not about one.
    pub path: String,
    /// What is wrong.
    pub what: String,
    /// What would be right; empty where that is plain.
    pub allowed: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        if !self.path.is_empty() {
            write!(f, ": {}", self.path)?;
        }
        write!(f, ": {}", self.what)?;
        if !self.allowed.is_empty() {
            write!(f, "; allowed: {}", self.allowed)?;
        }
        Ok(())
    }
}

/// A value of the text with its place: what is needed to say where a field is.
#[derive(Debug)]
enum Node {
    Map(Vec<(Spanned<String>, Spanned<Node>)>),
    List(Vec<Spanned<Node>>),
    Scalar(String),
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Node, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Node::Map(entries))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Node, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Node::List(items))
    }

    fn visit_str<E>(self, v: &str) -> Result<Node, E> {
        Ok(Node::Scalar(v.to_owned()))
    }

    fn visit_bool<E>(self, v: bool) -> Result<Node, E> {
        Ok(Node::Scalar(v.to_string()))
    }

    fn visit_i64<E>(self, v: i64) -> Result<Node, E> {
        Ok(Node::Scalar(v.to_string()))
    }

    fn visit_u64<E>(self, v: u64) -> Result<Node, E> {
        Ok(Node::Scalar(v.to_string()))
    }

    fn visit_f64<E>(self, v: f64) -> Result<Node, E> {
        Ok(Node::Scalar(v.to_string()))
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Scalar(String::new()))
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Scalar(String::new()))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        Node::deserialize(deserializer)
    }
}

impl Node {
    fn get(&self, key: &str) -> Option<&(Spanned<String>, Spanned<Node>)> {
        match self {
            Node::Map(entries) => entries.iter().find(|(k, _)| k.value == key),
            _ => None,
        }
    }

    /// Where this path is, or the deepest part of it that is there.
    fn place(&self, path: &str) -> (u64, u64) {
        let (mut node, mut at) = (self, (0, 0));
        for part in path.split('.') {
            let Some((key, value)) = node.get(part) else { break };
            at = place(key.referenced);
            node = &value.value;
        }
        at
    }

    /// The path of the last field that begins at or before this place.
    fn path_at(&self, at: (u64, u64), prefix: &str, best: &mut ((u64, u64), String)) {
        match self {
            Node::Map(entries) => {
                for (key, value) in entries {
                    let path = if prefix.is_empty() { key.value.clone() } else { format!("{prefix}.{}", key.value) };
                    closer(best, at, place(key.referenced), &path);
                    value.value.path_at(at, &path, best);
                }
            }
            Node::List(items) => {
                for (i, item) in items.iter().enumerate() {
                    let path = format!("{prefix}[{i}]");
                    closer(best, at, place(item.referenced), &path);
                    item.value.path_at(at, &path, best);
                }
            }
            Node::Scalar(_) => {}
        }
    }
}

fn place(location: Location) -> (u64, u64) {
    (location.line(), location.column())
}

/// Takes `from` as the nearest place before `at`, if it is.
fn closer(best: &mut ((u64, u64), String), at: (u64, u64), from: (u64, u64), path: &str) {
    if from <= at && from >= best.0 {
        *best = (from, path.to_owned());
    }
}

/// Reads one resource and checks it against every rule. `file` is only for the messages.
///
/// # Errors
/// Everything that is wrong with it: the first problem of its form, or else all rules that it breaks.
pub fn parse(text: &str, file: &str) -> Result<ReplicatedStore, Vec<Problem>> {
    let problem = |(line, column): (u64, u64), path: &str, what: String, allowed: &str| {
        vec![Problem { file: file.to_owned(), line, column, path: path.to_owned(), what, allowed: allowed.to_owned() }]
    };
    if text.len() > TEXT_BYTES_MAX {
        return Err(problem((0, 0), "", format!("{} bytes are too many", text.len()), "at most 1 MiB"));
    }
    let tree: Node = serde_saphyr::from_str(text).map_err(|error| {
        let (what, allowed) = explain(error.without_snippet());
        problem(error.location().map_or((0, 0), place), "", what, &allowed)
    })?;
    let Node::Map(_) = tree else {
        return Err(problem((0, 0), "", "there is no resource in it".to_owned(), "one ReplicatedStore"));
    };
    for (path, wanted) in [("kind", STORE_KIND), ("apiVersion", API_VERSION)] {
        match tree.get(path) {
            Some((_, value)) if matches!(&value.value, Node::Scalar(text) if text == wanted) => {}
            Some((_, value)) => {
                let found = match &value.value {
                    Node::Scalar(text) => format!("'{text}'"),
                    _ => "no plain text".to_owned(),
                };
                return Err(problem(place(value.referenced), path, format!("{found} cannot be run here"), wanted));
            }
            None => return Err(problem((0, 0), path, "it is missing".to_owned(), wanted)),
        }
    }
    let store: ReplicatedStore = serde_saphyr::from_str(text).map_err(|error| {
        let at = error.location().map_or((0, 0), place);
        let mut best = ((0, 0), String::new());
        tree.path_at(at, "", &mut best);
        if let Error::SerdeMissingField { field, .. } = error.without_snippet() {
            // The place is that of the mapping that lacks it: its first field, or the field that it belongs to.
            let parent = if tree.get("spec").is_some_and(|(key, _)| place(key.referenced) <= at) { "spec" } else { "" };
            best.1 = [parent, field].iter().filter(|part| !part.is_empty()).copied().collect::<Vec<_>>().join(".");
        }
        let (what, allowed) = explain(error.without_snippet());
        // Where a rule says what the field may be, a value of the wrong kind is told the same: not what the next attempt would be refused for.
        let is_rule = |rule: &&rules::Rule| rule.path == best.1 && matches!(rule.check, rules::Check::Object(_));
        let scalar =
            !matches!(error.without_snippet(), Error::Unexpected { expected, .. } if *expected != "string scalar");
        let rule = rules::all().filter(|_| scalar).find(is_rule);
        problem(at, &best.1, what, rule.map_or(&allowed, |rule| rule.allowed))
    })?;
    let violations = rules::validate(&store);
    if violations.is_empty() {
        return Ok(store);
    }
    Err(violations.into_iter().flat_map(|v| problem(tree.place(v.path), v.path, v.what, v.allowed)).collect())
}

/// What an error of the YAML reader means to the person who wrote the text: (what is wrong, what is allowed).
fn explain(error: &Error) -> (String, String) {
    match error {
        Error::MultipleDocuments { .. } => {
            ("there is more than one document in it".to_owned(), "one ReplicatedStore".to_owned())
        }
        Error::Eof { .. } => {
            ("it ends too early, or there is nothing in it".to_owned(), "one ReplicatedStore".to_owned())
        }
        Error::SerdeUnknownField { field, expected, .. } => {
            let near = nearest(field, expected).map_or_else(String::new, |name| format!("; did you mean '{name}'?"));
            (format!("there is no field '{field}'{near}"), expected.join(", "))
        }
        Error::SerdeUnknownVariant { variant, expected, .. } => {
            let near = nearest(variant, expected).map_or_else(String::new, |name| format!("; did you mean '{name}'?"));
            (format!("'{variant}' is not known{near}"), expected.join(", "))
        }
        Error::SerdeMissingField { field: "mode", .. } => {
            ("it is missing".to_owned(), "SingleLeader, MultiLeader or Leaderless".to_owned())
        }
        Error::SerdeMissingField { .. } => ("it is missing".to_owned(), String::new()),
        Error::DuplicateMappingKey { key, .. } => {
            (format!("'{}' is there twice", key.as_deref().unwrap_or("a field")), "each field once".to_owned())
        }
        Error::InvalidScalar { ty, .. } if ty.contains("int") || ty.starts_with(['u', 'i']) => {
            ("this is no whole number".to_owned(), "a whole number, 0 or more".to_owned())
        }
        Error::InvalidScalar { ty, .. } => (format!("this is no {ty}"), String::new()),
        Error::NullIntoString { .. } => ("it is empty".to_owned(), "a text".to_owned()),
        Error::SerdeInvalidType { unexpected, expected, .. }
        | Error::SerdeInvalidValue { unexpected, expected, .. } => {
            (format!("{unexpected} does not belong here"), expected.clone())
        }
        Error::Message { msg, .. } => (msg.clone(), String::new()),
        Error::Unexpected { expected: "string scalar", .. } => {
            ("a list or a mapping does not belong here".to_owned(), "a single value".to_owned())
        }
        Error::Unexpected { expected: "mapping start", .. } => {
            ("this does not belong here".to_owned(), "a mapping".to_owned())
        }
        Error::Unexpected { expected: "sequence start", .. } => {
            ("this does not belong here".to_owned(), "a list".to_owned())
        }
        Error::Unexpected { expected, .. } => ("this does not belong here".to_owned(), (*expected).to_owned()),
        other => (other.to_string(), String::new()),
    }
}

/// The known name that differs least, if it is near: at most a third of it is different.
fn nearest<'n>(name: &str, known: &[&'n str]) -> Option<&'n str> {
    let distance = |other: &str| edit_distance(&name.to_lowercase(), &other.to_lowercase());
    let best = known.iter().copied().min_by_key(|other| distance(other))?;
    (distance(best) <= best.len().max(3).div_ceil(3)).then_some(best)
}

/// Insertions, removals and replacements that make one text of the other.
fn edit_distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.chars().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row.last().copied().unwrap_or(0)
}
