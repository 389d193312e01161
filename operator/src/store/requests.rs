//! What people ask for by annotating the resource. The operator takes a request up, removes the annotation, and says by Event and status what came of it.

use std::collections::BTreeMap;

use trireme_crds::{
    StoreStatus,
    status::{self, RequestStatus},
};
use trireme_planner::{Decision, DesiredReplica, HumanRequest};

use crate::context::timestamp;

/// Hand leadership over to the replica that is named; to the one that is least behind where the value is empty and there is one leader.
pub(crate) const SWITCHOVER: &str = "trireme.dev/switchover";
/// Make the replica that is named the leader; without loss.
pub(crate) const PROMOTE: &str = "trireme.dev/promote";
/// The same, although too few members answer: acknowledged writes may be lost, and whoever asks vouches that the members that are missing are stopped.
pub(crate) const PROMOTE_FORCE: &str = "trireme.dev/promote-force";

/// A request as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    /// The annotation.
    pub annotation: &'static str,
    /// Its value.
    pub value: String,
}

impl Asked {
    /// How it stands in the status, from when it was taken up. A request that makes no sense is refused at once.
    pub fn taken_up(&self, replica: &str, refused: Option<&str>) -> RequestStatus {
        RequestStatus {
            asked: match self.annotation {
                SWITCHOVER => status::Asked::Switchover,
                PROMOTE => status::Asked::Promote,
                _ => status::Asked::PromoteForce,
            },
            replica: replica.to_owned(),
            outcome: if refused.is_some() { status::Outcome::Refused } else { status::Outcome::Pending },
            message: refused.unwrap_or_default().to_owned(),
            at: timestamp(),
        }
    }
}

/// What became of a request with these decisions of its replica's group, and as that group stands now.
pub(crate) fn follow(request: &mut RequestStatus, decisions: &[Decision], now: &StoreStatus) {
    if request.outcome != status::Outcome::Pending {
        return;
    }
    for decision in decisions {
        if let Decision::Refused { .. } | Decision::HandoverFailed { .. } = decision {
            request.outcome = status::Outcome::Refused;
            request.message = decision.to_string();
            return;
        }
    }
    if now.groups.iter().any(|group| group.serving && group.r.is_some()) {
        // Nobody leads: what was forced was that the store goes on.
        request.outcome = status::Outcome::Done;
        "the store serves".clone_into(&mut request.message);
        return;
    }
    if now.groups.iter().any(|group| group.serving && group.leader == request.replica) {
        request.outcome = status::Outcome::Done;
        request.message = format!("{} leads", request.replica);
    }
}

/// The requests among these annotations.
pub(crate) fn find(annotations: Option<&BTreeMap<String, String>>) -> Vec<Asked> {
    let asked = |annotation: &'static str| {
        annotations?.get(annotation).map(|value| Asked { annotation, value: value.trim().to_owned() })
    };
    [SWITCHOVER, PROMOTE, PROMOTE_FORCE].into_iter().filter_map(asked).collect()
}

/// What the planner is asked for, or why that makes no sense.
pub(crate) fn request(
    asked: &Asked,
    replicas: &[DesiredReplica],
    status: &StoreStatus,
) -> Result<(String, HumanRequest), String> {
    if status.groups.iter().any(|group| group.r.is_some()) {
        return Err(
            "this store has no leader: every member takes reads and writes, and nobody has to take over".to_owned()
        );
    }
    let name = match (asked.annotation, asked.value.as_str()) {
        (SWITCHOVER, "") if status.groups.len() > 1 => {
            return Err("each region has a leader of its own: name the replica that is to take over".to_owned());
        }
        (SWITCHOVER, "") => {
            successor(status).ok_or("there is no follower that could take over: see the store's status")?
        }
        (_, name) => name,
    };
    let Some(replica) = replicas.iter().find(|replica| replica.name == name) else {
        let names: Vec<&str> = replicas.iter().map(|replica| replica.name.as_str()).collect();
        return Err(format!("the store has no replica '{name}'; it has {}", names.join(", ")));
    };
    if status.groups.iter().any(|group| group.serving && group.leader == name) {
        return Err(format!("{name} leads already"));
    }
    let request = match asked.annotation {
        SWITCHOVER => HumanRequest::Switchover { to: replica.id },
        annotation => HumanRequest::Promote { replica: replica.id, force: annotation == PROMOTE_FORCE },
    };
    Ok((replica.name.clone(), request))
}

/// The follower that is furthest on; the first among equals.
fn successor(status: &StoreStatus) -> Option<&str> {
    let able = status.replicas.iter().filter(|r| r.member && r.reachable && r.role == "Follower" && !r.disk_full);
    able.rev().max_by_key(|r| r.applied).map(|r| r.name.as_str())
}

#[cfg(test)]
mod tests {
    use trireme_crds::status::{GroupStatus, ReplicaStatus};

    use super::*;

    fn store() -> (Vec<DesiredReplica>, StoreStatus) {
        let name = |i: u32| format!("orders-{i}");
        let replicas = (0..3).map(|i| DesiredReplica { id: i + 1, name: name(i), region: String::new() }).collect();
        let row = |i: u32, role: &str, applied| ReplicaStatus {
            name: name(i),
            role: role.to_owned(),
            member: true,
            reachable: true,
            applied,
            ..ReplicaStatus::default()
        };
        let group = GroupStatus { leader: name(0), serving: true, ..GroupStatus::default() };
        let status = StoreStatus {
            groups: vec![group],
            replicas: vec![row(0, "Leader", 9), row(1, "Follower", 7), row(2, "Follower", 8)],
            ..StoreStatus::default()
        };
        (replicas, status)
    }

    fn ask(annotation: &'static str, value: &str) -> Result<HumanRequest, String> {
        let (replicas, status) = store();
        request(&Asked { annotation, value: value.to_owned() }, &replicas, &status).map(|(_, request)| request)
    }

    #[test]
    fn a_request_names_a_replica_or_leaves_the_choice() {
        assert_eq!(ask(SWITCHOVER, ""), Ok(HumanRequest::Switchover { to: 3 }));
        assert_eq!(ask(SWITCHOVER, "orders-1"), Ok(HumanRequest::Switchover { to: 2 }));
        assert_eq!(ask(PROMOTE, "orders-1"), Ok(HumanRequest::Promote { replica: 2, force: false }));
        assert_eq!(ask(PROMOTE_FORCE, "orders-1"), Ok(HumanRequest::Promote { replica: 2, force: true }));
    }

    #[test]
    fn one_that_makes_no_sense_is_answered() {
        assert!(ask(PROMOTE, "").unwrap_err().contains("orders-0, orders-1, orders-2"));
        assert!(ask(PROMOTE, "other-1").unwrap_err().contains("no replica 'other-1'"));
        assert!(ask(SWITCHOVER, "orders-0").unwrap_err().contains("leads already"));
    }

    #[test]
    fn where_each_region_has_a_leader_the_replica_is_named() {
        let (replicas, mut status) = store();
        status.groups.push(GroupStatus { group: 2, leader: "orders-us-0".to_owned(), ..GroupStatus::default() });
        let ask = |value: &str| {
            let asked = Asked { annotation: SWITCHOVER, value: value.to_owned() };
            request(&asked, &replicas, &status).map(|(_, request)| request)
        };
        assert!(ask("").unwrap_err().contains("each region has a leader of its own"));
        assert_eq!(ask("orders-2"), Ok(HumanRequest::Switchover { to: 3 }));
    }

    #[test]
    fn where_nobody_leads_nobody_is_promoted() {
        let (replicas, mut status) = store();
        status.groups[0].r = Some(2);
        for annotation in [SWITCHOVER, PROMOTE, PROMOTE_FORCE] {
            let asked = Asked { annotation, value: "orders-1".to_owned() };
            assert!(request(&asked, &replicas, &status).unwrap_err().contains("this store has no leader"));
        }
    }

    #[test]
    fn its_outcome_is_what_the_store_then_does() {
        let (_, mut now) = store();
        let asked = Asked { annotation: SWITCHOVER, value: String::new() };
        let mut request = asked.taken_up("orders-2", None);
        follow(&mut request, &[], &now);
        assert_eq!(request.outcome, status::Outcome::Pending);
        let why = Decision::Refused { what: "hand over".to_owned(), why: "it lags".to_owned() };
        let mut refused = request.clone();
        follow(&mut refused, &[why], &now);
        assert_eq!((refused.outcome, refused.message.contains("it lags")), (status::Outcome::Refused, true));
        now.groups[0].leader = "orders-2".to_owned();
        follow(&mut request, &[], &now);
        assert_eq!((request.outcome, request.message.as_str()), (status::Outcome::Done, "orders-2 leads"));
        follow(&mut refused, &[], &now);
        assert_eq!(refused.outcome, status::Outcome::Refused, "what was answered stays so");
    }
}
