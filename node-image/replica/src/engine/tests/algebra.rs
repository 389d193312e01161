//! The algebra: entries in any order, with gaps, twice, or as state instead, undone and done again, give what causality alone defines.

use std::collections::{BTreeMap, BTreeSet};

use fastrand::Rng;
use trireme_proto::ids::Origin;

use super::{exported, seeds};
use crate::engine::delta::{Change, Part};
use crate::engine::state::order::{has_order, score_bytes, score_of};
use crate::engine::{At, Engine, ReceivedSet, Scope, slot_of};

const KEYS: [&[u8]; 2] = [b"x", b"y"];

#[derive(Clone, Copy, Debug, PartialEq)]
enum Op {
    Set(u8),
    Del,
    Add(u8),
    Rem(u8),
    Incr(i64),
    HSet(u8, u8),
    HDel(u8),
    HIncr(u8, i64),
    ZAdd(u8, u8),
    ZRem(u8),
    ZIncr(u8, i64),
}

struct Entry {
    origin: usize,
    key: usize,
    op: Op,
    seen: BTreeSet<usize>,
    bytes: Vec<u8>,
}

struct Replica {
    engine: Engine,
    group: u32,
    seq: u64,
    /// Per key: the entries that are reflected here.
    seen: [BTreeSet<usize>; 2],
}

impl Replica {
    fn at(&mut self, keep_undo: bool) -> At {
        self.seq += 1;
        At { seq: self.seq, now_ms: 1_000, keep_undo }
    }

    fn execute(&mut self, key: usize, op: Op) -> Vec<u8> {
        let (at, name, mut delta) = (self.at(false), KEYS[key], Vec::new());
        let origin = Origin { group: self.group, generation: 0 };
        let next = self.engine.received().highest(origin) + 1;
        let state = &self.engine.state;
        let own =
            |part, field: &[u8]| state.own_count(slot_of(name), name, (part, field), origin).unwrap_or((0, (next, 0)));
        let (whole, fields) = (own(Part::Value, b""), [own(Part::Hash, &[0]), own(Part::Hash, &[1])]);
        let scores = [own(Part::SortedSet, &[0]), own(Part::SortedSet, &[1])];
        self.engine.execute(&at, &mut delta, |a| match op {
            Op::Set(value) => a.put_string(name, &[value], false),
            Op::Del => a.clear(name),
            Op::Add(m) => a.write(name, Change::Put { part: Part::Set, name: &[m], value: b"" }),
            Op::Rem(m) => a.write(name, Change::Remove { part: Part::Set, name: &[m] }),
            Op::Incr(by) => {
                let (total, base) = whole;
                a.write(name, Change::Count { part: Part::Value, name: b"", total: total + by, by, base });
            }
            Op::HSet(f, value) => {
                a.write_resets(name, Some((Part::Hash, &[f])));
                a.write(name, Change::Put { part: Part::Hash, name: &[f], value: &[value] });
            }
            Op::HDel(f) => {
                a.write_resets(name, Some((Part::Hash, &[f])));
                a.write(name, Change::Remove { part: Part::Hash, name: &[f] });
            }
            Op::ZAdd(m, score) => {
                a.write_resets(name, Some((Part::SortedSet, &[m])));
                let value = &score_bytes(f64::from(score));
                a.write(name, Change::Put { part: Part::SortedSet, name: &[m], value });
            }
            Op::ZRem(m) => {
                a.write_resets(name, Some((Part::SortedSet, &[m])));
                a.write(name, Change::Remove { part: Part::SortedSet, name: &[m] });
            }
            Op::ZIncr(m, by) => {
                let (total, base) = scores[usize::from(m)];
                a.write(name, Change::Count { part: Part::SortedSet, name: &[m], total: total + by, by, base });
            }
            Op::HIncr(f, by) => {
                let (total, base) = fields[usize::from(f)];
                a.write(name, Change::Count { part: Part::Hash, name: &[f], total: total + by, by, base });
            }
        });
        delta
    }

    /// Joins an entry; and, to show that undoing is exact, undoes it and joins it again.
    fn join(&mut self, bytes: &[u8]) {
        let before = exported(&self.engine, &KEYS);
        let at = self.at(true);
        self.engine.join(bytes, &at).unwrap();
        // What is left behind may be forgotten at another time: only what counts is compared.
        let seen = |e: &Engine| (KEYS.map(|k| e.digest(slot_of(k))), e.received().clone(), KEYS.map(|k| view(e, k)));
        let after = seen(&self.engine);
        self.engine.undo_after(at.seq - 1);
        assert_eq!(exported(&self.engine, &KEYS), before, "not undone");
        self.engine.join(bytes, &at).unwrap();
        assert_eq!(seen(&self.engine), after, "not the same again");
        self.engine.forget_undo(at.seq);
        self.engine.join(bytes, &at).unwrap();
    }
}

/// What a client could see of a key: siblings, members, sum, fields' siblings, fields' sums.
#[derive(Debug, Default, PartialEq)]
struct View {
    strings: Vec<u8>,
    members: BTreeSet<u8>,
    sum: i64,
    fields: BTreeMap<u8, Vec<u8>>,
    sums: BTreeMap<u8, i64>,
    scores: BTreeMap<u8, Vec<u8>>,
    score_sums: BTreeMap<u8, i64>,
}

fn one_byte(part: Part, value: &[u8]) -> Option<u8> {
    if part == Part::SortedSet { Some(score_of(value) as u8) } else { value.first().copied() }
}

fn view(engine: &Engine, key: &[u8]) -> View {
    let (mut view, slot, state) = (View::default(), slot_of(key), &engine.state);
    let Some(handle) = state.find(slot, key) else { return view };
    if let Some(p) = state.cells.plain(handle) {
        view.strings = p.value.to_vec();
        return view;
    }
    let found = state.key(handle.as_key().unwrap()).unwrap();
    view.strings = found.value.siblings.iter().map(|s| s.value[0]).collect();
    view.strings.sort_unstable();
    view.sum = found.value.sum(&|o| state.reset(slot, key, Part::Value, b"", o)).unwrap_or(0);
    for (part, collection) in &found.parts {
        for handle in collection.table.iter() {
            let name = state.cells.name(handle)[0];
            let (mut values, mut sum) = (Vec::new(), 0);
            if let Some(p) = state.cells.plain(handle) {
                values.extend(one_byte(*part, p.value));
            } else {
                let r = state.cells.register(handle).unwrap();
                values.extend(r.siblings.iter().filter_map(|s| one_byte(*part, &s.value)));
                sum = r.sum(&|o| state.reset(slot, key, *part, &r.name, o)).unwrap_or(0);
            }
            values.sort_unstable();
            if *part == Part::Set {
                view.members.insert(name);
            } else {
                let sorted = *part == Part::SortedSet;
                if !values.is_empty() {
                    if sorted { &mut view.scores } else { &mut view.fields }.insert(name, values);
                }
                if sum != 0 {
                    if sorted { &mut view.score_sums } else { &mut view.sums }.insert(name, sum);
                }
            }
        }
    }
    view
}

/// What causality alone defines, from the whole history.
fn defined(entries: &[Entry], key: usize) -> View {
    let all: Vec<(usize, &Entry)> = entries.iter().enumerate().filter(|(_, e)| e.key == key).collect();
    let gone = |i: usize, by: &dyn Fn(Op) -> bool| all.iter().any(|(_, r)| by(r.op) && r.seen.contains(&i));
    let whole = |op: Op| matches!(op, Op::Set(_) | Op::Del);
    let on_field = |f: u8| move |op: Op| whole(op) || matches!(op, Op::HSet(g, _) | Op::HDel(g) if g == f);
    let on_member = |m: u8| move |op: Op| whole(op) || matches!(op, Op::ZAdd(n, _) | Op::ZRem(n) if n == m);
    // An increment is cancelled by who saw it, or a later one of its origin whose total holds it.
    let cancelled = |i: usize, e: &Entry, same: &dyn Fn(Op) -> bool, by: &dyn Fn(Op) -> bool| {
        all.iter().any(|(j, later)| same(later.op) && later.origin == e.origin && *j >= i && gone(*j, by))
    };
    let mut view = View::default();
    for &(i, e) in &all {
        match e.op {
            Op::Set(value) if !gone(i, &whole) => view.strings.push(value),
            Op::Add(m) => {
                let by = |op: Op| whole(op) || matches!(op, Op::Add(n) | Op::Rem(n) if n == m);
                if !gone(i, &by) {
                    view.members.insert(m);
                }
            }
            Op::Incr(by) if !cancelled(i, e, &|op| matches!(op, Op::Incr(_)), &whole) => view.sum += by,
            Op::HSet(f, value) if !gone(i, &on_field(f)) => view.fields.entry(f).or_default().push(value),
            Op::ZAdd(m, score) if !gone(i, &on_member(m)) => view.scores.entry(m).or_default().push(score),
            Op::ZIncr(m, by) => {
                let same = |op: Op| matches!(op, Op::ZIncr(n, _) if n == m);
                if !cancelled(i, e, &same, &on_member(m)) {
                    *view.score_sums.entry(m).or_default() += by;
                }
            }
            Op::HIncr(f, by) => {
                let same = |op: Op| matches!(op, Op::HIncr(g, _) if g == f);
                if !cancelled(i, e, &same, &on_field(f)) {
                    *view.sums.entry(f).or_default() += by;
                }
            }
            _ => {}
        }
    }
    view.strings.sort_unstable();
    view.fields.values_mut().for_each(|v| v.sort_unstable());
    view.sums.retain(|_, sum| *sum != 0);
    view.scores.values_mut().for_each(|v| v.sort_unstable());
    view.score_sums.retain(|_, sum| *sum != 0);
    view
}

fn random_op(rng: &mut Rng) -> Op {
    let by = [1, 1, 5, -2][rng.usize(..4)];
    match rng.u8(..15) {
        0 => Op::Set(rng.u8(..9)),
        1 => Op::Del,
        2 => Op::Add(rng.u8(..2)),
        3 => Op::Rem(rng.u8(..2)),
        4..=6 => Op::Incr(by),
        7 => Op::HSet(rng.u8(..2), rng.u8(..9)),
        8 => Op::HDel(rng.u8(..2)),
        11 => Op::ZAdd(rng.u8(..2), rng.u8(..9)),
        12 => Op::ZRem(rng.u8(..2)),
        13..=14 => Op::ZIncr(rng.u8(..2), by),
        _ => Op::HIncr(rng.u8(..2), by),
    }
}

/// The state of a key, as an image of its slot, of its bucket, or of itself alone.
fn join_key(replicas: &mut [Replica], to: usize, from: usize, key: usize, rng: &mut Rng) {
    let (mut image, slot, name) = (Vec::new(), slot_of(KEYS[key]), KEYS[key]);
    match rng.u8(..3) {
        0 => {
            replicas[from].engine.export_slot(slot, &mut image);
            replicas[to].engine.import_slot(slot, &image).unwrap();
        }
        kind => {
            let bucket = Scope::Bucket(crate::engine::image::bucket_of(name));
            let (scope, named) = if kind == 1 { (bucket, &[][..]) } else { (Scope::Named, &[name][..]) };
            replicas[from].engine.export_part(slot, scope, named, &mut image);
            let seq = replicas[to].at(false).seq;
            let before = replicas[to].engine.key_digest(name);
            let engine = &mut replicas[to].engine;
            // As long as it can be undone, it can be undone exactly.
            let (all, at) = (exported(engine, &KEYS), At { seq, now_ms: 0, keep_undo: true });
            engine.import_part(slot, &image, &at).unwrap();
            engine.import_received(&ReceivedSet::default(), &at);
            engine.undo_after(seq - 1);
            assert!(exported(engine, &KEYS) == all, "an image that was undone has left something behind");
            let changed = engine.import_part(slot, &image, &At { keep_undo: false, ..at }).unwrap();
            assert_eq!(changed, usize::from(replicas[to].engine.key_digest(name) != before));
        }
    }
    let seen = replicas[from].seen[key].clone();
    replicas[to].seen[key].extend(seen);
}

fn run(seed: u64) {
    let mut rng = Rng::with_seed(seed);
    let (count, keys, eager) = (rng.usize(2..4), rng.usize(1..3), rng.f64());
    let mut replicas: Vec<Replica> = (0..count)
        .map(|i| {
            let mut engine = Engine::new();
            engine.set_origin(Origin { group: i as u32 + 1, generation: 0 });
            Replica { engine, group: i as u32 + 1, seq: 0, seen: Default::default() }
        })
        .collect();
    let mut entries: Vec<Entry> = Vec::new();
    let mut flying: Vec<(usize, usize)> = Vec::new();
    let deliver = |replicas: &mut [Replica], entries: &[Entry], to: usize, id: usize| {
        replicas[to].join(&entries[id].bytes);
        replicas[to].seen[entries[id].key].insert(id);
    };
    for _ in 0..[5, 15, 40, 80][rng.usize(..4)] {
        let (r, key, act) = (rng.usize(..count), rng.usize(..keys), rng.f64());
        let other = (r + rng.usize(1..count)) % count;
        if act < 0.5 - 0.3 * eager {
            let op = random_op(&mut rng);
            let seen = replicas[r].seen[key].clone();
            let bytes = replicas[r].execute(key, op);
            let id = entries.len();
            replicas[r].seen[key].insert(id);
            entries.push(Entry { origin: r, key, op, seen, bytes });
            for _ in 0..[1, 1, 2][rng.usize(..3)] {
                flying.extend((0..count).filter(|i| *i != r).map(|i| (i, id)));
            }
        } else if act < 0.8 && !flying.is_empty() {
            let next = if rng.f64() < eager { rng.usize(..flying.len()) } else { 0 };
            let (to, id) = flying.remove(next);
            deliver(&mut replicas, &entries, to, id);
        } else if act < 0.84 {
            join_key(&mut replicas, r, other, key, &mut rng);
        } else if act < 0.87 {
            (0..keys).for_each(|key| join_key(&mut replicas, r, other, key, &mut rng));
            let mut meta = Vec::new();
            replicas[other].engine.export_meta(&mut meta);
            replicas[r].engine.import_meta(&meta).unwrap();
        } else {
            replicas[r].engine.state.begin();
            replicas[r].engine.sweep();
            replicas[r].engine.state.end(0, 0, None, 0, false);
        }
        if rng.u8(..16) == 0 {
            check_counts(&replicas[r].engine, seed);
        }
    }
    rng.shuffle(&mut flying);
    for (to, id) in flying {
        deliver(&mut replicas, &entries, to, id);
    }
    for (i, replica) in replicas.iter().enumerate() {
        check_counts(&replica.engine, seed);
        for (key, name) in KEYS.iter().enumerate().take(keys) {
            assert_eq!(view(&replica.engine, name), defined(&entries, key), "seed {seed} replica {i} key {key}");
        }
        assert_eq!(replica.engine.received(), replicas[0].engine.received(), "seed {seed}");
        for slot in 0..crate::engine::SLOTS as u16 {
            assert_eq!(replica.engine.digest(slot), replicas[0].engine.digest(slot), "seed {seed} slot {slot}");
        }
    }
}

/// The order holds exactly the visible elements, by what they are worth, then by name.
fn check_order(engine: &Engine, index: u32, seed: u64) {
    let state = &engine.state;
    let Some(key) = state.key(index) else { return };
    for (part, collection) in key.parts.iter().filter(|(part, _)| has_order(*part)) {
        let (name, all) = (&key.value.name, collection.table.iter());
        let score = |h| Some((state.score(slot_of(name), name, *part, h)?, state.cells.name(h)));
        let mut want: Vec<(f64, &[u8])> = all.filter_map(score).collect();
        want.sort_by(|l, r| l.0.total_cmp(&r.0).then(l.1.cmp(r.1)));
        let order = collection.order.range(0..usize::MAX);
        let found: Vec<(f64, &[u8])> = order.iter().map(|i| (i.score(), state.cells.name(i.handle))).collect();
        assert_eq!(found, want, "seed {seed}: {part:?}");
        assert_eq!(found.len(), key.visible_in(*part), "seed {seed}: {part:?}");
    }
}

/// What is kept up to date equals what is computed anew.
fn check_counts(engine: &Engine, seed: u64) {
    let mut present = 0;
    for key in KEYS {
        let (slot, state) = (slot_of(key), &engine.state);
        let Some(handle) = state.find(slot, key) else {
            assert_eq!(engine.digest(slot), 0, "seed {seed}");
            continue;
        };
        assert_eq!(engine.digest(slot), state.digest_of(handle), "seed {seed}");
        present += u64::from(state.is_present(handle));
        if let Some(index) = handle.as_key() {
            check_order(engine, index, seed);
        }
        let mut image = Vec::new();
        engine.export_slot(slot, &mut image);
        let mut copy = Engine::new();
        copy.import_slot(slot, &image).unwrap();
        assert_eq!(copy.digest(slot), engine.digest(slot), "seed {seed}: digest is not that of the state");
        assert_eq!(view(&copy, key), view(engine, key), "seed {seed}: image");
    }
    assert_eq!(engine.key_count(), present, "seed {seed}");
}

#[test]
fn any_order_gaps_repeats_and_states_give_what_causality_defines() {
    for seed in 0..seeds(2_000) {
        run(seed);
    }
}
