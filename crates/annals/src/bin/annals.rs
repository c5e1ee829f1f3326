//! The program `annals`: stores of events without an application.

use std::process::ExitCode;

fn main() -> ExitCode {
    annals::cli::store_program(annals::drivers())
}
