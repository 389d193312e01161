//! Lag over time, of one store.

use std::collections::VecDeque;

use serde::Serialize;
use trireme_crds::StoreStatus;

/// Points that are kept of each line.
pub(crate) const POINTS_MAX: usize = 600;
/// Lines of one store.
const LINES_MAX: usize = 64;

/// How far somebody is behind: entries, and milliseconds; `None` where nobody knows.
pub(crate) type Lag = Option<(u32, u32)>;

/// The points of all lines, at the same times.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct History {
    /// When each point was taken, in milliseconds since 1970.
    times: VecDeque<u64>,
    lines: Vec<Line>,
    /// The worst of what was seen since the last point.
    #[serde(skip)]
    since: Vec<(String, Lag)>,
}

/// A replica, or how one region stands to what another one wrote.
#[derive(Clone, Debug, Serialize)]
struct Line {
    name: String,
    points: VecDeque<Lag>,
}

impl History {
    /// Takes a status in: a peak between two points is not to be lost.
    pub fn see(&mut self, status: &StoreStatus) {
        let seen = lags(status);
        let worse = |name: &str, now: Lag, before: &[(String, Lag)]| match (before.iter().find(|b| b.0 == name), now) {
            (Some((_, Some(before))), Some(now)) => Some((now.0.max(before.0), now.1.max(before.1))),
            _ => now,
        };
        let before = std::mem::take(&mut self.since);
        self.since = seen.into_iter().map(|(name, lag)| (name.clone(), worse(&name, lag, &before))).collect();
    }

    /// The next point, after which the latest status counts until it is another one.
    pub fn point(&mut self, at_ms: u64, status: &StoreStatus) {
        if self.times.len() == POINTS_MAX {
            self.times.pop_front();
            for line in &mut self.lines {
                line.points.pop_front();
            }
        }
        self.times.push_back(at_ms);
        let count = self.times.len();
        for (name, lag) in std::mem::take(&mut self.since) {
            match self.lines.iter().position(|line| line.name == name) {
                Some(at) => self.lines[at].points.push_back(lag),
                None if self.lines.len() < LINES_MAX => {
                    let mut points: VecDeque<Lag> = std::iter::repeat_n(None, count - 1).collect();
                    points.push_back(lag);
                    self.lines.push(Line { name, points });
                }
                None => {}
            }
        }
        for line in self.lines.iter_mut().filter(|line| line.points.len() < count) {
            line.points.push_back(None);
        }
        self.lines.retain(|line| line.points.iter().any(Option::is_some));
        self.see(status);
    }

    /// The last point of each line.
    pub fn last(&self) -> Vec<(&str, Lag)> {
        self.lines.iter().map(|line| (line.name.as_str(), line.points.back().copied().flatten())).collect()
    }

    /// Milliseconds that the replica or region that was most behind was behind, at the last `count` points.
    pub fn worst(&self, count: usize) -> Vec<Option<u32>> {
        let first = self.times.len().saturating_sub(count);
        let worst =
            |i: usize| self.lines.iter().filter_map(|line| line.points.get(i).copied().flatten()).map(|l| l.1).max();
        (first..self.times.len()).map(worst).collect()
    }
}

/// How far each replica is behind, and where each region has a leader each pair of regions.
fn lags(status: &StoreStatus) -> Vec<(String, Lag)> {
    let small = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
    let lag = |(entries, ms): (u64, u64)| (small(entries), small(ms));
    let replicas = status.replicas.iter().map(|replica| (replica.name.clone(), replica.lag().map(lag)));
    let feeds = status.groups.iter().flat_map(|group| {
        let name = |feed: &trireme_crds::status::FeedStatus| format!("{} → {}", group.region, feed.region);
        group.feeds.iter().map(move |feed| (name(feed), Some(lag(feed.lag()))))
    });
    replicas.chain(feeds).collect()
}

#[cfg(test)]
mod tests {
    use trireme_crds::status::ReplicaStatus;

    use super::*;

    fn status(lags: &[(&str, Option<u64>)]) -> StoreStatus {
        let replica = |(name, lag): &(&str, Option<u64>)| ReplicaStatus {
            name: (*name).to_owned(),
            lag_entries: *lag,
            lag_ms: lag.map(|lag| lag * 2),
            ..ReplicaStatus::default()
        };
        StoreStatus { replicas: lags.iter().map(replica).collect(), ..StoreStatus::default() }
    }

    fn see_and_point(history: &mut History, at_ms: u64, status: &StoreStatus) {
        history.see(status);
        history.point(at_ms, status);
    }

    #[test]
    fn a_peak_between_two_points_is_shown_and_gaps_are_no_zeros() {
        let mut history = History::default();
        see_and_point(&mut history, 1, &status(&[("a", Some(0))]));
        history.see(&status(&[("a", Some(9))]));
        see_and_point(&mut history, 2, &status(&[("a", Some(1)), ("b", Some(3))]));
        see_and_point(&mut history, 3, &status(&[("b", None)]));
        history.point(4, &status(&[("b", None)]));
        let line = |name: &str| {
            history.lines.iter().find(|l| l.name == name).map(|l| l.points.iter().copied().collect::<Vec<_>>()).unwrap()
        };
        assert_eq!(line("a"), [Some((0, 0)), Some((9, 18)), None, None]);
        assert_eq!(line("b"), [None, Some((3, 6)), None, None]);
        assert_eq!(history.worst(3), [Some(18), None, None]);
    }

    #[test]
    fn it_is_bounded_whatever_the_names_are() {
        let mut history = History::default();
        for i in 0..3 * POINTS_MAX {
            let name = format!("r-{i}");
            see_and_point(&mut history, i as u64, &status(&[("always", Some(1)), (&name, Some(1))]));
        }
        assert_eq!((history.times.len(), history.lines.len()), (POINTS_MAX, LINES_MAX));
        assert!(history.lines.iter().all(|line| line.points.len() == POINTS_MAX));
    }
}
