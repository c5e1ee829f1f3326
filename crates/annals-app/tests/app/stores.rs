//! The stores of events on which an application has to do the same.

use std::sync::Arc;

use annals_core::{EventStore, MemoryStore, SystemClock};
use annals_log::{EventLog, LogOptions};
use annals_sqlite::SqliteStore;
use tempfile::TempDir;

/// An empty store, in a folder that is gone with it.
pub(crate) struct TestStore {
    pub(crate) events: Arc<dyn EventStore>,
    _folder: TempDir,
}

/// One store of each kind; which one it is shows in what a test prints.
pub(crate) fn stores() -> impl Iterator<Item = TestStore> {
    ["memory", "the embedded log", "SQLite"].into_iter().map(|kind| {
        println!("on {kind}");
        let folder = TempDir::new().unwrap();
        let place = folder.path().join("events");
        let events: Arc<dyn EventStore> = match kind {
            "memory" => Arc::new(MemoryStore::default()),
            "SQLite" => Arc::new(SqliteStore::open(place, Arc::new(SystemClock)).unwrap()),
            _ => Arc::new(EventLog::open(place, LogOptions::default()).unwrap()),
        };
        TestStore { events, _folder: folder }
    })
}
