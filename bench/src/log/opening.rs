//! How long it takes to open a store, after it was closed and after its process was killed.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::child::{Task, arguments, this_program};
use super::contender::Kind;
use super::run::Run;
use super::workload::{Pool, Spread};
use crate::failure::{Failure, Result, failed};
use crate::machine::copy_folder;
use crate::statistics::{Latencies, median};

pub(crate) const OPEN_CLEAN: &str = "open_clean";
pub(crate) const OPEN_KILLED: &str = "open_killed";
const STREAM_EVENTS: u64 = 100;

/// A store of which there is one copy as a killed process left it, and one that was closed.
pub(crate) struct Left {
    pub(crate) kind: Kind,
    killed: PathBuf,
    pub(crate) closed: PathBuf,
}

/// The events of which such stores are made.
pub(crate) fn pool(run: &Run) -> Result<Arc<Pool>> {
    let streams = (run.scale.open_events / STREAM_EVENTS) as u32;
    Ok(Arc::new(Pool::new(Spread { streams, regions: 10 })?))
}

/// Has each kind of store filled in appends of 100 by a process that is then killed.
pub(crate) fn leave_stores(run: &Run, pool: &Arc<Pool>) -> Result<Vec<Left>> {
    eprintln!(
        "stores of {} events, filled in appends of 100 by processes that are killed",
        run.scale.open_events
    );
    let mut stores = Vec::new();
    for kind in run.scale.kinds.clone() {
        let killed = run.scratch.fresh(&format!("{}-killed", kind.name()));
        let closed = run.scratch.fresh(&format!("{}-closed", kind.name()));
        fill_and_kill(kind, &killed, run.scale.open_events)?;
        copy_folder(&killed, &closed)?;
        drop(kind.plain().open(&closed, pool)?);
        stores.push(Left { kind, killed, closed });
    }
    Ok(stores)
}

fn fill_and_kill(kind: Kind, folder: &Path, events: u64) -> Result<()> {
    let told = arguments(Task::FillUntilKilled, kind.name(), folder, &[events, events / STREAM_EVENTS])?;
    let mut child = this_program(&told)?.stdout(Stdio::piped()).spawn()?;
    let output = child.stdout.take().ok_or_else(|| Failure::from("the child process has no output"))?;
    let filled =
        BufReader::new(output).lines().map_while(std::result::Result::ok).any(|line| line == "filled");
    // It goes on appending meanwhile, so that it is killed at some moment of an append.
    std::thread::sleep(Duration::from_millis(300));
    child.kill()?;
    child.wait()?;
    if filled {
        Ok(())
    } else {
        failed(format!("the process that fills {} ended early: see above", kind.name()))
    }
}

/// Opens each store in turn, round after round.
pub(crate) fn run(run: &mut Run, stores: &mut [Left], pool: &Arc<Pool>) -> Result<()> {
    if run.wants(OPEN_CLEAN) {
        measure(run, stores, OPEN_CLEAN, |_, store| time_opening(store.kind, &store.closed, pool))?;
    }
    if run.wants(OPEN_KILLED) {
        measure(run, stores, OPEN_KILLED, |run, store| {
            let copy = run.scratch.fresh("copy");
            copy_folder(&store.killed, &copy)?;
            let took = time_opening(store.kind, &copy, pool)?;
            std::fs::remove_dir_all(&copy)?;
            Ok(took)
        })?;
    }
    Ok(())
}

fn measure(
    run: &mut Run,
    stores: &mut [Left],
    work: &str,
    open: impl Fn(&Run, &Left) -> Result<Duration>,
) -> Result<()> {
    let mut times: Vec<(Kind, Vec<Duration>)> =
        run.scale.kinds.iter().map(|kind| (*kind, Vec::new())).collect();
    for round in 0..run.scale.rounds {
        stores.rotate_left(1);
        for store in stores.iter() {
            let took = open(run, store)?;
            times.iter_mut().filter(|(kind, _)| *kind == store.kind).for_each(|(_, times)| times.push(took));
        }
        eprintln!("  {work}: round {} of {}", round + 1, run.scale.rounds);
    }
    stores.sort_by_key(|store| store.kind as u8);
    for (kind, times) in times {
        let milliseconds: Vec<f64> = times.iter().map(|took| took.as_secs_f64() * 1e3).collect();
        let mut all = Latencies::default();
        times.into_iter().for_each(|took| all.push(took));
        run.report.add(work, kind.name(), median(&milliseconds), "ms", Some(&all));
    }
    run.report.note(format!("{work}: from the call that opens the store until one stream of it is read"));
    Ok(())
}

/// The time until the store is open and has answered a read: some do their work only then.
fn time_opening(kind: Kind, folder: &Path, pool: &Arc<Pool>) -> Result<Duration> {
    let stream = pool.stream(0)?;
    let begun = Instant::now();
    let store = kind.plain().open(folder, pool)?;
    let totals = store.read_stream(&stream)?;
    let took = begun.elapsed();
    if totals.events < STREAM_EVENTS {
        return failed(format!("{} lost events of {stream}: it has {}", kind.name(), totals.events));
    }
    Ok(took)
}
