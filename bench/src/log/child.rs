//! What the benchmark runs in a process of its own: to kill it, to see its memory alone, to count its system calls.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use super::contender::{Contender, Entrant};
use super::loading::Filling;
use super::memory;
use super::workload::{Pool, Source, Spread};
use crate::failure::{Failure, Result};

/// What the child process is to do.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(crate) enum Task {
    /// Fill a store, then go on appending until killed.
    FillUntilKilled,
    /// Append and read, and tell how much memory that took.
    Memory,
    /// Make so many appends, one after the other.
    Append,
}

/// What the benchmark tells its child process.
#[derive(clap::Args)]
pub(crate) struct ChildArguments {
    task: Task,
    /// The contender's name in the figures.
    contender: String,
    folder: PathBuf,
    /// How many events to fill the store with, or how many appends to make.
    count: u64,
    /// How many streams there are.
    streams: u32,
    /// How many events each stream has.
    #[arg(default_value_t = 0)]
    version: u32,
}

/// The command that runs a task in a process of its own.
pub(crate) fn arguments(task: Task, contender: &str, folder: &Path, numbers: &[u64]) -> Result<Vec<String>> {
    use clap::ValueEnum;
    let task = task.to_possible_value().ok_or_else(|| Failure::from("the task has no name"))?;
    let folder =
        folder.to_str().ok_or_else(|| Failure::from("the temporary folder has a name that is not UTF-8"))?;
    let mut arguments =
        vec!["child".to_owned(), task.get_name().to_owned(), contender.to_owned(), folder.to_owned()];
    arguments.extend(numbers.iter().map(u64::to_string));
    Ok(arguments)
}

/// This program, to be run once more.
pub(crate) fn this_program(arguments: &[String]) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(arguments).stdin(Stdio::null());
    Ok(command)
}

/// Runs a task, in the child process.
pub(crate) fn run(arguments: &ChildArguments) -> Result<()> {
    let entrant = Entrant::named(&arguments.contender)
        .ok_or_else(|| Failure::from(format!("there is no contender {:?}", arguments.contender)))?;
    let pool = Arc::new(Pool::new(Spread { streams: arguments.streams, regions: 10 })?);
    let mut source = Source::going_on(Arc::clone(&pool), arguments.version)?;
    match arguments.task {
        Task::Memory => memory::run_in_child(entrant, &arguments.folder, &pool, source),
        Task::Append => {
            let store = entrant.open(&arguments.folder, &pool)?;
            append_singly(&store, &mut source, arguments.count, Duration::ZERO)
        }
        Task::FillUntilKilled => {
            let store = entrant.open(&arguments.folder, &pool)?;
            let mut source = source.varied();
            Filling::hundreds(arguments.count).fill(&store, &mut source, &arguments.contender)?;
            println!("filled");
            std::io::stdout().flush()?;
            append_singly(&store, &mut source, u64::MAX, Duration::from_millis(2))
        }
    }
}

fn append_singly(store: &Arc<dyn Contender>, source: &mut Source, count: u64, pause: Duration) -> Result<()> {
    for _ in 0..count {
        Arc::clone(store).prepare(source.append_to_one(1, 0, 1)?)()?;
        std::thread::sleep(pause);
    }
    Ok(())
}
