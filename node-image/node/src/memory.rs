//! Once a second: memory that is free goes back to the system; how much memory the process has, for the core; clients that leave too much unread; and those that are idle, whose buffers go.

use std::time::{Duration, Instant};

use trireme_replica::io::Input;

use crate::shell::Shell;

const EVERY: Duration = Duration::from_secs(1);
/// What allocators take for large, in bytes: it has pages of its own.
const LARGE_BYTES: usize = 1 << 20;

/// Memory of the process that is in use, in bytes.
pub(crate) fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(kib.trim().trim_end_matches("kB").trim().parse::<u64>().ok()? << 10)
}

/// An allocator keeps what is free for a while, and looks what has been free for long when it is asked for something large. Who is idle asks for nothing, and
/// would keep for good what a start or a load took. What is asked for here is never written to, so that it costs nothing.
fn give_back() {
    drop(std::hint::black_box(Vec::<u8>::with_capacity(LARGE_BYTES)));
}

/// Looks, if it is time to; says when the next time is.
pub(crate) fn look(shell: &Shell, next: Instant) -> Instant {
    let now = Instant::now();
    if now < next {
        return next;
    }
    give_back();
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
