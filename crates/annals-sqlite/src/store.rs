//! The store of events in one SQLite file.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use annals_core::append_rules::PreparedAppend;
use annals_core::{
    AppendError, AppendReceipt, AppendRequest, BoxFuture, Clock, ConsumerName, Durability, EventBatch,
    EventStore, Head, Position, ReadModelError, ReadRequest, Row, StoreError, StreamName, StreamState,
    StreamSummary, TransactionalStore, TxWork, Value, VerifyProgress, VerifyReport,
};
use annals_threads::{Answer, Worker};
use rusqlite::Connection;

use crate::connection::{Synchronous, open_writer};
use crate::failure::{Failure, store_error};
use crate::readers::Readers;
use crate::tx::WriteTx;
use crate::writer::{Job, Outcome, Writer};
use crate::{place, read, schema, statement, verify};

/// A store of events in one SQLite file, with a write-ahead log beside it.
///
/// An append is acknowledged when its transaction is on disk. Appends that wait are committed in groups, by one
/// thread of their own; reads run on others and are not blocked by it. Several processes may have the file open, and
/// write it, at the same time.
///
/// ```
/// use std::sync::Arc;
/// use annals_core::{AppendRequest, EventStore, EventType, NewEvent, ReadRequest, StreamName, SystemClock};
/// use annals_sqlite::SqliteStore;
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("events.sqlite");
/// let store: Arc<dyn EventStore> = Arc::new(SqliteStore::open(path, Arc::new(SystemClock))?);
/// let account = StreamName::new("account-42")?;
/// let opened = NewEvent::new(account.clone(), EventType::new("AccountOpened")?).json(r#"{"owner":"ann"}"#);
/// # annals_core::block_on(async {
/// let receipt = store.append(AppendRequest::new([opened])).await?;
/// let events = store.reader(ReadRequest::stream(account)).collect().await?;
/// assert_eq!(events[0].position(), receipt.last_position);
/// # Ok::<(), Box<dyn std::error::Error>>(()) })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct SqliteStore {
    path: PathBuf,
    id: String,
    head: Arc<Head>,
    waiters: Arc<AtomicUsize>,
    // Dropped in this order: the last connection to close is the writer's, which clears the log away.
    readers: Readers,
    writer: Worker<Job>,
}

impl SqliteStore {
    /// Opens the store in the file at `path`, making it when there is none; the time comes from `clock`.
    ///
    /// # Errors
    /// [`StoreError::NotAStore`] for a folder, a file or a database of another kind, and [`StoreError::NewerFormat`]
    /// for a store of a newer program: what is there is left as it is. [`StoreError::Io`] when the folder is missing,
    /// [`StoreError::ReadOnly`] when the file may not be written.
    pub fn open(path: impl AsRef<Path>, clock: Arc<dyn Clock>) -> Result<Self, StoreError> {
        // What is opened later, by the readers, must be this file even when the process changes its folder.
        let path = std::path::absolute(path.as_ref())
            .map_err(|error| StoreError::io("find", path.as_ref(), error))?;
        place::look(&path)?;
        let connection = open_writer(&path, Synchronous::Full)
            .map_err(|error| store_error(&path, "cannot open the database", &error))?;
        schema::create(&path, &connection)?;
        let id = schema::store_id(&path, &connection)?;
        place::sync_folder_of(&path).map_err(|error| StoreError::io("sync the folder of", &path, error))?;
        let head =
            read::head(&connection).map_err(|error| store_error(&path, "cannot read the end", &error))?;
        Self::with_connection(path, id, connection, clock, head)
    }

    fn with_connection(
        path: PathBuf,
        id: String,
        connection: Connection,
        clock: Arc<dyn Clock>,
        head: Position,
    ) -> Result<Self, StoreError> {
        let head = Arc::new(Head::at(head));
        let waiters = Arc::new(AtomicUsize::new(0));
        let writer = Writer {
            path: path.clone(),
            tx: WriteTx { connection },
            clock,
            head: Arc::clone(&head),
            waiters: Arc::clone(&waiters),
            stopped: None,
        };
        let no_thread = |error| StoreError::io("start a thread for", &path, error);
        let writer =
            Worker::spawn("annals-sqlite-write", move |queue| writer.run(&queue)).map_err(no_thread)?;
        let readers = Readers::spawn(path.clone()).map_err(no_thread)?;
        Ok(Self { path, id, head, waiters, readers, writer })
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    async fn write(
        &self,
        request: AppendRequest,
        job: impl FnOnce(PreparedAppend, Answer<Outcome>) -> Job,
    ) -> Outcome {
        let prepared = PreparedAppend::new(request)?;
        let (answer, reply) = annals_threads::pair();
        self.writer.send(job(prepared, answer)).map_err(|_| StoreError::Closed)?;
        reply.await.unwrap_or_else(|| {
            let reason = "the thread that writes ended before it answered".to_owned();
            Err(StoreError::OutcomeUnknown { reason }.into())
        })
    }

    async fn read_as<T: Send + 'static>(
        &self,
        operation: &'static str,
        read: impl FnOnce(&Connection) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.readers.run(read).await.map_err(|failure| failure.to_store_error(&self.path, operation))
    }
}

/// Counts as one who waits, for as long as it lives.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl EventStore for SqliteStore {
    fn append(&self, request: AppendRequest) -> BoxFuture<'_, Result<AppendReceipt, AppendError>> {
        Box::pin(self.write(request, Job::Append))
    }

    fn read(&self, request: ReadRequest) -> BoxFuture<'_, Result<EventBatch, StoreError>> {
        Box::pin(self.read_as("cannot read", move |connection| read::batch(connection, &request)))
    }

    fn head(&self) -> BoxFuture<'_, Result<Position, StoreError>> {
        // Asked of the file, because another process may have moved it.
        Box::pin(self.read_as("cannot read the end", |connection| Ok(read::head(connection)?)))
    }

    fn wait_past(&self, after: Position) -> BoxFuture<'_, Result<Position, StoreError>> {
        Box::pin(async move {
            self.waiters.fetch_add(1, Ordering::AcqRel);
            let _waiting = Waiting(&self.waiters);
            // The writer looks at once, and then again and again while someone waits.
            self.writer.send(Job::Look).map_err(|_| StoreError::Closed)?;
            self.head.wait_past(after).await
        })
    }

    fn stream_state(&self, stream: &StreamName) -> BoxFuture<'_, Result<StreamState, StoreError>> {
        let stream = stream.clone();
        Box::pin(self.read_as("cannot read the state of a stream", move |connection| {
            Ok(read::stream_state(connection, stream.as_str())?)
        }))
    }

    fn streams(
        &self,
        after: Option<StreamName>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<StreamSummary>, StoreError>> {
        Box::pin(self.read_as("cannot list the streams", move |connection| {
            read::streams(connection, after.as_ref(), limit)
        }))
    }

    fn checkpoint(&self, consumer: &ConsumerName) -> BoxFuture<'_, Result<Option<Position>, StoreError>> {
        let consumer = consumer.clone();
        Box::pin(self.read_as("cannot read a checkpoint", move |connection| {
            Ok(read::checkpoint(connection, &consumer)?)
        }))
    }

    fn verify(&self, progress: VerifyProgress) -> BoxFuture<'_, Result<VerifyReport, StoreError>> {
        Box::pin(self.read_as("cannot verify", move |connection| Ok(verify::verify(connection, &*progress)?)))
    }

    fn durability(&self) -> Durability {
        Durability::Disk
    }

    fn store_id(&self) -> String {
        self.id.clone()
    }

    fn description(&self) -> String {
        format!("events in the SQLite database {}", self.path.display())
    }

    fn transactional(&self) -> Option<&dyn TransactionalStore> {
        Some(self)
    }
}

/// Work given to [`append_with`](TransactionalStore::append_with) runs on the thread that writes: it must not wait for
/// another append to this store, which would wait for the work in turn.
impl TransactionalStore for SqliteStore {
    fn append_with(
        &self,
        request: AppendRequest,
        work: TxWork,
    ) -> BoxFuture<'_, Result<AppendReceipt, AppendError>> {
        Box::pin(self.write(request, |append, answer| Job::AppendWith(append, work, answer)))
    }

    fn query(&self, sql: String, params: Vec<Value>) -> BoxFuture<'_, Result<Vec<Row>, ReadModelError>> {
        Box::pin(async move {
            let text = sql.clone();
            let found =
                self.readers.run(move |connection| Ok(statement::query(connection, &sql, &params))).await;
            found.unwrap_or_else(|failure| {
                let source = failure.to_store_error(&self.path, "cannot query").into();
                Err(ReadModelError::Statement { statement: text, source })
            })
        })
    }
}

impl std::fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SqliteStore").field("path", &self.path).field("head", &self.head.get()).finish()
    }
}
