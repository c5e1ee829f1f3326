//! The way from commands to stored events: what the framework takes, many callers at once, and one entity for all.

mod accounts;
mod appends;
mod bank;
mod callers;
mod cqrs_es;
mod domain_lines;
mod durable;
mod hot;
mod memory;
mod one_core;
mod peer_bank;
mod processes;
#[path = "../../../crates/annals/examples/small_bank.rs"]
#[expect(dead_code, reason = "it is a program too, which is not run here")]
mod small_bank;
mod targets;

use std::time::Duration;

use crate::failure::Result;
use crate::postgres::{Postgres, skipped};
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
    /// The rounds of process managers, and the payments of each.
    process_rounds: usize,
    payments: u64,
}

impl Scale {
    /// The scale that the targets are for.
    const FULL: Self = Self {
        accounts: 10_000,
        memory_rounds: 5,
        memory_commands: 1_000_000,
        rounds: 7,
        slice: Duration::from_millis(1_000),
        process_rounds: 5,
        payments: 20_000,
    };

    /// A scale for a look in between.
    const QUICK: Self = Self {
        accounts: 10_000,
        memory_rounds: 3,
        memory_commands: 200_000,
        rounds: 3,
        slice: Duration::from_millis(500),
        process_rounds: 3,
        payments: 5_000,
    };
}

/// The works that are measured on stores on disk.
const DISK_WORKS: [&str; 3] = [durable::COMMANDS_DURABLE, hot::COMMANDS_HOT, hot::HOT_CONFLICTS];

/// The stores on disk need this much of it, with room to spare.
const ROOM_BYTES: u64 = 4_000_000_000;

/// Measures what is wanted, and prints it.
pub(crate) fn run(arguments: &RunArguments) -> Result<()> {
    let scale = if arguments.quick { Scale::QUICK } else { Scale::FULL };
    let known =
        [&memory::WORKS[..], &DISK_WORKS, &[processes::PROCESS_STEPS, domain_lines::DOMAIN_LINES]].concat();
    let mut run = Run::begin(arguments, scale, &known)?;
    run.look_around(ROOM_BYTES)?;
    measure(&mut run)?;
    run.finish(arguments, &targets::TARGETS)
}

fn measure(run: &mut Run) -> Result<()> {
    if run.wants_any(&memory::WORKS) {
        memory::run(run)?;
    }
    if run.wants_any(&DISK_WORKS) {
        measure_on_disk(run)?;
    }
    if run.wants(processes::PROCESS_STEPS) {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        processes::run(run, &runtime)?;
    }
    if run.wants(domain_lines::DOMAIN_LINES) {
        domain_lines::run(run)?;
    }
    Ok(())
}

fn measure_on_disk(run: &mut Run) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let mut server = Postgres::start(&run.scratch)?;
    match &mut server {
        Some(server) => run.report.note(runtime.block_on(server.describe())?),
        None => run.report.note(skipped(cqrs_es::CQRS_ES)),
    }
    if run.wants(durable::COMMANDS_DURABLE) {
        durable::run(run, &runtime, server.as_ref())?;
    }
    if run.wants_any(&[hot::COMMANDS_HOT, hot::HOT_CONFLICTS]) {
        hot::run(run, &runtime, server.as_ref())?;
    }
    Ok(())
}
