//! Once a second: how much memory the process has, for the core; clients that leave too much unread; and those that are idle, whose buffers go.

use std::time::{Duration, Instant};

use trireme_replica::io::Input;

use crate::shell::Shell;

const EVERY: Duration = Duration::from_secs(1);

/// Memory of the process that is in use, in bytes.
pub(crate) fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(kib.trim().trim_end_matches("kB").trim().parse::<u64>().ok()? << 10)
}

/// Looks, if it is time to; says when the next time is.
pub(crate) fn look(shell: &Shell, next: Instant) -> Instant {
    let now = Instant::now();
    if now < next {
        return next;
    }
    if let Some(bytes) = resident_bytes() {
        shell.core.borrow_mut().step(Input::Memory(bytes), shell.clock.now());
    }
    let tuning = shell.core.borrow().tuning();
    let core = shell.core.borrow();
    for client in shell.clients.borrow().values() {
        client.look(&tuning, || core.subscribes(client.id()));
        client.rest();
    }
    now + EVERY
}
