//! Lag over time on a terminal: a line for each replica, and for each pair of regions, as wide as the screen.
//!
//! The scale is the same for all lines and all screens, so that two of them can be compared at a glance; heights, not colours, carry what is meant.

use std::collections::VecDeque;

use trireme_crds::StoreStatus;

use crate::output::{Screen, thousands};

/// Looks that are remembered: no screen is wider.
const POINTS_MAX: usize = 512;
/// Lines that are remembered.
const TRACKS_MAX: usize = 256;
/// Room between two columns.
const GAP: usize = 2;
/// A chart that is narrower than this stands in a line of its own.
const NARROWEST: usize = 12;
/// From so many milliseconds on a mark is one step higher.
const STEPS_MS: [u64; 7] = [1, 5, 20, 100, 500, 2_000, 10_000];
/// A mark from this step on is shown as something that should not be.
const BAD_STEP: usize = 5;
const MARKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
const MARKS_ASCII: [char; 8] = ['_', '.', ',', '-', '=', '+', '*', '#'];

/// What was seen of one line.
#[derive(Debug)]
struct Track {
    name: String,
    role: String,
    reachable: bool,
    entries: Option<u64>,
    /// Milliseconds behind at each look, the latest last; `None` where nobody knew.
    points: VecDeque<Option<u64>>,
    /// It was there at the last look.
    seen: bool,
}

/// See the module.
#[derive(Debug)]
pub struct Chart {
    tracks: Vec<Track>,
    /// Looks before the one that is taken, as far as they are remembered.
    looks: usize,
    marks: [char; 8],
    unknown: char,
}

impl Chart {
    /// Without any look yet. Where `blocks` are not to be had, marks are plain characters.
    pub fn new(blocks: bool) -> Chart {
        let (marks, unknown) = if blocks { (MARKS, '·') } else { (MARKS_ASCII, ' ') };
        Chart { tracks: Vec::new(), looks: 0, marks, unknown }
    }

    /// For the terminal of this process: blocks where its locale says that it shows them.
    pub fn for_locale() -> Chart {
        let set = |name: &&str| std::env::var(name).is_ok_and(|value| !value.is_empty());
        let first = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find(set);
        let locale = first.and_then(|name| std::env::var(name).ok()).unwrap_or_default().to_ascii_lowercase();
        Chart::new(locale.contains("utf-8") || locale.contains("utf8"))
    }

    /// One more look.
    pub fn add(&mut self, status: &StoreStatus) {
        self.tracks.iter_mut().for_each(|track| track.seen = false);
        for replica in &status.replicas {
            // Of one that is not heard it is known how far it is behind where its leader says so.
            let role = if replica.reachable { replica.role.as_str() } else { "unreachable" };
            self.point(&replica.name, role, replica.reachable, replica.lag());
        }
        for group in &status.groups {
            for feed in &group.feeds {
                let role = if feed.reachable { "feed" } else { "not reached" };
                let name = format!("{} to {}", group.region, feed.region);
                self.point(&name, role, feed.reachable, Some(feed.lag()));
            }
        }
        self.tracks.retain(|track| track.seen);
        self.looks = (self.looks + 1).min(POINTS_MAX);
    }

    fn point(&mut self, name: &str, role: &str, reachable: bool, lag: Option<(u64, u64)>) {
        let known = self.tracks.iter().position(|track| track.name == name);
        if known.is_none() && self.tracks.len() == TRACKS_MAX {
            return;
        }
        let at = known.unwrap_or(self.tracks.len());
        if known.is_none() {
            let (name, role) = (name.to_owned(), String::new());
            // One that comes later begins where it came: what stands above each other was at the same time.
            let points = std::iter::repeat_n(None, self.looks).collect();
            self.tracks.push(Track { name, role, reachable, entries: None, points, seen: true });
        }
        let track = &mut self.tracks[at];
        role.clone_into(&mut track.role);
        (track.reachable, track.seen, track.entries) = (reachable, true, lag.map(|(entries, _)| entries));
        if track.points.len() == POINTS_MAX {
            track.points.pop_front();
        }
        track.points.push_back(lag.map(|(_, ms)| ms));
    }

    /// The chart, whose looks are `interval_ms` apart.
    pub fn text(&self, screen: &Screen, interval_ms: u64) -> String {
        let width = screen.width().unwrap_or(80);
        let rows: Vec<[String; 5]> = self.tracks.iter().map(Track::cells).collect();
        let heads = ["", "ROLE", "MS BEHIND", "AT MOST", "ENTRIES BEHIND"];
        let fixed: Vec<usize> = (0..heads.len())
            .map(|c| rows.iter().map(|row| row[c].chars().count()).chain([heads[c].len()]).max().unwrap_or(0))
            .collect();
        let before: usize = fixed.iter().map(|width| width + GAP).sum();
        let beside = before + NARROWEST <= width;
        let room = if beside { width - before } else { width.saturating_sub(GAP).max(1) }.min(POINTS_MAX);
        let covered = self.tracks.iter().map(|track| track.points.len()).max().unwrap_or(0).min(room) as u64;
        let over = format!("THE LAST {}", seconds(covered * interval_ms));
        let mut lines = Vec::new();
        if beside {
            lines.push(screen.dim(format!("{}{over}", columns(&heads.map(str::to_owned), &fixed))));
        } else {
            lines.push(screen.dim(clip(&over, width)));
        }
        for (track, row) in self.tracks.iter().zip(&rows) {
            let [name, role, ..] = row;
            let cells = columns(row, &fixed);
            let chart = self.marks(track, room, screen);
            if beside {
                // Colours come last: they take no room.
                let rest = cells.chars().skip(fixed[0] + fixed[1] + 2 * GAP).collect::<String>();
                let name = screen.name(format!("{name:0$}", fixed[0]));
                let role = format!("{role:0$}", fixed[1]);
                let role = if track.reachable { role } else { screen.bad(role) };
                lines.push(format!("{name}  {role}  {rest}{chart}"));
            } else {
                let [_, _, ms, _, entries] = row;
                lines.push(clip(&format!("{name}  {role}  {ms} ms, {entries} entries behind"), width));
                lines.push(format!("  {chart}"));
            }
        }
        self.bounded(lines, width, screen)
    }

    /// No more lines than the terminal has, or it could not be drawn in place; below them the scale.
    fn bounded(&self, mut lines: Vec<String>, width: usize, screen: &Screen) -> String {
        let scale = self.scale(width);
        let room = screen.height().unwrap_or(usize::MAX).saturating_sub(scale.len() + 3).max(2);
        if lines.len() > room {
            let left = lines.len() - room;
            lines.truncate(room);
            lines.push(screen.dim(clip(&format!("{left} more lines: the terminal is too low for them"), width)));
        }
        lines.push(String::new());
        lines.extend(scale.iter().map(|line| screen.dim(line)));
        lines.iter().map(|line| format!("{}\n", line.trim_end())).collect()
    }

    fn marks(&self, track: &Track, room: usize, screen: &Screen) -> String {
        let skip = track.points.len().saturating_sub(room);
        let mut text = String::new();
        let mut bad = String::new();
        for point in track.points.iter().skip(skip) {
            match point.map(step) {
                Some(step) if step >= BAD_STEP => bad.push(self.marks[step]),
                other => {
                    if !bad.is_empty() {
                        text.push_str(&screen.bad(std::mem::take(&mut bad)));
                    }
                    text.push(other.map_or(self.unknown, |step| self.marks[step]));
                }
            }
        }
        if !bad.is_empty() {
            text.push_str(&screen.bad(bad));
        }
        text
    }

    /// What each mark means, in as many lines as it takes.
    fn scale(&self, width: usize) -> Vec<String> {
        let mut items = vec![format!("{} nothing", self.marks[0])];
        items.extend(STEPS_MS.iter().zip(&self.marks[1..]).map(|(ms, mark)| match ms {
            0..1_000 => format!("{mark} {ms} ms"),
            _ => format!("{mark} {} s", ms / 1_000),
        }));
        let unknown = if self.unknown == ' ' { "blank".to_owned() } else { self.unknown.to_string() };
        items.push(format!("{unknown} not known"));
        let mut lines = vec!["or more behind:".to_owned()];
        for item in items {
            match lines.last_mut() {
                Some(line) if line.chars().count() + GAP + item.chars().count() <= width => {
                    line.push_str("  ");
                    line.push_str(&item);
                }
                _ => lines.push(clip(&item, width)),
            }
        }
        lines
    }
}

impl Track {
    fn cells(&self) -> [String; 5] {
        let number = |value: Option<u64>| value.map_or_else(|| "-".to_owned(), thousands);
        let now = self.points.back().copied().flatten();
        let most = self.points.iter().copied().flatten().max();
        [clip(&self.name, 32), self.role.clone(), number(now), number(most), number(self.entries)]
    }
}

/// How high the mark of so many milliseconds is.
fn step(ms: u64) -> usize {
    STEPS_MS.iter().filter(|from| ms >= **from).count()
}

/// Names to the left, numbers to the right, each as wide as its column.
fn columns(cells: &[String; 5], widths: &[usize]) -> String {
    let cell = |(i, (cell, &width)): (usize, (&String, &usize))| match i {
        0 | 1 => format!("{cell:width$}  "),
        _ => format!("{cell:>width$}  "),
    };
    cells.iter().zip(widths).enumerate().map(cell).collect()
}

fn clip(text: &str, width: usize) -> String {
    match text.chars().count() > width {
        true => text.chars().take(width.saturating_sub(1)).chain(['~']).collect(),
        false => text.to_owned(),
    }
}

fn seconds(ms: u64) -> String {
    match ms {
        0..10_000 => format!("{:.1} S", ms as f64 / 1_000.0),
        _ => format!("{} S", ms / 1_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_rise_with_the_lag() {
        assert_eq!([0, 1, 4, 5, 99, 100, 10_000, u64::MAX].map(step), [0, 1, 1, 2, 3, 4, 7, 7]);
    }

    #[test]
    fn who_comes_later_begins_later() {
        let mut chart = Chart::new(false);
        let replica = |name: &str| trireme_crds::status::ReplicaStatus {
            name: name.to_owned(),
            lag_entries: Some(0),
            ..Default::default()
        };
        let status = |names: &[&str]| StoreStatus {
            replicas: names.iter().map(|name| replica(name)).collect(),
            ..StoreStatus::default()
        };
        for names in [&["a"][..], &["a"], &["a", "b"], &["a"], &["a", "b"]] {
            chart.add(&status(names));
        }
        let points = |i: usize| chart.tracks[i].points.iter().copied().collect::<Vec<_>>();
        assert_eq!(points(0), [Some(0); 5]);
        assert_eq!(points(1), [None, None, None, None, Some(0)]);
    }

    #[test]
    fn nothing_grows_without_bound() {
        let mut chart = Chart::new(true);
        let replica = |name: String| trireme_crds::status::ReplicaStatus { name, ..Default::default() };
        let status = StoreStatus {
            replicas: (0..2 * TRACKS_MAX).map(|i| replica(format!("r-{i}"))).collect(),
            ..StoreStatus::default()
        };
        (0..POINTS_MAX + 9).for_each(|_| chart.add(&status));
        assert_eq!((chart.tracks.len(), chart.tracks[0].points.len()), (TRACKS_MAX, POINTS_MAX));
        chart.add(&StoreStatus::default());
        assert!(chart.tracks.is_empty());
    }
}
