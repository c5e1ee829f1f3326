//! The conformance suite on SQLite, and what is particular to this store.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod kill;
mod model_sharing;
mod models;
mod opening;
mod processes;
mod rebuild;
mod store;
mod write_failure;

use std::path::Path;
use std::sync::Arc;

use annals_core::conformance::{Fixture, ModelFixture};
use annals_core::{
    BoxFuture, Clock, EventStore, EventType, NewEvent, ReadModelStore, ReadModelTx, StreamName, SystemClock,
    Tag, TxWork,
};
use annals_sqlite::{SqliteReadModels, SqliteStore};

struct File(tempfile::TempDir);

impl Fixture for File {
    fn open(&self, clock: Arc<dyn Clock>) -> BoxFuture<'_, Arc<dyn EventStore>> {
        Box::pin(async move {
            let store = SqliteStore::open(self.0.path().join("events.sqlite"), clock).unwrap();
            Arc::new(store) as Arc<dyn EventStore>
        })
    }

    fn keeps_events(&self) -> bool {
        true
    }
}

annals_core::conformance!(File(tempfile::tempdir().unwrap()));

impl ModelFixture for File {
    fn open(&self) -> Arc<dyn ReadModelStore> {
        Arc::new(SqliteReadModels::in_folder(self.0.path()).unwrap())
    }

    fn add(&self, number: i64) -> TxWork {
        models::add(number)
    }

    fn sum<'a>(&'a self, tx: &'a mut dyn ReadModelTx) -> BoxFuture<'a, i64> {
        Box::pin(async move {
            let rows = tx.query("SELECT sum(amount) AS s FROM amounts", &[]).await.unwrap();
            rows[0].get("s").unwrap()
        })
    }
}

annals_core::read_model_conformance!(File(tempfile::tempdir().unwrap()));

fn open(path: &Path) -> Arc<SqliteStore> {
    Arc::new(SqliteStore::open(path, Arc::new(SystemClock)).unwrap())
}

fn stream(name: &str) -> StreamName {
    StreamName::new(name).unwrap()
}

fn event(stream_name: &str, event_type: &str) -> NewEvent {
    NewEvent::new(stream(stream_name), EventType::new(event_type).unwrap()).json("{}")
}

fn tag(text: &str) -> Tag {
    Tag::new(text).unwrap()
}

/// The names in a folder, sorted.
fn names_in(folder: &Path) -> Vec<String> {
    let names = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = names.map(|name| name.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}
