//! What every command of the command line is given: the store, the application, how to print.

use std::sync::Arc;

use annals_app::{App, RunningApp};
use annals_core::{OpenedStore, Opening, StoreDrivers, StoreError};
use clap::Args;

use crate::{Failure, Output, Progress};

/// The options that every command takes.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Options of every command")]
pub(crate) struct GlobalOptions {
    /// Where the events are: file:FOLDER (durable, the default), sqlite:FILE, or memory: (gone at the end)
    #[arg(long, global = true, value_name = "URL", env = "ANNALS_STORE")]
    pub(crate) store: Option<String>,
    /// Print results as JSON (the default where stdout is no terminal)
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Print results as tables (the default on a terminal)
    #[arg(long, global = true, conflicts_with = "json")]
    pub(crate) table: bool,
    /// Say nothing but results and errors
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
}

/// One run of a command: what it may open and where it prints.
pub struct Session {
    options: GlobalOptions,
    default_store: String,
    drivers: Arc<StoreDrivers>,
    app: Option<App>,
}

impl Session {
    pub(crate) fn new(
        options: GlobalOptions,
        default_store: String,
        drivers: Arc<StoreDrivers>,
        app: Option<App>,
    ) -> Self {
        Self { options, default_store, drivers, app }
    }

    /// The application, until it is started.
    pub(crate) fn app(&self) -> Option<&App> {
        self.app.as_ref()
    }

    /// How results are printed.
    pub fn output(&self) -> Output {
        Output::choose(self.options.json, self.options.table)
    }

    /// Says something to the person at the terminal, on stderr.
    pub fn say(&self, text: impl std::fmt::Display) {
        if !self.options.quiet {
            eprintln!("{text}");
        }
    }

    /// Begins to show the progress of some work.
    pub fn progress(&self, title: &str, unit: &'static str) -> Progress {
        Progress::new(title, unit, self.options.quiet)
    }

    /// Uses another store than usual when none was asked for.
    pub fn set_default_store(&mut self, url: impl Into<String>) {
        self.default_store = url.into();
    }

    /// The address of the store: as asked for, else the default.
    pub fn store_url(&self) -> &str {
        self.options.store.as_deref().unwrap_or(&self.default_store)
    }

    /// Opens the store, which is made if it is not there.
    ///
    /// # Errors
    /// What opening the store reports.
    pub async fn open_store(&self) -> Result<OpenedStore, Failure> {
        self.opened(self.drivers.open(self.store_url()).await)
    }

    /// Opens the store, which must be there, to read it: a misspelt address is no empty store, and another process may
    /// be writing it.
    ///
    /// # Errors
    /// What opening the store reports.
    pub async fn open_existing_store(&self) -> Result<OpenedStore, Failure> {
        self.open_existing(Opening::ToRead).await
    }

    /// Opens the store, which must be there.
    ///
    /// # Errors
    /// What opening the store reports.
    pub async fn open_existing(&self, opening: Opening) -> Result<OpenedStore, Failure> {
        self.opened(self.drivers.open_existing(self.store_url(), opening).await)
    }

    /// Says what a person should know about how the store was found.
    fn opened(&self, opened: Result<OpenedStore, StoreError>) -> Result<OpenedStore, Failure> {
        let opened = opened?;
        opened.events.notices().iter().for_each(|notice| eprintln!("note: {notice}"));
        Ok(opened)
    }

    /// Starts the application on the store, which is made if it is not there.
    ///
    /// # Errors
    /// What opening the store or starting reports.
    pub async fn start(&mut self) -> Result<RunningApp, Failure> {
        let opened = self.open_store().await?;
        self.start_on(opened).await
    }

    /// Starts the application on the store, which must be there, to read it: it does nothing about its events outside of it.
    ///
    /// # Errors
    /// What opening the store or starting reports.
    pub async fn start_on_existing(&mut self) -> Result<RunningApp, Failure> {
        self.start_passive(Opening::ToRead).await
    }

    /// As [`start_on_existing`](Self::start_on_existing), with the store opened for this.
    pub(crate) async fn start_passive(&mut self, opening: Opening) -> Result<RunningApp, Failure> {
        let opened = self.open_existing(opening).await?;
        self.app = self.app.take().map(App::passive);
        self.start_on(opened).await
    }

    async fn start_on(&mut self, opened: OpenedStore) -> Result<RunningApp, Failure> {
        let app = self.app.take().ok_or_else(|| Failure::new("the application was started before"))?;
        Ok(app.start(opened.events, opened.read_models).await?)
    }
}
