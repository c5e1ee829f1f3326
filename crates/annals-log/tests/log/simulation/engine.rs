//! How the log is opened on a simulated disk.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use annals_core::StoreError;
use annals_core::conformance::TestClock;
use annals_log::{EventLog, LogOptions, Maintenance, Planted};

use super::disk::SimDisk;

/// Where the store is on the simulated disk.
pub(crate) const FOLDER: &str = "/store";
/// A segment of this size takes a few small appends.
pub(crate) const SEGMENT_BYTES: u64 = 900;
/// An index in memory of this size takes a few events, and is then written out.
const SMALL_INDEX_BYTES: usize = 600;

/// What differs between logs.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Setup {
    pub(crate) planted: Option<Planted>,
    /// Whether the index in memory is so small that runs are written and merged all the time.
    pub(crate) small_index: bool,
    pub(crate) compress: bool,
    pub(crate) rebuild_index: bool,
}

impl Setup {
    /// The first, second, … of four that differ.
    pub(crate) fn nth(number: u64) -> Self {
        Self { small_index: number & 1 == 1, compress: number & 2 == 2, ..Self::default() }
    }

    pub(crate) fn making(self, planted: Option<Planted>) -> Self {
        Self { planted, ..self }
    }
}

/// Opens the log on a simulated disk, so that all of its work is done by the call that causes it.
pub(crate) fn open(disk: &SimDisk, clock: &Arc<TestClock>, setup: Setup) -> Result<EventLog, StoreError> {
    let defaults = LogOptions::default();
    let options = LogOptions {
        clock: Arc::clone(clock) as Arc<dyn annals_core::Clock>,
        storage: Arc::new(disk.clone()),
        segment_bytes: SEGMENT_BYTES,
        prewrite_bytes: 512,
        // No mark is written but on closing, so that the log's thread does nothing by itself.
        mark_after: Duration::from_secs(1 << 20),
        index_memory_bytes: if setup.small_index { SMALL_INDEX_BYTES } else { defaults.index_memory_bytes },
        maintenance: Maintenance::Inline,
        compress_sealed: setup.compress,
        rebuild_index: setup.rebuild_index,
        planted: setup.planted,
    };
    EventLog::open(Path::new(FOLDER), options)
}

/// Ends the active segment.
pub(crate) fn seal(log: &EventLog) -> Result<(), StoreError> {
    log.seal_blocking()
}

/// Drops the bytes of hidden events.
pub(crate) fn compact(log: &EventLog) -> Result<(), StoreError> {
    let progress: annals_core::VerifyProgress = Box::new(|_, _| {});
    log.compact_blocking(&progress).map(|_| ())
}
