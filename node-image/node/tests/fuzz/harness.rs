//! Runs a target with one seed after the other, one target at a time, and looks at what each seed took of memory and time.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Mutex,
    time::{Duration, Instant},
};

use fastrand::Rng;
use peak_alloc::PeakAlloc;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// So that what is counted is one target's.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

const SECONDS: u64 = 2;
/// So many seeds are run, however slow the machine is.
const SEEDS_MIN: u64 = 10;
/// No seed takes so long, on the slowest machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// What a seed may leave behind, in bytes: buffers of the thread, names of what was met first.
const LEFT_MAX: usize = 4 << 20;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// What came of a seed.
#[derive(Clone, Copy, Default)]
pub struct Ran {
    /// Inputs that were made of it.
    pub inputs: u64,
    /// Those of them that were understood in spite of the damage.
    pub understood: u64,
}

/// Runs `target` with seeds until the time is over. None may take more than `memory_max` bytes beyond what was there before.
pub fn fuzz(name: &str, memory_max: usize, target: impl Fn(&mut Rng) -> Ran) -> Ran {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let only = number("TRIREME_FUZZ_SEED");
    let time = Duration::from_secs(number("TRIREME_FUZZ_SECONDS").unwrap_or(SECONDS));
    let (begun, mut total, mut most, mut longest) = (Instant::now(), Ran::default(), (0, 0), (Duration::ZERO, 0));
    let mut seed = only.unwrap_or(0);
    loop {
        let (before, began) = (MEMORY.current_usage(), Instant::now());
        MEMORY.reset_peak_usage();
        let ran = catch_unwind(AssertUnwindSafe(|| target(&mut Rng::with_seed(seed))));
        let (taken, took) = (MEMORY.peak_usage().saturating_sub(before), began.elapsed());
        let left = MEMORY.current_usage().saturating_sub(before);
        let again = format!("TRIREME_FUZZ_SEED={seed} cargo test -p trireme-node --test fuzz {name} -- --nocapture");
        let Ok(ran) = ran else { panic!("seed {seed} fails, as above. Again: {again}") };
        assert!(taken <= memory_max, "seed {seed} took {taken} bytes, {memory_max} are the most. Again: {again}");
        assert!(seed == 0 || left <= LEFT_MAX, "seed {seed} left {left} bytes behind. Again: {again}");
        assert!(took < PATIENCE, "seed {seed} took {took:?}. Again: {again}");
        (most, longest) = (most.max((taken, seed)), longest.max((took, seed)));
        (total.inputs, total.understood) = (total.inputs + ran.inputs, total.understood + ran.understood);
        seed += 1;
        if only.is_some() || (seed >= SEEDS_MIN && begun.elapsed() >= time) {
            break;
        }
    }
    let (bytes, by) = most;
    println!(
        "{name}: {} inputs from {seed} seeds in {:.0} s, {} understood; most memory {} KiB (seed {by}), longest {} ms (seed {})",
        total.inputs,
        begun.elapsed().as_secs_f64(),
        total.understood,
        bytes >> 10,
        longest.0.as_millis(),
        longest.1
    );
    total
}
