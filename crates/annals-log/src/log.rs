//! The log as its users see it: threads call it directly, tasks through [`EventStore`].

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use annals_core::append_rules::PreparedAppend;
use annals_core::{
    AppendError, AppendReceipt, AppendRequest, BoxFuture, CompactReport, ConsumerName, Damage, Durability,
    EventBatch, EventStore, Position, ReadRequest, StoreError, StreamName, StreamState, StreamSummary,
    VerifyProgress, VerifyReport,
};

use crate::commit::Commits;
use crate::compact::{Compaction, NewForm, UnopenedForm};
use crate::format::Mark;
use crate::lock::FolderLock;
use crate::maintenance::Upkeep;
use crate::options::{LARGEST_SEGMENT_BYTES, LogOptions, Maintenance};
use crate::places::Places;
use crate::planted::{Mistakes, Planted};
use crate::recovery::{Recovered, Recovery};
use crate::segments::Segment;
use crate::stage::LogAppend;
use crate::sync::{Builder, JoinHandle, Mutex};
use crate::view::LogIndex;
use crate::writer::Writer;
use crate::{folder, verify};

/// Compaction replaces segments once so many events are rewritten: their places are in memory until then.
const EVENTS_REPLACED_AT_ONCE: usize = 2 << 20;

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
    threads: Vec<JoinHandle<()>>,
}

/// What the log, its thread and its reading tasks share.
struct Shared {
    commits: Commits,
    options: LogOptions,
    places: Places,
    index: Arc<LogIndex>,
    mark_found: Option<Mark>,
    damage: Option<Damage>,
    notices: Vec<String>,
    /// Whoever holds this rewrites segments.
    compacting: Mutex<()>,
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
        let lock = FolderLock::acquire(&*storage, &places.folder)?;
        // Asked again under the lock: another process may have made the store meanwhile.
        let store = match folder::inspect(&*storage, &places.folder)? {
            Some(store) => store,
            None => folder::create(&*storage, &places, Mistakes::of(&options))?,
        };
        let upkeep = Arc::new(Upkeep::new(&options, places.clone()));
        let (index, found) = Recovery::run(&options, &places, &upkeep, store)?;
        let clock = Arc::clone(&options.clock);
        let spare = Arc::new(Mutex::new(Vec::new()));
        let mut writer =
            Writer::new(&options, places.clone(), Arc::clone(&index), &found, Arc::clone(&spare));
        writer.publish_watermark();
        let Recovered { mark, damage, notices, last_recorded_at, .. } = found;
        let mark_after = options.mark_after;
        let commits =
            Commits::new(Arc::clone(&index), writer, upkeep, clock, mark_after, last_recorded_at, spare);
        let background = options.maintenance == Maintenance::Background;
        let shared = Arc::new(Shared {
            commits,
            options,
            places,
            index,
            mark_found: mark,
            damage,
            notices,
            compacting: Mutex::default(),
            lock,
        });
        let mut log = Self { shared, threads: Vec::new() };
        log.start("annals-log", |shared| shared.commits.serve_tasks())?;
        if background {
            log.start("annals-index", |shared| shared.commits.upkeep.serve(&shared.index))?;
        }
        Ok(log)
    }

    fn start(&mut self, name: &str, work: fn(&Shared)) -> Result<(), StoreError> {
        let own = Arc::clone(&self.shared);
        let thread = Builder::new().name(name.to_owned()).spawn(move || work(&own));
        let thread =
            thread.map_err(|error| StoreError::backend("cannot start a thread of the log", error))?;
        self.threads.push(thread);
        Ok(())
    }

    /// Ends the segment that is being written, so that it will not change any more, and writes the indexes of all
    /// events to disk, merged. Appends go on in a new segment.
    ///
    /// # Errors
    /// [`StoreError::ReadOnly`] for a log that takes no appends, [`StoreError::DiskFull`] or [`StoreError::Io`].
    pub fn seal_blocking(&self) -> Result<(), StoreError> {
        let commits = &self.shared.commits;
        commits.while_idle(|writer| {
            writer.seal()?;
            commits.freeze(writer);
            Ok::<_, StoreError>(())
        })?;
        commits.upkeep.write_frozen_now(&self.shared.index);
        if let Some(reason) = commits.upkeep.failure() {
            return Err(StoreError::backend("cannot write the index", std::io::Error::other(reason)));
        }
        commits.upkeep.merge_all(&self.shared.index)
    }

    /// Removes the content of hidden events from segments that are not written any more, and compresses those segments
    /// where the options say so. Appends and reads go on meanwhile.
    ///
    /// A removed event leaves its position, version, id, stream and hashes: the chain still verifies and the id stays
    /// known. What other files hold of the content, such as read models and copies, stays.
    ///
    /// # Errors
    /// [`StoreError::ReadOnly`] for a log that takes no appends, [`StoreError::Damaged`] where a segment cannot be read
    /// (it stays as it is), [`StoreError::DiskFull`] or [`StoreError::Io`].
    pub fn compact_blocking(&self, progress: &VerifyProgress) -> Result<CompactReport, StoreError> {
        self.shared.compact(progress)
    }

    /// Stores events, all or none. This thread may make the barrier for others too.
    ///
    /// # Errors
    /// As [`EventStore::append`].
    pub fn append_blocking(&self, request: AppendRequest) -> Result<AppendReceipt, AppendError> {
        self.shared.commits.append_blocking(LogAppend::new(PreparedAppend::new(request)?, &self.shared.index))
    }

    /// Reads the next batch of events.
    ///
    /// # Errors
    /// As [`EventStore::read`].
    pub fn read_blocking(&self, request: &ReadRequest) -> Result<EventBatch, StoreError> {
        let read = || self.shared.index.read(request);
        Mistakes::of(&self.shared.options).unchecked_if(Planted::ReadUnchecked, read)
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
        self.shared.index.head.wait_past_blocking(after, timeout)
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
        self.shared.index.segments.all().iter().map(|segment| segment.path.clone()).collect()
    }
}

impl Shared {
    fn compact(&self, progress: &VerifyProgress) -> Result<CompactReport, StoreError> {
        let upkeep = &self.commits.upkeep;
        let _compacting = crate::ticket::lock(&self.compacting);
        self.commits.while_idle(|writer| {
            writer.check()?;
            self.commits.freeze(writer);
            Ok::<_, StoreError>(())
        })?;
        upkeep.write_frozen_now(&self.index);
        let indexed_to = self.index.older().runs.last().map_or(Position::ZERO, |run| run.last());
        let segments = self.index.segments.all();
        let compaction =
            Compaction { options: &self.options, store: self.index.store, hidden: self.index.hidden() };
        let mut report = CompactReport::default();
        let mut forms = Vec::new();
        let compacted =
            self.compact_segments(&compaction, &segments, indexed_to, &mut forms, &mut report, progress);
        forms.iter().for_each(|form| form.abandon(&*self.options.storage));
        compacted.map(|()| report)
    }

    fn compact_segments(
        &self,
        compaction: &Compaction<'_>,
        segments: &[Arc<Segment>],
        indexed_to: Position,
        forms: &mut Vec<NewForm>,
        report: &mut CompactReport,
        progress: &VerifyProgress,
    ) -> Result<(), StoreError> {
        let all = (segments.len() as u64).saturating_sub(1);
        for (done, pair) in segments.windows(2).enumerate() {
            progress(done as u64, all);
            let [segment, next] = pair else { continue };
            let last = next.first_position.previous();
            if last > indexed_to || !segment.is_sealed() {
                break;
            }
            forms.extend(compaction.rewrite(segment, last)?.inspect(|form| compaction.add_to(report, form)));
            if forms.iter().map(NewForm::events).sum::<usize>() >= EVENTS_REPLACED_AT_ONCE {
                self.replace(forms)?;
            }
        }
        self.replace(forms)?;
        progress(all, all);
        Ok(())
    }

    /// Puts new forms of segments in the place of the old ones.
    fn replace(&self, forms: &mut Vec<NewForm>) -> Result<(), StoreError> {
        let (forms, rewritten): (Vec<_>, Vec<_>) = forms.drain(..).map(NewForm::split).unzip();
        if forms.is_empty() {
            return Ok(());
        }
        let storage = &*self.options.storage;
        let replaced = self.commits.upkeep.replace_segments(&self.index, &rewritten, || {
            for form in &forms {
                let renamed = storage.rename(&form.unfinished, &form.path);
                renamed.map_err(|error| StoreError::io("rename", &form.unfinished, error))?;
            }
            let folder = self.places.segments();
            storage.sync_dir(&folder).map_err(|error| StoreError::io("sync", folder, error))?;
            forms.iter().map(UnopenedForm::open).collect()
        });
        if replaced.is_err() {
            // Those that have their name already stay: each fits the log, and indexes are built again where they do not.
            forms.iter().for_each(|form| drop(storage.remove(&form.unfinished)));
        }
        replaced
    }

    fn verify(&self, progress: &VerifyProgress) -> Result<VerifyReport, StoreError> {
        // A damaged log is looked at to its end; one that is written to, up to what is visible now.
        let upto = if self.damage.is_some() { Position::MAX } else { self.index.head.get() };
        let mut report = verify::verify(&self.options, &self.places, self.index.store, upto, progress)?;
        if let Some(damage) = self.damage.as_ref().filter(|_| report.is_sound()) {
            report.problems.push(damage.to_string());
        }
        report.problems.extend(verify::contradiction(self.mark_found, report.readable_to));
        let mut pages = 0;
        for run in &self.index.older().runs {
            report.problems.extend(run.check_all().err().map(|error| error.to_string()));
            pages += run.file_bytes().div_ceil(4096);
        }
        report.checked.push(("pages of indexes (checksum)".to_owned(), pages));
        report.problems.extend(self.commits.upkeep.failure().map(|reason| format!("the index: {reason}")));
        Ok(report)
    }
}

impl Drop for EventLog {
    fn drop(&mut self) {
        let commits = &self.shared.commits;
        commits.close();
        commits.upkeep.close();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
        commits.while_idle(|writer| {
            if self.shared.damage.is_none() && writer.check().is_ok() {
                // What fails here costs time at the next opening, and nothing else.
                let _ = writer.trim();
                commits.rest(writer);
            }
        });
        // Reads that nobody waits for any more may still hold the rest.
        self.shared.lock.release();
    }
}

impl EventStore for EventLog {
    fn append(&self, request: AppendRequest) -> BoxFuture<'_, Result<AppendReceipt, AppendError>> {
        Box::pin(async move {
            self.shared
                .commits
                .append(LogAppend::new(PreparedAppend::new(request)?, &self.shared.index))
                .await
        })
    }

    fn read(&self, request: ReadRequest) -> BoxFuture<'_, Result<EventBatch, StoreError>> {
        if let Some(nothing) = self.shared.index.without_event(&request) {
            return Box::pin(std::future::ready(Ok(nothing)));
        }
        let shared = Arc::clone(&self.shared);
        Box::pin(blocking::unblock(move || shared.index.read(&request)))
    }

    fn head(&self) -> BoxFuture<'_, Result<Position, StoreError>> {
        Box::pin(async { Ok(self.shared.index.head.get()) })
    }

    fn wait_past(&self, after: Position) -> BoxFuture<'_, Result<Position, StoreError>> {
        Box::pin(self.shared.index.head.wait_past(after))
    }

    fn stream_state(&self, stream: &StreamName) -> BoxFuture<'_, Result<StreamState, StoreError>> {
        let state = self.shared.index.snapshot().view().stream_state(stream.as_str());
        Box::pin(async move { state })
    }

    fn streams(
        &self,
        after: Option<StreamName>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<StreamSummary>, StoreError>> {
        Box::pin(async move { self.shared.index.snapshot().view().streams(after.as_ref(), limit) })
    }

    fn checkpoint(&self, consumer: &ConsumerName) -> BoxFuture<'_, Result<Option<Position>, StoreError>> {
        let position = self.shared.index.checkpoint(consumer);
        Box::pin(async move { Ok(position) })
    }

    fn verify(&self, progress: VerifyProgress) -> BoxFuture<'_, Result<VerifyReport, StoreError>> {
        let shared = Arc::clone(&self.shared);
        Box::pin(blocking::unblock(move || shared.verify(&progress)))
    }

    fn compact(&self, progress: VerifyProgress) -> BoxFuture<'_, Result<CompactReport, StoreError>> {
        let shared = Arc::clone(&self.shared);
        Box::pin(blocking::unblock(move || shared.compact(&progress)))
    }

    fn durability(&self) -> Durability {
        Durability::Disk
    }

    fn store_id(&self) -> String {
        self.shared.index.store.to_string()
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
