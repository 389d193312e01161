//! What a client asks for, on which keys, noted in the history.

use fastrand::Rng;

use super::{Client, Expected, LEVELS_WRITER, Scope};
use crate::{
    clock::Micros,
    history::{CAUSE, EFFECT, Entry, Family, HOMED, History, KEYS, LEVELS, OWN, Outcome, PAIR, SHARED, SWAPPED, TALLY},
    invariants::sets,
    model::Act,
};

impl Client {
    /// Some commands to send, noted in the history. `strict` says whether reads at this replica must be linearizable.
    pub fn pipeline(&mut self, now: Micros, strict: bool, history: &mut History, rng: &mut Rng) -> Vec<Vec<Vec<u8>>> {
        let mut commands = Vec::new();
        if let Scope::Between(region) = self.scope {
            self.between(region, now, history, rng, &mut commands);
            return commands;
        }
        if let Some(registers) = self.leaderless {
            self.anywhere(now, registers, history, rng, &mut commands);
            return commands;
        }
        self.swap(now, history, &mut commands);
        let length = if rng.bool() { 1 } else { rng.usize(1..=5) };
        for _ in 0..length {
            match rng.u8(0..24) {
                0..4 => self.transaction(now, strict, history, rng, &mut commands),
                4 => self.watch(now, strict, history, &mut commands),
                5 => {
                    let act = Act::Set(self.unique());
                    self.ask(now, SWAPPED, act, strict, history, &mut commands);
                }
                _ => {
                    let key = rng.usize(0..PAIR[0]);
                    let act = self.act(KEYS[key].family, rng);
                    self.ask(now, key, act, strict, history, &mut commands);
                }
            }
        }
        commands
    }

    /// What is asked where there is no leader: on shared registers and on keys of its own, and now and then on keys of other types, whose end is looked at.
    fn anywhere(
        &mut self,
        now: Micros,
        registers: bool,
        history: &mut History,
        rng: &mut Rng,
        out: &mut Vec<Vec<Vec<u8>>>,
    ) {
        let length = if rng.bool() { 1 } else { rng.usize(1..=4) };
        for _ in 0..length {
            let read = rng.u8(0..10) < if self.readonly { 7 } else { 4 };
            let (key, act) = match rng.u8(0..22) {
                0..9 => (SHARED + rng.usize(0..2), if read { Act::Get } else { Act::Set(self.unique()) }),
                9..13 => {
                    let act = if rng.u8(0..3) == 0 { Act::Del } else { Act::Set(self.unique()) };
                    (OWN + self.id as usize, if read { Act::Get } else { act })
                }
                13..15 => (TALLY + self.id as usize, if read { Act::Get } else { Act::Incr }),
                15 => {
                    self.transaction(now, false, history, rng, out);
                    continue;
                }
                16..18 if self.id == LEVELS_WRITER && !read => (LEVELS, Act::Set(self.unique())),
                16..18 => (LEVELS, Act::Get),
                _ => {
                    let key = [0, 4, 4, 5, 6, 6, 7, 8][rng.usize(0..8)];
                    (key, self.act(KEYS[key].family, rng))
                }
            };
            let level = match KEYS[key].family {
                Family::Levels if act.reads() => Some("ONE"),
                Family::Levels => Some("ALL"),
                // What is stronger than the store's own promises what the store promises.
                Family::Shared if rng.u8(0..8) == 0 => Some("ALL"),
                _ => None,
            };
            self.ask(now, key, act, registers && KEYS[key].family.is_a_register(), history, out);
            if let (Some(level), Some(command), Some(entry)) = (level, out.last_mut(), history.entries.last_mut()) {
                command.splice(0..0, [b"CONSISTENCY", level.as_bytes(), b"CALL"].map(<[u8]>::to_vec));
                entry.level = Some(level);
            }
        }
    }

    /// What is asked on keys of all regions: their end is looked at, and that no effect is seen without its cause.
    fn between(&mut self, region: u32, now: Micros, history: &mut History, rng: &mut Rng, out: &mut Vec<Vec<Vec<u8>>>) {
        if let Some(cause) = self.cause.take() {
            self.ask(now, EFFECT, Act::Set(cause.to_string()), false, history, out);
        }
        for _ in 0..rng.usize(1..=3) {
            match rng.u8(0..14) {
                // Counted, not set: what is in doubt may happen late, and must not take it back.
                0..2 if region == 1 => self.ask(now, CAUSE, Act::Incr, false, history, out),
                0..2 => {
                    out.push(Act::Get.args(&self.name(CAUSE)));
                    let index = self.note(now, CAUSE, Act::Get, true, false, None, history);
                    self.expected.push_back(Expected::Cause(index));
                }
                4..6 => {
                    let act = self.act(Family::Home, rng);
                    self.ask(now, HOMED, act, false, history, out);
                }
                2..4 => self.together(now, [(EFFECT, Act::Get), (CAUSE, Act::Get)].into(), false, history, out),
                _ => {
                    let key = [0, 3, 4, 4, 5, 6, 6, 7, 7, 8][rng.usize(0..10)];
                    let act = self.act(KEYS[key].family, rng);
                    self.ask(now, key, act, false, history, out);
                }
            }
        }
    }

    /// Watches a key and reads it; once it has the answer it will set the key, if nobody else has.
    fn watch(&mut self, now: Micros, strict: bool, history: &mut History, out: &mut Vec<Vec<Vec<u8>>>) {
        let name = self.name(SWAPPED);
        out.push([b"WATCH", name.as_bytes()].map(<[u8]>::to_vec).to_vec());
        out.push(Act::Get.args(&name));
        let index = self.note(now, SWAPPED, Act::Get, true, strict, None, history);
        self.expected.extend([Expected::Watch, Expected::Watched(index)]);
    }

    /// Sets what was watched.
    fn swap(&mut self, now: Micros, history: &mut History, out: &mut Vec<Vec<Vec<u8>>>) {
        let Some(seen) = self.watched.take() else { return };
        self.watching = false;
        let act = Act::Swap(seen, self.unique());
        out.extend([vec![b"MULTI".to_vec()], act.args(&self.name(SWAPPED)), vec![b"EXEC".to_vec()]]);
        let index = self.note(now, SWAPPED, act, false, true, None, history);
        self.expected.extend([Expected::Formal, Expected::Formal, Expected::Exec(vec![index])]);
    }

    /// Reads every key: what is left at the end.
    pub fn read_all(&mut self, now: Micros, history: &mut History) -> Vec<Vec<Vec<u8>>> {
        let mut commands = Vec::new();
        let keys = if self.leaderless.is_some() { KEYS.len() } else { SHARED };
        for (key, what) in KEYS.iter().enumerate().take(keys) {
            let act = match what.family {
                Family::Members => Act::SetCount,
                Family::Tags => Act::SetCount,
                Family::Fields => Act::HashCount,
                _ => Act::Get,
            };
            let strict = self.leaderless.is_none_or(|registers| registers && what.family.is_a_register());
            self.ask(now, key, act, strict, history, &mut commands);
        }
        let tags: &[&str] = if self.leaderless.is_some() { &sets::NAMES } else { &[] };
        for name in tags {
            self.ask(now, 7, Act::SetHas((*name).to_owned()), false, history, &mut commands);
        }
        let members: Vec<_> =
            history.on(6).filter_map(|e| if let Act::SetAdd(m) = &e.act { Some(m.clone()) } else { None }).collect();
        for member in members {
            self.ask(now, 6, Act::SetHas(member), true, history, &mut commands);
        }
        commands
    }

    fn ask(
        &mut self,
        now: Micros,
        key: usize,
        act: Act,
        strict: bool,
        history: &mut History,
        out: &mut Vec<Vec<Vec<u8>>>,
    ) {
        out.push(act.args(&self.name(key)));
        let reads = act.reads();
        let index = self.note(now, key, act, reads, strict, None, history);
        self.expected.push_back(Expected::Operation(index));
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of an entry")]
    fn note(
        &mut self,
        now: Micros,
        key: usize,
        act: Act,
        reads: bool,
        strict: bool,
        transaction: Option<u64>,
        history: &mut History,
    ) -> usize {
        let strict = match self.leaderless {
            Some(_) => strict && KEYS[key].family.is_a_register(),
            None => !reads || (strict && !self.readonly),
        };
        let replica = self.connection.map_or(0, |connection| connection.replica);
        let (client, session, outcome) = (self.id, self.session, Outcome::Pending);
        history.entries.push(Entry {
            client,
            session,
            replica,
            key,
            act,
            call: now,
            outcome,
            reads,
            strict,
            transaction,
            level: None,
        });
        history.entries.len() - 1
    }

    /// The pair is written or read in a transaction; sometimes another key is touched in it, too.
    fn transaction(
        &mut self,
        now: Micros,
        strict: bool,
        history: &mut History,
        rng: &mut Rng,
        out: &mut Vec<Vec<Vec<u8>>>,
    ) {
        let act = if rng.bool() { Act::Get } else { Act::Set(self.unique()) };
        let mut parts = vec![(PAIR[0], act.clone()), (PAIR[1], act)];
        if rng.bool() {
            parts.insert(1, (4, Act::Incr));
        }
        self.together(now, parts, strict, history, out);
    }

    /// A transaction.
    fn together(
        &mut self,
        now: Micros,
        parts: Vec<(usize, Act)>,
        strict: bool,
        history: &mut History,
        out: &mut Vec<Vec<Vec<u8>>>,
    ) {
        self.counter += 1;
        let number = (u64::from(self.id) << 32) | self.counter;
        let all_read = parts.iter().all(|(_, act)| act.reads());
        out.push(vec![b"MULTI".to_vec()]);
        self.expected.push_back(Expected::Formal);
        let mut indices = Vec::new();
        for (key, act) in parts {
            out.push(act.args(&self.name(key)));
            self.expected.push_back(Expected::Formal);
            indices.push(self.note(now, key, act, all_read, strict, Some(number), history));
        }
        out.push(vec![b"EXEC".to_vec()]);
        self.expected.push_back(Expected::Exec(indices));
    }

    fn unique(&mut self) -> String {
        self.counter += 1;
        match self.scope {
            Scope::Between(region) => format!("{region}.{}.{}", self.id, self.counter),
            _ => format!("{}.{}", self.id, self.counter),
        }
    }

    fn act(&mut self, family: Family, rng: &mut Rng) -> Act {
        let reading = if self.readonly { 8 } else { 4 };
        let read = rng.u8(0..10) < reading;
        match family {
            Family::Register | Family::Text | Family::Journal | Family::Total | Family::Counter | Family::Home
                if read =>
            {
                Act::Get
            }
            Family::Register if rng.u8(0..4) == 0 => Act::Del,
            Family::Register
            | Family::Pair
            | Family::Swapped
            | Family::Shared
            | Family::Own
            | Family::Levels
            | Family::Causal => Act::Set(self.unique()),
            Family::Journal => Act::Append(format!("{};", self.unique())),
            Family::Text => match rng.u8(0..6) {
                0 => Act::Del,
                1 => Act::Set(format!("{};", self.unique())),
                _ => Act::Append(format!("{};", self.unique())),
            },
            Family::Total | Family::Tally | Family::Home => Act::Incr,
            Family::Counter => match rng.u8(0..6) {
                0 => Act::Del,
                1 => Act::Set(rng.u32(0..1_000_000).to_string()),
                2 => Act::IncrBy(rng.i64(-1_000..1_000)),
                _ => Act::Incr,
            },
            Family::Members if read => Act::SetCount,
            Family::Members => Act::SetAdd(self.unique()),
            Family::Tags | Family::Fields => self.small(family, read, rng),
        }
    }

    fn small(&mut self, family: Family, read: bool, rng: &mut Rng) -> Act {
        let name = ["x", "y", "z"][rng.usize(0..3)].to_owned();
        match (family, read) {
            (Family::Tags, true) => Act::SetHas(name),
            (Family::Tags, false) if rng.bool() => Act::SetAdd(name),
            (Family::Tags, false) => Act::SetRemove(name),
            (_, true) if rng.bool() => Act::HashCount,
            (_, true) => Act::HashGet(name),
            (_, false) => Act::HashSet(name, self.unique()),
        }
    }
}
