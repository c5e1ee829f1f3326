//! The way from events to answers: replay, snapshots, rebuilds, and how soon a command is seen in a read model.

mod bank_store;
mod filling;
mod orders;
mod queries;
mod rebuild_memory;
mod rebuild_sqlite;
mod replay;
mod snapshots;
mod targets;
mod visible;

use crate::failure::Result;
use crate::run::RunArguments;

/// A run under way.
type Run = crate::run::Run<Scale>;

/// How large a run is.
struct Scale {
    rounds: usize,
    /// The streams of the log that is replayed, and how many events each has.
    replay: (u64, u64),
    /// The events of an aggregate that has a snapshot.
    long_life: u64,
    /// The accounts and the events of the bank whose read model is built anew.
    bank: (u64, u64),
    /// The commands that are waited for in the read model.
    commands: usize,
}

impl Scale {
    /// The scale that the targets are for.
    const FULL: Self = Self {
        rounds: 7,
        replay: (10_000, 100),
        long_life: 100_000,
        bank: (10_000, 1_000_000),
        commands: 2_800,
    };

    /// A scale for a look in between.
    const QUICK: Self =
        Self { rounds: 7, replay: (10_000, 20), long_life: 20_000, bank: (2_000, 200_000), commands: 700 };
}

const WORKS: [&str; 7] = [
    replay::REPLAY,
    snapshots::SNAPSHOT_RATIO,
    rebuild_sqlite::REBUILD_SQLITE,
    rebuild_memory::REBUILD_MEMORY,
    visible::VISIBLE,
    visible::BARRIER,
    queries::QUERY_DURING_REBUILD,
];

/// The works that are measured on the bank's store of many events.
const BANK_WORKS: [&str; 3] =
    [rebuild_sqlite::REBUILD_SQLITE, rebuild_memory::REBUILD_MEMORY, queries::QUERY_DURING_REBUILD];

/// The largest work needs this much of the disk, with room to spare.
const ROOM_BYTES: u64 = 3_000_000_000;

/// Measures what is wanted, and prints it.
pub(crate) fn run(arguments: &RunArguments) -> Result<()> {
    let scale = if arguments.quick { Scale::QUICK } else { Scale::FULL };
    let mut run = Run::begin(arguments, scale, &WORKS)?;
    run.look_around(ROOM_BYTES)?;
    measure(&mut run)?;
    run.finish(arguments, &targets::TARGETS)
}

fn measure(run: &mut Run) -> Result<()> {
    if run.wants(replay::REPLAY) {
        replay::run(run)?;
        run.scratch.clear()?;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_time().build()?;
    if run.wants(snapshots::SNAPSHOT_RATIO) {
        snapshots::run(run, &runtime)?;
        run.scratch.clear()?;
    }
    if run.wants_any(&BANK_WORKS) {
        measure_on_the_bank(run, &runtime)?;
        run.scratch.clear()?;
    }
    if run.wants_any(&[visible::VISIBLE, visible::BARRIER]) {
        visible::run(run, &runtime)?;
        run.scratch.clear()?;
    }
    Ok(())
}

fn measure_on_the_bank(run: &mut Run, runtime: &tokio::runtime::Runtime) -> Result<()> {
    let (accounts, events) = run.scale.bank;
    let bank = bank_store::BankStore::fill(&run.scratch.fresh("bank"), accounts, events)?;
    if run.wants(rebuild_sqlite::REBUILD_SQLITE) {
        rebuild_sqlite::run(run, runtime, &bank)?;
    }
    if run.wants(rebuild_memory::REBUILD_MEMORY) {
        rebuild_memory::run(run, runtime, &bank)?;
    }
    if run.wants(queries::QUERY_DURING_REBUILD) {
        queries::run(run, runtime, &bank)?;
    }
    Ok(())
}
