//! What is: the record, and what each replica was last heard to say. "Not heard from" is a value here, not an error.

use std::collections::BTreeMap;

use trireme_proto::{ReplicaId, Report, Topology, report::Role, topology::Group};

/// What was observed for one turn. The record is looked at first, and may be older than the newest one (see [`crate::Backend`]); reports may be any age.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observed {
    /// The authority's record; `None` where there is none.
    pub record: Option<Topology>,
    /// Each replica of the group that is known of.
    pub replicas: BTreeMap<ReplicaId, Seen>,
    /// Mode MultiLeader: what is known of the replicas of the store's other groups.
    pub elsewhere: BTreeMap<ReplicaId, Elsewhere>,
    /// Names of what is still left of a group whose record says that it is gone: processes, pods, volumes.
    pub remains: Vec<String>,
    /// What people asked for of this group's replicas and has not been handed over yet: each is given once.
    pub requests: Vec<HumanRequest>,
    /// Wall clock in milliseconds since 1970: shown in status, never decided on.
    pub wall_ms: u64,
}

/// A replica of another group.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Elsewhere {
    /// There is a connection to it, and its process is not known to have ended.
    pub alive: bool,
    /// What it last said.
    pub report: Option<Report>,
    /// `host:port` of its peer port, where known.
    pub peer: Option<String>,
    /// `host:port` where clients reach it, where known.
    pub client: Option<String>,
}

/// What is known of one replica.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Seen {
    /// Its process.
    pub process: Process,
    /// There is a connection to it.
    pub connected: bool,
    /// Milliseconds since it was last heard over any connection; `u64::MAX` if never.
    pub silent_ms: u64,
    /// What it last said, over any connection.
    pub report: Option<Report>,
    /// It runs with another program, resources or settings of its pod than those wanted now: it is to be restarted when that takes nothing away.
    /// Nothing that is missing is outdated: what is made anew is made as it is wanted.
    pub outdated: bool,
    /// No process of it runs now, for sure: its pod is pending or missing, or its container waits or has ended. What cannot be seen from where the backend
    /// looks (a node that has fallen silent) is not sure.
    pub stopped: bool,
    /// Whoever leads clients to replicas does not lead them to this one yet, although it may serve: a probe has not said so yet.
    pub unready: bool,
    /// The machine that it runs on, or is bound to, is known to be gone: deleted, or given up by those who watch machines.
    pub machine_gone: bool,
    /// `host:port` of its peer port, where known.
    pub peer_address: Option<String>,
    /// `host:port` where clients reach it, where known.
    pub client_address: Option<String>,
}

/// What is known of a replica's process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Process {
    /// Nothing certain.
    #[default]
    Unknown,
    /// It runs, as far as is known.
    Running,
    /// The process that sent [`Seen::report`] has ended for sure, and no other one has been heard since.
    Ended,
}

/// What a person asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HumanRequest {
    /// Make this replica the leader, also when the leader does not take part.
    Promote {
        /// Who is to lead.
        replica: ReplicaId,
        /// Go on although too few members answer: acknowledged writes may be lost, and the person vouches that the members that do not answer, at the time
        /// of asking, are stopped. Where others fail to answer later, it is refused.
        force: bool,
    },
    /// Hand leadership over to this member, without losing anything.
    Switchover {
        /// Who is to lead.
        to: ReplicaId,
    },
}

impl Observed {
    /// What the leader of another group says, where it serves.
    pub fn leader_elsewhere(&self, group: &Group) -> Option<&Report> {
        let seen = group.replicas.iter().filter_map(|row| self.elsewhere.get(&row.id));
        let live = seen.filter(|seen| seen.alive).filter_map(|seen| seen.report.as_ref());
        live.filter(|report| report.role() == Role::Leader && report.serving).max_by_key(|report| report.promise)
    }

    /// What is known of a replica, if anything.
    pub fn seen(&self, id: ReplicaId) -> Option<&Seen> {
        self.replicas.get(&id)
    }

    /// What a replica that is connected and not known to have ended last said.
    pub fn live_report(&self, id: ReplicaId) -> Option<&Report> {
        self.seen(id).filter(|seen| seen.alive()).and_then(|seen| seen.report.as_ref())
    }
}

impl Seen {
    /// Connected, and not known to have ended.
    pub fn alive(&self) -> bool {
        self.connected && self.process != Process::Ended
    }

    /// The operator does not hear it. The connection to a machine that has lost its power is not closed by anybody, so silence counts, too.
    pub fn is_unheard(&self, suspicion_ms: u64) -> bool {
        !self.alive() || self.silent_ms >= suspicion_ms
    }

    /// The operator does not hear it, and its machine is known to be gone.
    pub fn is_lost(&self, suspicion_ms: u64) -> bool {
        self.machine_gone && self.is_unheard(suspicion_ms)
    }
}
