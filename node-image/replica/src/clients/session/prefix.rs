//! Consistent prefix where nobody leads: no read shows an effect without its cause.
//!
//! Where groups have leaders, what others wrote comes in after all that it depends on. Where nobody leads, it is taken in as it comes, since it counts for
//! quorums at once; so the state may show what depends on something that has not come. The engine knows what is missing
//! ([`crate::engine::Engine::missing_causes`]), and nearly always nothing is. Reads of several keys wait until it has come. One key is asked of so many
//! replicas that one of them is among those of any write, also where the replica's own state would do: whoever asks for its cause next is shown that, too.

use trireme_proto::breakage::{Breakage, broken};

use crate::{
    clients::{Flow, execute::Work},
    engine::{ReceivedSet, command::Error, vector::Seen},
    io::ClientId,
    quorum::{
        keys_shown,
        level::{Quorum, Side},
    },
    replica::Replica,
};

use super::Guarantees;

impl Replica {
    /// Whether a unit of work that shows so many keys or more may run; else it waits, and is refused in the end.
    pub(crate) fn keep_prefix(&mut self, id: ClientId, work: &Work<'_>, keys: usize) -> Result<(), Flow> {
        let missing = self.causes_to_come().filter(|_| keys_shown(work) >= keys && self.keeps_prefix(id));
        let Some(missing) = missing else {
            self.prefix_is_here(id);
            return Ok(());
        };
        let (now_us, wait_us) = (self.now.mono_us, self.session_wait_us());
        let Some(client) = self.clients.get_mut(id) else { return Err(Flow::Done) };
        let until_us = client.session_mut().prefix_since_us.get_or_insert(now_us).saturating_add(wait_us);
        if now_us < until_us {
            self.clients.await_session(until_us);
            return Err(Flow::NotNow);
        }
        self.prefix_is_here(id);
        self.counters.stale_answers += 1;
        let why = format!(
            "STALE {} entries that what is here depends on have not come within {} ms: {}; nothing was done",
            missing.count(),
            wait_us / 1_000,
            self.by_origin(&missing)
        );
        Err(self.refuse(id, &Error::Text(why.into_bytes())))
    }

    /// Whether a read of one key that would ask no other replica now asks so many that it may be shown: that is sooner than what it depends on comes.
    pub(crate) fn asks_for_prefix(&mut self, id: ClientId, work: &Work<'_>) -> bool {
        if self.causes_to_come().is_none()
            || keys_shown(work) != 1
            || self.number_of(Side::Writes, Quorum::All) == self.number_of(Side::Writes, Quorum::Store)
        {
            return false;
        }
        if !self.keeps_prefix(id) {
            return false;
        }
        let Some(client) = self.clients.get_mut(id) else { return false };
        if client.session_mut().asks.is_some() {
            return false;
        }
        self.asks_enough(id, work)
    }

    /// The next command waits anew.
    fn prefix_is_here(&mut self, id: ClientId) {
        if let Some(session) = self.clients.session_of_mut(id) {
            session.prefix_since_us = None;
        }
    }

    /// Whether that is promised to a connection.
    pub(super) fn keeps_prefix(&mut self, id: ClientId) -> bool {
        let store = self.store_guarantees();
        self.clients.get_mut(id).is_some_and(|client| client.guarantees(store).has(Guarantees::CONSISTENT_PREFIX))
    }

    /// What has still to come of what the state depends on. What was lost with a disk, and nobody has, does not.
    pub(super) fn causes_to_come(&mut self) -> Option<ReceivedSet> {
        let missing = self.engine.missing_causes()?;
        if broken(Breakage::ShowBeforeCause) {
            return None;
        }
        let lost = |seen: &Seen| self.is_past(seen.origin) && self.none_holds(seen);
        (!missing.origins().iter().all(lost)).then_some(missing)
    }
}
