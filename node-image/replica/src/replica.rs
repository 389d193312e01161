//! The replica itself: its parts, and the two calls that drive it.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use trireme_proto::{
    Epoch, Incarnation, Message, ReplicaId, Report, Topology,
    ids::{Origin, Peer},
    message::{Digests, Forward, ForwardReply, Regions},
    report::Counters,
    topology::{Durability, Phase, Settings},
};

use crate::{
    clients::{Clients, conflicts::Conflicts, homes::Homes, probe::Probes, requests::Requests},
    disk_queue::{Becomes, DiskQueue},
    engine::Engine,
    feeds::Feeds,
    group::{
        Role,
        checkpoint::{Checkpoint, Checkpointing},
        house::House,
        install::Install,
        lost::Lost,
    },
    io::{ClientId, DiskOp, Event, Identity, Input, Meta, Now, Output},
    log::Log,
    recovery::Recovery,
};

/// Milliseconds between two calls of a replica that has nothing else to wait for.
const IDLE_TICK_MS: u64 = 50;
/// A call that comes so much later than it was asked for: the process, or its machine, was stopped meanwhile.
const STOPPED_US: u64 = 200_000;

/// Another replica, as this one hears it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PeerState {
    pub(crate) incarnation: Incarnation,
    pub(crate) group: u32,
    pub(crate) heard_us: u64,
    /// Its line has enough to carry: what it missed waits.
    pub(crate) busy: bool,
}

/// One replica: [`Replica::step`] takes what happens, [`Replica::take_output`] ends the turn and gives what is to be done.
pub struct Replica {
    pub(crate) identity: Identity,
    pub(crate) now: Now,
    pub(crate) started_us: u64,
    /// As handed to the disk last.
    pub(crate) meta: Meta,
    pub(crate) promise_durable: Epoch,
    /// The last epoch that an earlier process has led.
    pub(crate) led_before: Epoch,
    pub(crate) engine: Engine,
    pub(crate) requests: Requests,
    pub(crate) log: Log,
    /// Everything up to here is durable on this disk.
    pub(crate) durable: u64,
    /// Everything up to here is known to be committed.
    pub(crate) commit: u64,
    /// Everything up to here is in the state. On a serving leader that is the end of its log, else `commit`.
    pub(crate) applied: u64,
    /// The state is a state of the store once `applied` has reached this: it came from a checkpoint or snapshot taken while things moved.
    pub(crate) whole_at: u64,
    pub(crate) role: Role,
    /// Feeds to and from other groups, where there are any and this replica speaks for its own.
    pub(crate) feeds: Option<Box<Feeds>>,
    /// An edge only: the store as leaders have told it, by their groups.
    pub(crate) regions: BTreeMap<u32, Regions>,
    /// Number of the last comparison that it has begun: other processes begin elsewhere.
    pub(crate) exchanges: u64,
    pub(crate) peers: BTreeMap<ReplicaId, PeerState>,
    /// Keys that one region writes, by the record that is obeyed.
    pub(crate) homes: Homes,
    pub(crate) operators: BTreeSet<u32>,
    pub(crate) probes: Probes,
    pub(crate) clients: Clients,
    pub(crate) disk: DiskQueue,
    pub(crate) disk_full: bool,
    pub(crate) checkpointing: Option<Checkpointing>,
    /// A snapshot that is whole and not durable yet: nothing is appended before it is in force.
    pub(crate) installing: Option<Box<Install>>,
    pub(crate) checkpoint: Checkpoint,
    pub(crate) house: House,
    /// The commit that the disk was last told of.
    pub(crate) commit_noted: u64,
    /// The lease granted last runs until then.
    pub(crate) granted_until_us: u64,
    /// Since when nobody could write here: the promise that ended the last leadership, or the loss of the members.
    pub(crate) gap_since_us: u64,
    pub(crate) leaving: bool,
    pub(crate) cut: Option<trireme_proto::report::Cut>,
    /// Entries that were cut off here and may have been acknowledged, until they are known to be appended again.
    pub(crate) lost: Lost,
    /// The state is known to belong to the store's history up to this generation: see [`Replica::in_history`].
    pub(crate) history: u32,
    pub(crate) recovered: u64,
    pub(crate) counters: Counters,
    pub(crate) conflicts: Conflicts,
    pub(crate) report_due: bool,
    pub(crate) tick_us: u64,
    /// Since when it has run without being stopped.
    pub(crate) awake_since_us: u64,
    /// Records of this turn, not yet in the log.
    pub(crate) batch: Vec<u8>,
    pub(crate) batch_last: u64,
    pub(crate) delta: Vec<u8>,
    /// This turn's requests, by the group whose leader is asked.
    pub(crate) forward_out: BTreeMap<u32, Forward>,
    pub(crate) replies_out: BTreeMap<ReplicaId, ForwardReply>,
    pub(crate) output: Output,
}

impl Replica {
    /// A replica that goes on from what its disk had. The first [`Replica::take_output`] may already hold operations.
    pub fn new(identity: Identity, recovery: Recovery, now: Now) -> Replica {
        let recovered = recovery.finish();
        let checkpoint = Checkpoint::found(&recovered, now.wall_ms);
        let (last, mut meta) = (recovered.log.last(), recovered.meta);
        meta.promise = meta.promise.max(last.epoch);
        let mut replica = Replica {
            exchanges: identity.boot << 20,
            identity,
            now,
            started_us: now.mono_us,
            promise_durable: meta.promise,
            led_before: meta.led,
            homes: Homes::of_record(meta.topology.as_ref()),
            meta,
            engine: recovered.engine,
            requests: recovered.requests,
            durable: last.seq,
            commit: recovered.start,
            applied: recovered.start,
            whole_at: recovered.whole_at,
            checkpoint,
            house: House::default(),
            log: recovered.log,
            role: Role::Idle,
            feeds: None,
            regions: BTreeMap::new(),
            peers: BTreeMap::new(),
            operators: BTreeSet::new(),
            probes: Probes::default(),
            clients: Clients::default(),
            disk: DiskQueue::default(),
            disk_full: false,
            checkpointing: None,
            installing: None,
            commit_noted: recovered.commit,
            granted_until_us: 0,
            gap_since_us: now.mono_us,
            leaving: false,
            cut: None,
            lost: Lost::default(),
            history: 0,
            recovered: 0,
            counters: Counters::default(),
            conflicts: Conflicts::default(),
            report_due: true,
            tick_us: 0,
            awake_since_us: 0,
            batch: Vec::new(),
            batch_last: last.seq,
            delta: Vec::new(),
            forward_out: BTreeMap::new(),
            replies_out: BTreeMap::new(),
            output: Output::default(),
        };
        let generation = replica.meta.topology.as_ref().map_or(0, |topology| topology.generation);
        recovered.error.into_iter().for_each(|error| replica.fatal(error.to_string()));
        replica.engine.set_origin(Origin { group: replica.identity.group, generation });
        replica.begin_history();
        // A group of one has committed whatever its log holds.
        let committed = if replica.is_leaderless() { last.seq } else { recovered.commit.min(last.seq) };
        replica.advance_commit(committed);
        replica.engine.note_conflicts();
        if replica.is_leaderless() {
            replica.become_peer();
        }
        replica
    }

    /// Takes in one thing that happened. What is to be done about it is in the next [`Replica::take_output`].
    pub fn step(&mut self, input: Input<'_>, now: Now) {
        let before = std::mem::replace(&mut self.now, now);
        if self.tick_us > 0 && now.mono_us > self.tick_us + STOPPED_US {
            self.awake_since_us = now.mono_us;
        }
        self.note_sleep(before);
        match input {
            Input::Command { client, args } => self.command(client, args),
            Input::LastWords { client, words } => self.last_words(client, words),
            Input::Memory(bytes) => self.note_memory(bytes),
            Input::Password(password) => self.clients.password = Bytes::copy_from_slice(password),
            Input::SessionKey(secret) => self.set_session_key(secret),
            Input::Persisted(ticket) => self.persisted(ticket),
            Input::Checkpointed => self.checkpointed(),
            Input::Peer { peer, message } => self.message(peer, message),
            Input::ClientOpened(client) => self.clients.open(client, now),
            Input::ClientFrom { client, address, local_address } => self.clients.locate(client, address, local_address),
            Input::ClientClosed(client) => self.client_closed(client),
            Input::PeerOpened { peer, incarnation, group } => self.peer_opened(peer, incarnation, group),
            Input::PeerClosed(peer) => self.peer_closed(peer),
            Input::PeerBusy(Peer::Replica(id), busy) => {
                self.peers.get_mut(&id).into_iter().for_each(|state| state.busy = busy);
            }
            Input::PeerBusy(Peer::Operator(_), _) => {}
            Input::DiskFull(full) => self.disk_full(full),
            Input::Shutdown => {
                self.leaving = true;
                self.end_pause();
                self.report_due = true;
            }
            Input::Tick => {}
        }
    }

    /// Ends the turn: everything stepped since the last call becomes one write, one message per peer, one batch of replies. Give it an emptied output;
    /// its buffers are used again.
    pub fn take_output(&mut self, output: &mut Output) {
        if self.now.mono_us >= self.tick_us {
            self.tick();
        }
        self.look_at_sleepers();
        self.time_out_waiters();
        self.serve_waiters();
        self.clients.wake_sessions(self.now.mono_us, false);
        self.run_waiting();
        self.land_waiting();
        self.join_staged();
        self.look_if_whole_again();
        self.serve_early();
        // What they, and other groups, have brought.
        self.list_conflicts();
        self.serve_waiters();
        self.remove_more();
        self.flush_batch();
        self.run_quiet_work();
        self.flush_requests();
        self.replicate();
        self.note_commit();
        self.answer_probes();
        self.flush_published();
        if self.report_due {
            self.report_to_operators();
        }
        self.finish_if_leaving();
        self.clients.close_answered(&mut self.output);
        self.output.deadline_us = self.deadline_us();
        std::mem::swap(&mut self.output, output);
    }

    /// Appends the replies that may go to a client, in order; says how many bytes the longest has, as far as is known.
    pub fn take_replies(&mut self, client: ClientId, out: &mut Vec<u8>) -> usize {
        self.clients.take_replies(client, out)
    }

    /// Whether there is a password that this client has not said yet.
    pub fn must_authenticate(&self, client: ClientId) -> bool {
        self.clients.must_authenticate(client)
    }

    /// The newest record of the authority that was seen.
    pub fn topology(&self) -> Option<&Topology> {
        self.meta.topology.as_ref()
    }

    /// Digests of some slots, each with the seq of its last write.
    pub fn digests(&self, first: u16, count: u16) -> Digests {
        let slots = first..first.saturating_add(count).min(trireme_proto::SLOTS);
        Digests {
            ask: false,
            first_slot: first.into(),
            last_writes: slots.clone().map(|slot| self.engine.last_write(slot)).collect(),
            digests: slots.map(|slot| self.engine.digest(slot)).collect(),
            applied: self.commit,
        }
    }

    /// Everything that was received, with the gaps: two replicas with the same hold the same.
    pub fn received(&self) -> &crate::engine::ReceivedSet {
        self.engine.received()
    }

    /// Without a leader: the last delta under its present name that has as many copies as were asked for; so have all before it. For those who look on.
    pub fn written(&self) -> Option<trireme_proto::ids::Dot> {
        self.last_written()
    }

    /// Bytes of log that are kept.
    pub fn log_bytes(&self) -> u64 {
        self.log.bytes()
    }

    /// What the operator is told: see [`Report`].
    pub fn report(&self, now: Now) -> Report {
        self.make_report(now)
    }

    /// Who this replica is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    pub(crate) fn settings(&self) -> Settings {
        self.setting(Settings::clone)
    }

    /// One of them.
    pub(crate) fn setting<T>(&self, read: impl Fn(&Settings) -> T) -> T {
        match &self.meta.topology {
            Some(topology) => read(&topology.settings),
            None => read(&Settings::standard()),
        }
    }

    pub(crate) fn durability_is_memory(&self) -> bool {
        self.meta.topology.as_ref().map_or(self.identity.durability, |topology| topology.settings.durability())
            == Durability::Memory
    }

    pub(crate) fn event(&mut self, event: Event) {
        self.output.events.push(event);
    }

    pub(crate) fn send(&mut self, replica: ReplicaId, message: Message) {
        self.output.send.push((Peer::Replica(replica), message));
    }

    pub(crate) fn persist(&mut self, op: DiskOp, becomes: Option<Becomes>) {
        self.disk.put(op, becomes, &mut self.output.persist);
    }

    pub(crate) fn fatal(&mut self, why: String) {
        self.output.fatal.get_or_insert(why);
    }

    fn message(&mut self, peer: Peer, message: Message) {
        match peer {
            Peer::Operator(number) => self.operator_message(number, message),
            Peer::Replica(from) => {
                let now = self.now.mono_us;
                match self.peers.get_mut(&from) {
                    Some(state) => state.heard_us = now,
                    // The shell closed it in the meantime.
                    None => return,
                }
                self.replica_message(from, message);
            }
        }
    }

    fn replica_message(&mut self, from: ReplicaId, message: Message) {
        let own = self.is_of_this_group(from);
        match message {
            Message::Feed(feed) => self.on_feed(from, *feed),
            Message::Compare(compare) => self.on_compare(from, &compare),
            Message::Differ(differ) => self.on_differ(from, &differ),
            Message::States(states) => self.on_states(from, states),
            Message::Leads(leads) => self.on_leads(from, leads),
            Message::Regions(regions) => self.on_regions(*regions),
            Message::Forward(forward) => self.on_forward(from, forward),
            Message::ForwardReply(reply) => self.on_forward_reply(from, reply),
            Message::Published(batch) => self.on_published(from, batch),
            Message::KeyspaceEvents(said) => self.on_keyspace_events(from, &said),
            // Another group's log is of no account here.
            _ if !own => {}
            Message::Append(append) => self.on_append(from, &append),
            Message::AppendAck(ack) => self.on_append_ack(from, &ack),
            Message::Topology(topology) => self.obey(*topology),
            Message::Fenced(fenced) => self.on_fenced(&fenced),
            Message::LogState(state) => self.on_log_state(from, &state),
            Message::Resume(resume) => self.on_resume(from, &resume),
            Message::SnapshotBegin(begin) => self.on_snapshot_begin(from, &begin),
            Message::SnapshotSlots(slots) => self.on_snapshot_slots(from, slots),
            Message::SnapshotEntries(entries) => self.on_snapshot_entries(from, &entries),
            Message::SnapshotEnd(end) => self.on_snapshot_end(from, &end),
            Message::SnapshotAck(ack) => self.on_snapshot_ack(from, &ack),
            Message::CutSuffix(suffix) => self.on_cut_suffix(from, suffix),
            Message::SuffixTaken(taken) => self.on_suffix_taken(from, &taken),
            Message::Digests(digests) => self.on_digests(from, &digests),
            Message::Hello(_)
            | Message::Report(_)
            | Message::Ended(_)
            | Message::Packed(_)
            | Message::TurnedAway(_) => {}
            Message::Probe(_) | Message::Probed(_) => {}
        }
    }

    fn persisted(&mut self, ticket: u64) {
        let became: Vec<Becomes> = self.disk.durable(ticket).collect();
        for becomes in became {
            match becomes {
                Becomes::Log(seq) => self.durable = self.durable.max(seq),
                Becomes::Promise(epoch) => {
                    self.promise_durable = self.promise_durable.max(epoch);
                    self.report_due = true;
                }
                Becomes::Led(epoch) => self.lead(epoch),
                Becomes::Named(origin) => self.named(origin),
                Becomes::Installed => self.snapshot_installed(),
            }
        }
        self.on_durable();
    }

    fn peer_opened(&mut self, peer: Peer, incarnation: Incarnation, group: u32) {
        match peer {
            Peer::Operator(number) => {
                self.operators.insert(number);
            }
            Peer::Replica(id) => {
                self.peers.insert(id, PeerState { incarnation, group, heard_us: self.now.mono_us, busy: false });
                if let Some(topology) = self.meta.topology.clone().filter(|_| self.is_of_this_group(id)) {
                    self.send(id, Message::Topology(Box::new(topology)));
                }
                if self.is_of_this_group(id) && !self.is_leaderless() {
                    self.group_peer_opened(id);
                } else {
                    self.link_opened(id);
                }
                self.repeat_keyspace_events(id);
            }
        }
        self.report_due = true;
    }

    fn peer_closed(&mut self, peer: Peer) {
        match peer {
            Peer::Operator(number) => {
                self.operators.remove(&number);
            }
            Peer::Replica(id) => {
                let own = self.is_of_this_group(id);
                self.peers.remove(&id);
                // What was meant for the old connection must not go out on the next one.
                self.output.send.retain(|(to, _)| *to != peer);
                if own && !self.is_leaderless() {
                    self.group_peer_closed(id);
                } else {
                    self.leader_abroad_closed(id);
                    self.link_closed(id);
                }
            }
        }
        self.report_due = true;
    }

    fn disk_full(&mut self, full: bool) {
        if self.disk_full != full {
            self.disk_full = full;
            self.report_due = true;
            self.event(Event::DiskFull(full));
        }
    }

    /// What is due with time: heartbeats, time-outs, expiry, housekeeping.
    fn tick(&mut self) {
        let heartbeat_us = u64::from(self.settings().heartbeat_ms.max(1)) * 1_000;
        self.tick_us = self.now.mono_us + heartbeat_us.min(IDLE_TICK_MS * 1_000);
        self.lease_tick();
        self.look_at_limits();
        self.time_out_rounds();
        self.time_out_clients();
        self.ask_moved();
        self.expire_keys();
        self.keep_house();
        self.heartbeat();
        self.report_due = true;
    }

    fn deadline_us(&self) -> u64 {
        let sessions = [self.clients.session_due_us(), self.early_due_us()];
        let clients = [self.clients.waiters.next_deadline_us(), self.next_wake_us()].into_iter().chain(sessions);
        let soon = clients.chain([self.soon_us()]).flatten().min();
        soon.map_or(self.tick_us, |soon| soon.min(self.tick_us))
    }

    /// Told to end, it hands over what it leads, and then lets its clients go: each when it has the answers to all it has asked, which whoever leads
    /// now gives. One that has stepped down is still there until somebody else leads: where every member's answer is needed (w = 1), to go before would
    /// look like a loss. Where nobody is connected, there is nobody to wait for: a store is deleted whole. The shell does not wait for it for ever.
    fn finish_if_leaving(&mut self) {
        if self.leaving {
            self.end_key_waits();
        }
        let alone = self.peers.values().all(|peer| peer.group != self.identity.group) && self.operators.is_empty();
        let succeeded = self.meta.topology.as_ref().is_none_or(|topology| {
            let other_leads = topology.phase() == Phase::Active && topology.leader != self.identity.id;
            other_leads || topology.replicas.len() <= 1
        });
        let hands_over = self.leads() && !succeeded && !alone;
        let answered = self.leaving && !hands_over && self.batch.is_empty() && self.clients.let_go();
        self.output.finished = answered && (succeeded || alone) && self.leave_name();
    }
}
