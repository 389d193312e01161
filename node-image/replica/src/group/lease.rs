//! The lease: a leader answers from its own state only while a lease quorum of members has acknowledged it recently enough that no other leader can serve.
//!
//! A heartbeat carries the leader's clock; its acknowledgement brings the reading back. The lease runs from that reading, so the time on the wire is on
//! the safe side, and clocks need not agree, only run at the same rate within [`DRIFT_PERCENT`]. The grantor counts from when it received the heartbeat,
//! which is later; it reports what is left of its grant when it is sealed, and the operator waits that long. Where w is 1 the lease quorum is a majority:
//! n - w + 1 members are then all of them, and some grantor is always among the sealed.

use trireme_proto::{
    Incarnation, ReplicaId, Topology,
    breakage::{Breakage, broken},
};

use crate::replica::Replica;

use super::{Leader, Role};

/// How much of the lease is given up for clocks that run at different rates.
const DRIFT_PERCENT: u64 = 2;

/// A process that was stopped listens for so long before it says who is missing, or that what it hears is new.
pub(crate) const LISTENS_US: u64 = 200_000;

impl Replica {
    /// Whether this replica leads.
    pub(crate) fn leads(&self) -> bool {
        matches!(self.role, Role::Leader(_))
    }

    /// Whether the lease still runs at the time of this call.
    pub(crate) fn lease_holds(&self) -> bool {
        let Role::Leader(leader) = &self.role else { return false };
        self.now.mono_us < leader.lease_until_us || self.alone()
    }

    /// The only member needs nobody's grant.
    fn alone(&self) -> bool {
        self.meta.topology.as_ref().is_some_and(|topology| topology.config.lease_quorum() <= 1)
    }

    /// Members have acknowledged: the lease may run longer now.
    pub(crate) fn renew_lease(&mut self) {
        let Some(topology) = &self.meta.topology else { return };
        let Role::Leader(leader) = &mut self.role else { return };
        let held_before = self.now.mono_us < leader.lease_until_us;
        let mut echoes: Vec<u64> = topology
            .config
            .members
            .iter()
            .filter(|member| member.id != self.identity.id)
            .map(|member| leader.echo_of(member.id, member.incarnation))
            .collect();
        echoes.sort_unstable_by(|a, b| b.cmp(a));
        // The leader grants to itself, now.
        let others = topology.config.lease_quorum().saturating_sub(1);
        let Some(oldest) = others.checked_sub(1).map(|last| echoes.get(last).copied().unwrap_or(0)) else { return };
        if oldest > 0 {
            let lease_us = u64::from(topology.settings.lease_ms) * 10 * (100 - DRIFT_PERCENT);
            leader.lease_until_us = leader.lease_until_us.max(oldest + lease_us);
        }
        if !held_before && self.now.mono_us < leader.lease_until_us {
            self.clients.wake = true;
            self.serve_backlog();
        }
    }

    /// The record asks for another lease: what members granted before was of the old length, and is not counted by the new one.
    pub(crate) fn ask_for_leases_anew(&mut self) {
        let now_us = self.now.mono_us;
        let Role::Leader(leader) = &mut self.role else { return };
        leader.lease_since_us = now_us;
        leader.followers.values_mut().for_each(|progress| progress.echo_us = 0);
    }

    /// What is left, in milliseconds, of the lease granted to a leader of an older epoch than the promise. A process that has just started has to assume
    /// that the one before it granted a whole one.
    pub(crate) fn lease_remaining_ms(&self) -> u32 {
        let before_start_us = match &self.meta.topology {
            Some(topology) => self.started_us + u64::from(topology.settings.lease_ms) * 1_000,
            None => 0,
        };
        let until_us = self.granted_until_us.max(before_start_us);
        let remaining_us = until_us.saturating_sub(self.now.mono_us);
        u32::try_from(remaining_us.div_ceil(1_000)).unwrap_or(u32::MAX)
    }

    /// A heartbeat of the current leader was acknowledged: it may answer for this long.
    pub(crate) fn grant(&mut self, lease_ms: u32) {
        self.granted_until_us = self.granted_until_us.max(self.now.mono_us + u64::from(lease_ms) * 1_000);
    }

    /// Fewer members than w were heard of within the suspicion time: the error for writes, which would only be in doubt. A process that was stopped judges
    /// nobody by the silence of that time: what was said meanwhile is still to be read, and may be that somebody else leads.
    pub(crate) fn too_few_replicas(&self) -> Option<String> {
        let Role::Leader(leader) = &self.role else { return None };
        let topology = self.meta.topology.as_ref()?;
        if self.awake_since_us > 0 && self.now.mono_us < self.awake_since_us + LISTENS_US {
            return None;
        }
        let oldest_us = self.now.mono_us.saturating_sub(u64::from(topology.settings.suspicion_ms) * 1_000);
        let reachable = |id, incarnation| {
            id == self.identity.id
                || leader
                    .followers
                    .get(&id)
                    .is_some_and(|f| f.incarnation == incarnation && f.connected && f.heard_us >= oldest_us)
        };
        // Asked before every write: words are made where they are needed.
        let there = topology.config.members.iter().filter(|member| reachable(member.id, member.incarnation)).count();
        let too_few = there < topology.config.w as usize;
        too_few.then(|| format!("NOREPLICAS {}; nothing was done", reach(topology, reachable)))
    }

    /// How many members this replica has a connection to, itself included, and which are missing.
    pub(crate) fn members_in_reach(&self) -> Option<String> {
        let topology = self.meta.topology.as_ref()?;
        let connected = |id, _| id == self.identity.id || self.peers.contains_key(&id);
        Some(reach(topology, connected))
    }

    /// With time a lease ends by itself; nothing has to be done for it but to look.
    pub(crate) fn lease_tick(&mut self) {
        if self.lease_holds() || broken(Breakage::NoLeaseCheck) {
            self.serve_backlog();
        }
    }
}

/// How many members are reachable, what is needed, and who is missing.
fn reach(topology: &Topology, reachable: impl Fn(ReplicaId, Incarnation) -> bool) -> String {
    let config = &topology.config;
    let missing: Vec<&str> = config
        .members
        .iter()
        .filter(|member| !reachable(member.id, member.incarnation))
        .map(|member| topology.replica(member.id).map_or("?", |replica| replica.name.as_str()))
        .collect();
    let (n, w, there) = (config.members.len(), config.w, config.members.len() - missing.len());
    let who = match missing.is_empty() {
        true => "none".to_owned(),
        false => missing.join(", "),
    };
    format!("{there} of the n={n} members are reachable, w={w} are needed; missing: {who}")
}

impl Leader {
    /// The newest of our own clock readings that this life of this member has brought back.
    fn echo_of(&self, id: u32, incarnation: u64) -> u64 {
        self.followers
            .get(&id)
            .filter(|follower| follower.incarnation == incarnation)
            .map_or(0, |follower| follower.echo_us)
    }
}
