//! How a log is opened.

use std::sync::Arc;
use std::time::Duration;

use annals_core::{Clock, SystemClock};

use crate::storage::{Disk, Storage};

/// How a log is opened; the defaults suit most.
#[derive(Clone)]
pub struct LogOptions {
    /// Where the store takes the time from.
    pub clock: Arc<dyn Clock>,
    /// The disk.
    pub storage: Arc<dyn Storage>,
    /// A segment file that has grown to this many bytes is ended and a new one begun. At most 1 GiB.
    pub segment_bytes: u64,
    /// Segments are written over with zeros ahead of need, in steps that begin with this many bytes and double up to 8 MiB,
    /// so that a barrier flushes data only.
    pub prewrite_bytes: u64,
    /// After this long without an append, what is durable is marked as such, so that its loss would be noticed.
    pub mark_after: Duration,
    /// About how much memory the index of the latest events may take, in bytes. Twice as much is used while one part of
    /// it is written to disk and the next is begun.
    pub index_memory_bytes: usize,
    /// Who writes and merges indexes.
    pub maintenance: Maintenance,
    /// Whether `compact` compresses sealed segments too.
    pub compress_sealed: bool,
    /// Whether to throw the index away when opening, and build it again from the events.
    pub rebuild_index: bool,
    /// A mistake to make, for tests that must notice it.
    #[cfg(feature = "planted-bugs")]
    pub planted: Option<crate::Planted>,
}

/// Who writes and merges the indexes of events that are no longer the latest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Maintenance {
    /// A thread of the log's own.
    Background,
    /// Whoever appends the event that makes it necessary, before it is told of its append: nothing happens by itself.
    Inline,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self {
            clock: Arc::new(SystemClock),
            storage: Arc::new(Disk),
            segment_bytes: 128 << 20,
            prewrite_bytes: 256 << 10,
            mark_after: Duration::from_millis(50),
            index_memory_bytes: 16 << 20,
            maintenance: Maintenance::Background,
            compress_sealed: false,
            rebuild_index: false,
            #[cfg(feature = "planted-bugs")]
            planted: None,
        }
    }
}

/// The largest segment: places within it are kept in 32 bits, and one more append may follow.
pub(crate) const LARGEST_SEGMENT_BYTES: u64 = 1 << 30;
