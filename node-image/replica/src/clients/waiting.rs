//! The leader's side of requests that wait for keys: kept, served when there is something, answered when they have waited long enough.

use std::collections::BTreeSet;

use bytes::Bytes;
use trireme_proto::{
    Incarnation, ReplicaId,
    message::{Command, Request},
};

use crate::{
    engine::{
        Access, At,
        command::{self, blocking},
        slot_of,
    },
    group::Role,
    replica::Replica,
};

use super::{
    blocked::{left_us, nothing},
    client::Args,
    execute::MayExecute,
    held::Of,
    requests::Known,
    serve::{Waiting, reply_of},
    waiters::{Awaited, TOO_MANY, Waiter, Who},
};

impl Replica {
    /// A request has found nothing: it waits, if there is room for it.
    pub(super) fn let_wait(&mut self, from: ReplicaId, incarnation: Incarnation, request: Request) {
        let until_us = self.now.mono_us.saturating_add(request.wait_us);
        // Its own bytes: those that came are a piece of a message, which would stay with it.
        let own =
            |command: &Command| Command { args: command.args.iter().map(|arg| Bytes::copy_from_slice(arg)).collect() };
        let request = Request { commands: request.commands.iter().map(own).collect(), ..request };
        let args: Args<'_> = request.commands.first().into_iter().flat_map(|c| &c.args).map(|arg| &arg[..]).collect();
        let Ok(spec) = command::resolve(&args) else { return };
        let (keys, kind) = blocking::waits_for(spec, &args);
        let keys = keys.into_iter().map(Bytes::copy_from_slice).collect();
        let who = Who::Request { from, incarnation, request: request.clone() };
        if self.clients.waiters.add(Waiter { who, keys, kind, until_us }).is_none() {
            let bytes = Bytes::from(format!("-{TOO_MANY}\r\n"));
            self.reply_to(from, reply_of(&request, bytes, 0));
        }
    }

    /// Tries again for those who wait for keys into whose slots something was written.
    pub(crate) fn serve_waiters(&mut self) {
        if matches!(self.role, Role::Peer(_)) {
            return self.wake_touched();
        }
        for owner in self.clients.waiters.take_answered() {
            // By an entry that a failover had cut off, and that was appended again; it may also be one of an earlier request of the same connection.
            let Some(number) = self.clients.waiters.of(owner) else { continue };
            let Some(Who::Request { request, .. }) = self.clients.waiters.get(number).map(|waiter| &waiter.who) else {
                continue;
            };
            if self.requests.known(owner.0, owner.1, request.number) != Known::New {
                self.time_out_request(number);
            }
        }
        self.serve_touched();
    }

    /// The same on a leader. Of all who wait for a key that has something, who has waited for longest comes first.
    pub(super) fn serve_touched(&mut self) {
        while self.clients.waiters.is_touched()
            && matches!(self.may_execute(true), MayExecute::Yes)
            && self.shows_whole()
        {
            let touched = self.clients.waiters.take_touched();
            let first = |key: Awaited| Some((self.clients.waiters.first(&key)?, key));
            let mut ready: BTreeSet<(u64, Awaited)> = touched.into_iter().filter_map(first).collect();
            while let Some((number, key)) = ready.pop_first() {
                if self.amount_of(&key) == 0 {
                    continue;
                }
                self.serve_waiter(number);
                ready.extend(self.clients.waiters.first(&key).map(|next| (next, key)));
            }
        }
    }

    fn serve_waiter(&mut self, number: u64) {
        let Some(Waiter { who: Who::Request { from, incarnation, request }, until_us, .. }) =
            self.clients.waiters.remove(number)
        else {
            return;
        };
        let wait_us = left_us(until_us, self.now.mono_us);
        let (request, since_us) = (Request { wait_us, ..request }, self.now.mono_us);
        self.serve_new(Waiting { from, incarnation, request, since_us });
    }

    /// Those who wait for keys that are at home elsewhere now are told so, by trying again.
    pub(crate) fn release_moved(&mut self) {
        let elsewhere = |waiter: &Waiter| waiter.keys.iter().any(|key| !self.is_at_home(key));
        for number in self.clients.waiters.numbers_of(elsewhere) {
            self.serve_waiter(number);
        }
    }

    /// A request has waited long enough: it is tried once more and answered. Where its keys hold nothing of their type, but of another one by now, that is
    /// nothing, and no error.
    pub(crate) fn time_out_request(&mut self, number: u64) {
        let Some(waiter) = self.clients.waiters.remove(number) else { return };
        let finds = waiter.places().any(|awaited| self.amount_of(&awaited) > 0);
        let Waiter { who: Who::Request { from, incarnation, request }, keys, .. } = waiter else { return };
        let new = self.requests.known(incarnation, request.connection, request.number) == Known::New;
        let may = matches!(self.may_execute(true), MayExecute::Yes) && self.shows_whole();
        if finds || !new || !may || !keys.iter().all(|key| self.is_at_home(key)) {
            return self.serve(from, incarnation, Request { wait_us: 0, ..request });
        }
        let seq = keys.iter().map(|key| self.engine.last_write(slot_of(key))).max().unwrap_or(0);
        self.reply_when_committed(from, reply_of(&request, nothing(request.resp3), seq), Of::Read);
    }

    /// How many elements a key has of the type that is waited for.
    pub(super) fn amount_of(&mut self, awaited: &Awaited) -> usize {
        let at = At { seq: self.batch_last, now_ms: self.now.wall_ms, keep_undo: false };
        self.delta.clear();
        let count = |access: &mut Access<'_>| match awaited.sorted {
            true => access.scored_count(&awaited.key),
            false => access.list_length(&awaited.key),
        };
        self.engine.execute(&at, &mut self.delta, count).0.unwrap_or(0)
    }
}
