//! The program `bank`.

use std::process::ExitCode;

fn main() -> ExitCode {
    annals::program(bank::app())
        .about("A bank: accounts, balances and monthly statements, on events")
        .command::<bank::demo::Demo>()
        .command::<bank::import::Import>()
        .command::<bank::flags::Flags>()
        .run()
}
