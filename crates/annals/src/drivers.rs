//! The kinds of stores that come with Annals, by the scheme of their address.

use std::path::Path;
use std::sync::Arc;

use annals_core::{
    BoxFuture, EventStore, MemoryStore, OpenedStore, Opening, ReadModelError, StoreDriver, StoreDrivers,
    StoreError, SystemClock,
};
#[cfg(feature = "log")]
use annals_log::{EventLog, EventLogReader, LogOptions};
use annals_sqlite::SqliteStore;

use crate::read_models::ReadModels;

/// The kinds of stores that this build of Annals can open.
pub fn drivers() -> StoreDrivers {
    let drivers = StoreDrivers::default();
    #[cfg(feature = "log")]
    let drivers = drivers.with(LogDriver);
    drivers.with(SqliteDriver).with(MemoryDriver)
}

/// Opens the store at an address: `file:FOLDER`, `sqlite:FILE` or `memory:`.
///
/// # Errors
/// [`StoreError::BadUrl`] for an address of no known kind, and what opening reports.
pub async fn open_store(url: &str) -> Result<OpenedStore, StoreError> {
    drivers().open(url).await
}

/// Opening waits for the disk, so it is kept off the threads that run tasks.
async fn blocking<T: Send + 'static>(
    open: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    let opened = tokio::task::spawn_blocking(open).await;
    opened.map_err(|error| StoreError::backend("opening the store ended early", error))?
}

fn read_models_failed(error: ReadModelError) -> StoreError {
    StoreError::backend("cannot open the read models", error)
}

#[cfg(feature = "log")]
struct LogDriver;

#[cfg(feature = "log")]
impl StoreDriver for LogDriver {
    fn scheme(&self) -> &'static str {
        "file"
    }

    fn usage(&self) -> &'static str {
        "file:FOLDER    the embedded log, durable; one process writes, any number read"
    }

    fn exists(&self, place: &str) -> bool {
        Path::new(place).exists()
    }

    fn open<'a>(
        &'a self,
        place: &'a str,
        opening: Opening,
    ) -> BoxFuture<'a, Result<OpenedStore, StoreError>> {
        let folder = Path::new(place).to_owned();
        Box::pin(blocking(move || {
            let models = || ReadModels::in_folder(folder.join("read-models")).map_err(read_models_failed);
            let rebuild_index = opening == Opening::Repairing;
            let options = LogOptions { rebuild_index, ..LogOptions::default() };
            match EventLog::open(&folder, options.clone()) {
                Err(StoreError::InUse { .. }) if opening == Opening::ToRead => {
                    Ok(opened(EventLogReader::open(&folder, options)?, models()?))
                }
                log => Ok(opened(log?, models()?)),
            }
        }))
    }
}

struct SqliteDriver;

impl StoreDriver for SqliteDriver {
    fn scheme(&self) -> &'static str {
        "sqlite"
    }

    fn usage(&self) -> &'static str {
        "sqlite:FILE    a SQLite database, durable"
    }

    fn exists(&self, place: &str) -> bool {
        Path::new(place).exists()
    }

    fn open<'a>(&'a self, place: &'a str, _: Opening) -> BoxFuture<'a, Result<OpenedStore, StoreError>> {
        let file = Path::new(place).to_owned();
        Box::pin(blocking(move || {
            let store = SqliteStore::open(&file, Arc::new(SystemClock))?;
            let mut folder = file.into_os_string();
            folder.push("-read-models");
            Ok(opened(store, ReadModels::in_folder(folder).map_err(read_models_failed)?))
        }))
    }
}

struct MemoryDriver;

impl StoreDriver for MemoryDriver {
    fn scheme(&self) -> &'static str {
        "memory"
    }

    fn usage(&self) -> &'static str {
        "memory:        in memory, gone when the program ends"
    }

    fn exists(&self, _place: &str) -> bool {
        true
    }

    fn open<'a>(&'a self, _: &'a str, _: Opening) -> BoxFuture<'a, Result<OpenedStore, StoreError>> {
        Box::pin(blocking(|| {
            Ok(opened(MemoryStore::default(), ReadModels::temporary().map_err(read_models_failed)?))
        }))
    }
}

fn opened(events: impl EventStore, read_models: ReadModels) -> OpenedStore {
    OpenedStore { events: Arc::new(events), read_models: Arc::new(read_models) }
}
