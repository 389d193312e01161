//! SESSION: what a connection has seen and written, to be gone on from by another one, at any replica of the store.
//!
//! ```text
//! SESSION TOKEN                              what this connection has seen and written, as one word
//! SESSION RESUME <token>                     this connection goes on from there, too
//! SESSION GUARANTEES [<name> ... | DEFAULT | NONE]
//! SESSION STATUS                             guarantees, how long is waited, what has still to come, what was lost and what of that recovered
//! SESSION RESET                              what was seen so far counts no more
//! HELLO [2|3] [AUTH ...] [SETNAME ...] SESSION <token>    the same as RESUME, with what a client library says first on every connection
//! ```
//!
//! **What is promised.** Each can be left out, by the store's `session.guarantees` or by the connection:
//! - ReadYourWrites: a read shows what the session has written, MonotonicReads: no less than its earlier reads;
//! - WritesFollowReads: a write is executed where everything is that the session has read, MonotonicWrites: where its earlier writes are. So no replica ever
//!   shows it without them, as far as entries are joined in causal order;
//! - ConsistentPrefix: entries become visible whole and after all that their origins had seen. Where groups have leaders that is how they are joined, and to
//!   leave it out changes nothing; where nobody leads: [`prefix`].
//!
//! **How.** As long as a connection stays where it is, its session is one number, the seq of the group's log that it has seen ([`super::client::Client`]):
//! a follower's read compares it with what is applied. A token is the same for other replicas: it is made only when it is asked for, from all that is committed
//! here by then. A resumed one is looked at ([`super::session::gate`]) until everything that it names is here; then it is forgotten, and only the number goes on.
//!
//! What it names and is not here is waited for, up to the store's `session.waitMs`; it is tried again with each commit. Then a read goes to who has it
//! ([`super::session::fetch`]); where nobody has, or can be asked, it is `-STALE` with the number of entries that are missing.
//!
//! A token may name entries that a failover was allowed to lose. Who knows that they will not come, because a later generation of their origin goes on without
//! them, says `-LOSTWRITE` once, with their number, and the session goes on without them. Those that were recovered under other names are not lost; SESSION
//! STATUS counts them.
//!
//! How far behind a replica may be that answers is said with CONSISTENCY: [`staleness`].
//!
//! **Which entries a token names.** What is here for good, which is at least what the session was shown. Where there is one group, of its newest generation
//! alone: whoever has one of its entries has all that is left of those before. Where there are several, of older generations, too, what not every group is
//! known to have: an entry that its own group has lost may have reached others. Where nobody leads: every life that can still write, and of the others what not
//! every member is known to have.

pub(crate) mod fetch;
pub(crate) mod freshness;
pub(crate) mod gate;
pub(crate) mod guarantees;
mod prefix;
pub(crate) mod staleness;
pub(crate) mod token;

use trireme_proto::ids::Dot;

use crate::{
    engine::{
        ReceivedSet,
        command::{ConnectionCommand, Error, hello, session::HELP},
    },
    io::ClientId,
    replica::Replica,
};

use super::{Clients, Flow, client::Client};
use fetch::Asks;
use gate::Missing;
use guarantees::{Guarantees, NAMES};
use staleness::MaxLag;
use token::{Key, ORIGINS_MAX, Token};

/// Milliseconds that are waited for what a session has seen, unless the store says otherwise.
pub(crate) const WAIT_MS: u32 = 1_000;

/// Of each other group, how many of its last generations a follower names, who does not hear what others have.
const GENERATIONS_NAMED: usize = 4;

/// What a connection has said of its session.
#[derive(Debug, Default)]
pub(crate) struct Session {
    /// What was resumed and has not been found to be here.
    pub(crate) token: Token,
    /// Its own choice; none: the store's.
    pub(crate) guarantees: Option<Guarantees>,
    /// What its client was told is lost.
    lost: ReceivedSet,
    /// Since when its next command waits for what it has seen.
    since_us: Option<u64>,
    /// The same for what its next read would show an effect of.
    prefix_since_us: Option<u64>,
    /// Nobody leads, and what that command reads is asked of these members, too.
    pub(crate) asks: Option<Asks>,
    /// Reads that wait for what it has seen are asked of this group, or where nobody leads of others, without waiting.
    fetches: Option<u32>,
    /// How far behind a replica may be that answers its reads.
    pub(crate) max_lag: Option<MaxLag>,
    /// Since when its next command waits for a replica within it; and whether that is the leader.
    stale_since_us: Option<u64>,
    pub(crate) to_leader: bool,
    /// It wants to know how far behind that was, with each answer.
    pub(crate) tells_staleness: bool,
}

/// When commands that wait for what has still to come were looked at. A few are whenever something has come; many, so that it costs no more than it is worth,
/// once in a while.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Look {
    at_us: u64,
}

impl Look {
    /// So many are few.
    const FEW: usize = 64;
    /// Pause between looks at many, in microseconds.
    const PAUSE_US: u64 = 1_000;

    /// Until when so many are not looked at; none: they may be now.
    pub(crate) fn rests_until_us(self, waiting: usize, now_us: u64) -> Option<u64> {
        let until_us = self.at_us.saturating_add(Look::PAUSE_US);
        Some(until_us).filter(|until_us| waiting > Look::FEW && now_us < *until_us)
    }

    pub(crate) fn note(&mut self, now_us: u64) {
        self.at_us = now_us;
    }
}

/// Commands that wait for what their sessions have seen.
#[derive(Debug, Default)]
pub(crate) struct Awaiting {
    /// The first of them waits until then; none: there is none.
    due_us: Option<u64>,
    count: usize,
    look: Look,
}

impl Client {
    /// What this connection is promised.
    pub(crate) fn guarantees(&self, store: Guarantees) -> Guarantees {
        self.session.as_ref().and_then(|session| session.guarantees).unwrap_or(store)
    }

    /// The seq of the own group's log that a read must not be behind.
    pub(crate) fn reads_after(&self, store: Guarantees) -> u64 {
        let guarantees = self.guarantees(store);
        match guarantees.has(Guarantees::MONOTONIC_READS) {
            true => self.session_seq,
            false if guarantees.has(Guarantees::READ_YOUR_WRITES) => self.written_seq,
            false => 0,
        }
    }

    pub(crate) fn session_mut(&mut self) -> &mut Session {
        self.session.get_or_insert_default()
    }
}

impl Clients {
    fn session_of(&self, id: ClientId) -> Option<&Session> {
        self.map.get(&id)?.session.as_deref()
    }

    fn session_of_mut(&mut self, id: ClientId) -> Option<&mut Session> {
        self.map.get_mut(&id)?.session.as_deref_mut()
    }

    /// A command waits for what its session has seen, until then.
    pub(crate) fn await_session(&mut self, until_us: u64) {
        let awaiting = &mut self.sessions;
        awaiting.due_us = Some(awaiting.due_us.map_or(until_us, |due| due.min(until_us)));
        awaiting.count += 1;
    }

    /// It is this time, and with `news` more has come: who waits for what its session has seen may go on.
    pub(crate) fn wake_sessions(&mut self, now_us: u64, news: bool) {
        let Awaiting { due_us: Some(due_us), count, look } = &mut self.sessions else { return };
        match look.rests_until_us(*count, now_us) {
            _ if *due_us <= now_us => {}
            Some(until_us) if news => return *due_us = until_us.min(*due_us),
            None if news => {}
            _ => return,
        }
        look.note(now_us);
        (self.sessions.due_us, self.sessions.count, self.wake) = (None, 0, true);
    }

    /// Whether there is one.
    pub(crate) fn sessions_wait(&self) -> bool {
        self.sessions.count > 0
    }

    /// When the first of them has waited long enough, or is looked at again.
    pub(crate) fn session_due_us(&self) -> Option<u64> {
        self.sessions.due_us
    }
}

impl Replica {
    /// The secret that the store's tokens are sealed with.
    pub(crate) fn set_session_key(&mut self, secret: &[u8]) {
        self.clients.token_keys.change(Key::new(&self.identity.store, secret), self.now.mono_us);
    }

    /// What the store promises every connection.
    pub(crate) fn store_guarantees(&self) -> Guarantees {
        Guarantees::without(self.meta.topology.as_ref().map_or(0, |topology| topology.settings.session_off))
    }

    /// The same in milliseconds.
    pub(super) fn session_wait_ms(&self) -> u32 {
        u32::try_from(self.session_wait_us() / 1_000).unwrap_or(u32::MAX)
    }

    /// For how long a command waits for what its session has seen: no longer than any command waits.
    fn session_wait_us(&self) -> u64 {
        let wait_ms = self.setting(|settings| settings.session_wait_ms).unwrap_or(WAIT_MS);
        (u64::from(wait_ms) * 1_000).min(self.request_timeout_us() / 2)
    }

    pub(super) fn session(&mut self, id: ClientId, args: &[&[u8]]) -> Flow {
        let is = |name: &str| args.get(1).is_some_and(|arg| arg.eq_ignore_ascii_case(name.as_bytes()));
        if is("token") {
            return self.session_token(id);
        }
        if is("resume") {
            return self.session_resume(id, args[2]);
        }
        if is("guarantees") {
            return self.session_guarantees(id, &args[2..]);
        }
        if is("status") {
            return self.session_status(id);
        }
        if is("reset") {
            if let Some(client) = self.clients.get_mut(id) {
                (client.session, client.session_seq, client.written_seq) = (None, 0, 0);
                client.elsewhere.seen = ReceivedSet::default();
            }
            self.answer(id, |reply| reply.ok());
            return Flow::Done;
        }
        self.answer(id, |reply| {
            reply.array(HELP.len());
            HELP.iter().for_each(|line| reply.simple(line));
        });
        Flow::Done
    }

    /// The state is one of the store's: whole, and of its history, which only leaders can cut off.
    fn is_settled_state(&self) -> bool {
        self.whole() && (self.is_leaderless() || self.in_history())
    }

    fn session_token(&mut self, id: ClientId) -> Flow {
        if self.clients.token_keys.sealing(self.now.mono_us).is_none() {
            return self.refuse(id, &Error::Fixed(NO_KEY));
        }
        let known = self.is_settled_state();
        let commit = self.commit;
        let Some(client) = self.clients.get_mut(id) else { return Flow::Done };
        // What its earlier commands have shown and written is known when they are answered, and named when it is here.
        if client.held > 0 || !client.in_order() || client.session_seq > commit || !known {
            return Flow::NotNow;
        }
        let token = self.token_of(id);
        if token.seen.origins().len() > ORIGINS_MAX {
            return self.refuse(id, &Error::Fixed(TOO_MANY));
        }
        let text = self.clients.token_keys.sealing(self.now.mono_us).map(|key| key.seal(&token)).unwrap_or_default();
        self.answer(id, |reply| reply.bulk(text.as_bytes()));
        Flow::Done
    }

    /// What a connection has seen and written.
    fn token_of(&mut self, id: ClientId) -> Token {
        let mut token = Token::default();
        let (own, here) = (self.identity.group, self.nameable());
        let Some(client) = self.clients.get_mut(id) else { return token };
        if client.session_seq > 0 {
            token.seen = here;
        }
        token.seen.merge(&client.elsewhere.seen);
        let mut wrote =
            |group: u32| {
                let newest = token.seen.origins().iter().rfind(|seen| seen.origin.group == group);
                token.written.extend(newest.map(|seen| Dot {
                    origin: seen.origin,
                    seq: seen.beyond.last().map_or(seen.upto, |beyond| beyond.1),
                }));
            };
        client.elsewhere.wrote.iter().for_each(|group| wrote(*group));
        match client.wrote.filter(|dot| token.seen.contains(*dot)) {
            Some(dot) => token.written.push(dot),
            None if client.written_seq > 0 => wrote(own),
            None => {}
        }
        if let Some(session) = &client.session {
            token.merge(&session.token);
        }
        token
    }

    /// What is here for good: what tokens name, and what they are compared with.
    pub(super) fn here(&self) -> &ReceivedSet {
        match &self.feeds {
            // Nothing is undone where nobody leads, and what is not yet durable may be lost all the same.
            Some(feeds) if self.is_leaderless() => &feeds.held,
            _ => self.engine.committed(),
        }
    }

    /// What is here for good, as far as a token has to name it.
    fn nameable(&self) -> ReceivedSet {
        let all = self.here();
        let mut named = ReceivedSet::default();
        for (i, seen) in all.origins().iter().enumerate() {
            let needed = match self.is_leaderless() {
                true => !self.is_past(seen.origin) || !self.all_hold(seen),
                // In order: the newest generation of a group is its last. Of one that went on without some of an older one's entries, others may have these.
                false => {
                    let newer = |after: usize| {
                        all.origins().get(i + after).is_some_and(|next| next.origin.group == seen.origin.group)
                    };
                    match &self.feeds {
                        Some(feeds) if self.leads() => {
                            !newer(1) || !feeds.said.values().all(|said| said.covers_part(seen))
                        }
                        Some(_) => !newer(GENERATIONS_NAMED),
                        None => !newer(1),
                    }
                }
            };
            if needed {
                named.insert_seen(seen);
            }
        }
        // State that was joined may show entries that have not come yet.
        for seen in self.engine.shown_ahead().without(all).origins() {
            if !(self.is_leaderless() && self.is_past(seen.origin) && self.none_holds(seen)) {
                named.insert_seen(seen);
            }
        }
        named
    }

    fn session_resume(&mut self, id: ClientId, text: &[u8]) -> Flow {
        match self.open_token(text) {
            Ok(token) => {
                self.resume(id, &token);
                self.answer(id, |reply| reply.ok());
                Flow::Done
            }
            Err(error) => self.refuse(id, &error),
        }
    }

    fn open_token(&mut self, text: &[u8]) -> Result<Token, Error> {
        let opened = self.clients.token_keys.open(text).ok_or(Error::Fixed(NO_KEY))?;
        opened.map_err(|error| {
            self.counters.session_refusals += 1;
            Error::Text(format!("BADTOKEN {error}; nothing was resumed").into_bytes())
        })
    }

    fn resume(&mut self, id: ClientId, token: &Token) {
        if let Some(client) = self.clients.get_mut(id).filter(|_| !token.is_empty()) {
            let session = client.session_mut();
            session.token.merge(token);
            session.since_us = None;
        }
    }

    /// HELLO, one of whose options goes on with a session.
    pub(super) fn hello(&mut self, id: ClientId, args: &[&[u8]]) -> Flow {
        let Some(at) = hello::session_option(args) else {
            self.run_plain(id, ConnectionCommand::Hello, args);
            return Flow::Done;
        };
        let others = [&args[..at], &args[at + 2..]].concat();
        // First what Redis looks at: who may not come in learns nothing of a token.
        let Clients { password, map, .. } = &mut self.clients;
        let Some(client) = map.get_mut(&id) else { return Flow::Done };
        if let Err(error) = hello::check(&mut client.state, password, &others) {
            self.answer(id, |reply| error.write(reply));
            return Flow::Done;
        }
        let token = match self.open_token(args[at + 1]) {
            Ok(token) => token,
            Err(error) => return self.refuse(id, &error),
        };
        if self.run_plain(id, ConnectionCommand::Hello, &others) {
            self.resume(id, &token);
        }
        Flow::Done
    }

    fn session_guarantees(&mut self, id: ClientId, words: &[&[u8]]) -> Flow {
        let store = self.store_guarantees();
        let chosen = match words {
            [] => {
                let all = self.clients.get_mut(id).map_or(store, |client| client.guarantees(store));
                self.answer(id, |reply| write_names(all, reply));
                return Flow::Done;
            }
            [word] if word.eq_ignore_ascii_case(b"default") => None,
            [word] if word.eq_ignore_ascii_case(b"none") => Some(Guarantees::NONE),
            words => match Guarantees::parse(words) {
                Some(chosen) => Some(chosen),
                None => {
                    let why = format!("ERR SESSION GUARANTEES takes {}, or DEFAULT, or NONE", NAMES.join(", "));
                    return self.refuse(id, &Error::Text(why.into_bytes()));
                }
            },
        };
        if let Some(client) = self.clients.get_mut(id) {
            client.session_mut().guarantees = chosen;
        }
        self.answer(id, |reply| reply.ok());
        Flow::Done
    }

    fn session_status(&mut self, id: ClientId) -> Flow {
        let (store, wait_ms) = (self.store_guarantees(), self.session_wait_us() / 1_000);
        let Some(client) = self.clients.get_mut(id) else { return Flow::Done };
        let guarantees = client.guarantees(store);
        let (token, lost) = match &client.session {
            Some(session) => (session.token.clone(), session.lost.clone()),
            None => (Token::default(), ReceivedSet::default()),
        };
        let Missing { waits, back, .. } = self.missing(&token.seen, false);
        // What was lost may have been appended again since.
        let since = self.missing(&lost, false).back;
        let lost = lost.count() - since;
        self.answer(id, |reply| {
            reply.map(5);
            reply.bulk(b"guarantees");
            write_names(guarantees, reply);
            for (name, number) in [
                ("wait_ms", wait_ms),
                ("entries_missing", waits.count()),
                ("entries_lost", lost),
                ("entries_recovered", since + back),
            ] {
                reply.bulk(name.as_bytes());
                reply.integer(number as i64);
            }
        });
        Flow::Done
    }
}

fn write_names(all: Guarantees, reply: &mut crate::engine::command::Reply<'_>) {
    reply.array(all.names().count());
    all.names().for_each(|name| reply.bulk(name.as_bytes()));
}

const NO_KEY: &str =
    "ERR this replica has no key for session tokens: none could be read from its --session-key-file, or it has none";
const TOO_MANY: &str = "ERR the session has seen entries of more groups than a token can name";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_are_looked_at_whenever_something_comes_and_many_once_in_a_while() {
        let mut clients = Clients::default();
        let mut woken = |now_us: u64, waiting: usize, news: bool| {
            (clients.sessions.due_us, clients.sessions.count, clients.wake) = (None, 0, false);
            (0..waiting).for_each(|_| clients.await_session(1_000_000));
            clients.wake_sessions(now_us, news);
            (clients.wake, clients.session_due_us())
        };
        assert_eq!(woken(10_000, 0, true), (false, None));
        assert_eq!(woken(10_000, 1_000, false), (false, Some(1_000_000)));
        assert_eq!(woken(10_000, 1_000, true), (true, None));
        assert_eq!(woken(10_900, 1_000, true), (false, Some(11_000)), "they were looked at just now");
        assert_eq!(woken(10_900, 64, true), (true, None));
        assert_eq!(woken(11_900, 65, true), (true, None), "a millisecond has passed");
        assert_eq!(woken(1_000_000, 1_000, false), (true, None), "the first of them has waited long enough");
    }
}
