//! The conformance suite: on segments of the usual size and on tiny ones, with the index in memory and on disk.

use std::sync::Arc;

use annals_core::conformance::Fixture;
use annals_core::{BoxFuture, Clock, EventStore};
use annals_log::{EventLog, LogOptions, Maintenance};

struct Folder {
    folder: tempfile::TempDir,
    segment_bytes: u64,
    index_memory_bytes: usize,
    maintenance: Maintenance,
}

impl Folder {
    fn with_segments_of(segment_bytes: u64) -> Self {
        let LogOptions { index_memory_bytes, maintenance, .. } = LogOptions::default();
        Self { folder: tempfile::tempdir().unwrap(), segment_bytes, index_memory_bytes, maintenance }
    }

    fn with_index_memory(self, index_memory_bytes: usize, maintenance: Maintenance) -> Self {
        Self { index_memory_bytes, maintenance, ..self }
    }
}

impl Fixture for Folder {
    fn open(&self, clock: Arc<dyn Clock>) -> BoxFuture<'_, Arc<dyn EventStore>> {
        let options = LogOptions {
            clock,
            segment_bytes: self.segment_bytes,
            index_memory_bytes: self.index_memory_bytes,
            maintenance: self.maintenance,
            ..LogOptions::default()
        };
        let log = EventLog::open(self.folder.path(), options).unwrap();
        Box::pin(async move { crate::shared(log) })
    }

    fn keeps_events(&self) -> bool {
        true
    }
}

mod usual_segments {
    annals_core::conformance!(super::Folder::with_segments_of(128 << 20));
}

mod tiny_segments {
    annals_core::conformance!(super::Folder::with_segments_of(2_000));
}

/// After every frame the index of the latest events is written out; merges come all the time.
mod index_on_disk {
    use annals_log::Maintenance;

    annals_core::conformance!(
        super::Folder::with_segments_of(2_000).with_index_memory(0, Maintenance::Inline)
    );
}

/// The same in the background, so that questions meet a part that is just being written out.
mod index_on_disk_in_background {
    use annals_log::Maintenance;

    annals_core::conformance!(
        super::Folder::with_segments_of(128 << 20).with_index_memory(1_000, Maintenance::Background)
    );
}
