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
    /// After this long without an append, what is durable is marked as such, so that its loss would be noticed.
    pub mark_after: Duration,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self {
            clock: Arc::new(SystemClock),
            storage: Arc::new(Disk),
            segment_bytes: 128 << 20,
            mark_after: Duration::from_millis(50),
        }
    }
}

/// The largest segment: places within it are kept in 32 bits, and one more append may follow.
pub(crate) const LARGEST_SEGMENT_BYTES: u64 = 1 << 30;
