//! Versions, as WATCH compares them: another one after every change, the same for the same history, and never one that was before.

use std::collections::BTreeSet;

use super::at;
use crate::engine::{Access, At, Engine, slot_of};

fn version(engine: &mut Engine) -> u64 {
    engine.execute(&at(0), &mut Vec::new(), |a| a.version(b"k")).0
}

#[test]
fn every_change_gives_a_version_that_was_never_there() {
    let (mut leader, mut follower) = (Engine::new(), Engine::new());
    let mut seen = BTreeSet::new();
    let changes: [fn(&mut Access<'_>); 12] = [
        |a| a.put_string(b"k", b"1", false),
        |a| assert!(a.set_expiry(b"k", Some(9_000_000))),
        |a| assert!(a.set_expiry(b"k", None)),
        |a| assert!(a.set_expiry(b"k", Some(9_000_000))),
        |a| a.put_string(b"k", b"1", true),
        |a| assert!(a.set_expiry(b"k", None)),
        |a| assert!(a.increment(b"k", 1).is_ok()),
        |a| assert!(a.increment(b"k", -1).is_ok()),
        |a| a.put_string(b"k", b"1", false),
        |a| {
            a.remove(b"k");
            a.put_field(b"k", b"f", b"1").unwrap();
        },
        |a| assert!(a.put_field(b"k", b"g", b"1") == Ok(true) && a.remove_field(b"k", b"g") == Ok(true)),
        |a| {
            a.remove(b"k");
            a.put_string(b"k", b"1", false);
        },
    ];
    for (seq, change) in (1..).zip(changes) {
        let before = version(&mut leader);
        leader.execute(&At { keep_undo: true, ..at(seq) }, &mut Vec::new(), change);
        leader.undo_after(seq - 1);
        assert_eq!(version(&mut leader), before, "undone change {seq}");
        let mut delta = Vec::new();
        leader.execute(&at(seq), &mut delta, change);
        follower.join(&delta, &at(seq)).unwrap();
        let mut image = Vec::new();
        leader.export_slot(slot_of(b"k"), &mut image);
        let mut copy = Engine::new();
        copy.import_slot(slot_of(b"k"), &image).unwrap();
        // An image that brings nothing new changes nothing.
        follower.import_slot(slot_of(b"k"), &image).unwrap();
        let now = version(&mut leader);
        assert_eq!((version(&mut follower), version(&mut copy)), (now, now), "change {seq}");
        assert!(now != 0 && seen.insert(now), "change {seq}");
        // Reading, and a write elsewhere, change none.
        leader.execute(&at(seq), &mut Vec::new(), |a| (a.string(b"k").is_ok(), a.put_string(b"other", b"1", false)));
        assert_eq!(version(&mut leader), now);
        let mut delta = Vec::new();
        follower.execute(&at(seq), &mut delta, |a| a.kind(b"k"));
        assert!(delta.is_empty());
    }
    leader.execute(&at(99), &mut Vec::new(), |a| a.remove(b"k"));
    assert_eq!(version(&mut leader), 0);
}
