//! One turn: its arguments, the plan as it grows, and the questions that every rule asks.

use std::collections::BTreeSet;

use trireme_crds::{Condition, ConditionStatus};
use trireme_proto::{
    Epoch, ReplicaId, Report, Topology,
    report::Role,
    topology::{Config, Group, Leaving, Member, Mode, Replica, Settings},
};

use super::{IDLE_RECHECK_MS, Memory, Plan, TELL_AGAIN_MS, homes, memory::Timer};
use crate::{
    decision::Decision,
    desired::{Desired, DesiredReplica},
    groups,
    observed::{Elsewhere, Observed, Process},
};

/// The arguments of a turn, and its plan as it grows.
pub(crate) struct Turn<'a> {
    pub desired: &'a Desired,
    pub observed: &'a Observed,
    pub memory: &'a mut Memory,
    pub now_ms: u64,
    pub plan: Plan,
    touched: BTreeSet<Timer>,
    waiting: Option<String>,
}

impl<'a> Turn<'a> {
    pub fn new(desired: &'a Desired, observed: &'a Observed, memory: &'a mut Memory, now_ms: u64) -> Turn<'a> {
        Turn { desired, observed, memory, now_ms, plan: Plan::default(), touched: BTreeSet::new(), waiting: None }
    }

    /// Whether nobody leads this store.
    pub fn leaderless(&self) -> bool {
        self.desired.settings.mode() == Mode::Leaderless
    }

    /// Milliseconds of silence after which a replica is suspect.
    pub fn suspicion_ms(&self) -> u64 {
        self.desired.settings.suspicion_ms.into()
    }

    /// What replicas are to know, with this record: what is wanted; but the mode changes with an epoch of its own, and r in turn with members and w, where there
    /// is no leader.
    pub fn settings(&self, record: &Topology) -> Settings {
        let r = if self.leaderless() { record.settings.r } else { self.desired.settings.r };
        Settings { r, mode: record.settings.mode, ..self.desired.settings.clone() }
    }

    /// Milliseconds since this turn or an earlier one without a gap first asked for this timer.
    pub fn since(&mut self, timer: Timer) -> u64 {
        self.touched.insert(timer);
        self.now_ms.saturating_sub(*self.memory.timers.entry(timer).or_insert(self.now_ms))
    }

    /// What has lasted for long goes on to do so, also in turns that have more pressing things to do.
    pub fn keep_timers(&mut self) {
        let restarting = self.observed.record.as_ref().map_or(0, |record| record.restarting);
        if restarting != 0 {
            self.since(Timer::Restarting(restarting));
        }
        for (id, seen) in &self.observed.replicas {
            if seen.is_lost(self.suspicion_ms()) {
                self.since(Timer::Lost(*id));
            }
        }
    }

    /// Plan again after this long at the latest.
    pub fn recheck(&mut self, ms: u64) {
        let ms = ms.max(1);
        self.plan.recheck_ms = Some(self.plan.recheck_ms.map_or(ms, |before| before.min(ms)));
    }

    pub fn decide(&mut self, decision: Decision) {
        self.plan.decisions.push(decision);
    }

    /// Says something of the store; what was said of the same kind in this turn before matters more.
    pub fn condition(&mut self, kind: &str, status: ConditionStatus, reason: &str, message: String) {
        if self.plan.conditions.iter().any(|condition| condition.kind == kind) {
            return;
        }
        self.plan.conditions.push(Condition {
            kind: kind.to_owned(),
            status,
            reason: reason.to_owned(),
            message,
            observed_generation: self.desired.generation,
            last_transition_time: String::new(),
        });
    }

    /// The store is not ready because of this; said as a decision once, until something else is waited for.
    pub fn waiting(&mut self, reason: &str, what: &str) {
        self.condition("Ready", ConditionStatus::False, reason, what.to_owned());
        if self.memory.waiting.as_deref().is_none_or(|before| before.split_once(' ').map(|(r, _)| r) != Some(reason)) {
            self.decide(Decision::Waiting { what: self.here(what) });
        }
        self.waiting = Some(format!("{reason} {what}"));
    }

    /// Says once that something is being waited for that does not keep the store from serving.
    pub fn decide_once(&mut self, reason: &str, what: String) {
        if !self.memory.conditions.iter().any(|before| before.reason == reason) {
            self.decide(Decision::Waiting { what: self.here(&what) });
        }
        self.condition("Progressing", ConditionStatus::True, reason, what);
    }

    /// These words, after the group's region where others have groups too: conditions are put together by region, a decision stands alone.
    pub fn here(&self, what: &str) -> String {
        match self.desired.region.as_str() {
            "" => what.to_owned(),
            region => format!("{region}: {what}"),
        }
    }

    /// The name of a replica as users know it.
    pub fn name(&self, id: ReplicaId) -> String {
        let recorded =
            || self.observed.record.as_ref().and_then(|record| record.replica(id)).map(|row| row.name.clone());
        match self.desired.replica(id) {
            Some(replica) => replica.name.clone(),
            None if id == 0 => String::new(),
            None => recorded().unwrap_or_else(|| format!("replica {id}")),
        }
    }

    pub fn names(&self, members: impl IntoIterator<Item = ReplicaId>) -> Vec<String> {
        members.into_iter().map(|id| self.name(id)).collect()
    }

    pub fn describe(&self, config: &Config) -> String {
        let names = self.names(config.members.iter().map(|m| m.id));
        format!("{{{}}} with w = {}", names.join(", "), config.w)
    }

    /// The epoch above every one that was seen anywhere.
    pub fn next_epoch(&self) -> Epoch {
        let recorded = self.observed.record.as_ref().map_or(Epoch::ZERO, |record| record.epoch);
        let reported = self.reports().map(|report| report.promise.max(report.last.epoch)).max();
        recorded.max(reported.unwrap_or(Epoch::ZERO)).next()
    }

    /// The version above every one that was seen anywhere: one more than the record's, unless that was restored from a backup.
    pub fn next_version(&self) -> u64 {
        let recorded = self.observed.record.as_ref().map_or(0, |record| record.version);
        let reported = self.reports().map(|report| report.topology_version).max();
        recorded.max(reported.unwrap_or(0)) + 1
    }

    /// Everything that was ever heard, of any age.
    pub fn reports(&self) -> impl Iterator<Item = &'a Report> {
        self.observed.replicas.values().filter_map(|seen| seen.report.as_ref())
    }

    /// What the leader says, if it leads the record's epoch.
    pub fn leading(&self, record: &Topology) -> Option<&'a Report> {
        let member = record.config.member(record.leader)?;
        let report = self.observed.live_report(record.leader)?;
        let leads = report.role == Role::Leader as i32
            && report.promise == record.epoch
            && report.incarnation == member.incarnation;
        leads.then_some(report)
    }

    /// Whether a replica's process is known to have ended.
    pub fn ended(&self, id: ReplicaId) -> bool {
        self.observed.seen(id).is_some_and(|seen| seen.process == Process::Ended)
    }

    pub fn disk_full(&self, id: ReplicaId) -> bool {
        self.observed.live_report(id).is_some_and(|report| report.disk_full)
    }

    /// Names of the members that the leader cannot reach.
    pub fn unreachable_members(&self, record: &Topology, report: &Report) -> Vec<String> {
        let reached = |m: &Member| {
            m.id == report.id
                || report.followers.iter().any(|f| f.id == m.id && f.incarnation == m.incarnation && f.reachable)
        };
        self.names(record.config.members.iter().filter(|m| !reached(m)).map(|m| m.id))
    }

    /// The set that must exist: what is wanted, and members that are still to be removed.
    fn provision(&self) -> Vec<DesiredReplica> {
        let mut set = self.desired.replicas.clone();
        for record in [self.plan.record.as_ref(), self.observed.record.as_ref()].into_iter().flatten() {
            for member in members(record) {
                if let Some(row) = record.replica(member.id)
                    && !set.iter().any(|r| r.id == row.id)
                {
                    set.push(DesiredReplica { id: row.id, name: row.name.clone(), region: row.region.clone() });
                }
            }
        }
        set.sort_by_key(|replica| replica.id);
        set
    }

    /// The directory for this record: wanted replicas and members, with the newest address that is known of each.
    pub fn directory(&self, record: &Topology) -> Vec<Replica> {
        let known = self.observed.record.as_ref();
        let row = |id: ReplicaId, name: &str, region: &str| {
            let before = record.replica(id).or_else(|| known.and_then(|k| k.replica(id)));
            let seen = self.observed.seen(id);
            let address = |seen: Option<&String>, before: Option<&String>| seen.or(before).cloned().unwrap_or_default();
            Replica {
                id,
                name: name.to_owned(),
                region: region.to_owned(),
                peer_address: address(seen.and_then(|s| s.peer_address.as_ref()), before.map(|b| &b.peer_address)),
                client_address: address(
                    seen.and_then(|s| s.client_address.as_ref()),
                    before.map(|b| &b.client_address),
                ),
                incarnation: before.map_or(0, |b| b.incarnation),
                generation: before.map_or(0, |b| b.generation),
                quarantined: before.is_some_and(|b| b.quarantined),
            }
        };
        let mut rows: Vec<Replica> = self.desired.replicas.iter().map(|r| row(r.id, &r.name, &r.region)).collect();
        for member in members(record) {
            if let Some(before) = known.and_then(|k| k.replica(member.id))
                && !rows.iter().any(|r| r.id == member.id)
            {
                rows.push(row(member.id, &before.name, &before.region));
            }
        }
        rows.sort_by_key(|row| row.id);
        rows
    }

    /// The store's other groups for this record, with the newest address that is known of each of their replicas: what is seen, else what this group's
    /// replicas have been told, else what that group's record says.
    pub fn others(&self, record: &Topology) -> Vec<Group> {
        let told = |id: ReplicaId| record.groups.iter().flat_map(|group| &group.replicas).find(|row| row.id == id);
        let row = |row: &Replica| {
            let (seen_at, before) = (self.observed.elsewhere.get(&row.id), told(row.id));
            let newest = |seen: fn(&Elsewhere) -> Option<&String>, of: fn(&Replica) -> &String| {
                let known = before.map(of).filter(|address| !address.is_empty());
                seen_at.and_then(seen).or(known).unwrap_or(of(row)).clone()
            };
            Replica {
                peer_address: newest(|a| a.peer.as_ref(), |r| &r.peer_address),
                client_address: newest(|a| a.client.as_ref(), |r| &r.client_address),
                ..row.clone()
            }
        };
        let group = |group: &Group| Group { replicas: group.replicas.iter().map(row).collect(), ..group.clone() };
        self.desired.others.iter().map(group).collect()
    }

    /// Makes this the next record, under the next version, with the newest settings, addresses, other groups and homes.
    pub fn record(&mut self, mut next: Topology) {
        next.version = self.next_version();
        next.settings = self.settings(&next);
        next.replicas = self.directory(&next);
        next.groups = self.others(&next);
        next.homes = homes::rows(self, &next);
        let before = self.observed.record.as_ref().map_or(0, groups::last_number_of);
        next.last_group = groups::last_number_of(&next).max(before);
        if let Some(record) = &self.observed.record {
            homes::note_gained(self, record, &next);
        }
        self.plan.record = Some(next);
        self.recheck(super::CONFLICT_RECHECK_MS);
    }

    /// Who has not shown that it knows the record, and was not sent it a moment ago.
    fn tell(&mut self) {
        let Some(record) = self.plan.record.as_ref().or(self.observed.record.as_ref()) else { return };
        let ids: Vec<ReplicaId> = record.replicas.iter().map(|r| r.id).collect();
        let version = record.version;
        self.memory.told.retain(|id, _| ids.contains(id));
        for id in ids {
            let Some(seen) = self.observed.seen(id).filter(|seen| seen.alive()) else { continue };
            let boot = seen.report.as_ref().map_or(0, |report| report.boot);
            if seen.report.as_ref().is_some_and(|report| report.topology_version >= version) {
                continue;
            }
            let told = self.memory.told.get(&id).filter(|told| told.0 == version && told.1 == boot);
            match told.map(|told| self.now_ms.saturating_sub(told.2)) {
                Some(ago) if ago < TELL_AGAIN_MS => self.recheck(TELL_AGAIN_MS - ago),
                _ => {
                    self.memory.told.insert(id, (version, boot, self.now_ms));
                    self.plan.tell.push(id);
                    self.recheck(TELL_AGAIN_MS);
                }
            }
        }
    }

    /// Completes the plan.
    pub fn finish(mut self) -> Plan {
        self.tell();
        self.plan.provision = match self.plan.record.as_ref().or(self.observed.record.as_ref()) {
            Some(record) if record.leaving() >= Leaving::Gone => Vec::new(),
            _ => self.provision(),
        };
        let touched = std::mem::take(&mut self.touched);
        self.memory.timers.retain(|timer, _| touched.contains(timer));
        self.memory.waiting = self.waiting.take();
        let known = &self.plan.provision;
        self.memory.asked.retain(|id, _| known.iter().any(|replica| replica.id == *id));
        super::conditions::complete(&mut self);
        self.recheck(IDLE_RECHECK_MS);
        self.plan
    }
}

/// Members of the configuration in force and of the one being left, each life once.
pub(crate) fn members(record: &Topology) -> BTreeSet<Member> {
    record.config.members.iter().chain(record.old.iter().flat_map(|old| &old.members)).copied().collect()
}
