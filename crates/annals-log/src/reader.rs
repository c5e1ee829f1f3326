//! A log that another process writes, opened to be read beside it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use annals_core::{
    AppendError, AppendReceipt, AppendRequest, BoxFuture, ConsumerName, Durability, EventBatch, EventStore,
    Position, ReadRequest, StoreError, StreamName, StreamState, StreamSummary, VerifyProgress, VerifyReport,
};

use crate::follow::Follower;
use crate::options::LogOptions;
use crate::places::Places;
use crate::{folder, verify};

/// How often the writer's watermark is looked at.
const BETWEEN_LOOKS: Duration = Duration::from_millis(2);

/// A log that another process may be writing: read-only, and never behind by more than a few milliseconds.
///
/// Any number of readers may be open beside the one writer. Each follows the watermark that the writer publishes after
/// each barrier, so that it shows what is acknowledged and nothing else. A reader changes no file.
///
/// ```
/// use annals_core::{AppendRequest, EventType, NewEvent, Position, ReadRequest, StreamName};
/// use annals_log::{EventLog, EventLogReader, LogOptions};
///
/// let folder = tempfile::tempdir()?;
/// let log = EventLog::open(folder.path(), LogOptions::default())?;
/// let reader = EventLogReader::open(folder.path(), LogOptions::default())?;
/// let stream = StreamName::new("account-42")?;
/// let opened = NewEvent::new(stream.clone(), EventType::new("AccountOpened")?).json("{}");
/// log.append_blocking(AppendRequest::new([opened]))?;
/// reader.wait_past_blocking(Position::ZERO, std::time::Duration::from_secs(5))?;
/// assert_eq!(reader.read_blocking(&ReadRequest::stream(stream))?.events.len(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct EventLogReader {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    follower: Follower,
    options: LogOptions,
    places: Places,
    closed: AtomicBool,
}

impl EventLogReader {
    /// Opens the log in `folder`, which must be there.
    ///
    /// # Errors
    /// [`StoreError::NotAStore`] when the folder holds no log, [`StoreError::NewerFormat`], [`StoreError::Damaged`] or
    /// [`StoreError::Io`].
    pub fn open(folder: impl AsRef<Path>, options: LogOptions) -> Result<Self, StoreError> {
        let places = Places { folder: folder.as_ref().to_owned() };
        let Some(store) = folder::inspect(&*options.storage, &places.folder)? else {
            let reason = "there is nothing to read in it yet".to_owned();
            return Err(StoreError::NotAStore { path: places.folder, reason });
        };
        let follower = Follower::new(options.clone(), places.clone(), store);
        follower.catch_up()?;
        let shared = Arc::new(Shared { follower, options, places, closed: AtomicBool::new(false) });
        let own = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("annals-follower".to_owned())
            .spawn(move || own.follow())
            .map_err(|error| StoreError::backend("cannot start the reader's thread", error))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Reads the next batch of events.
    ///
    /// # Errors
    /// As [`EventStore::read`].
    pub fn read_blocking(&self, request: &ReadRequest) -> Result<EventBatch, StoreError> {
        self.shared.follower.index.read(request)
    }

    /// Waits until the head is behind `after`; `None` when `timeout` passed.
    ///
    /// # Errors
    /// [`StoreError::Closed`] when the reader was closed.
    pub fn wait_past_blocking(
        &self,
        after: Position,
        timeout: Duration,
    ) -> Result<Option<Position>, StoreError> {
        self.shared.follower.index.head.wait_past_blocking(after, timeout)
    }
}

impl Shared {
    /// What the reader's thread does until the reader is closed.
    fn follow(&self) {
        while !self.closed.load(Ordering::Acquire) {
            // What cannot be read now, perhaps because the writer is replacing it, is tried again.
            let moved = self.follower.catch_up().unwrap_or(false);
            if !moved {
                std::thread::park_timeout(BETWEEN_LOOKS);
            }
        }
    }

    fn verify(&self, progress: &VerifyProgress) -> Result<VerifyReport, StoreError> {
        let index = &self.follower.index;
        verify::verify(&self.options, &self.places, index.store, index.head.get(), progress)
    }
}

impl Drop for EventLogReader {
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::Release);
        self.shared.follower.index.head.close();
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}

impl EventStore for EventLogReader {
    fn append(&self, _: AppendRequest) -> BoxFuture<'_, Result<AppendReceipt, AppendError>> {
        let reason = "it is open to be read beside the process that writes it: append there".to_owned();
        Box::pin(async move { Err(StoreError::ReadOnly { reason }.into()) })
    }

    fn read(&self, request: ReadRequest) -> BoxFuture<'_, Result<EventBatch, StoreError>> {
        let shared = Arc::clone(&self.shared);
        Box::pin(blocking::unblock(move || shared.follower.index.read(&request)))
    }

    fn head(&self) -> BoxFuture<'_, Result<Position, StoreError>> {
        Box::pin(async { Ok(self.shared.follower.index.head.get()) })
    }

    fn wait_past(&self, after: Position) -> BoxFuture<'_, Result<Position, StoreError>> {
        Box::pin(self.shared.follower.index.head.wait_past(after))
    }

    fn stream_state(&self, stream: &StreamName) -> BoxFuture<'_, Result<StreamState, StoreError>> {
        let state = self.shared.follower.index.snapshot().view().stream_state(stream.as_str());
        Box::pin(async move { state })
    }

    fn streams(
        &self,
        after: Option<StreamName>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<StreamSummary>, StoreError>> {
        let streams = self.shared.follower.index.snapshot().view().streams(after.as_ref(), limit);
        Box::pin(async move { streams })
    }

    fn checkpoint(&self, consumer: &ConsumerName) -> BoxFuture<'_, Result<Option<Position>, StoreError>> {
        let position = self.shared.follower.index.checkpoint(consumer);
        Box::pin(async move { Ok(position) })
    }

    fn verify(&self, progress: VerifyProgress) -> BoxFuture<'_, Result<VerifyReport, StoreError>> {
        let shared = Arc::clone(&self.shared);
        Box::pin(blocking::unblock(move || shared.verify(&progress)))
    }

    fn durability(&self) -> Durability {
        Durability::Disk
    }

    fn store_id(&self) -> String {
        self.shared.follower.index.store.to_string()
    }

    fn description(&self) -> String {
        format!("an event log in the folder {}, read beside its writer", self.shared.places.folder.display())
    }
}
