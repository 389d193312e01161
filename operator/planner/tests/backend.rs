//! The smallest backend passes the suite, broken ones do not; and a turn whose record cannot be written does nothing else.

#![allow(clippy::unwrap_used)] // Helpers of tests: clippy's exception knows only functions that are tests themselves.

mod support;

use std::{
    cell::RefCell,
    collections::BTreeMap,
    future::Future,
    pin::pin,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use trireme_crds::{Mode, ReplicatedStoreSpec, StoreStatus};
use trireme_planner::{
    Backend, Decision, Desired, DesiredReplica, Memory, Observed, Process, RecordError, Seen, conformance, plan, turn,
};
use trireme_proto::{ReplicaId, Report, Topology};

/// Nothing here ever waits, so one poll completes it.
fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("it waits"),
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Fault {
    #[default]
    None,
    /// Allowed: every fifth observation looks at what others wrote, the others answer with what was last written or read here.
    SeesOthersLate,
    NeverSeesOthers,
    StaysBehindAfterConflict,
    IgnoresVersion,
    StaleReads,
    AlwaysConflicts,
    TellWrites,
}

#[derive(Clone, Default)]
struct InMemory {
    shared: Rc<RefCell<(Option<Topology>, Option<Topology>)>>,
    fault: Fault,
    acted: Rc<RefCell<Vec<&'static str>>>,
    known: Option<Topology>,
    observations: u32,
}

impl InMemory {
    fn read_again(&mut self) {
        self.known = self.shared.borrow().0.clone();
    }
}

impl Backend for InMemory {
    async fn observe(&mut self) -> Observed {
        self.observations += 1;
        match self.fault {
            Fault::SeesOthersLate | Fault::StaysBehindAfterConflict if !self.observations.is_multiple_of(5) => {}
            Fault::NeverSeesOthers => {}
            Fault::StaleReads => self.known = self.shared.borrow().1.clone(),
            _ => self.read_again(),
        }
        let record = self.known.clone();
        let seen = |id: u32| Seen {
            process: Process::Running,
            connected: true,
            report: Some(Report { id, incarnation: u64::from(id), ..Report::default() }),
            ..Seen::default()
        };
        Observed { record, replicas: BTreeMap::from([(1, seen(1)), (2, seen(2)), (3, seen(3))]), ..Observed::default() }
    }

    async fn record(&mut self, expected_version: u64, next: &Topology) -> Result<(), RecordError> {
        let mut shared = self.shared.borrow_mut();
        let version = shared.0.as_ref().map_or(0, |record| record.version);
        if self.fault == Fault::AlwaysConflicts || (version != expected_version && self.fault != Fault::IgnoresVersion)
        {
            drop(shared);
            if self.fault != Fault::StaysBehindAfterConflict {
                self.read_again();
            }
            return Err(RecordError::Conflict);
        }
        shared.1 = shared.0.take();
        shared.0 = Some(next.clone());
        self.known = Some(next.clone());
        Ok(())
    }

    async fn tell(&mut self, _: ReplicaId, topology: &Topology) {
        self.acted.borrow_mut().push("tell");
        if self.fault == Fault::TellWrites {
            self.shared.borrow_mut().0 = Some(Topology { version: topology.version + 1, ..topology.clone() });
        }
    }

    async fn provision(&mut self, _: &[DesiredReplica]) {
        self.acted.borrow_mut().push("provision");
    }

    async fn restart(&mut self, _: ReplicaId) {
        self.acted.borrow_mut().push("restart");
    }

    async fn replace(&mut self, _: ReplicaId) {
        self.acted.borrow_mut().push("replace");
    }

    async fn publish(&mut self, _: &[Decision], _: &StoreStatus) {
        self.acted.borrow_mut().push("publish");
    }
}

fn suite(fault: Fault) -> Result<(), conformance::Failed> {
    let mut one = InMemory { fault, ..InMemory::default() };
    let mut other = one.clone();
    now(conformance::suite(&mut one, &mut other, async || {}))
}

#[test]
fn the_suite_accepts_a_right_backend_and_finds_faults() {
    assert_eq!(suite(Fault::None), Ok(()));
    assert_eq!(suite(Fault::SeesOthersLate), Ok(()));
    let faults = [
        Fault::NeverSeesOthers,
        Fault::StaysBehindAfterConflict,
        Fault::IgnoresVersion,
        Fault::StaleReads,
        Fault::AlwaysConflicts,
        Fault::TellWrites,
    ];
    for fault in faults {
        assert!(suite(fault).is_err(), "{fault:?}");
    }
}

fn desired() -> Desired {
    support::groups(ReplicatedStoreSpec::new(Mode::SingleLeader), &[], &[]).remove(0)
}

#[test]
fn a_turn_records_before_it_acts() {
    let (mut backend, mut memory) = (InMemory::default(), Memory::default());
    let turned = now(turn(&mut backend, &desired(), &mut memory, 0));
    assert_eq!(turned.failed, None);
    assert_eq!(*backend.acted.borrow(), ["tell", "tell", "tell", "provision", "publish"]);
    assert_eq!(backend.shared.borrow().0.as_ref().map(|record| record.version), Some(1));
}

#[test]
fn a_turn_whose_record_was_not_written_does_nothing_and_remembers_nothing() {
    let mut backend = InMemory { fault: Fault::AlwaysConflicts, ..InMemory::default() };
    let mut memory = Memory::default();
    let turned = now(turn(&mut backend, &desired(), &mut memory, 0));
    assert_eq!(turned.failed, Some(RecordError::Conflict));
    assert!(backend.acted.borrow().is_empty());
    assert_eq!(memory, Memory::default());
}

#[test]
fn a_record_survives_as_an_object() {
    let (mut backend, mut memory) = (InMemory::default(), Memory::default());
    now(turn(&mut backend, &desired(), &mut memory, 0));
    let record = backend.shared.borrow().0.clone().unwrap();
    let object = trireme_planner::record::to_object(&record);
    assert_eq!(trireme_planner::record::from_object("uid", &object), Ok(record));
    let mut edited = object;
    edited.config.members[0].incarnation = "xyz".to_owned();
    assert!(trireme_planner::record::from_object("uid", &edited).is_err());
}

#[test]
fn a_paused_turn_provisions_nothing() {
    let (mut backend, mut memory) = (InMemory::default(), Memory::default());
    let paused = Desired { paused: true, ..desired() };
    assert_eq!(now(turn(&mut backend, &paused, &mut memory, 0)).failed, None);
    assert_eq!(*backend.acted.borrow(), ["publish"]);
}

#[test]
fn replicas_are_named_after_their_regions() {
    let names = |regions: &[&str]| {
        let mut spec = ReplicatedStoreSpec::new(Mode::SingleLeader);
        spec.n = Some(5);
        spec.regions = regions.iter().map(|name| trireme_crds::store::Region { name: (*name).to_owned() }).collect();
        let replicas = support::groups(spec, &[], &[]).remove(0).replicas;
        replicas.into_iter().map(|r| (r.id, r.name)).collect::<Vec<_>>()
    };
    let expected = |names: [&str; 5]| (1..).zip(names.map(str::to_owned)).collect::<Vec<(u32, String)>>();
    assert_eq!(names(&[]), expected(["s-0", "s-1", "s-2", "s-3", "s-4"]));
    assert_eq!(names(&["eu", "us"]), expected(["s-eu-0", "s-us-0", "s-eu-1", "s-us-1", "s-eu-2"]));
}

#[test]
fn an_operator_that_starts_anew_goes_on_from_the_status_that_was_written() {
    let mut memory = Memory::default();
    let looking = |wall_ms: u64| Observed { wall_ms, ..Observed::default() };
    let _ = plan(&desired(), &looking(1_000), &mut memory, 0);
    let mut before = trireme_planner::status(&desired(), &looking(1_000), &memory, 0, 1_000);
    before.failovers = vec![trireme_crds::status::FailoverStatus {
        at: "1970-01-01T00:00:00.500Z".to_owned(),
        region: String::new(),
        cause: "the group is new".to_owned(),
        from: String::new(),
        to: "s-0".to_owned(),
        epoch: "1".to_owned(),
        detect_ms: None,
        seal_ms: Some(2),
        active_ms: Some(5),
        write_gap_ms: Some(0),
        at_risk: 0,
        recovered: 0,
        lost: 0,
        provably_unacknowledged: 0,
        forced: false,
    }];
    let mut memory = Memory::of(&before, "");
    let again = plan(&desired(), &looking(9_000), &mut memory, 0);
    assert_eq!(again.decisions, [], "it has been said before");
    assert_eq!(trireme_planner::status(&desired(), &looking(9_000), &memory, 0, 9_000), before);
}
