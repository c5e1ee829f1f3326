//! The way from commands to stored events: what the framework takes, many callers at once, and one entity for all.

mod accounts;
mod appends;
mod bank;
mod callers;
mod durable;
mod hot;
mod memory;
mod one_core;
#[path = "../../../crates/annals/examples/small_bank.rs"]
#[expect(dead_code, reason = "it is a program too, which is not run here")]
mod small_bank;
mod targets;

use std::time::Duration;

use crate::failure::Result;
use crate::run::RunArguments;

/// A run under way.
type Run = crate::run::Run<Scale>;

/// How large a run is.
struct Scale {
    /// The accounts that commands are given to.
    accounts: u64,
    /// The rounds on stores in memory, and the commands of each.
    memory_rounds: usize,
    memory_commands: u64,
    /// The rounds on stores on disk.
    rounds: usize,
    /// How long each is measured in a round on stores on disk.
    slice: Duration,
}

impl Scale {
    /// The scale that the targets are for.
    const FULL: Self = Self {
        accounts: 10_000,
        memory_rounds: 5,
        memory_commands: 1_000_000,
        rounds: 7,
        slice: Duration::from_millis(1_000),
    };

    /// A scale for a look in between.
    const QUICK: Self = Self {
        accounts: 10_000,
        memory_rounds: 3,
        memory_commands: 200_000,
        rounds: 3,
        slice: Duration::from_millis(500),
    };
}

/// The stores on disk need this much of it, with room to spare.
const ROOM_BYTES: u64 = 4_000_000_000;

/// Measures what is wanted, and prints it.
pub(crate) fn run(arguments: &RunArguments) -> Result<()> {
    let scale = if arguments.quick { Scale::QUICK } else { Scale::FULL };
    let known = [&memory::WORKS[..], &[durable::COMMANDS_DURABLE, hot::COMMANDS_HOT]].concat();
    let mut run = Run::begin(arguments, scale, &known)?;
    run.look_around(ROOM_BYTES)?;
    measure(&mut run)?;
    run.finish(arguments, &targets::TARGETS)
}

fn measure(run: &mut Run) -> Result<()> {
    if run.wants_any(&memory::WORKS) {
        memory::run(run)?;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    if run.wants(durable::COMMANDS_DURABLE) {
        durable::run(run, &runtime)?;
        run.scratch.clear()?;
    }
    if run.wants(hot::COMMANDS_HOT) {
        hot::run(run, &runtime)?;
        run.scratch.clear()?;
    }
    Ok(())
}
