//! The drive loop of one store: something happened, so a turn of the planner is taken for each of its groups.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};
use trireme_crds::StoreStatus;
use trireme_planner::{Desired, Memory, RecordError, turn};

use super::{
    Happening,
    wanted::Wanted,
    world::{InGroup, World},
};
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

/// What may be forgotten between turns.
struct Memories {
    /// When this operator began.
    began: Instant,
    /// What the operator before this one said of the store: since when, and what was.
    told: Option<StoreStatus>,
    /// Each group's.
    groups: BTreeMap<u32, Memory>,
}

impl Memories {
    fn of(&mut self, desired: &Desired) -> &mut Memory {
        let told = || self.told.as_ref().map_or_else(Memory::default, |told| Memory::of(told, &desired.region));
        self.groups.entry(desired.group).or_insert_with(told)
    }
}

/// Drives the store until dropped.
pub(crate) async fn drive(
    context: Arc<Context>,
    wanted: Arc<Wanted>,
    happenings: mpsc::Sender<Happening>,
    mut happened: mpsc::Receiver<Happening>,
) {
    let mut memories = Memories { began: Instant::now(), told: None, groups: BTreeMap::new() };
    let mut world = World::new(context, wanted, happenings);
    memories.told = world.told();
    let mut back_off = BACK_OFF_FIRST;
    listen(&mut world, &mut happened).await;
    loop {
        let wake = match take_turns(&mut world, &mut memories).await {
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
    if world.read_records().await.is_err() {
        return;
    }
    world.groups();
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

/// A turn for each group. What one of them could not do keeps no other from its own, unless the API server does not answer at all.
async fn take_turns(world: &mut World, memories: &mut Memories) -> Result<Duration, Failed> {
    read(world).await?;
    let groups = world.groups();
    let (mut recheck_ms, mut failed) = (None, None);
    for desired in &groups {
        // A conflict in one group, and any answer that leaves it open what was written, is about all: what is there is read before the next one decides.
        read(world).await?;
        let now_ms = memories.began.elapsed().as_millis() as u64;
        let mut group = InGroup { world: &mut *world, group: desired.group };
        let turned = turn(&mut group, desired, memories.of(desired), now_ms).await;
        recheck_ms = [recheck_ms, turned.recheck_ms].into_iter().flatten().min();
        world.taken(match turned.failed {
            None => "ok",
            Some(RecordError::Conflict) => "conflict",
            Some(RecordError::Unknown(_)) => "unknown",
        });
        match turned.failed {
            None => {}
            Some(RecordError::Conflict) => failed = failed.or(Some(Failed::Conflict)),
            Some(RecordError::Unknown(why)) => {
                world.cannot(&why);
                failed = Some(Failed::Api);
            }
        }
    }
    world.measure(&groups);
    world.publish(groups.len());
    failed.map_or_else(|| Ok(recheck_ms.map_or(IDLE, Duration::from_millis)), Err)
}

/// Makes sure that the records are known.
async fn read(world: &mut World) -> Result<(), Failed> {
    world.read_records().await.map_err(|error| {
        world.cannot(&error.to_string());
        Failed::Api
    })
}

/// Up to a quarter more: stores that failed together are not to try again together.
fn jitter(wait: Duration) -> Duration {
    let noise = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.subsec_nanos());
    wait / 4 * (noise % 1_000) / 1_000
}
