//! The drive loop of one store: something happened, so a turn of the planner is taken.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};
use trireme_planner::{Memory, RecordError, turn};

use super::{Happening, wanted::Wanted, world::World};
use crate::context::Context;

/// Happenings taken in before a turn: the rest wait for the next one.
const BATCH_MAX: usize = 256;
/// First wait after the record could not be read or written, and the longest; it doubles with each failure.
const BACK_OFF_FIRST: Duration = Duration::from_millis(20);
const BACK_OFF_MAX: Duration = Duration::from_secs(2);
/// How long a new operator listens before its first turn.
const LISTEN: Duration = Duration::from_secs(1);
/// Where nothing else was asked for, the next turn is taken after this long.
const IDLE: Duration = Duration::from_secs(1);

/// Drives the store until dropped.
pub(crate) async fn drive(
    context: Arc<Context>,
    wanted: Arc<Wanted>,
    happenings: mpsc::Sender<Happening>,
    mut happened: mpsc::Receiver<Happening>,
) {
    let began = Instant::now();
    let mut world = World::new(context, wanted, happenings);
    // What the operator before this one said of the store: since when, and what was.
    let mut memory = world.told().as_ref().map_or_else(Memory::default, |told| Memory::of(told, ""));
    let mut back_off = BACK_OFF_FIRST;
    listen(&mut world, &mut happened).await;
    loop {
        let wake = match take_turn(&mut world, &mut memory, began).await {
            Ok(recheck) => {
                back_off = BACK_OFF_FIRST;
                Instant::now() + recheck
            }
            Err(Failed::Conflict) => Instant::now() + BACK_OFF_FIRST,
            Err(Failed::Api) => {
                let wait = back_off + jitter(back_off);
                back_off = (back_off * 2).min(BACK_OFF_MAX);
                Instant::now() + wait
            }
        };
        loop {
            let first = tokio::select! {
                happening = happened.recv() => match happening {
                    Some(happening) => happening,
                    None => return,
                },
                () = sleep_until(wake) => break,
            };
            let more = std::iter::from_fn(|| happened.try_recv().ok()).take(BATCH_MAX);
            let mut matters = false;
            for happening in std::iter::once(first).chain(more) {
                matters |= world.absorb(happening);
            }
            // While the API server does not answer, nothing that happens makes it answer sooner.
            if matters && back_off == BACK_OFF_FIRST {
                break;
            }
        }
    }
}

/// An operator that has just begun has heard nobody: before it judges, it listens until every replica that has an address was heard, or for a moment.
async fn listen(world: &mut World, happened: &mut mpsc::Receiver<Happening>) {
    if world.read_record().await.is_err() {
        return;
    }
    let patience = Instant::now() + LISTEN;
    while !world.heard_all() {
        tokio::select! {
            happening = happened.recv() => match happening {
                Some(happening) => {
                    world.absorb(happening);
                }
                None => return,
            },
            () = sleep_until(patience) => return,
        }
    }
}

/// Why a turn was not taken to its end.
enum Failed {
    /// Somebody else wrote the record.
    Conflict,
    /// The API server did not do what it was asked for.
    Api,
}

async fn take_turn(world: &mut World, memory: &mut Memory, began: Instant) -> Result<Duration, Failed> {
    if let Err(error) = world.read_record().await {
        world.cannot(&error.to_string());
        return Err(Failed::Api);
    }
    let desired = world.wanted().desired.clone();
    let turned = turn(world, &desired, memory, began.elapsed().as_millis() as u64).await;
    world.taken(match turned.failed {
        None => "ok",
        Some(RecordError::Conflict) => "conflict",
        Some(RecordError::Unknown(_)) => "unknown",
    });
    match turned.failed {
        None => Ok(turned.recheck_ms.map_or(IDLE, Duration::from_millis)),
        Some(RecordError::Conflict) => Err(Failed::Conflict),
        Some(RecordError::Unknown(why)) => {
            world.cannot(&why);
            Err(Failed::Api)
        }
    }
}

/// Up to a quarter more: stores that failed together are not to try again together.
fn jitter(wait: Duration) -> Duration {
    let noise = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.subsec_nanos());
    wait / 4 * (noise % 1_000) / 1_000
}
