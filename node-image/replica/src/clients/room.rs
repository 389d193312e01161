//! Large commands take turns. What is written goes to disks and other replicas in one order, so a small command waits for all bytes that are on their way
//! there. So each replica has no more large ones of its own clients under way, executed here or asked of a leader, than are done in a moment. The others wait,
//! in the order in which they came.

use crate::{io::ClientId, replica::Replica};

use super::{Flow, execute::Work};

/// A command with so many bytes is large.
const LARGE_BYTES: usize = 64 << 10;
/// Bytes of large commands under way, up to which one more begins.
const UNDER_WAY_MAX: usize = 1 << 20;
/// One that is under way for so long, in microseconds, holds up no other: it waits for a long way more than for these bytes. Where it is still to be
/// executed it may be, whatever is under way by then.
const PATIENCE_US: u64 = 50_000;

/// Large commands of a replica's own clients.
#[derive(Debug, Default)]
pub(crate) struct Room {
    /// Some wait, and whoever comes now comes behind them.
    waited_for: bool,
    /// What is tried now has waited for as long as a command may: it does not wait for room any more.
    pub(super) overdue: bool,
    under_way: Vec<Large>,
}

/// One that is under way.
#[derive(Debug)]
struct Large {
    client: ClientId,
    bytes: usize,
    since_us: u64,
    until: Until,
}

/// When it is not any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Until {
    /// It is executed: a round brings what it needs for that.
    Executed,
    /// Its entry, with this seq, has its copies.
    Settled(u64),
    /// The leader has answered the client's request with this number.
    Answered(u64),
}

impl Room {
    fn is_crowded(&self, now_us: u64) -> bool {
        let counts = self.under_way.iter().filter(|large| now_us < large.since_us.saturating_add(PATIENCE_US));
        counts.map(|large| large.bytes).sum::<usize>() >= UNDER_WAY_MAX
    }

    /// Takes out the command of this client that is still to be executed.
    fn take_begun(&mut self, id: ClientId) -> Option<Large> {
        let is_begun = |large: &Large| large.client == id && large.until == Until::Executed;
        let at = self.under_way.iter().position(is_begun)?;
        Some(self.under_way.swap_remove(at))
    }
}

impl Replica {
    /// Executes a unit of work here, or forwards it, or neither for now: of large ones a few at a time.
    pub(super) fn place(&mut self, id: ClientId, work: &Work<'_>) -> Flow {
        let bytes = work.bytes();
        // Who waits for keys may wait for long, and others may be what it waits for.
        if bytes < LARGE_BYTES || work.waits() || !work.writes() {
            return self.place_now(id, work);
        }
        let (room, now_us) = (&mut self.clients.room, self.now.mono_us);
        let begun = room.take_begun(id);
        if begun.is_none() && !room.overdue && (room.waited_for || room.is_crowded(now_us)) {
            room.waited_for = true;
            return Flow::NotNow;
        }
        let (seq, asked) = (self.batch_last, self.asked_by(id));
        let flow = self.place_now(id, work);
        let until = match flow {
            Flow::Done if self.batch_last > seq => Some(Until::Settled(self.batch_last)),
            Flow::Done => Some(self.asked_by(id)).filter(|now| *now > asked).map(Until::Answered),
            Flow::NotNow => (begun.is_some() || self.clients.stamp.is_some()).then_some(Until::Executed),
        };
        let since_us = begun.map_or(now_us, |begun| begun.since_us);
        self.clients.room.under_way.extend(until.map(|until| Large { client: id, bytes, since_us, until }));
        flow
    }

    /// Number of the last request of a client that was forwarded.
    fn asked_by(&mut self, id: ClientId) -> u64 {
        self.clients.get_mut(id).map_or(0, |client| client.asked)
    }

    /// Large commands that are done make room: who has waited for it goes on.
    pub(super) fn look_for_room(&mut self) {
        let (now_us, settled) = (self.now.mono_us, self.settled());
        let mut room = std::mem::take(&mut self.clients.room);
        room.under_way.retain(|large| {
            let client = self.clients.map.get(&large.client);
            let patient = now_us < large.since_us.saturating_add(PATIENCE_US);
            match large.until {
                Until::Executed => client.is_some_and(|client| !client.waiting.is_empty()),
                Until::Settled(seq) => patient && seq > settled,
                Until::Answered(asked) => patient && client.is_some_and(|it| it.group_of_place(asked).is_some()),
            }
        });
        self.clients.wake |= room.waited_for && !room.is_crowded(now_us);
        self.clients.room = room;
    }

    /// All who wait are looked at, in their order.
    pub(super) fn begin_to_make_room(&mut self) {
        self.clients.room.waited_for = false;
    }
}
