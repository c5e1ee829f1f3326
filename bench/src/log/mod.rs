//! The event log beside its peers and the hardware floor, in one run, interleaved.

mod annals;
mod appends;
mod batching;
mod child;
mod conditions;
mod contender;
mod disk;
mod durability;
mod fjall;
mod growth;
mod large;
mod loading;
mod memory;
mod merge;
mod opening;
mod reads;
mod record;
mod redb;
mod run;
mod sqlite;
mod targets;
mod umadb;
mod workload;

pub(crate) use self::child::{ChildArguments, run as run_child};
use self::contender::Kind;
use self::run::{Run, Scale};
use crate::failure::{Result, failed};
use crate::run::RunArguments;

/// How the log is measured.
#[derive(clap::Args)]
pub(crate) struct LogArguments {
    #[command(flatten)]
    common: RunArguments,
    /// Let these take part only.
    #[arg(long, value_name = "NAME,…", value_delimiter = ',', value_enum)]
    contenders: Vec<Kind>,
    /// Only check, with strace, that every contender makes a barrier for every append.
    #[arg(long)]
    verify_durability: bool,
}

const OPENING_WORKS: [&str; 2] = [opening::OPEN_CLEAN, opening::OPEN_KILLED];
const DISK_WORKS: [&str; 3] = [disk::DISK_PER_EVENT, disk::DISK_COMPRESSED, disk::DISK_EMPTY];
const LARGE_WORKS: [&str; 3] = [conditions::CONDITION_TYPE, conditions::CONDITION_TAGS, memory::MEMORY];
const READ_WORKS: [&str; 2] = [reads::READ_ALL, reads::READ_STREAM];
const GROWTH_WORKS: [&str; 3] = [growth::GROWTH_APPEND, growth::GROWTH_STREAM, growth::GROWTH_16X100];

/// Measures what is wanted, and prints it.
pub(crate) fn run(arguments: &LogArguments) -> Result<()> {
    let mut run = Run::begin(&arguments.common, scale(arguments), &known_works())?;
    if arguments.verify_durability {
        return match durability::verify(&mut run)? {
            true => Ok(()),
            false => failed("the durability of the contenders is not shown: see above"),
        };
    }
    run.look_around(run.room())?;
    targets::describe(&mut run.report, &run.scale.kinds);
    if run.wants_all() {
        durability::verify(&mut run)?;
    }
    measure(&mut run)?;
    run.finish(&arguments.common, &targets::TARGETS)
}

fn scale(arguments: &LogArguments) -> Scale {
    let scale = if arguments.common.quick { Scale::QUICK } else { Scale::FULL };
    let kinds =
        if arguments.contenders.is_empty() { Kind::ALL.to_vec() } else { arguments.contenders.clone() };
    Scale { kinds, ..scale }
}

fn measure(run: &mut Run) -> Result<()> {
    for work in appends::APPEND_WORKS.iter().filter(|work| run.wants(work.name)).collect::<Vec<_>>() {
        work.run(run)?;
        run.scratch.clear()?;
    }
    if run.wants_any(&READ_WORKS) {
        reads::run(run)?;
        run.scratch.clear()?;
    }
    if run.wants_any(&OPENING_WORKS) || run.wants_any(&DISK_WORKS) {
        let pool = opening::pool(run)?;
        let mut stores = opening::leave_stores(run, &pool)?;
        opening::run(run, &mut stores, &pool)?;
        disk::run(run, &stores, &pool)?;
        run.scratch.clear()?;
    }
    if run.wants_any(&LARGE_WORKS) {
        large::run(run)?;
        run.scratch.clear()?;
    }
    if run.wants_any(&GROWTH_WORKS) && run.scale.kinds.contains(&Kind::Annals) {
        measure_growth(run)?;
    }
    Ok(())
}

fn measure_growth(run: &mut Run) -> Result<()> {
    if run.begun.elapsed() > run.scale.growth_within {
        run.report.note("growth: left out, the run had taken too long already; ask for it alone with --only");
        return Ok(());
    }
    growth::run(run)?;
    run.scratch.clear()
}

fn known_works() -> Vec<&'static str> {
    let appends = appends::APPEND_WORKS.iter().map(|work| work.name);
    let others = [&READ_WORKS[..], &OPENING_WORKS, &DISK_WORKS, &LARGE_WORKS, &GROWTH_WORKS].concat();
    appends.chain(others).collect()
}
