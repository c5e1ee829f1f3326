//! The conformance suite, on segments of the usual size and on tiny ones.

use std::sync::Arc;

use annals_core::conformance::Fixture;
use annals_core::{BoxFuture, Clock, EventStore};
use annals_log::{EventLog, LogOptions};

struct Folder {
    folder: tempfile::TempDir,
    segment_bytes: u64,
}

impl Folder {
    fn with_segments_of(segment_bytes: u64) -> Self {
        Self { folder: tempfile::tempdir().unwrap(), segment_bytes }
    }
}

impl Fixture for Folder {
    fn open(&self, clock: Arc<dyn Clock>) -> BoxFuture<'_, Arc<dyn EventStore>> {
        let options = LogOptions { clock, segment_bytes: self.segment_bytes, ..LogOptions::default() };
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
