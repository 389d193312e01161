//! `notify-keyspace-events`: the one parameter that is set for the whole store, at whichever replica.
//!
//! There are two that say what it is: the store's record, and whoever said CONFIG SET last, at any replica. The newest of the two is in force. The record numbers
//! its changes (`revision`), and CONFIG SET says after which of them it was said, so that is the same wherever it is looked at, whatever was heard first; and
//! what was said before a change of the record stays over where the record goes back to what it had then. What is said is a state, of which the later one
//! counts: so it does not matter in which order, or how often, replicas tell it each other.

use trireme_proto::message::KeyspaceEvents;

use super::{EVENTS, Parameters, index_of, parse};

impl Parameters {
    /// Takes over what the store's record says of keyspace events, and the number of the change that made it so.
    pub fn follow_events(&mut self, classes: &str, revision: u64) {
        let known = self.of_record(EVENTS) == classes && self.events_revision == revision;
        let Some(index) = index_of(EVENTS).filter(|_| !known) else { return };
        self.base.insert(index, classes.to_owned());
        self.events_revision = revision;
        self.settle_events();
    }

    /// What was said at any replica of the store of keyspace events: says whether that is news.
    pub fn hear_events(&mut self, said: &KeyspaceEvents) -> bool {
        let stamp = |said: &KeyspaceEvents| (said.revision, said.clock_ms, said.replica);
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
        // Others may have told of a change of the record that has not come here yet.
        let newer = self.events.as_ref().filter(|known| known.revision > self.events_revision);
        let (revision, in_place_of) =
            newer.map_or((self.events_revision, self.of_record(EVENTS)), |known| (known.revision, &*known.in_place_of));
        Some(KeyspaceEvents {
            clock_ms: after.max(now_ms),
            replica,
            classes: self.named(EVENTS).to_owned(),
            in_place_of: in_place_of.to_owned(),
            revision,
        })
    }

    /// What a parameter is by the record.
    fn of_record(&self, name: &str) -> &str {
        index_of(name).and_then(|index| self.base.get(&index)).map_or("", String::as_str)
    }

    fn settle_events(&mut self) {
        let Some(index) = index_of(EVENTS) else { return };
        let holds = |said: &&KeyspaceEvents| {
            let same = said.revision == self.events_revision && said.in_place_of == self.of_record(EVENTS);
            said.revision > self.events_revision || same
        };
        match self.events.as_ref().filter(holds).map(|said| said.classes.clone()) {
            Some(classes) => self.set.insert(index, classes),
            None => self.set.remove(&index),
        };
        self.tuning = self.read_tuning();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A replica whose record says this.
    fn replica(classes: &str, revision: u64) -> Parameters {
        let mut new = Parameters::default();
        new.follow_events(classes, revision);
        new
    }

    fn say(at: &mut Parameters, classes: &str, now_ms: u64) -> KeyspaceEvents {
        let args: [&[u8]; 4] = [b"CONFIG", b"SET", EVENTS.as_bytes(), classes.as_bytes()];
        at.set(&args).unwrap();
        let said = at.say_events(&args, 1, now_ms).unwrap();
        assert!(at.hear_events(&said));
        said
    }

    fn is(at: &Parameters) -> &str {
        at.named(EVENTS)
    }

    #[test]
    fn the_newest_of_what_the_record_says_and_what_was_said_is_in_force() {
        let mut a = replica("KA", 1);
        let said = say(&mut a, "xE", 1_000);
        assert_eq!(is(&a), "xE");
        a.follow_events("", 2);
        assert_eq!(is(&a), "");
        // The record goes back to what it was.
        a.follow_events("KA", 3);
        assert_eq!(is(&a), "KA");
        // One that was away while it did hears of what was said by others only.
        let mut b = replica("KA", 3);
        assert!(b.hear_events(&said));
        assert_eq!(is(&b), "KA");
        say(&mut b, "gE", 2_000);
        assert_eq!(is(&b), "gE");
    }

    #[test]
    fn whose_record_is_older_takes_what_was_said_after_a_newer_one_and_says_no_older_thing() {
        let (mut newer, mut older) = (replica("KA", 3), replica("KA", 1));
        let said = say(&mut newer, "xE", 1_000);
        assert!(older.hear_events(&said));
        assert_eq!(is(&older), "xE");
        // The changes that it has missed come.
        older.follow_events("", 2);
        assert_eq!(is(&older), "xE");
        let again = say(&mut older, "lE", 10);
        older.follow_events("KA", 3);
        assert_eq!(is(&older), "lE");
        assert!(newer.hear_events(&again));
        assert_eq!(is(&newer), "lE");
        // What was said without knowing of a change is over where that is known, whatever the clock.
        let mut behind = replica("KA", 1);
        let late = say(&mut behind, "xK", 9_000);
        assert!(!newer.hear_events(&late) && behind.hear_events(&again));
        assert_eq!([is(&newer), is(&behind)], ["lE"; 2]);
    }
}
