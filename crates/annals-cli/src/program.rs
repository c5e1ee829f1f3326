//! A program made of commands: those that come with Annals, and those of the application.

use std::future::Future;
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use annals_app::App;
use annals_core::StoreDrivers;
use clap::{ArgMatches, Args, Command, FromArgMatches, Subcommand};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::app_commands::AppCommands;
use crate::session::GlobalOptions;
use crate::store_commands::StoreCommands;
use crate::{Failure, Session};

/// So long at most is waited at the end for what still runs.
const LAST_WAIT: Duration = Duration::from_secs(10);

type Run = Box<dyn FnOnce(&ArgMatches, Session) -> Running + Send>;
type Running = Pin<Box<dyn Future<Output = Result<(), Failure>> + Send>>;

/// A command that an application adds to its program. Its arguments are a `clap::Args`, whose documentation is the
/// help.
pub trait AppCommand: Args + Send + 'static {
    /// The word that chooses it.
    const NAME: &'static str;

    /// Does it.
    fn run(self, session: Session) -> impl Future<Output = Result<(), Failure>> + Send;
}

/// The command-line program of an application.
pub struct Program {
    app: App,
    drivers: StoreDrivers,
    about: Option<String>,
    commands: Vec<(Command, Run)>,
}

impl Program {
    /// The program of an application whose stores these drivers open.
    pub fn new(app: App, drivers: StoreDrivers) -> Self {
        Self { app, drivers, about: None, commands: Vec::new() }
    }

    /// What the program is, in a sentence: the first line of its help.
    #[must_use]
    pub fn about(mut self, about: impl Into<String>) -> Self {
        self.about = Some(about.into());
        self
    }

    /// Adds a command of the application's own.
    #[must_use]
    pub fn command<C: AppCommand>(mut self) -> Self {
        let run: Run = Box::new(|matches, session| match C::from_arg_matches(matches) {
            Ok(command) => Box::pin(command.run(session)),
            Err(error) => Box::pin(async move { Err(Failure::usage(error)) }),
        });
        self.commands.push((C::augment_args(Command::new(C::NAME)), run));
        self
    }

    /// Reads the command line, does what it says and returns the exit code: 0 done, 1 failed, 2 wrong usage, 3 refused
    /// by the domain.
    pub fn run(self) -> ExitCode {
        let name = self.app.name().to_owned();
        let default_store = format!("file:{name}-data");
        let about = self.about.unwrap_or_else(|| format!("The application {name:?}, on events"));
        let (own, runs): (Vec<_>, Vec<_>) = self.commands.into_iter().unzip();
        let names: Vec<String> = own.iter().map(|command| command.get_name().to_owned()).collect();
        let root = own.into_iter().fold(base(&name, &self.drivers, &default_store), Command::subcommand);
        let matches = AppCommands::augment_subcommands(root).about(about).get_matches();
        let app = self.app;
        let drivers = Arc::new(self.drivers);
        let matches = &matches;
        run(matches, move |options| {
            let session = Session::new(options, default_store, drivers, Some(app));
            let (chosen, arguments) =
                matches.subcommand().ok_or_else(|| Failure::usage("expected a command"))?;
            match names.iter().zip(runs).find(|(name, _)| *name == chosen) {
                Some((_, run)) => Ok(run(arguments, session)),
                None => {
                    let command = AppCommands::from_arg_matches(matches).map_err(Failure::usage)?;
                    Ok(Box::pin(command.run(session)))
                }
            }
        })
    }
}

/// The program `annals`, for stores without an application.
pub fn store_program(drivers: StoreDrivers) -> ExitCode {
    let about = "Append, read, check and move events of an Annals store";
    let default_store = "file:annals-data".to_owned();
    let root = base("annals", &drivers, &default_store);
    let matches = StoreCommands::augment_subcommands(root).about(about).get_matches();
    let matches = &matches;
    run(matches, move |options| {
        let command = StoreCommands::from_arg_matches(matches).map_err(Failure::usage)?;
        Ok(Box::pin(command.run(Session::new(options, default_store, Arc::new(drivers), None))))
    })
}

fn base(name: &str, drivers: &StoreDrivers, default_store: &str) -> Command {
    let stores = drivers.usage().map(|line| format!("  {line}\n")).collect::<String>();
    let help = format!(
        "Stores (--store URL, else the variable ANNALS_STORE, else {default_store}):\n{stores}\n\
         Results go to stdout, talk to stderr. Exit codes: 0 done, 1 failed, 2 wrong usage, 3 refused by the domain."
    );
    let root = Command::new(name.to_owned()).after_help(help).version(env!("CARGO_PKG_VERSION"));
    GlobalOptions::augment_args(root.subcommand_required(true).arg_required_else_help(true))
}

/// Runs what was chosen on a runtime of its own.
fn run(matches: &ArgMatches, choose: impl FnOnce(GlobalOptions) -> Result<Running, Failure>) -> ExitCode {
    // That a projection stopped is told by these themselves where it matters, and would be told twice.
    let tells_itself = matches!(matches.subcommand_name(), Some("query" | "projections" | "rebuild"));
    let levels = tracing_subscriber::filter::Targets::new().with_default(LevelFilter::WARN);
    let levels =
        if tells_itself { levels.with_target("annals_app::projector", LevelFilter::OFF) } else { levels };
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .with_target(false);
    tracing_subscriber::registry().with(lines).with(levels).init();
    let result = GlobalOptions::from_arg_matches(matches).map_err(Failure::usage).and_then(|options| {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        // Whatever is chosen is made within the runtime, and ends before it does.
        let done = runtime.block_on(async { choose(options)?.await });
        // Code of the application that never returns must not keep the program from ending.
        runtime.shutdown_timeout(LAST_WAIT);
        done
    });
    result.map_or_else(Failure::report, |()| ExitCode::SUCCESS)
}
