//! The memory of a fresh process that appends to and reads a large store.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::appends::AppendWork;
use super::child::{Task, arguments, this_program};
use super::contender::{Contender, Entrant};
use super::large::{Large, per_stream};
use super::run::Run;
use super::workload::{Pool, Source};
use crate::failure::{Failure, Result, failed};
use crate::machine::Resident;
use crate::random::Random;

pub(crate) const MEMORY: &str = "memory_10m";
const MEMORY_FILES: &str = "memory_10m_files";
const RESULT: &str = "result: ";
const STREAM_READS: u32 = 2_000;

/// What the child process saw, in bytes.
#[derive(Debug, Serialize, Deserialize)]
struct Seen {
    /// Anonymous memory before the store was opened: what the benchmark takes itself.
    before: u64,
    /// The most anonymous memory while it appended and read.
    anonymous: u64,
    /// The most memory of mapped files.
    files: u64,
}

/// Has each store opened, appended to and read by a process of its own.
pub(crate) fn run(run: &mut Run, stores: &[Large]) -> Result<()> {
    let mut all = Vec::new();
    for store in stores {
        let numbers = [0, u64::from(run.scale.large_streams), u64::from(per_stream(run))];
        let told = arguments(Task::Memory, store.kind.name(), &store.folder, &numbers)?;
        let output = this_program(&told)?.stderr(std::process::Stdio::inherit()).output()?;
        if !output.status.success() {
            return failed(format!(
                "the process that measures the memory of {} failed: see above",
                store.kind.name()
            ));
        }
        let text = String::from_utf8(output.stdout)?;
        let line = text.lines().find_map(|line| line.strip_prefix(RESULT));
        let seen: Seen =
            serde_json::from_str(line.ok_or_else(|| Failure::from("the child process told nothing"))?)?;
        all.push((store.kind.name(), seen));
    }
    for (name, seen) in &all {
        run.report.add(MEMORY, name, seen.anonymous as f64 / 1e6, "MB", None);
    }
    for (name, seen) in &all {
        run.report.add(MEMORY_FILES, name, seen.files as f64 / 1e6, "MB", None);
    }
    let before = all.first().map_or(0, |(_, seen)| seen.before) as f64 / 1e6;
    run.report.note(format!(
        "{MEMORY}: the most anonymous memory while appending and reading, of which {before:.1} MB are the benchmark's; \
         {MEMORY_FILES}: pages of mapped files, which the system can drop"
    ));
    Ok(())
}

/// Opens a store, appends and reads, and tells how much memory that took.
pub(crate) fn run_in_child(
    entrant: Entrant,
    folder: &Path,
    pool: &Arc<Pool>,
    mut source: Source,
) -> Result<()> {
    let before = Resident::of_this_process()?;
    let done = AtomicBool::new(false);
    let most = std::thread::scope(|scope| {
        let watching = scope.spawn(|| watch(&done));
        let worked = entrant.open(folder, pool).and_then(|store| append_and_read(&store, pool, &mut source));
        done.store(true, Ordering::Relaxed);
        let most = watching.join().unwrap_or_else(|_| failed("the thread that watches the memory panicked"));
        worked.and(most)
    })?;
    let seen = Seen { before: before.anonymous, anonymous: most.anonymous, files: most.file };
    println!("{RESULT}{}", serde_json::to_string(&seen)?);
    Ok(())
}

fn watch(done: &AtomicBool) -> Result<Resident> {
    let mut most = Resident::of_this_process()?;
    while !done.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(5));
        most = most.max(Resident::of_this_process()?);
    }
    Ok(most)
}

fn append_and_read(store: &Arc<dyn Contender>, pool: &Pool, source: &mut Source) -> Result<()> {
    for (events, appends) in [(1, 2_000), (100, 200)] {
        AppendWork { name: MEMORY, threads: 1, events }.measure(store, source, appends)?;
    }
    let mut random = Random::seeded()?;
    for _ in 0..STREAM_READS {
        let number = random.below(u64::from(pool.stream_count())) as u32;
        store.read_stream(&pool.stream(number)?)?;
    }
    store.read_all()?;
    AppendWork { name: MEMORY, threads: 16, events: 100 }.measure(store, source, 320)?;
    Ok(())
}
