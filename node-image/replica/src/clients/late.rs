//! What clients are told where a commit, a leader or a quorum did not come: writes that were appended are in doubt, everything else was not done.

use std::collections::BTreeMap;

use crate::{
    engine::command::{self, reply::Reply},
    io::ClientId,
    replica::Replica,
};

use super::{
    Flow,
    execute::Work,
    held::{Held, HeldFor, Of},
};

impl Replica {
    /// Replies that wait for entries after `seq` will not be released: those of writes are in doubt, those of reads may be asked again.
    pub(crate) fn fail_replies(&mut self, seq: u64, why: &str) {
        let cut = self.clients.held.cut(seq);
        self.clients.pubsub.spread.forget_after(seq);
        self.fail_held(cut, why);
    }

    /// Fails replies that were held: all of a client's from one on.
    fn fail_held(&mut self, failed: Vec<Held>, why: &str) {
        let mut by_client: BTreeMap<ClientId, Vec<(usize, Of)>> = BTreeMap::new();
        for held in failed {
            // Not those of other replicas: their forwarders ask again, under the same ids.
            if let HeldFor::Local { client, bytes } = held.to {
                by_client.entry(client).or_default().push((bytes, held.of));
            }
        }
        for (id, failed) in by_client {
            self.fail_replies_of(id, &failed, why);
        }
    }

    /// What is cut of one client is the end of its replies: it is taken off, and written again as errors.
    fn fail_replies_of(&mut self, id: ClientId, failed: &[(usize, Of)], why: &str) {
        let Some(client) = self.clients.get_mut(id) else { return };
        client.held -= failed.len();
        let bytes: usize = failed.iter().map(|(bytes, _)| bytes).sum();
        let tail = client.out.split_off(client.out.len() - bytes);
        let mut at = 0;
        for (bytes, of) in failed {
            let reply = &tail[at..at + bytes];
            at += bytes;
            let Some(client) = self.clients.get_mut(id) else { return };
            let before = client.out.len();
            let mut out = Reply::new(&mut client.out, false);
            match of {
                Of::Write => {
                    self.counters.in_doubt += 1;
                    out.error(format!("INDOUBT the write may or may not have happened: {why}").as_bytes());
                }
                Of::Read => out.error(format!("TRYAGAIN what was read is not known to be committed: {why}").as_bytes()),
                Of::Neither => client.out.extend_from_slice(reply),
            }
            let written = client.out.len() - before;
            self.clients.replied(id, written, None, None, self.now.mono_us, &mut self.output);
        }
    }

    /// Answers what has waited for too long.
    pub(crate) fn time_out_clients(&mut self) {
        let timeout_us = self.request_timeout_us();
        let now = self.now.mono_us;
        let mut late = self.clients.held.take_late(now.saturating_sub(timeout_us));
        late.extend(self.clients.leveled.take_late(now.saturating_sub(timeout_us)));
        if !late.is_empty() {
            let why = format!("the copies needed did not answer within {} ms", timeout_us / 1_000);
            self.fail_held(late, &why);
        }
        let why = self.why_not_now();
        for id in self.clients.late(timeout_us, now) {
            self.time_out_waiting(id, timeout_us, &why);
            self.time_out_places(id, timeout_us);
        }
        self.clients.wake = true;
    }

    /// Why one unit of work waits that others need not wait with.
    fn why_not_yet(&mut self, id: ClientId, work: &Work<'_>) -> Option<String> {
        let partial = |replica: &mut Replica| {
            let why = replica.why_not_whole().filter(|_| replica.leads() && work.looks())?;
            Some(format!("TRYAGAIN {why}: nothing was done"))
        };
        self.why_not_at_home(id, work).or_else(|| partial(self))
    }

    /// Refuses what still cannot be run. A command that has only stood behind another is run: a MULTI that was refused would let what follows it out of
    /// its transaction. Behind a WAIT everything stays in its place.
    fn time_out_waiting(&mut self, id: ClientId, timeout_us: u64, why: &str) {
        let now = self.now.mono_us;
        while let Some(client) = self.clients.get_mut(id).filter(|client| client.blocked.is_none() && !client.postponed)
        {
            if client.waiting.front().is_none_or(|waiting| waiting.since_us + timeout_us > now) {
                return;
            }
            let Some(late) = client.pop_waiting() else { return };
            (self.clients.permit, self.clients.stamp) = (late.round, None);
            self.clients.room.overdue = true;
            let flow = self.run(id, &late.args());
            self.clients.room.overdue = false;
            if matches!(flow, Flow::Done) {
                continue;
            }
            let exec = late.args()[0].eq_ignore_ascii_case(b"EXEC");
            if let Some(client) = self.clients.get_mut(id).filter(|client| client.blocked.is_some()) {
                client.put_back(late);
                return; // It has found nothing, and waits for keys now.
            }
            if exec && let Some(client) = self.clients.get_mut(id) {
                client.discard();
            }
            self.counters.no_replicas += 1;
            let (args, spec) = (late.args(), command::resolve(&late.args()).ok());
            let why = spec
                .and_then(|spec| self.why_not_yet(id, &Work::One(spec, &args)))
                .unwrap_or_else(|| format!("NOREPLICAS {why}; nothing was done"));
            self.answer(id, |reply| reply.error(why.as_bytes()));
        }
    }
}
