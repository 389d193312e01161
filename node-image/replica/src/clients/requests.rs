//! Requests that were answered and whose replies a forwarder may still ask for: part of the replicated state, so that a request which is sent again to
//! a new leader gets its old reply instead of a second execution.
//!
//! Bounds: a connection has at most [`OUTSTANDING_MAX`] requests under way (the forwarder sees to that), each next entry confirms what has arrived,
//! and a connection's end forgets it. [`CONNECTIONS_MAX`] and [`REPLY_BYTES_MAX`] are the last resort. Of too many connections, those that have been silent
//! for longest go. Of too many bytes, the replies of these go, but not the memory of their execution: whoever asks for one again is told that it is in doubt,
//! and nothing is executed twice.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use trireme_proto::Incarnation;

use crate::log::record::{RequestView, u64_at};

/// Requests of one connection that may be under way at once.
pub const OUTSTANDING_MAX: usize = 256;
/// Connections remembered.
pub const CONNECTIONS_MAX: usize = 100_000;
/// Connections that go at once when there are so many.
const EVICTED: usize = CONNECTIONS_MAX / 100;
/// Bytes of replies remembered; the newest reply is kept even where it has more.
pub const REPLY_BYTES_MAX: usize = 64 << 20;
/// In an encoded table, the length of a reply that went.
const GONE: u64 = u64::MAX;

/// One answered request.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Answered {
    number: u64,
    /// Seq of its entry.
    seq: u64,
    /// None where it had to make room.
    reply: Option<Bytes>,
}

impl Answered {
    fn bytes(&self) -> usize {
        self.reply.as_ref().map_or(0, Bytes::len)
    }
}

/// What is remembered of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// It has not been executed, and nothing after it either.
    New,
    /// It has been executed by the entry at this seq, with this reply.
    Answered(u64, Bytes),
    /// It has been executed by the entry at this seq; its reply is no longer known.
    Executed(u64),
    /// A later request of its connection was executed and left an entry; this one left none, or its reply was confirmed.
    Passed,
}

/// The table.
#[derive(Debug)]
pub(crate) struct Requests {
    connections: BTreeMap<(Incarnation, u64), Connection>,
    /// Of all replies.
    bytes: usize,
    bytes_max: usize,
}

impl Default for Requests {
    fn default() -> Requests {
        Requests { connections: BTreeMap::new(), bytes: 0, bytes_max: REPLY_BYTES_MAX }
    }
}

#[derive(Debug, Default)]
struct Connection {
    answered: VecDeque<Answered>,
    /// Highest number that left an entry.
    highest: u64,
    /// Seq of the last entry: who has been silent for longest.
    seq: u64,
}

impl Requests {
    /// What is known of a request.
    pub(crate) fn known(&self, forwarder: Incarnation, connection: u64, number: u64) -> Known {
        let Some(known) = self.connections.get(&(forwarder, connection)) else { return Known::New };
        match known.answered.iter().find(|answered| answered.number == number) {
            Some(Answered { seq, reply: Some(reply), .. }) => Known::Answered(*seq, reply.clone()),
            Some(answered) => Known::Executed(answered.seq),
            None if number <= known.highest => Known::Passed,
            None => Known::New,
        }
    }

    /// Notes the request that an entry answers.
    pub(crate) fn note(&mut self, seq: u64, request: &RequestView<'_>) {
        if self.connections.len() >= CONNECTIONS_MAX
            && !self.connections.contains_key(&(request.forwarder, request.connection))
        {
            self.forget_the_most_silent();
        }
        let connection = self.connections.entry((request.forwarder, request.connection)).or_default();
        while let Some(confirmed) = connection.answered.pop_front_if(|answered| answered.number <= request.confirmed) {
            self.bytes -= confirmed.bytes();
        }
        let reply = Some(Bytes::copy_from_slice(request.reply));
        connection.answered.push_back(Answered { number: request.number, seq, reply });
        connection.highest = connection.highest.max(request.number);
        connection.seq = seq;
        self.bytes += request.reply.len();
        if self.bytes > self.bytes_max {
            self.drop_replies(seq);
        }
    }

    /// Makes room for a quarter of all bytes, so that not each new reply has to look at all: the oldest replies go, but not that of `newest`.
    fn drop_replies(&mut self, newest: u64) {
        let with_reply = |answered: &&mut Answered| answered.reply.is_some() && answered.seq != newest;
        let all = self.connections.values_mut().flat_map(|connection| &mut connection.answered);
        let mut oldest: Vec<&mut Answered> = all.filter(with_reply).collect();
        oldest.sort_unstable_by_key(|answered| answered.seq);
        for answered in oldest {
            if self.bytes <= self.bytes_max / 4 * 3 {
                return;
            }
            self.bytes -= answered.bytes();
            answered.reply = None;
        }
    }

    /// Makes room for [`EVICTED`] connections, so that not each new one has to look at all. Whoever has the same table forgets the same.
    fn forget_the_most_silent(&mut self) {
        let mut silent: Vec<(u64, Incarnation, u64)> =
            self.connections.iter().map(|(key, connection)| (connection.seq, key.0, key.1)).collect();
        if silent.len() > EVICTED {
            silent.select_nth_unstable(EVICTED);
            silent.truncate(EVICTED);
        }
        for (_, forwarder, connection) in silent {
            self.remove(forwarder, connection);
        }
    }

    fn remove(&mut self, forwarder: Incarnation, connection: u64) {
        if let Some(gone) = self.connections.remove(&(forwarder, connection)) {
            self.bytes -= gone.answered.iter().map(Answered::bytes).sum::<usize>();
        }
    }

    /// Undoes what entries after `seq` noted.
    pub(crate) fn undo_after(&mut self, seq: u64) {
        let bytes = &mut self.bytes;
        self.connections.retain(|_, connection| {
            while let Some(undone) = connection.answered.pop_back_if(|answered| answered.seq > seq) {
                *bytes -= undone.bytes();
            }
            // Numbers at or below what was confirmed are never asked for again, so the highest left is right enough.
            connection.highest = connection.answered.back().map_or(0, |answered| answered.number);
            connection.seq = connection.seq.min(seq);
            !connection.answered.is_empty()
        });
    }

    /// Whether anything is remembered of a connection.
    pub(crate) fn remembers(&self, forwarder: Incarnation, connection: u64) -> bool {
        self.connections.contains_key(&(forwarder, connection))
    }

    /// Forgets connections that have ended: the payload of a Forget entry.
    pub(crate) fn forget(&mut self, payload: &[u8]) {
        for pair in payload.chunks_exact(16) {
            self.remove(u64_at(pair, 0), u64_at(pair, 8));
        }
    }

    /// Appends the payload of a Forget entry.
    pub(crate) fn write_forget(connections: &[(Incarnation, u64)], out: &mut Vec<u8>) {
        for (forwarder, connection) in connections {
            out.extend_from_slice(&forwarder.to_le_bytes());
            out.extend_from_slice(&connection.to_le_bytes());
        }
    }

    /// Appends the whole table, for a checkpoint or a snapshot.
    pub(crate) fn export(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&(self.connections.len() as u32).to_le_bytes());
        for ((forwarder, number), connection) in &self.connections {
            for value in [*forwarder, *number, connection.highest, connection.seq, connection.answered.len() as u64] {
                out.extend_from_slice(&value.to_le_bytes());
            }
            for answered in &connection.answered {
                let length = answered.reply.as_ref().map_or(GONE, |reply| reply.len() as u64);
                for value in [answered.number, answered.seq, length] {
                    out.extend_from_slice(&value.to_le_bytes());
                }
                out.extend_from_slice(answered.reply.as_deref().unwrap_or_default());
            }
        }
    }

    /// Reads a table; `None` where the bytes are none. Returns what follows it.
    pub(crate) fn import(bytes: &[u8]) -> Option<(Requests, &[u8])> {
        let mut rest = bytes;
        let count = u32::from_le_bytes(take(&mut rest, 4)?.try_into().ok()?);
        let mut requests = Requests::default();
        for _ in 0..count {
            let head = take(&mut rest, 40)?;
            let mut connection =
                Connection { highest: u64_at(head, 16), seq: u64_at(head, 24), answered: VecDeque::new() };
            for _ in 0..u64_at(head, 32) {
                let row = take(&mut rest, 24)?;
                let reply = match u64_at(row, 16) {
                    GONE => None,
                    length => Some(Bytes::copy_from_slice(take(&mut rest, usize::try_from(length).ok()?)?)),
                };
                requests.bytes += reply.as_ref().map_or(0, Bytes::len);
                connection.answered.push_back(Answered { number: u64_at(row, 0), seq: u64_at(row, 8), reply });
            }
            requests.connections.insert((u64_at(head, 0), u64_at(head, 8)), connection);
        }
        Some((requests, rest))
    }
}

fn take<'a>(rest: &mut &'a [u8], bytes: usize) -> Option<&'a [u8]> {
    let (head, tail) = rest.split_at_checked(bytes)?;
    *rest = tail;
    Some(head)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(number: u64, confirmed: u64) -> RequestView<'static> {
        RequestView { forwarder: 7, connection: 1, number, confirmed, reply: b"+OK\r\n" }
    }

    #[test]
    fn a_request_is_known_until_confirmed_undone_or_forgotten() {
        let mut requests = Requests::default();
        requests.note(10, &request(1, 0));
        requests.note(11, &request(3, 0));
        assert_eq!(requests.known(7, 1, 1), Known::Answered(10, Bytes::from_static(b"+OK\r\n")));
        assert_eq!(requests.known(7, 1, 2), Known::Passed);
        assert_eq!(requests.known(7, 1, 4), Known::New);
        requests.note(12, &request(4, 3));
        assert_eq!(requests.known(7, 1, 3), Known::Passed);
        requests.undo_after(11);
        assert_eq!(requests.known(7, 1, 4), Known::New);
        requests.note(13, &request(4, 3));
        let mut payload = Vec::new();
        Requests::write_forget(&[(7, 1)], &mut payload);
        requests.forget(&payload);
        assert!(!requests.remembers(7, 1));
    }

    #[test]
    fn a_table_survives_its_encoding_and_refuses_others() {
        let mut requests = Requests::default();
        requests.note(10, &request(1, 0));
        let mut bytes = Vec::new();
        requests.export(&mut bytes);
        let (again, rest) = Requests::import(&bytes).unwrap();
        assert!(rest.is_empty());
        assert_eq!(again.known(7, 1, 1), requests.known(7, 1, 1));
        for cut in 0..bytes.len() {
            assert!(Requests::import(&bytes[..cut]).is_none(), "cut at {cut}");
        }
    }

    #[test]
    fn the_oldest_replies_make_room_and_their_requests_stay_executed() {
        let mut requests = Requests { bytes_max: 100, ..Requests::default() };
        let long = [b'x'; 30];
        for number in 1..=4 {
            requests.note(number, &RequestView { connection: number, reply: &long, ..request(1, 0) });
        }
        let known = |requests: &Requests| [1, 2, 3, 4].map(|connection| requests.known(7, connection, 1));
        let kept = |seq| Known::Answered(seq, Bytes::copy_from_slice(&long));
        assert_eq!(known(&requests), [Known::Executed(1), Known::Executed(2), kept(3), kept(4)]);
        assert_eq!(requests.bytes, 60);
        let mut encoded = Vec::new();
        requests.export(&mut encoded);
        let (again, rest) = Requests::import(&encoded).unwrap();
        assert_eq!((known(&again), again.bytes, rest), (known(&requests), 60, &[][..]));
        // What is confirmed, undone or forgotten counts no more; and a reply longer than all is kept until the next.
        requests.note(5, &RequestView { connection: 3, reply: b"", ..request(2, 1) });
        requests.undo_after(3);
        assert_eq!((requests.bytes, requests.known(7, 4, 1)), (0, Known::New));
        requests.note(6, &RequestView { connection: 9, reply: &[0; 200], ..request(1, 0) });
        assert_eq!(requests.bytes, 200);
        requests.note(7, &RequestView { connection: 10, reply: &long, ..request(1, 0) });
        assert_eq!((requests.bytes, requests.known(7, 9, 1)), (30, Known::Executed(6)));
        let mut payload = Vec::new();
        Requests::write_forget(&[(7, 10)], &mut payload);
        requests.forget(&payload);
        assert_eq!(requests.bytes, 0);
    }

    #[test]
    fn the_most_silent_connections_make_room() {
        let mut requests = Requests::default();
        for i in 0..CONNECTIONS_MAX as u64 {
            requests.note(i + 1, &RequestView { connection: i, ..request(1, 0) });
        }
        requests.note(CONNECTIONS_MAX as u64 + 1, &RequestView { connection: 0, ..request(2, 0) });
        assert_eq!(requests.connections.len(), CONNECTIONS_MAX);
        requests.note(CONNECTIONS_MAX as u64 + 2, &RequestView { connection: u64::MAX, ..request(1, 0) });
        assert_eq!(requests.connections.len(), CONNECTIONS_MAX - EVICTED + 1);
        let remembered = |connection| requests.remembers(7, connection);
        let last = EVICTED as u64;
        assert_eq!([0, 1, last, last + 1, u64::MAX].map(remembered), [true, false, false, true, true]);
    }
}
