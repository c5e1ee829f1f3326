//! Group commit, the hand-over to subscribers and the publication of indexes, under many interleavings.
//!
//! Built with `--cfg shuttle` only; the test `interleavings` of `tests/log` does that, and so does
//! `RUSTFLAGS='--cfg shuttle' cargo test -p annals-log --test shuttle`.
#![cfg(shuttle)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod appends;
#[path = "../memory_disk/mod.rs"]
mod memory_disk;
mod publication;
mod schedules;
mod subscriber;

use std::sync::Arc;
use std::time::Duration;

use annals_core::conformance::TestClock;
use annals_core::{
    AppendRequest, EventId, EventType, Filter, NewEvent, Position, ReadRequest, RecordedEvent,
};
use annals_core::{EventBatch, StreamName};
use annals_log::{EventLog, LogOptions, Maintenance};
use memory_disk::MemoryDisk;

const FOLDER: &str = "/store";

/// Segments, and the index in memory, of a few events each; nothing depends on the time.
fn options(disk: &MemoryDisk, index_memory_bytes: usize) -> LogOptions {
    LogOptions {
        clock: TestClock::at(1_000_000),
        storage: Arc::new(disk.clone()),
        segment_bytes: 900,
        prewrite_bytes: 512,
        mark_after: Duration::from_secs(3600),
        index_memory_bytes,
        maintenance: Maintenance::Background,
        ..LogOptions::default()
    }
}

fn stream(name: &str) -> StreamName {
    StreamName::new(name).unwrap()
}

/// An event whose payload is its own name and nobody else's.
fn event(stream_name: &str, name: &str) -> NewEvent {
    NewEvent::new(stream(stream_name), EventType::new("Happened").unwrap())
        .id(EventId::derived("shuttle", name))
        .json(format!("\"<{name}>\""))
}

fn one(stream_name: &str, name: &str) -> AppendRequest {
    AppendRequest::new([event(stream_name, name)])
}

fn read_after(log: &EventLog, after: Position) -> EventBatch {
    log.read_blocking(&ReadRequest::new(Filter::all()).after(after)).unwrap()
}

fn name_of(event: &RecordedEvent) -> String {
    let payload = String::from_utf8(event.payload().to_vec()).unwrap();
    payload.trim_matches(['"', '<', '>']).to_owned()
}
