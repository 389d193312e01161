//! Where w + r <= n: how often a read misses a write, and for how long, by the latencies that the store's own replicas see.
//!
//! Probabilistically bounded staleness (Bailis et al., VLDB 2012): of a write at a random member, and a read at a random other moment and member, the times are
//! drawn from what was measured: half of a copy's time to arrive and half to be acknowledged, half of an answer's time to ask and half to be told. The read
//! misses the write if none of the first r that answer had it when they were asked. The draws are always the same, so the same measurements say the same.

use trireme_proto::{Topology, report::Pace};

use super::{change::quorums, coordinators};
use crate::plan::Turn;

/// Writes and reads that are drawn.
const DRAWS: usize = 10_000;
/// What was said stays said for so long.
const AGAIN_AFTER_MS: u64 = 60_000;

/// What was drawn: of so many reads how many miss a write that has just been acknowledged, and after how many microseconds one in 1,000 still does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Odds {
    missed: usize,
    until_us: u64,
    copy_us: (u32, u32),
}

/// What users are told, from measurements of the last minute or so; nothing where quorums meet, or nothing was measured.
pub(crate) fn staleness(turn: &mut Turn<'_>, record: &Topology) -> Option<String> {
    let (q, now_ms) = (quorums(record), turn.now_ms);
    if q.meet() || record.old.is_some() {
        turn.memory.staleness = None;
        return None;
    }
    if let Some((at_ms, said)) = &turn.memory.staleness
        && *at_ms + AGAIN_AFTER_MS > now_ms
    {
        return Some(said.clone());
    }
    let coordinators = coordinators(turn, record);
    let paces: Vec<&[Pace]> = coordinators.iter().map(|reach| reach.report.paces.as_slice()).collect();
    let odds = draw(&paces, q.w as usize, q.r as usize)?;
    let said = odds.to_string();
    turn.memory.staleness = Some((now_ms, said.clone()));
    Some(said)
}

/// Draws writes and reads. `paces`: for each member that coordinates, how long the others take.
fn draw(paces: &[&[Pace]], w: usize, r: usize) -> Option<Odds> {
    let known: Vec<&[Pace]> =
        paces.iter().copied().filter(|others| others.len() + 1 >= w.max(r) && !others.is_empty()).collect();
    if known.is_empty() {
        return None;
    }
    let mut chance = Chance(0x7472_6972_656d_6501);
    let mut late: Vec<u64> = (0..DRAWS).map(|_| one(&known, w, r, &mut chance)).collect();
    late.sort_unstable();
    let copies = || known.iter().flat_map(|others| others.iter()).map(|pace| &pace.copies_us);
    let most = |i: usize| copies().filter_map(|us| us.get(i)).max().copied().unwrap_or(0);
    Some(Odds {
        missed: late.iter().filter(|us| **us > 0).count(),
        until_us: late[DRAWS - DRAWS / 1_000],
        copy_us: (most(0), most(2)),
    })
}

/// For so many microseconds after its acknowledgement a write is missed by a read, of one draw.
fn one(known: &[&[Pace]], w: usize, r: usize, chance: &mut Chance) -> u64 {
    let (writer, reader) = (known[chance.below(known.len())], known[chance.below(known.len())]);
    // When each replica that the writer reaches has the write, and when the writer knows. The writer itself has it at once.
    let mut arrives: Vec<(u32, i64)> = Vec::with_capacity(writer.len());
    let mut known_at: Vec<i64> = vec![0];
    for pace in writer {
        let at = chance.of(&pace.copies_us) / 2;
        arrives.push((pace.id, at));
        known_at.push(at + chance.of(&pace.copies_us) / 2);
    }
    known_at.sort_unstable();
    let acknowledged = known_at[w.clamp(1, known_at.len()) - 1];
    let has = |id: u32| arrives.iter().find(|(other, _)| *other == id).map_or(0, |(_, at)| *at);
    // Of the reader's own state, and of those that answer it first: for how long after the acknowledgement each lacks the write.
    let own = arrives.iter().map(|(id, _)| *id).find(|id| reader.iter().all(|pace| pace.id != *id));
    let mut answers: Vec<(i64, i64)> = vec![(0, own.map_or(0, has) - acknowledged)];
    for pace in reader {
        let asked = chance.of(if pace.answers_us.is_empty() { &pace.copies_us } else { &pace.answers_us }) / 2;
        let told = chance.of(if pace.answers_us.is_empty() { &pace.copies_us } else { &pace.answers_us }) / 2;
        answers.push((asked + told, has(pace.id) - acknowledged - asked));
    }
    answers.sort_unstable();
    let lacks = answers.iter().take(r.max(1)).map(|(_, lacks)| *lacks).min().unwrap_or(0);
    u64::try_from(lacks).unwrap_or(0)
}

/// Numbers that look random and are always the same (SplitMix64).
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    /// A time, in microseconds, from what 50, 90 and 99 of 100 did not exceed: in between, in proportion.
    fn of(&mut self, quantiles: &[u32]) -> i64 {
        let [half, most, nearly] = quantiles else { return 0 };
        let (half, most, nearly) = (f64::from(*half), f64::from(*most), f64::from(*nearly));
        let at = (self.next() >> 11) as f64 / (1u64 << 53) as f64;
        let between = |from: (f64, f64), to: (f64, f64)| from.1 + (to.1 - from.1) * (at - from.0) / (to.0 - from.0);
        let us = match at {
            at if at < 0.5 => between((0.0, half / 2.0), (0.5, half)),
            at if at < 0.9 => between((0.5, half), (0.9, most)),
            at if at < 0.99 => between((0.9, most), (0.99, nearly)),
            _ => between((0.99, nearly), (1.0, nearly * 2.0)),
        };
        us as i64
    }
}

impl std::fmt::Display for Odds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ms =
            |us: u64| if us < 10_000 { format!("{:.1} ms", us as f64 / 1e3) } else { format!("{} ms", us / 1_000) };
        let missed = match self.missed * 100 {
            0 => "in none of 100 cases".to_owned(),
            few if few < DRAWS => "in fewer than 1 of 100 cases".to_owned(),
            many => format!("in about {} of 100 cases", many / DRAWS),
        };
        write!(
            f,
            "As measured here, a copy takes {} (1 of 100: {}), so that a read elsewhere right after the acknowledgement misses the write {missed}, and in fewer than 1 of 1000 after {}.",
            ms(self.copy_us.0.into()),
            ms(self.copy_us.1.into()),
            ms(self.until_us)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paces(id: u32, n: u32, us: [u32; 3]) -> Vec<Pace> {
        let other = |id| Pace { id, copies_us: us.to_vec(), answers_us: us.to_vec() };
        (1..=n).filter(|other| *other != id).map(other).collect()
    }

    fn drawn(n: u32, w: usize, r: usize, us: [u32; 3]) -> Odds {
        let all: Vec<Vec<Pace>> = (1..=n).map(|id| paces(id, n, us)).collect();
        let all: Vec<&[Pace]> = all.iter().map(Vec::as_slice).collect();
        draw(&all, w, r).unwrap()
    }

    #[test]
    fn where_quorums_meet_nothing_is_ever_missed() {
        for n in 2..=6_u32 {
            for w in 1..=n as usize {
                let r = n as usize + 1 - w;
                assert_eq!(drawn(n, w, r, [500, 900, 5_000]).missed, 0, "n = {n}, w = {w}, r = {r}");
            }
        }
    }

    #[test]
    fn what_is_missed_is_bounded_by_the_sets_that_do_not_meet_and_shrinks_with_time() {
        // w = r = 1 of 3: who has the write is asked in one of three cases, and the others lack it at first.
        let odds = drawn(3, 1, 1, [1_000, 1_000, 1_000]);
        assert!((6_300..=7_000).contains(&odds.missed), "{odds:?}");
        assert!((480..=1_000).contains(&odds.until_us), "{odds:?}");
        let more = drawn(3, 2, 1, [1_000, 1_000, 1_000]);
        assert!(more.missed < odds.missed && more.until_us <= odds.until_us, "{more:?}");
        let slow = drawn(3, 1, 1, [1_000, 20_000, 100_000]);
        assert!(slow.until_us > 10 * odds.until_us, "{slow:?}");
    }

    #[test]
    fn the_same_measurements_say_the_same_and_none_say_nothing() {
        assert_eq!(drawn(5, 2, 2, [400, 700, 3_000]), drawn(5, 2, 2, [400, 700, 3_000]));
        assert_eq!(draw(&[], 1, 1), None);
        assert_eq!(draw(&[&[]], 1, 1), None);
        let said = drawn(3, 1, 1, [1_000, 1_000, 1_000]).to_string();
        assert!(said.starts_with("As measured here, a copy takes 1.0 ms"), "{said}");
    }
}
