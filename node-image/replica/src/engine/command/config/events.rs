//! `notify-keyspace-events`: the one parameter that is set for the whole store, at whichever replica.
//!
//! What is said of it is a state, with a time, and of two such states the later one counts: so it does not matter in which order, or how often, replicas tell it
//! each other. It is said in place of what the record has, and counts no more where that has changed.

use trireme_proto::message::KeyspaceEvents;

use super::{EVENTS, Parameters, index_of, parse};

impl Parameters {
    /// Takes over what the store's record says of keyspace events.
    pub fn follow_events(&mut self, classes: &str) {
        let Some(index) = index_of(EVENTS).filter(|_| self.of_record(EVENTS) != classes) else { return };
        self.base.insert(index, classes.to_owned());
        self.settle_events();
    }

    /// What was said at any replica of the store of keyspace events: says whether that is news.
    pub fn hear_events(&mut self, said: &KeyspaceEvents) -> bool {
        let stamp = |said: &KeyspaceEvents| (said.clock_ms, said.replica);
        let news = self.events.as_ref().is_none_or(|known| stamp(known) < stamp(said));
        if news {
            self.events = Some(said.clone());
            self.settle_events();
        }
        news
    }

    /// The last that was said, if anything was.
    pub fn events(&self) -> Option<&KeyspaceEvents> {
        self.events.as_ref()
    }

    /// What is to be said to all replicas of the store, if this CONFIG SET, which was executed here, is about keyspace events.
    pub fn say_events(&self, args: &[&[u8]], replica: u32, now_ms: u64) -> Option<KeyspaceEvents> {
        args.iter().skip(2).step_by(2).find(|name| parse::is(name, EVENTS))?;
        let after = self.events.as_ref().map_or(0, |known| known.clock_ms.saturating_add(1));
        let in_place_of = self.of_record(EVENTS).to_owned();
        Some(KeyspaceEvents {
            clock_ms: after.max(now_ms),
            replica,
            classes: self.named(EVENTS).to_owned(),
            in_place_of,
        })
    }

    /// What a parameter is by the record.
    fn of_record(&self, name: &str) -> &str {
        index_of(name).and_then(|index| self.base.get(&index)).map_or("", String::as_str)
    }

    fn settle_events(&mut self) {
        let Some(index) = index_of(EVENTS) else { return };
        let said = self.events.as_ref().filter(|said| said.in_place_of == self.of_record(EVENTS));
        match said.map(|said| said.classes.clone()) {
            Some(classes) => self.set.insert(index, classes),
            None => self.set.remove(&index),
        };
        self.tuning = self.read_tuning();
    }
}
