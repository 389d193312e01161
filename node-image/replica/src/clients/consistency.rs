//! CONSISTENCY: how many copies a connection's writes wait for, and how many replicas its reads ask, where nobody leads.
//!
//! ```text
//! CONSISTENCY                              this connection's level: its name, w, r, and n
//! CONSISTENCY <level>                      for what this connection asks from now on
//! CONSISTENCY <level> CALL <command ...>   for one command on data
//! CONSISTENCY REPORT ON|OFF                with each answer of a command on data, in RESP3: the w and r that it had, as an attribute before it; and in every mode,
//!                                          with each read, how far behind who has read it was
//! CONSISTENCY maxlag=<n>ms|<n>|off         reads are answered by a replica that is no further behind: in every mode, see [`super::session::staleness`]
//! CONSISTENCY LAST                         the same of the last answer, in both protocols
//!
//! <level>: ONE, TWO, THREE, QUORUM, ALL, LOCAL_QUORUM, EACH_QUORUM, DEFAULT; or w=<n>, r=<n> or both: what is left out is the store's
//! ```
//!
//! It raises or lowers, for a connection or a command, the copies that a write waits for and the states that are joined before a command runs. What it does
//! not touch is what the store's own numbers promise to others: a write's clock is above that of n - w + 1 members, by the **store's** w (`writeOrder:
//! Strict`), and every write goes to all members, whatever is waited for. RESET drops it.
//!
//! **What a weaker level does not promise.** With w + r > n a register is linearizable because the members that a write waited for and those that a read asks
//! share one. So:
//! - a write that waits for fewer than w copies may be missed by reads at the store's r, and is lost with the disks of those few. A write after it may get
//!   a smaller clock, and lose to it, although it came later: its clock was asked of members that need not have it;
//! - a read that asks fewer than r may miss writes that were acknowledged, and two of them may go back in time. A command that depends on what its keys
//!   hold (INCR, DEL, SADD ...) runs on what those few have: it removes only what it has seen, and its reply counts only that;
//! - what a read at a lower w shows may be on fewer than w members: a later read need not show it.
//!
//! A level that is stronger than the store's in both numbers promises what the store does. What a read at a higher w shows of writes that the same replica
//! coordinated may be on the store's w members only: they have no more to wait for. LOCAL_QUORUM overlaps with LOCAL_QUORUM of the same region only.
//! Across levels: a write at `w` is seen by every later read at `r` where w + r > n.

use crate::{
    engine::command::{self, Error, Handler, Reply},
    io::ClientId,
    quorum::level::{Level, Side},
    replica::Replica,
};

use super::{Flow, client::Consistency, execute::Work, held::Reach, session::staleness::MaxLag};

const USAGE: &str = "ERR CONSISTENCY takes ONE, TWO, THREE, QUORUM, ALL, LOCAL_QUORUM, EACH_QUORUM, DEFAULT, or w=<n> r=<n> \
                     (either may be left out), and after it perhaps CALL <command>; or maxlag=<n>ms, maxlag=<n>, maxlag=off; or REPORT ON|OFF, or LAST, or nothing";
const ELSEWHERE: &str = "ERR CONSISTENCY is for stores of mode Leaderless: in this one a leader orders everything, and a write is answered \
                         with the store's w copies; READONLY lets this replica answer reads from what it has, WAIT waits for more copies; \
                         CONSISTENCY maxlag=200ms bounds how old an answer may be, CONSISTENCY REPORT ON says how old it is";

/// The level of one request and its command, of the arguments of `CONSISTENCY <level> CALL <command ...>`.
pub(crate) fn call_of<'a, 'b>(args: &'b [&'a [u8]]) -> Option<(Level, &'b [&'a [u8]])> {
    if !args.first()?.eq_ignore_ascii_case(b"consistency") {
        return None;
    }
    // A level has one word or two.
    let at = (2..=3).find(|at| args.get(*at).is_some_and(|word| word.eq_ignore_ascii_case(b"call")))?;
    let level = Level::parse(&args[1..at])?;
    (args.len() > at + 1).then(|| (level, &args[at + 1..]))
}

/// Writes w and r, as the value of a map or of an attribute.
fn write_numbers(w: usize, r: usize, reply: &mut Reply<'_>) {
    reply.map(2);
    for (name, number) in [("w", w), ("r", r)] {
        reply.bulk(name.as_bytes());
        reply.count(number);
    }
}

impl Replica {
    pub(super) fn consistency(&mut self, id: ClientId, args: &[&[u8]]) -> Flow {
        if self.meta.topology.is_none() {
            return Flow::NotNow; // Whether there is a leader is known with the record.
        }
        if let [_, word] = args
            && let Some(bound) = MaxLag::parse(word)
        {
            if let Some(client) = self.clients.get_mut(id) {
                client.session_mut().max_lag = bound;
            }
            self.answer(id, |reply| reply.ok());
            return Flow::Done;
        }
        if !self.is_leaderless() {
            return self.consistency_of_copies(id, args);
        }
        if let Some((level, command)) = call_of(args) {
            return self.call_at(id, level, command);
        }
        let is = |at: usize, word: &str| args.get(at).is_some_and(|arg| arg.eq_ignore_ascii_case(word.as_bytes()));
        match args.len() {
            1 => self.tell_level(id),
            2 if is(1, "last") => self.tell_last(id),
            3 if is(1, "report") && (is(2, "on") || is(2, "off")) => {
                if let Some(client) = self.clients.get_mut(id) {
                    client.session_mut().tells_staleness = is(2, "on");
                }
                self.change_consistency(id, |consistency| consistency.reports = is(2, "on"))
            }
            2 | 3 => match Level::parse(&args[1..]) {
                None => self.refuse(id, &Error::Fixed(USAGE)),
                Some(level) => match self.impossible(level) {
                    Some(why) => self.refuse(id, &Error::Text(why.into_bytes())),
                    None => self.change_consistency(id, |consistency| consistency.level = level),
                },
            },
            _ => self.refuse(id, &Error::Fixed(USAGE)),
        }
    }

    /// Where groups have leaders there are no levels: what can be asked is how old answers are.
    fn consistency_of_copies(&mut self, id: ClientId, args: &[&[u8]]) -> Flow {
        let is = |at: usize, word: &str| args.get(at).is_some_and(|arg| arg.eq_ignore_ascii_case(word.as_bytes()));
        if args.len() != 3 || !is(1, "report") || !(is(2, "on") || is(2, "off")) {
            return self.refuse(id, &Error::Fixed(ELSEWHERE));
        }
        if let Some(client) = self.clients.get_mut(id) {
            client.session_mut().tells_staleness = is(2, "on");
        }
        self.answer(id, |reply| reply.ok());
        Flow::Done
    }

    fn change_consistency(&mut self, id: ClientId, change: impl FnOnce(&mut Consistency)) -> Flow {
        if let Some(client) = self.clients.get_mut(id) {
            client.consistency.tracks = true;
            change(&mut client.consistency);
        }
        self.answer(id, |reply| reply.ok());
        Flow::Done
    }

    fn tell_level(&mut self, id: ClientId) -> Flow {
        let Some(level) = self.clients.get_mut(id).map(|client| client.level()) else { return Flow::Done };
        let ((w, n), (r, _)) = (self.number_of(Side::Writes, level.w), self.number_of(Side::Reads, level.r));
        self.answer(id, |reply| {
            reply.map(4);
            reply.bulk(b"level");
            reply.bulk(level.name().as_bytes());
            for (name, number) in [("w", w), ("r", r), ("n", n)] {
                reply.bulk(name.as_bytes());
                reply.count(number);
            }
        });
        Flow::Done
    }

    /// What the answer before had: so that one comes first.
    fn tell_last(&mut self, id: ClientId) -> Flow {
        let Some(client) = self.clients.get_mut(id) else { return Flow::Done };
        if client.held > 0 {
            return Flow::NotNow;
        }
        client.consistency.tracks = true;
        let last = client.consistency.last.map(|reach| (self.copies_reached(reach), reach.r));
        self.answer(id, |reply| match last {
            Some((w, r)) => write_numbers(w, r, reply),
            None => reply.null(),
        });
        Flow::Done
    }

    /// One command at a level of its own.
    fn call_at(&mut self, id: ClientId, level: Level, args: &[&[u8]]) -> Flow {
        let spec = match command::resolve(args) {
            Ok(spec) => spec,
            Err(error) => return self.refuse(id, &error),
        };
        if !matches!(spec.handler, Handler::Data(_)) {
            let why =
                "ERR CONSISTENCY calls a command on data: for others, and for transactions, set the connection's level";
            return self.refuse(id, &Error::Fixed(why));
        }
        let Some(client) = self.clients.get_mut(id) else { return Flow::Done };
        client.consistency.tracks = true;
        client.consistency.once = Some(level);
        let flow = self.place(id, &Work::One(spec, args));
        if let Some(client) = self.clients.get_mut(id) {
            client.consistency.once = None;
        }
        flow
    }

    /// How many members hold what an answer says was written, or shows.
    fn copies_reached(&self, reach: Reach) -> usize {
        let own = self.copies_of_own(reach.own);
        // What a read shows of others was counted by its round.
        if reach.wrote { own } else { own.min(reach.w) }
    }

    /// The last `bytes` that are ready for a client are an answer that reaches so far: noted, and said before it where the client wants that.
    pub(super) fn note_reach(&mut self, id: ClientId, bytes: usize, reach: Reach) {
        let tracks = self.clients.get_mut(id).is_some_and(|client| client.consistency.tracks);
        let w = if tracks { self.copies_reached(reach) } else { reach.w };
        let Some(client) = self.clients.get_mut(id) else { return };
        if !tracks {
            // Asked about later, it is counted then.
            client.consistency.last = Some(reach);
            return;
        }
        client.consistency.last = Some(Reach { wrote: false, w, ..reach });
        if reach.told {
            let mut attribute = Vec::new();
            let mut reply = Reply::new(&mut attribute, true);
            reply.attribute(1 + usize::from(reach.behind.is_some()));
            reply.bulk(b"consistency");
            write_numbers(w, reach.r, &mut reply);
            if let Some(behind) = reach.behind {
                behind.write(&mut reply);
            }
            let at = client.ready - bytes;
            client.ready += attribute.len();
            client.out.splice(at..at, attribute);
        }
    }
}
