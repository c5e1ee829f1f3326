//! The benchmarks of Annals, beside their peers and the hardware floor.
//!
//! A family of benchmarks is a sub-command and a module: `log`, `read_side` and `write_side`.

mod event_log;
mod failure;
mod floor;
mod log;
mod machine;
mod postgres;
mod random;
mod read_side;
mod report;
mod run;
mod scratch;
mod statistics;
mod targets;
mod turns;
mod write_side;

use clap::{Parser, Subcommand};

/// The benchmarks of Annals.
#[derive(Parser)]
#[command(version, about)]
struct Arguments {
    #[command(subcommand)]
    family: Family,
}

#[derive(Subcommand)]
enum Family {
    /// The event log: appends, reads, conditions, opening, disk, memory and growth, beside peers and the hardware.
    Log(log::LogArguments),
    /// The way from events to answers: replay, snapshots, rebuilds, and how soon a command is seen in a read model.
    ReadSide(run::RunArguments),
    /// The way from commands to stored events: what the framework takes, many callers at once, one entity for all.
    WriteSide(run::RunArguments),
    /// What the benchmark runs in a process of its own.
    #[command(hide = true)]
    Child(log::ChildArguments),
}

fn main() -> std::process::ExitCode {
    let done = match Arguments::parse().family {
        Family::Log(arguments) => log::run(&arguments),
        Family::ReadSide(arguments) => read_side::run(&arguments),
        Family::WriteSide(arguments) => write_side::run(&arguments),
        Family::Child(arguments) => log::run_child(&arguments),
    };
    match done {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            std::process::ExitCode::FAILURE
        }
    }
}
