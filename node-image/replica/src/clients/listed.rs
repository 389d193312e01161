//! Conflicts in lists that users can read, where the store has such lists: each region's leader appends to its own, `NAME:REGION`, so nobody's appends are
//! concurrent, and feeds bring them everywhere.
//!
//! An element is an object of JSON on one line, with what CONFLICTS shows of an entry. Of the groups that note a conflict one writes it down
//! ([`Conflict::is_told_by`]), right behind the entry that brought it: the same failover takes back both. A conflict that goes on at one place has an element for
//! each time. What is beyond the bounds of the sink, or came while the leader might not write for long, is only counted.

use std::fmt::Write;

use trireme_proto::topology::ConflictList;

use crate::{
    engine::{
        Access, At,
        access::Kind,
        command::conflicts::{clip_text, content_text},
        conflicts::{Conflict, Version},
    },
    group::Role,
    replica::Replica,
};

/// Most elements that wait to be written.
const WAITING_MAX: usize = 512;

impl Replica {
    /// What was joined at this seq is written down at the end of the turn, as far as it is this group's to do that.
    pub(super) fn list_later(&mut self, seq: u64, conflicts: &[Conflict]) {
        let (group, time_ms) = (self.identity.group, self.now.wall_ms);
        let Some(lists) = self.setting(|settings| settings.conflicts.clone()).filter(|_| self.leads()) else { return };
        let of_lists = format!("{}:", lists.name);
        for conflict in conflicts.iter().filter(|conflict| conflict.is_told_by(group)) {
            if self.conflicts.to_list.len() < WAITING_MAX && !conflict.key.bytes.starts_with(of_lists.as_bytes()) {
                self.conflicts.to_list.push_back((seq, line(conflict, time_ms)));
            }
        }
    }

    /// Appends to this region's list, as a command of the leader's own.
    pub(crate) fn list_conflicts(&mut self) {
        if self.conflicts.to_list.is_empty() {
            return;
        }
        if self.leads() && !self.shows_whole() {
            return; // They tell what was read.
        }
        let Role::Leader(leader) = &self.role else { return self.conflicts.to_list.clear() };
        let free = !self.handing_over() && !self.wants_quiet() && !self.is_leaving() && !self.disk_full;
        if !leader.serving || !self.lease_holds() || !free {
            return;
        }
        let lines = std::mem::take(&mut self.conflicts.to_list);
        let (lists, region) = (self.setting(|settings| settings.conflicts.clone()), self.own_region());
        let Some(ConflictList { name, length }) = lists else { return };
        let key = format!("{name}:{region}").into_bytes();
        if self.homes.of(&key).is_some_and(|home| home.group != self.identity.group) {
            return;
        }
        let at = At { seq: self.batch_last + 1, now_ms: self.now.wall_ms, keep_undo: true };
        self.delta.clear();
        let append = |access: &mut Access<'_>| append(access, &key, lines.iter().map(|(_, line)| &line[..]), length);
        if self.engine.execute(&at, &mut self.delta, append).1.wrote {
            self.append_delta(None);
        }
    }

    fn own_region(&self) -> &str {
        let own = self.meta.topology.as_ref().and_then(|topology| topology.replica(self.identity.id));
        own.map_or("", |row| &row.region)
    }
}

/// Appends to a list, which then has at most so many elements. What a user has put there that is no list stays.
fn append<'a>(access: &mut Access<'_>, key: &[u8], lines: impl Iterator<Item = &'a str>, length: u32) {
    if access.kind(key).is_some_and(|kind| kind != Kind::List) {
        return;
    }
    let mut count = access.list_length(key).unwrap_or_default();
    for line in lines {
        count += usize::from(access.list_insert(key, count, line.as_bytes()).is_ok());
    }
    let over = count.saturating_sub(length.max(1) as usize);
    // It is a list: nothing of this can fail.
    let _ = access.list_remove(key, 0..over);
}

/// One conflict.
fn line(conflict: &Conflict, time_ms: u64) -> String {
    let Conflict { key, place, family, why, versions, more } = conflict;
    let place = place.as_ref().map_or_else(|| "null".to_owned(), |place| text(&clip_text(place)));
    let versions: Vec<String> = versions.iter().map(version).collect();
    format!(
        "{{\"time_ms\":{time_ms},\"key\":{},\"type\":{},\"place\":{place},\"why\":{},\"more\":{more},\"versions\":[{}]}}",
        text(&clip_text(key)),
        text(family.name().as_bytes()),
        text(why.words().as_bytes()),
        versions.join(",")
    )
}

fn version(version: &Version) -> String {
    let Version { dot, clock, content, won } = version;
    let (wrote, value, bytes) = content_text(content);
    let value = value.map_or_else(|| "null".to_owned(), |value| text(&value));
    format!(
        "{{\"shown\":{won},\"wrote\":\"{wrote}\",\"value\":{value},\"bytes\":{bytes},\"clock_ms\":{},\"clock_logical\":{},\"origin\":\"{}.{}\",\"sequence\":{}}}",
        clock >> 16,
        clock & 0xffff,
        dot.origin.group,
        dot.origin.life(),
        dot.seq
    )
}

/// A text of JSON. Bytes that are no UTF-8 are replaced: a list is for people, and who needs the bytes reads the key.
fn text(bytes: &[u8]) -> String {
    let mut out = String::from("\"");
    for char in String::from_utf8_lossy(bytes).chars() {
        match char {
            '"' | '\\' => out.extend(['\\', char]),
            // Writing to a string does not fail.
            '\0'..=' ' if char != ' ' => _ = write!(out, "\\u{:04x}", u32::from(char)),
            _ => out.push(char),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_bytes_are_a_text_of_json() {
        assert_eq!(text(b"a b"), "\"a b\"");
        assert_eq!(text(b"\"\\\n\x00\x1f"), r#""\"\\\u000a\u0000\u001f""#);
        assert_eq!(text("\u{e9}\u{1f600}".as_bytes()), "\"\u{e9}\u{1f600}\"");
        assert_eq!(text(b"\xff!"), "\"\u{fffd}!\"");
    }
}
