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

use std::path::PathBuf;
use std::time::{Duration, Instant};

pub(crate) use self::child::{ChildArguments, run as run_child};
use self::contender::Kind;
use self::run::{Run, Scale};
use crate::failure::{Result, failed};
use crate::floor::Prewritten;
use crate::machine::{self, Machine};
use crate::report::Report;
use crate::scratch::Scratch;

/// How the log is measured.
#[derive(clap::Args)]
pub(crate) struct LogArguments {
    /// Write the figures to this file, as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Smaller stores and shorter rounds: ten minutes on two cores.
    #[arg(long)]
    quick: bool,
    /// Measure these works only, such as append_1x1,read_all.
    #[arg(long, value_name = "WORK,…", value_delimiter = ',')]
    only: Vec<String>,
    /// Let these take part only.
    #[arg(long, value_name = "NAME,…", value_delimiter = ',', value_enum)]
    contenders: Vec<Kind>,
    /// Write below this folder instead of the system's folder for temporary files. What is written is removed.
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
    /// Only check, with strace, that every contender makes a barrier for every append.
    #[arg(long)]
    verify_durability: bool,
}

/// A machine with more load than this does something else beside.
const BUSY_LOAD: f64 = 0.5;

const OPENING_WORKS: [&str; 2] = [opening::OPEN_CLEAN, opening::OPEN_KILLED];
const DISK_WORKS: [&str; 3] = [disk::DISK_PER_EVENT, disk::DISK_COMPRESSED, disk::DISK_EMPTY];
const LARGE_WORKS: [&str; 3] = [conditions::CONDITION_TYPE, conditions::CONDITION_TAGS, memory::MEMORY];
const READ_WORKS: [&str; 2] = [reads::READ_ALL, reads::READ_STREAM];
const GROWTH_WORKS: [&str; 3] = [growth::GROWTH_APPEND, growth::GROWTH_STREAM, growth::GROWTH_16X100];

/// Measures what is wanted, and prints it.
pub(crate) fn run(arguments: &LogArguments) -> Result<()> {
    check_names(&arguments.only)?;
    let busy_with = machine::load().filter(|load| *load > BUSY_LOAD);
    let mut run = begin(arguments)?;
    if arguments.verify_durability {
        return match durability::verify(&mut run)? {
            true => Ok(()),
            false => failed("the durability of the contenders is not shown: see above"),
        };
    }
    run.scratch.check_room(run.room())?;
    if run.report.machine.file_system.starts_with("tmpfs") {
        run.report
            .note("the folder is in memory, where barriers cost nothing: name one on a disk with --folder");
    }
    if let Some(load) = busy_with {
        run.report.note(format!(
            "the machine was busy when the run began (load {load:.1}): the figures are of use only from one that is idle"
        ));
    }
    targets::describe(&mut run.report, &run.kinds);
    if arguments.only.is_empty() {
        durability::verify(&mut run)?;
    }
    measure(&mut run)?;
    if arguments.quick {
        run.report.note("this was a quick run: stores are smaller than what their names and the targets say");
    }
    run.report.print_table();
    targets::print(&run.report, arguments.quick);
    println!("\nfinished in {:.0} s", run.begun.elapsed().as_secs_f64());
    arguments.json.as_ref().map_or(Ok(()), |path| run.report.write_json(path))
}

fn begin(arguments: &LogArguments) -> Result<Run> {
    let begun = Instant::now();
    let scratch = Scratch::create(arguments.folder.as_deref())?;
    let mut machine = Machine::inspect(scratch.path());
    if !arguments.verify_durability {
        let mut file = Prewritten::create(&scratch.fresh("floor"))?;
        let (times, took) = file.write_frames(64 << 10, Duration::from_secs(2))?;
        machine.barriers_64k_per_second = times.count() as f64 / took.as_secs_f64();
    }
    eprintln!("{machine}\nin {}", scratch.path().display());
    let kinds =
        if arguments.contenders.is_empty() { Kind::ALL.to_vec() } else { arguments.contenders.clone() };
    let scale = if arguments.quick { Scale::QUICK } else { Scale::FULL };
    Ok(Run { begun, scale, kinds, scratch, report: Report::new(machine), only: arguments.only.clone() })
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
    if run.wants_any(&GROWTH_WORKS) && run.kinds.contains(&Kind::Annals) {
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

fn check_names(only: &[String]) -> Result<()> {
    let appends = appends::APPEND_WORKS.iter().map(|work| work.name);
    let others = [&READ_WORKS[..], &OPENING_WORKS, &DISK_WORKS, &LARGE_WORKS, &GROWTH_WORKS].concat();
    let known: Vec<&str> = appends.chain(others).collect();
    match only.iter().find(|name| !known.contains(&name.as_str())) {
        Some(name) => failed(format!("there is no work {name:?}, expected some of {}", known.join(", "))),
        None => Ok(()),
    }
}
