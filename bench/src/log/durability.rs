//! Whether every contender makes a barrier for every append: counted by the system, not told by the contender.

use std::path::Path;
use std::process::{Command, Stdio};

use super::child::{Task, arguments};
use super::contender::{Entrant, Kind};
use super::run::Run;
use crate::failure::{Failure, Result, failed};

const CALLS: &str = "trace=fsync,fdatasync,msync,sync_file_range";
const APPENDS: u64 = 100;
const STREAMS: u64 = 1_000;

/// Counts barriers of each contender that wants to take part; tells whether each makes one per append at least.
pub(crate) fn verify(run: &mut Run) -> Result<bool> {
    let works = Command::new("strace").arg("-V").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !works.is_ok_and(|status| status.success()) {
        run.report.note(
            "durability: NOT CHECKED, because strace is missing: install it to have the barriers of every contender \
             counted",
        );
        return Ok(false);
    }
    eprintln!("durability: barriers of {APPENDS} appends of one thread, counted by strace");
    let mut all = true;
    for entrant in run.scale.kinds.clone().into_iter().flat_map(entrants) {
        let barriers = count(run, entrant)?;
        let enough = barriers >= APPENDS;
        all &= enough;
        let verdict = if enough { "durable" } else { "NOT DURABLE: its figures are not comparable" };
        run.report.note(format!(
            "durability: {} made {barriers} barriers for {APPENDS} appends, one after the other: {verdict}",
            entrant.name()
        ));
    }
    Ok(all)
}

fn entrants(kind: Kind) -> impl Iterator<Item = Entrant> {
    let batched = Some(kind.grouped()).filter(|entrant| entrant.batched);
    std::iter::once(kind.plain()).chain(batched)
}

/// The barriers of the appends: those of a process that makes them, without those of one that makes none.
fn count(run: &Run, entrant: Entrant) -> Result<u64> {
    let without = traced(run, entrant, 0)?;
    Ok(traced(run, entrant, APPENDS)?.saturating_sub(without))
}

fn traced(run: &Run, entrant: Entrant, appends: u64) -> Result<u64> {
    let folder = run.scratch.fresh(&entrant.name());
    let summary = run.scratch.fresh("strace");
    let told = arguments(Task::Append, &entrant.name(), &folder, &[appends, STREAMS])?;
    let traced = Command::new("strace")
        .args(["-c", "-f", "-e", CALLS, "-o"])
        .arg(&summary)
        .arg(std::env::current_exe()?)
        .args(told)
        .output()?;
    if !traced.status.success() {
        let said = String::from_utf8_lossy(&traced.stderr);
        return failed(format!("strace could not run {}: {}", entrant.name(), said.trim()));
    }
    calls_in(&summary)
}

/// Adds up the calls in a summary of strace: `% time, seconds, usecs/call, calls, [errors], syscall`.
fn calls_in(summary: &Path) -> Result<u64> {
    let text = std::fs::read_to_string(summary)?;
    let rows = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let calls = rows.filter(|fields| fields.last().is_some_and(|name| CALLS.contains(name)));
    let mut total = 0;
    for fields in calls {
        let count = fields.get(3).and_then(|field| field.parse::<u64>().ok());
        total += count.ok_or_else(|| Failure::from(format!("strace counted in another form: {fields:?}")))?;
    }
    Ok(total)
}
