//! Runs a body under random interleavings, one after the other.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::{Config, MaxSteps, Runner};

/// How the interleavings of a test are chosen.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Choice {
    /// At each step any thread that can go on does.
    Random,
    /// Few changes of priority, at random steps: finds what needs one long pause at the wrong moment.
    Priorities,
}

pub(crate) fn seed() -> u64 {
    std::env::var("ANNALS_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(7)
}

fn config() -> Config {
    let mut config = Config::new();
    config.stack_size = 1 << 20;
    config.max_steps = MaxSteps::FailAfter(2_000_000);
    config
}

/// Runs a body under so many interleavings.
pub(crate) fn explore(choice: Choice, schedules: usize, body: impl Fn() + Send + Sync + 'static) {
    let begun = Instant::now();
    let count = match choice {
        Choice::Random => Runner::new(RandomScheduler::new_from_seed(seed(), schedules), config()).run(body),
        Choice::Priorities => {
            Runner::new(PctScheduler::new_from_seed(seed(), 3, schedules), config()).run(body)
        }
    };
    assert_eq!(count, schedules);
    println!("{choice:?}: {count} schedules in {} ms", begun.elapsed().as_millis());
}

/// Explores with both choices, and prints how much.
pub(crate) fn prove(test: &str, random: usize, priorities: usize, body: fn(&Counters)) {
    let counters = Arc::new(Counters::default());
    for (choice, schedules) in [(Choice::Random, random), (Choice::Priorities, priorities)] {
        let counters = Arc::clone(&counters);
        explore(choice, schedules, move || body(&counters));
    }
    println!(
        "evidence: {{\"test\":\"shuttle\",\"of\":\"{test}\",\"schedules\":{},{counters},\"violated\":0,\"seed\":{}}}",
        random + priorities,
        seed()
    );
}

/// What happened in all schedules together, to see that the interesting was among it.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) accepted: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) failed: AtomicU64,
    pub(crate) duplicates: AtomicU64,
    pub(crate) batches: AtomicU64,
}

pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl std::fmt::Display for Counters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        write!(
            f,
            "\"accepted\":{},\"refused\":{},\"failed\":{},\"duplicates\":{},\"batches\":{}",
            of(&self.accepted),
            of(&self.refused),
            of(&self.failed),
            of(&self.duplicates),
            of(&self.batches)
        )
    }
}
