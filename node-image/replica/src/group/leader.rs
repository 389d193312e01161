//! Leading: appending, replicating, committing.

use bytes::Bytes;
use trireme_proto::{
    Epoch, Message, Position, ReplicaId,
    breakage::{Breakage, broken},
    ids::Origin,
    message::{Append, AppendAck, LogState, Resume},
};

use crate::{
    clients::{homes::Settling, serve::Backlog},
    disk_queue::Becomes,
    engine::warm::{Place, Places, TOGETHER},
    io::{DiskOp, Event},
    log::record::Kind,
    replica::Replica,
};

use super::{
    Leader, Role,
    house::Removing,
    progress::{IN_FLIGHT_BYTES_MAX, Progress, Stage},
};

/// Bytes of entries in one message.
const APPEND_BYTES_MAX: usize = 1 << 20;
/// Room that is made for a turn's entries before there are any: what is not filled stays with the log.
const BATCH_ROOM_MAX: usize = 256 << 10;
/// How long followers may wait for a commit when no entry carries it, in microseconds.
const COMMIT_DELAY_US: u64 = 1_000;

impl Leader {
    /// How many other members have acknowledged everything up to `seq`.
    pub(crate) fn copies_of(&self, seq: u64) -> usize {
        self.followers.values().filter(|follower| follower.acknowledged >= seq).count()
    }
}

impl Replica {
    /// Notes on the disk that this epoch is led here: nothing of it leaves before that is durable, so a process that starts again after a crash can tell
    /// that it must not go on.
    pub(crate) fn prepare_to_lead(&mut self, epoch: Epoch) {
        self.meta.led = epoch;
        self.persist(DiskOp::Meta(Box::new(self.meta.clone())), Some(Becomes::Led(epoch)));
    }

    /// Begins to lead: the first entry is the epoch's start, and nothing is executed before it is committed.
    pub(crate) fn lead(&mut self, epoch: Epoch) {
        if epoch != self.meta.promise || self.leads() {
            return; // A newer epoch has begun in the meantime.
        }
        assert!(self.meta.led == epoch, "an epoch is led by who has noted it");
        let Some(topology) = self.meta.topology.clone() else { return };
        self.engine.set_origin(Origin { group: topology.group, generation: topology.generation });
        let now_us = self.now.mono_us;
        if self.is_multi_leader() {
            self.engine.share();
        }
        let own = self.peers.iter().filter(|(id, _)| self.is_of_this_group(**id));
        let followers = own.map(|(id, peer)| (*id, Progress::new(peer.incarnation, now_us))).collect();
        self.batch_last = self.log.last().seq;
        self.clients.forget_after(self.batch_last);
        self.house.removing = Removing::default();
        let mut settling = Settling::default();
        settling.obey(topology.version, self.batch_last + 1);
        self.role = Role::Leader(Box::new(Leader {
            epoch,
            start_seq: self.batch_last + 1,
            serving: false,
            followers,
            backlog: Backlog::default(),
            early: Backlog::default(),
            settling,
            ended: Vec::new(),
            drained: false,
            lease_until_us: 0,
            lease_since_us: 0,
            commit_due_us: None,
            digest_slot: 0,
            digest_due_us: now_us,
            write_gap_us: 0,
            transfers: self.identity.boot << 20,
            suffixes: Vec::new(),
        }));
        self.note_history();
        self.offer_to_itself(epoch);
        self.append_entry(Kind::Start, None, |out| out.extend_from_slice(&topology.generation.to_le_bytes()));
        self.event(Event::Leads(epoch));
        self.report_due = true;
        self.flush_batch();
        self.heartbeat();
    }

    /// Hands this turn's entries to the log and the disk: one piece of memory, one write.
    pub(crate) fn flush_batch(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        // The next turn's batch will be about as large.
        let room = self.batch.len().min(BATCH_ROOM_MAX);
        let bytes = Bytes::from(std::mem::replace(&mut self.batch, Vec::with_capacity(room)));
        let last = Position { epoch: self.meta.led, seq: self.batch_last };
        let first = self.log.append_own(bytes.clone(), last, self.now.mono_us);
        self.ship_fresh(&bytes, first);
        self.persist(DiskOp::Append { first, last: last.seq, bytes }, Some(Becomes::Log(last.seq)));
        if broken(Breakage::AnswerBeforeFsync) {
            self.durable = last.seq;
            self.advance_leader_commit();
        }
    }

    /// Sends every follower what it does not have, in one message each.
    pub(crate) fn replicate(&mut self) {
        match &self.role {
            Role::Leader(_) => {}
            Role::Peer(_) => return self.feed(),
            _ => return self.acknowledge(),
        }
        let ids: Vec<ReplicaId> = self.followers_connected();
        for id in ids {
            while self.send_entries(id) {}
            self.send_snapshot(id);
        }
        for (to, replies) in std::mem::take(&mut self.replies_out) {
            let mut replies = replies;
            replies.epoch = self.meta.led;
            self.send(to, Message::ForwardReply(replies));
        }
        self.send_commit_if_due();
        self.feed();
    }

    fn followers_connected(&self) -> Vec<ReplicaId> {
        let Role::Leader(leader) = &self.role else { return Vec::new() };
        leader.followers.iter().filter(|(_, progress)| progress.connected).map(|(id, _)| *id).collect()
    }

    /// Sends one message of entries: whether there may be more to send.
    fn send_entries(&mut self, id: ReplicaId) -> bool {
        let Role::Leader(leader) = &mut self.role else { return false };
        let Some(progress) = leader.followers.get_mut(&id) else { return false };
        let Stage::Stream { sent } = &mut progress.stage else { return false };
        if *sent >= self.log.last().seq || self.log.bytes_between(progress.acknowledged, *sent) > IN_FLIGHT_BYTES_MAX {
            return false;
        }
        if *sent < self.log.before().seq {
            self.begin_snapshot(id); // The log has moved on under it.
            return false;
        }
        let previous = self.log.position(*sent);
        let Some((last, entries)) = self.log.read_after(*sent, APPEND_BYTES_MAX) else { return false };
        *sent = last;
        progress.commit_sent = self.commit;
        self.send_append(id, previous, entries);
        true
    }

    fn send_append(&mut self, id: ReplicaId, previous: Position, entries: Bytes) {
        let Role::Leader(leader) = &self.role else { return };
        let heard_us = leader.followers.get(&id).map_or(self.now.mono_us, |progress| progress.heard_us);
        let unheard_ms = self.now.mono_us.saturating_sub(heard_us) / 1_000;
        let behind = self.behind_for_followers();
        let append = Append {
            epoch: self.meta.led,
            previous,
            commit: self.commit,
            entries,
            sent_us: self.now.mono_us,
            clock: self.engine.clock(),
            lease_ms: self.setting(|settings| settings.lease_ms),
            unheard_ms: u32::try_from(unheard_ms).unwrap_or(u32::MAX),
            leased: behind.is_some(),
            behind_ms: behind.map_or(0, |behind| behind.0),
            behind_entries: behind.map_or(0, |behind| behind.1),
        };
        self.send(id, Message::Append(append));
    }

    /// An empty message to every follower: the lease, the commit, and a sign of life.
    pub(crate) fn heartbeat(&mut self) {
        self.say_what_is_held();
        self.say_who_leads();
        for id in self.followers_connected() {
            self.send_heartbeat(id);
        }
    }

    fn send_heartbeat(&mut self, id: ReplicaId) {
        let commit = self.commit;
        let Role::Leader(leader) = &mut self.role else { return };
        let Some(progress) = leader.followers.get_mut(&id) else { return };
        let sent = match progress.stage {
            Stage::Stream { sent } => sent,
            _ => self.log.last().seq,
        };
        progress.commit_sent = commit;
        let previous = self.log.position(sent);
        self.send_append(id, previous, Bytes::new());
    }

    /// Followers learn of a commit with the next entries, or by itself when none come: at once where sessions wait for it.
    fn send_commit_if_due(&mut self) {
        let (commit, now) = (self.commit, self.now.mono_us);
        let Role::Leader(leader) = &mut self.role else { return };
        let due = leader.commit_due_us.is_some_and(|due| due <= now);
        let (mut told, mut others) = (Vec::new(), false);
        for (id, progress) in &leader.followers {
            if progress.connected && progress.commit_sent < commit && matches!(progress.stage, Stage::Stream { .. }) {
                match due || progress.awaits_commit {
                    true => told.push(*id),
                    false => others = true,
                }
            }
        }
        leader.commit_due_us = others.then(|| leader.commit_due_us.unwrap_or(now + COMMIT_DELAY_US));
        for id in told {
            self.send_heartbeat(id);
        }
    }

    /// A follower says what its log looks like: where both agree, or that it needs a snapshot.
    pub(crate) fn on_log_state(&mut self, from: ReplicaId, state: &LogState) {
        let now_us = self.now.mono_us;
        let Role::Leader(leader) = &mut self.role else { return };
        if state.epoch != leader.epoch {
            return;
        }
        let Some(progress) = leader.followers.get_mut(&from) else { return };
        if progress.incarnation != state.incarnation {
            *progress = Progress::new(state.incarnation, now_us);
        }
        progress.heard_us = now_us;
        let agreed = self.log.epochs().agreement(self.log.last().seq, &state.table, state.last);
        progress.holds = Some(agreed.map_or(0, |agreed| agreed.seq));
        match agreed {
            // Below its commit only after a failover that was allowed to lose: its state cannot be patched.
            Some(agreed) if agreed.seq >= self.log.before().seq && agreed.seq >= state.commit => {
                progress.stage = Stage::Stream { sent: agreed.seq };
                progress.acknowledged = 0;
                self.send(from, Message::Resume(Resume { epoch: state.epoch, agreed }));
            }
            agreed => {
                if let Some(agreed) = agreed.filter(|agreed| agreed.seq < state.last) {
                    self.send(from, Message::Resume(Resume { epoch: state.epoch, agreed }));
                }
                self.begin_snapshot(from);
            }
        }
    }

    /// A follower has made entries durable, or heard a heartbeat.
    pub(crate) fn on_append_ack(&mut self, from: ReplicaId, ack: &AppendAck) {
        let now_us = self.now.mono_us;
        let last = self.log.last().seq;
        let Role::Leader(leader) = &mut self.role else { return };
        if ack.epoch != leader.epoch {
            return;
        }
        let Some(progress) = leader.followers.get_mut(&from) else { return };
        progress.heard_us = now_us;
        progress.awaits_commit = ack.awaits_commit;
        if (leader.lease_since_us..=now_us).contains(&ack.sent_us) {
            progress.echo_us = progress.echo_us.max(ack.sent_us);
        }
        if matches!(progress.stage, Stage::Stream { .. }) {
            progress.acknowledged = progress.acknowledged.max(ack.durable.min(last));
            progress.holds = progress.holds.max(Some(progress.acknowledged));
        }
        self.clients.copies_changed();
        self.renew_lease();
        self.advance_leader_commit();
    }

    /// Commits what w members of the configuration hold, if that is past the start entry.
    pub(crate) fn advance_leader_commit(&mut self) {
        let lease_holds = self.lease_holds();
        let Some(topology) = &self.meta.topology else { return };
        let Role::Leader(leader) = &self.role else { return };
        let w = topology.config.w.max(1) as usize;
        // Where one copy is enough, nothing but the lease keeps a deposed leader from acknowledging.
        if w == 1 && !lease_holds && !broken(Breakage::NoLeaseCheck) {
            return;
        }
        let mut copies: Vec<u64> = topology
            .config
            .members
            .iter()
            .map(|member| {
                if member.id == self.identity.id {
                    return self.durable;
                }
                let known = |f: &&Progress| f.incarnation == member.incarnation || broken(Breakage::CountEmptyDisk);
                leader.followers.get(&member.id).filter(known).map_or(0, |follower| follower.acknowledged)
            })
            .collect();
        if broken(Breakage::CountLearners) {
            let learners = leader.followers.iter().filter(|(id, _)| topology.config.member(**id).is_none());
            copies.extend(learners.map(|(_, follower)| follower.acknowledged));
        }
        copies.sort_unstable_by(|a, b| b.cmp(a));
        let Some(committed) = copies.get(w - 1).copied() else { return };
        if committed >= leader.start_seq || broken(Breakage::NoStartEntry) {
            self.advance_commit(committed);
        }
        self.look_at_handover();
    }

    /// Everything up to here is committed: it enters the state of whoever has not executed it, and replies that waited go out.
    pub(crate) fn advance_commit(&mut self, to: u64) {
        let to = to.min(self.log.last().seq);
        if to <= self.commit {
            return;
        }
        self.apply_to(to);
        if self.output.fatal.is_some() {
            return;
        }
        self.commit = to;
        self.engine.forget_undo(to);
        self.conflicts.settle(to);
        if let Role::Leader(leader) = &mut self.role {
            leader.settling.commit(to);
            self.note_held();
        }
        self.begin_to_serve();
        self.release_replies();
        self.settle_lost();
        if !matches!(self.role, Role::Leader(_) | Role::Peer(_)) {
            self.clients.wake = true;
        }
        self.clients.wake_sessions(self.now.mono_us, true);
    }

    /// Joins committed entries into the state.
    fn apply_to(&mut self, to: u64) {
        while self.applied < to {
            let Some((_, bytes)) = self.log.read_after(self.applied, usize::MAX) else { return };
            let (mut rest, mut warm) = (&bytes[..], 0);
            while self.applied < to && !rest.is_empty() {
                if warm == 0 {
                    warm = self.warm_next(rest);
                }
                warm -= 1;
                match self.apply_one(rest) {
                    Ok(length) => rest = &rest[length..],
                    Err(why) => {
                        self.fatal(format!(
                            "a committed entry cannot be applied, so the state can no longer be trusted: {why}"
                        ));
                        return;
                    }
                }
            }
        }
    }

    /// Looks ahead into entries that are applied next: how many that were.
    fn warm_next(&self, mut rest: &[u8]) -> usize {
        let (mut places, mut count) = (Places::new(), 0);
        while count < TOGETHER
            && let Ok(record) = crate::log::record::read_trusted(rest)
        {
            places.extend(Place::of_delta(record.payload).filter(|_| record.kind == Kind::Delta));
            (rest, count) = (&rest[record.bytes..], count + 1);
        }
        self.engine.warm(&places);
        count.max(1)
    }

    fn apply_one(&mut self, bytes: &[u8]) -> Result<usize, String> {
        let record = crate::log::record::read_trusted(bytes).map_err(|error| error.to_string())?;
        let seq = record.position.seq;
        match record.kind {
            Kind::Delta => {
                let at = crate::engine::At { seq, now_ms: self.now.wall_ms, keep_undo: false };
                self.engine.join(record.payload, &at).map_err(|error| format!("entry {}: {error}", record.position))?;
                if let Some(request) = &record.request {
                    self.requests.note(seq, request);
                }
            }
            Kind::Forget => self.requests.forget(record.payload),
            Kind::Start => self.enter_generation(record.payload),
            Kind::State => self.apply_state(seq, record.payload)?,
            Kind::Commit => {}
        }
        self.applied = seq;
        self.note_conflicts(seq);
        Ok(record.bytes)
    }

    /// A start entry names the generation that its leader's deltas have.
    fn enter_generation(&mut self, payload: &[u8]) {
        if let Ok(generation) = payload.try_into().map(u32::from_le_bytes)
            && !self.leads()
        {
            self.engine.set_origin(Origin { group: self.identity.group, generation });
        }
    }

    /// The start entry is committed: clients are served from now on, first those who have waited.
    fn begin_to_serve(&mut self) {
        let (commit, now) = (self.commit, self.now.mono_us);
        let gap_since = self.gap_since_us;
        let Role::Leader(leader) = &mut self.role else { return };
        if leader.serving || commit < leader.start_seq {
            return;
        }
        leader.serving = true;
        leader.write_gap_us = now.saturating_sub(gap_since);
        let epoch = leader.epoch;
        self.event(Event::Serves(epoch));
        self.report_due = true;
        self.begin_feeds();
        self.say_who_leads();
        self.resend_requests(self.identity.group);
        self.serve_backlog();
        self.recover_suffixes();
    }

    /// Whether the member that is to take over has everything.
    fn look_at_handover(&mut self) {
        let target = self.meta.topology.as_ref().map_or(0, |topology| topology.handover);
        let last = self.log.last().seq;
        let quiet = self.batch.is_empty() && self.commit == last;
        let Role::Leader(leader) = &mut self.role else { return };
        let drained =
            target != 0 && quiet && leader.followers.get(&target).is_some_and(|progress| progress.acknowledged >= last);
        if drained != leader.drained {
            leader.drained = drained;
            self.report_due = true;
        }
    }

    pub(crate) fn group_peer_opened(&mut self, id: ReplicaId) {
        let now_us = self.now.mono_us;
        let Some(incarnation) = self.peers.get(&id).map(|peer| peer.incarnation) else { return };
        match &mut self.role {
            Role::Leader(leader) => {
                let mut progress = Progress::new(incarnation, now_us);
                if let Some(old) = leader.followers.get(&id).filter(|old| old.incarnation == incarnation) {
                    (progress.echo_us, progress.holds, progress.since_us) = (old.echo_us, old.holds, old.since_us);
                }
                leader.followers.insert(id, progress);
                self.send_heartbeat(id);
            }
            Role::Follower(follower) if follower.leader == id => {
                follower.reconnected();
                follower.link_closed = false;
            }
            _ => {}
        }
    }

    pub(crate) fn group_peer_closed(&mut self, id: ReplicaId) {
        self.forget_forwarder(id);
        match &mut self.role {
            Role::Leader(leader) => {
                if let Some(progress) = leader.followers.get_mut(&id) {
                    progress.connected = false;
                    progress.stage = Stage::Probe;
                    progress.acknowledged = 0;
                }
            }
            Role::Follower(follower) if follower.leader == id => {
                follower.reconnected();
                follower.link_closed = true;
            }
            _ => {}
        }
    }
}
