//! One replica of a store on this machine: its process, the link to it, and what was heard over that.

use tokio::sync::watch;
use trireme_link::{Heard, Link, Orders, Said};
use trireme_planner::{DesiredReplica, Elsewhere, Process, Seen};

use crate::{addresses::Address, process::Keeper};

/// One replica.
#[derive(Debug)]
pub(crate) struct Replica {
    pub wanted: DesiredReplica,
    pub group: u32,
    pub address: Address,
    pub keeper: Keeper,
    /// Dropped with the replica.
    pub _link: Link,
    pub orders: watch::Sender<Orders>,
    /// Of its process; 0 while there is none.
    pub pid: u32,
    pub heard: Heard,
    /// Why whoever answers was refused: said once.
    pub refused: Option<String>,
}

impl Replica {
    /// Takes in what came over its link.
    pub fn hear(&mut self, said: Said) {
        let boot = match &said {
            Said::Opened { boot, .. } => {
                self.refused = None;
                Some(*boot)
            }
            Said::Heard { report, .. } => Some(report.boot),
            Said::Closed { .. } | Said::Ended { .. } | Said::Refused { .. } | Said::Probed { .. } => None,
        };
        self.heard.absorb(said);
        if let Some(boot) = boot.filter(|_| self.pid == 0) {
            // No process runs: it came out of a buffer.
            self.heard.boot_ended(boot);
        }
    }

    /// An edge: which door has turned it away last, and why.
    pub fn turned_away(&self) -> &str {
        self.heard.report().map_or("", |report| report.turned_away.as_str())
    }

    /// Its process has ended.
    pub fn has_ended(&mut self) {
        self.pid = 0;
        self.heard.process_ended();
    }

    /// As it is known to those who plan for other groups.
    pub fn elsewhere(&self) -> Elsewhere {
        let seen = self.seen();
        Elsewhere { alive: seen.alive(), report: seen.report, peer: seen.peer_address, client: seen.client_address }
    }

    pub fn seen(&self) -> Seen {
        let process = match self.pid {
            _ if self.heard.reporter_ended() => Process::Ended,
            0 => Process::Unknown,
            _ => Process::Running,
        };
        Seen {
            process,
            connected: self.heard.connected(),
            silent_ms: self.heard.silent_ms(),
            report: self.heard.report().cloned(),
            peer_address: Some(self.address.peer().to_string()),
            client_address: Some(self.address.client().to_string()),
            // Every process is started with what is wanted, and this machine is here.
            outdated: false,
            stopped: self.pid == 0,
            unready: false,
            machine_gone: false,
        }
    }
}
