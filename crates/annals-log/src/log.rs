//! The log as its users see it: threads call it directly, tasks through [`EventStore`].

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLockReadGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use annals_core::catalog::PreparedAppend;
use annals_core::{
    AppendError, AppendReceipt, AppendRequest, BoxFuture, ConsumerName, Damage, Durability, EventBatch,
    EventStore, Position, ReadRequest, StoreError, StreamName, StreamState, StreamSummary, VerifyProgress,
    VerifyReport,
};

use crate::commit::Commits;
use crate::format::{Mark, StoreId};
use crate::index::Index;
use crate::lock::FolderLock;
use crate::options::{LARGEST_SEGMENT_BYTES, LogOptions};
use crate::recovery::{Places, Recovered, Recovery};
use crate::writer::Writer;
use crate::{folder, verify};

/// A durable event log in one folder, open in one process.
///
/// An append is acknowledged when it is on disk. Appends of several threads share a barrier. The methods named after
/// those of [`EventStore`] with `_blocking` behind are for threads; the trait is for tasks, of any runtime.
///
/// ```
/// use annals_core::{AppendRequest, EventType, NewEvent, ReadRequest, StreamName};
/// use annals_log::{EventLog, LogOptions};
///
/// let folder = tempfile::tempdir()?;
/// let log = EventLog::open(folder.path(), LogOptions::default())?;
/// let stream = StreamName::new("account-42")?;
/// let opened = NewEvent::new(stream.clone(), EventType::new("AccountOpened")?).json(r#"{"owner":"ann"}"#);
/// let receipt = log.append_blocking(AppendRequest::new([opened]))?;
/// let batch = log.read_blocking(&ReadRequest::stream(stream))?;
/// assert_eq!(batch.events[0].position(), receipt.last_position);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct EventLog {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// What the log, its thread and its reading tasks share.
struct Shared {
    commits: Commits,
    options: LogOptions,
    places: Places,
    store: StoreId,
    mark_found: Option<Mark>,
    damage: Option<Damage>,
    notices: Vec<String>,
    lock: FolderLock,
}

impl EventLog {
    /// Opens the log in `folder`, which is made if there is none.
    ///
    /// A log whose stored bytes are damaged opens read-only: see [`EventLog::damage`].
    ///
    /// # Errors
    /// [`StoreError::InUse`] when another process has it open, [`StoreError::NotAStore`] when the folder holds
    /// something else, [`StoreError::NewerFormat`], [`StoreError::ReadOnly`] when the folder cannot be written, or
    /// [`StoreError::Io`].
    pub fn open(folder: impl AsRef<Path>, mut options: LogOptions) -> Result<Self, StoreError> {
        options.segment_bytes = options.segment_bytes.min(LARGEST_SEGMENT_BYTES);
        let places = Places { folder: folder.as_ref().to_owned() };
        let storage = Arc::clone(&options.storage);
        let known = folder::inspect(&*storage, &places.folder)?;
        if known.is_none() {
            let made = storage.create_dir_all(&places.folder);
            made.map_err(|error| crate::lock::not_writable(&places.folder, error))?;
        }
        let lock = FolderLock::acquire(&places.folder)?;
        // Asked again under the lock: another process may have made the store meanwhile.
        let store = match folder::inspect(&*storage, &places.folder)? {
            Some(store) => store,
            None => folder::create(&*storage, &places)?,
        };
        let found = Recovery::run(&*storage, &*options.clock, &places, store)?;
        let clock = Arc::clone(&options.clock);
        let writer = Writer::new(storage, Arc::clone(&clock), places.clone(), options.segment_bytes, &found);
        let Recovered { index, mark, damage, notices, .. } = found;
        let commits = Commits::new(index, writer, clock, options.mark_after);
        let shared =
            Arc::new(Shared { commits, options, places, store, mark_found: mark, damage, notices, lock });
        let own = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("annals-log".to_owned())
            .spawn(move || own.commits.serve_tasks())
            .map_err(|error| StoreError::backend("cannot start the log's thread", error))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Stores events, all or none. This thread may make the barrier for others too.
    ///
    /// # Errors
    /// As [`EventStore::append`].
    pub fn append_blocking(&self, request: AppendRequest) -> Result<AppendReceipt, AppendError> {
        self.shared.commits.append_blocking(PreparedAppend::new(request)?)
    }

    /// Reads the next batch of events.
    ///
    /// # Errors
    /// As [`EventStore::read`].
    pub fn read_blocking(&self, request: &ReadRequest) -> Result<EventBatch, StoreError> {
        self.shared.read(request)
    }

    /// Waits until the head is behind `after`; `None` when `timeout` passed.
    ///
    /// # Errors
    /// [`StoreError::Closed`] when the log was closed.
    pub fn wait_past_blocking(
        &self,
        after: Position,
        timeout: Duration,
    ) -> Result<Option<Position>, StoreError> {
        self.shared.commits.head.wait_past_blocking(after, timeout)
    }

    /// The damage that was found when the log was opened, because of which it is read-only.
    pub fn damage(&self) -> Option<&Damage> {
        self.shared.damage.as_ref()
    }

    /// The folder of the log.
    pub fn folder(&self) -> &Path {
        &self.shared.places.folder
    }

    /// The files that hold the events, oldest first.
    pub fn segment_paths(&self) -> Vec<PathBuf> {
        self.shared.index().segments.iter().map(|segment| segment.file.path.clone()).collect()
    }
}

impl Shared {
    fn index(&self) -> RwLockReadGuard<'_, Index> {
        self.commits.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self, request: &ReadRequest) -> Result<EventBatch, StoreError> {
        let plan = self.index().plan(request)?;
        plan.fetch()
    }

    fn verify(&self, progress: &VerifyProgress) -> Result<VerifyReport, StoreError> {
        // A damaged log is looked at to its end; one that is written to, up to what is visible now.
        let upto = if self.damage.is_some() { Position::MAX } else { self.commits.head.get() };
        let mut report = verify::verify(&*self.options.storage, &self.places, self.store, upto, progress)?;
        if let Some(damage) = self.damage.as_ref().filter(|_| report.is_sound()) {
            report.problems.push(damage.to_string());
        }
        report.problems.extend(verify::contradiction(self.mark_found, report.readable_to));
        report.problems.extend(self.index().catalog.inconsistencies());
        Ok(report)
    }
}

impl Drop for EventLog {
    fn drop(&mut self) {
        self.shared.commits.close();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        // Reads that nobody waits for any more may still hold the rest.
        self.shared.lock.release();
    }
}

impl EventStore for EventLog {
    fn append(&self, request: AppendRequest) -> BoxFuture<'_, Result<AppendReceipt, AppendError>> {
        Box::pin(async move { self.shared.commits.append(PreparedAppend::new(request)?).await })
    }

    fn read(&self, request: ReadRequest) -> BoxFuture<'_, Result<EventBatch, StoreError>> {
        let shared = Arc::clone(&self.shared);
        Box::pin(blocking::unblock(move || shared.read(&request)))
    }

    fn head(&self) -> BoxFuture<'_, Result<Position, StoreError>> {
        Box::pin(async { Ok(self.shared.commits.head.get()) })
    }

    fn wait_past(&self, after: Position) -> BoxFuture<'_, Result<Position, StoreError>> {
        Box::pin(self.shared.commits.head.wait_past(after))
    }

    fn stream_state(&self, stream: &StreamName) -> BoxFuture<'_, Result<StreamState, StoreError>> {
        let state = self.shared.index().catalog.stream_state(stream.as_str());
        Box::pin(async move { Ok(state) })
    }

    fn streams(
        &self,
        after: Option<StreamName>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<StreamSummary>, StoreError>> {
        Box::pin(async move { Ok(self.shared.index().catalog.streams(after.as_ref(), limit)) })
    }

    fn checkpoint(&self, consumer: &ConsumerName) -> BoxFuture<'_, Result<Option<Position>, StoreError>> {
        let position = self.shared.index().catalog.checkpoint(consumer);
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
        format!("{:032x}", u128::from_be_bytes(self.shared.store.0))
    }

    fn description(&self) -> String {
        format!("an event log in the folder {}", self.folder().display())
    }

    fn notices(&self) -> Vec<String> {
        let damage = self.shared.damage.iter().map(ToString::to_string);
        self.shared.notices.iter().cloned().chain(damage).collect()
    }

    fn announce(&self, address: &str) {
        self.shared.lock.announce(address);
    }
}
