//! What has been heard of one replica, by whoever keeps a link to it.

use std::{collections::VecDeque, time::Instant};

use trireme_proto::Report;

use crate::link::Said;

/// Processes of one replica that are remembered to have ended: reports of theirs may still be under way.
const ENDED_MAX: usize = 8;

/// What has been heard of one replica. Its process is told from others by the random number that it says with its Hello and in every report.
#[derive(Clone, Debug, Default)]
pub struct Heard {
    connected: bool,
    at: Option<Instant>,
    report: Option<Report>,
    boot: Option<u64>,
    ended: VecDeque<u64>,
}

impl Heard {
    /// Takes in what came over the link.
    pub fn absorb(&mut self, said: Said) {
        match said {
            Said::Opened { boot, .. } => {
                self.connected = true;
                self.hear(boot);
            }
            Said::Heard { report, .. } => {
                self.hear(report.boot);
                self.report = Some(*report);
            }
            Said::Closed { .. } => self.connected = false,
            Said::Ended { boot, .. } => self.boot_ended(boot),
            Said::Refused { .. } | Said::Probed { .. } => {}
        }
    }

    fn hear(&mut self, boot: u64) {
        self.at = Some(Instant::now());
        if !self.ended.contains(&boot) {
            self.boot = Some(boot);
        }
    }

    /// The process that was last heard to run has ended for sure.
    pub fn process_ended(&mut self) {
        if let Some(boot) = self.boot {
            self.boot_ended(boot);
        }
    }

    /// The process with this number has ended for sure.
    pub fn boot_ended(&mut self, boot: u64) {
        if self.boot == Some(boot) {
            self.boot = None;
        }
        if !self.ended.contains(&boot) {
            self.ended.push_back(boot);
            if self.ended.len() > ENDED_MAX {
                self.ended.pop_front();
            }
        }
    }

    /// Whether the process that sent the report has ended for sure.
    pub fn reporter_ended(&self) -> bool {
        self.report.as_ref().is_some_and(|report| self.ended.contains(&report.boot))
    }

    /// Whether the link is up.
    pub fn connected(&self) -> bool {
        self.connected
    }

    /// Milliseconds since anything was heard; `u64::MAX` if nothing ever was.
    pub fn silent_ms(&self) -> u64 {
        self.at.map_or(u64::MAX, |at| at.elapsed().as_millis() as u64)
    }

    /// The newest report.
    pub fn report(&self) -> Option<&Report> {
        self.report.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(boot: u64) -> Said {
        Said::Heard { id: 1, report: Box::new(Report { id: 1, boot, ..Report::default() }) }
    }

    #[test]
    fn a_report_outlives_its_process_and_is_known_to() {
        let mut replica = Heard::default();
        assert_eq!(replica.silent_ms(), u64::MAX);
        replica.absorb(Said::Opened { id: 1, boot: 7 });
        replica.absorb(heard(7));
        assert!(replica.connected() && !replica.reporter_ended());
        replica.process_ended();
        replica.absorb(Said::Closed { id: 1 });
        assert!(!replica.connected() && replica.reporter_ended());
        // What it still had said comes late.
        replica.absorb(heard(7));
        assert!(replica.reporter_ended());
        replica.absorb(heard(8));
        assert!(!replica.reporter_ended());
        // Its parent says so.
        replica.absorb(Said::Ended { id: 1, boot: 8, how: "killed".to_owned() });
        assert!(replica.reporter_ended());
    }

    #[test]
    fn the_end_of_one_process_says_nothing_of_another() {
        let mut replica = Heard::default();
        replica.absorb(heard(8));
        replica.boot_ended(7);
        assert!(!replica.reporter_ended());
        for boot in 100..200 {
            replica.boot_ended(boot);
        }
        assert_eq!(replica.ended.len(), ENDED_MAX);
    }
}
