//! The tests of the embedded log.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod bad_bytes;
mod compaction;
mod conformance;
mod crash;
mod damage;
mod faults;
mod folder;
mod found_by_reading;
mod golden;
mod interleavings;
#[path = "../../examples/killed_writer/appends.rs"]
mod killed_appends;
#[allow(dead_code, unreachable_pub)]
#[path = "../memory_disk/mod.rs"]
mod memory_disk;
mod model;
mod readers;
mod simulation;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use annals_core::{AppendRequest, EventType, Filter, NewEvent, ReadRequest, RecordedEvent, StreamName};
use annals_log::{EventLog, LogOptions};

/// Options under which no mark is written until the log is closed.
pub(crate) fn without_marks() -> LogOptions {
    LogOptions { mark_after: Duration::from_secs(3600), ..LogOptions::default() }
}

pub(crate) fn open(folder: &Path) -> EventLog {
    EventLog::open(folder, without_marks()).unwrap()
}

pub(crate) fn event(stream: &str, payload: &str) -> NewEvent {
    let stream = StreamName::new(stream).unwrap();
    NewEvent::new(stream, EventType::new("Happened").unwrap()).json(payload.to_owned())
}

pub(crate) fn append(log: &EventLog, stream: &str, payload: &str) {
    log.append_blocking(AppendRequest::new([event(stream, payload)])).unwrap();
}

pub(crate) fn read_all(log: &EventLog) -> Vec<RecordedEvent> {
    let store: &dyn annals_core::EventStore = log;
    annals_core::conformance::block_on(store.reader(ReadRequest::new(Filter::all())).collect()).unwrap()
}

/// The bytes of the files of a store, as a power cut would find them, in a new folder.
pub(crate) fn copy_of(folder: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    copy_into(folder, copy.path());
    copy
}

pub(crate) fn copy_into(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_into(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

pub(crate) fn shared(log: EventLog) -> Arc<dyn annals_core::EventStore> {
    Arc::new(log)
}
