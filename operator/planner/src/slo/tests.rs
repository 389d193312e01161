use trireme_crds::{Budget, quantity::Millis};
use trireme_proto::{
    Report,
    ids::{Dot, Origin},
};

use super::*;

const HOUR: u64 = 3_600_000;
/// When it begins, by the wall clock.
const WALL: u64 = 1_800_000_000_000;

fn objectives() -> Objectives {
    Objectives { write_gap_ms: Some(500), staleness_ms: Some(500), objective_ppm: 999_000, window_ms: 720 * HOUR }
}

/// A store whose replicas answer and report as they are told to.
struct World {
    prober: Prober,
    now_ms: u64,
    seq: u64,
    /// Who leads.
    leader: Option<u32>,
    /// Followers that neither hear their leader nor anybody else.
    cut: Vec<u32>,
}

impl World {
    fn new(ids: u32) -> World {
        let mut prober = Prober::new(objectives(), None, WALL);
        let target = |id| Target { id, group: 0, ended: false, leaderless: false };
        prober.targets(&(1..=ids).map(target).collect::<Vec<_>>());
        World { prober, now_ms: 0, seq: 0, leader: Some(1), cut: Vec::new() }
    }

    fn run(&mut self, ms: u64) {
        for _ in 0..ms / 100 {
            self.now_ms += 100;
            let wall_ms = WALL + self.now_ms;
            let (number, asked) = self.prober.tick(self.now_ms, wall_ms);
            let ids: Vec<u32> = self.prober.targets.iter().map(|target| target.id).collect();
            if let Some(leader) = self.leader.filter(|leader| asked.contains(leader)) {
                self.seq += 1;
                let dot = Dot { origin: Origin { group: 0, generation: 1 }, seq: self.seq };
                self.prober.probed(leader, Probed { number, seq: self.seq, dot }, self.now_ms + 5, wall_ms + 5);
            }
            for id in ids.into_iter().filter(|id| !self.cut.contains(id)) {
                let role = if self.leader == Some(id) { Role::Leader } else { Role::Follower };
                self.prober.heard(id, &Report { id, role: role as i32, applied: self.seq, ..Report::default() });
            }
        }
    }

    fn status(&mut self) -> (Budget, Budget) {
        let status = self.prober.status(WALL + self.now_ms).unwrap();
        (status.write_gap.unwrap(), status.staleness.unwrap())
    }
}

#[test]
fn a_quiet_store_spends_nothing() {
    let mut world = World::new(3);
    assert_eq!(world.prober.pace_ms(), 100);
    assert_eq!(world.prober.status(WALL), None, "nothing was measured");
    world.run(60_000);
    let (write, stale) = world.status();
    assert_eq!((write.bad, stale.bad), (0, 0));
    // One write each pace, and both followers each pace from the second one on.
    assert_eq!((write.total, stale.total), (600, 2 * 599));
    assert_eq!((write.budget_left, write.burn_rate), (1.0, 0.0));
    assert_eq!((write.objective.as_str(), write.window, write.measured), ("99.9%", Millis(720 * HOUR), Millis(60_000)));
}

#[test]
fn a_gap_costs_what_it_is_longer_than_what_is_promised() {
    let mut world = World::new(3);
    world.run(10_000);
    world.leader = None;
    world.run(400);
    world.leader = Some(2);
    world.run(1_000);
    assert_eq!(world.status().0.bad, 0, "who tries again is told OK in time");
    world.leader = None;
    world.run(2_000);
    world.leader = Some(1);
    world.run(1_000);
    let (write, stale) = world.status();
    assert!((14..=16).contains(&write.bad), "{write:?}");
    assert_eq!(stale.bad, 0, "nothing was acknowledged that somebody could lack");
    // 15 of 144 are hundred times what may fail, and that in the last hour.
    assert!(write.budget_left < -90.0 && write.burn_rate > 90.0, "{write:?}");
    assert_eq!(write.counted, (write.bad, write.total));
}

#[test]
fn who_lacks_what_was_acknowledged_is_stale() {
    let mut world = World::new(3);
    world.run(10_000);
    world.cut = vec![3];
    world.run(2_000);
    world.cut.clear();
    world.run(1_000);
    let (write, stale) = world.status();
    assert_eq!(write.bad, 0);
    assert!((14..=16).contains(&stale.bad), "{stale:?}");
    // One that has ended shows nobody anything, one that is away for good does.
    let before = stale.bad;
    let mut targets = world.prober.targets.clone();
    targets[2].ended = true;
    world.cut = vec![3];
    world.prober.targets(&targets);
    world.run(5_000);
    assert_eq!(world.status().1.bad, before);
    targets[2].ended = false;
    world.prober.targets(&targets);
    world.run(5_000);
    assert_eq!(world.status().1.bad, before, "it has not reported yet");
    // What comes in by a snapshot is no replica that anybody reads from.
    world.prober.heard(3, &Report { id: 3, role: Role::Learner as i32, ..Report::default() });
    world.run(5_000);
    assert_eq!(world.status().1.bad, before);
}

#[test]
fn while_nobody_measures_nothing_is_counted() {
    let mut world = World::new(3);
    world.run(5_000);
    let before = world.status();
    // The process was stopped for a minute; what it had asked before is of no account.
    world.leader = None;
    world.run(300);
    world.now_ms += 60_000;
    world.leader = Some(1);
    world.run(1_000);
    let after = world.status();
    assert_eq!((after.0.bad, after.1.bad), (0, 0));
    assert!(after.0.total <= before.0.total + 13, "{after:?}");
    // A group that has never served is not measured: it is being made.
    let mut new = World::new(3);
    new.leader = None;
    new.run(10_000);
    assert_eq!(new.prober.status(WALL + 10_000), None);
}

#[test]
fn without_a_leader_each_is_asked_in_turn_and_names_count() {
    let mut prober = Prober::new(objectives(), None, WALL);
    let target = |id| Target { id, group: 0, ended: false, leaderless: true };
    prober.targets(&[target(1), target(2), target(3)]);
    let report = |id, upto: [u64; 3]| Report {
        id,
        role: Role::Peer as i32,
        received: (1..=3)
            .map(|origin| OriginSeq {
                origin: Origin { group: origin, generation: 1 },
                upto: upto[origin as usize - 1],
                gaps: 0,
            })
            .collect(),
        ..Report::default()
    };
    let (mut now_ms, mut seqs) = (0, [0; 3]);
    let mut stale = None;
    for round in 0..60 {
        now_ms += 100;
        let (number, asked) = prober.tick(now_ms, WALL + now_ms);
        assert_eq!(asked.len(), 1);
        let id = asked[0];
        // The third one is killed half-way: two of three probes still find somebody.
        if round < 30 || id != 3 {
            seqs[id as usize - 1] += 1;
            let dot = Dot { origin: Origin { group: id, generation: 1 }, seq: seqs[id as usize - 1] };
            prober.probed(id, Probed { number, seq: 9_000, dot }, now_ms, WALL + now_ms);
        }
        (1..=2).for_each(|id| prober.heard(id, &report(id, seqs)));
        if round < 30 {
            prober.heard(3, &report(3, seqs));
        }
        stale = prober.status(WALL + now_ms).and_then(|status| Some((status.write_gap?.bad, status.staleness?.bad)));
    }
    let (write, stale) = stale.unwrap();
    assert_eq!(write, 0);
    assert!((20..=26).contains(&stale), "{stale}");
}

#[test]
fn a_regions_leader_is_looked_at_for_what_other_regions_wrote() {
    let mut prober = Prober::new(objectives(), None, WALL);
    let target = |id, group| Target { id, group, ended: false, leaderless: false };
    prober.targets(&[target(1, 0), target(2, 2)]);
    let report = |id, upto: Option<u64>| Report {
        id,
        role: Role::Leader as i32,
        received: upto
            .map(|upto| OriginSeq { origin: Origin { group: 0, generation: 1 }, upto, gaps: 0 })
            .into_iter()
            .collect(),
        ..Report::default()
    };
    for i in 1..=40 {
        let now_ms = i * 100;
        let (number, mut asked) = prober.tick(now_ms, WALL + now_ms);
        asked.sort_unstable();
        assert_eq!(asked, [1, 2]);
        let dot = |group| Dot { origin: Origin { group, generation: 1 }, seq: i };
        prober.probed(1, Probed { number, seq: i, dot: dot(0) }, now_ms, WALL + now_ms);
        prober.probed(2, Probed { number, seq: i, dot: dot(2) }, now_ms, WALL + now_ms);
        // What the first one has written comes to the second until they are cut off from each other.
        prober.heard(
            1,
            &Report { received: vec![OriginSeq { origin: dot(2).origin, upto: i, gaps: 0 }], ..report(1, None) },
        );
        prober.heard(2, &report(2, Some(i.min(20))));
    }
    let stale = prober.status(WALL + 4_000).unwrap().staleness.unwrap();
    assert!((12..=16).contains(&stale.bad), "{stale:?}");
    // Another replica leads that region, and one that follows is not told of other regions.
    prober.heard(2, &Report { role: Role::Follower as i32, ..report(2, None) });
    assert!(prober.replicas[&2].lacks.iter().all(|(_, group, _)| *group == 2));
}

#[test]
fn a_window_moves_on_and_is_gone_on_from() {
    let mut meter = Meter::new(objectives(), 500, None, WALL);
    for hour in 0..1_000 {
        meter.add(WALL + hour * HOUR, u64::from(hour < 10), 1_000);
    }
    let end = WALL + 999 * HOUR;
    let budget = meter.budget(end).unwrap();
    assert_eq!(budget.bad, 0, "they are more than a window ago");
    assert!((715_000..=727_000).contains(&budget.total), "{budget:?}");
    assert_eq!(budget.measured, Millis(720 * HOUR));
    meter.add(end, 360, 1_000);
    let budget = meter.budget(end).unwrap();
    assert!((0.49..=0.51).contains(&budget.budget_left), "{budget:?}");
    assert!((115.0..=125.0).contains(&budget.burn_rate), "360 of 3,000 in the last hour: {budget:?}");
    // Another process goes on from what the status says, which it shows at once.
    let mut next = Meter::new(objectives(), 500, Some(&budget), end);
    let shown = next.budget(end).unwrap();
    assert_eq!((shown.bad, shown.total, shown.budget_left), (budget.bad, budget.total, budget.budget_left));
    assert_eq!((shown.burn_rate, shown.counted), (0.0, (0, 0)));
    let half = next.budget(end + 360 * HOUR).unwrap();
    assert!((170..=190).contains(&half.bad) && half.total < budget.total * 51 / 100, "{half:?}");
    assert_eq!(next.budget(end + 721 * HOUR), None);
    // What was measured of another promise is of no account.
    assert_eq!(Meter::new(objectives(), 600, Some(&budget), end).budget(end), None);
    // A clock that is set back takes nothing out.
    meter.add(WALL, 0, 1);
    assert_eq!(meter.budget(WALL).unwrap().bad, 360);
}
