//! A replica keeps its promises: it says nothing that its disk does not hold yet, and acknowledges nothing to a leader older than what it has promised.
//!
//! A report with a promise is the answer to a seal: if the promise could be forgotten in a crash, an older leader could go on. An acknowledgement of an older
//! epoch is the same: a seal that counted this replica would not have ended that epoch.

use trireme_proto::{Epoch, Message};

use super::{Found, Turn, violated};

/// Looks at what a turn sends.
///
/// # Errors
/// The first message that says too much.
pub fn turn(turn: &Turn<'_>) -> Found {
    for (_, message) in turn.sends {
        match message {
            Message::Report(report) if report.promise > turn.promised => {
                return violated("promises", said(turn, "reports", report.promise, turn.promised));
            }
            Message::AppendAck(ack) if ack.epoch < turn.promised => {
                return violated("promises", said(turn, "acknowledges to a leader of", ack.epoch, turn.promised));
            }
            _ => {}
        }
    }
    Ok(())
}

fn said(turn: &Turn<'_>, what: &str, epoch: Epoch, promised: Epoch) -> String {
    format!("replica {} {what} epoch {epoch} while its disk holds the promise of {promised}", turn.id)
}
