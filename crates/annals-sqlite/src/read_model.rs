//! The read model of one version of one projection, in a file of its own.

use std::path::Path;
use std::sync::Arc;

use annals_core::{
    Bookmark, BoxError, BoxFuture, Fork, Lead, Position, ReadModel, ReadModelError, ReadModelTx, TxWork,
    block_on,
};
use annals_model_files::{Build, Builds, ModelFolder, OpenBuilds, Opened, Rebuilding};
use annals_threads::{Answer, Reply, WorkThreads, Worker};

use crate::connection::{Synchronous, is_damaged, open_writer};
use crate::failure::with_advice;
use crate::model_files::{remove_beside, remove_database, set_aside};
use crate::model_writer::{CHECKPOINT, ModelJob, ModelWriter, bookmark_of};
use crate::pool::Pool;
use crate::snapshot::Snapshot;

/// A read model; what it does on files, it does on threads of its own.
pub(crate) struct SqliteReadModel(Arc<Inner>);

struct Inner {
    name: String,
    databases: OpenBuilds<Database>,
    rebuilding: Rebuilding<SqliteReadModel>,
    shared: Shared,
}

/// What all read models of one folder share.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) threads: Arc<WorkThreads>,
    /// Behind the threads, so that a temporary folder is removed when its files are closed.
    pub(crate) folder: Arc<ModelFolder>,
}

/// An open file.
struct Database {
    pool: Arc<Pool>,
    writer: Worker<ModelJob>,
}

/// What it takes to open a file.
#[derive(Clone)]
pub(crate) struct Opener {
    /// The name of the read model.
    name: String,
    synchronous: Synchronous,
}

impl Build for Database {
    type Opener = Opener;

    fn open(Opener { name, synchronous }: &Opener, path: &Path) -> Result<Self, BoxError> {
        if !path.exists() {
            remove_beside(path)?;
        }
        let pool = Arc::new(Pool::new(path.to_owned()));
        let writer = ModelWriter::open(name, path, *synchronous)?;
        let writer = Worker::spawn("annals-sqlite-model", move |queue| writer.run(&queue))?;
        Ok(Self { pool, writer })
    }

    fn open_or_begin_anew(opener: &Opener, path: &Path) -> Result<Self, BoxError> {
        match Self::open(opener, path) {
            Err(error) if error.downcast_ref().is_some_and(is_damaged) => {
                set_aside(path)?;
                Self::open(opener, path)
            }
            opened => opened,
        }
    }

    fn lead(&self) -> Result<(), BoxError> {
        self.done(ModelJob::Lead)
    }

    fn seal(&self) -> Result<(), BoxError> {
        self.done(ModelJob::Seal)
    }

    fn remove(path: &Path) -> std::io::Result<()> {
        remove_database(path)
    }
}

impl Database {
    /// Has the writer do a job.
    fn send<T>(
        &self,
        job: impl FnOnce(Answer<Result<T, ReadModelError>>) -> ModelJob,
    ) -> Result<Reply<Result<T, ReadModelError>>, BoxError> {
        let (answer, reply) = annals_threads::pair();
        self.writer.send(job(answer)).map_err(|_| CLOSED)?;
        Ok(reply)
    }

    /// Has the writer do a job, and waits for it.
    fn done<T>(
        &self,
        job: impl FnOnce(Answer<Result<T, ReadModelError>>) -> ModelJob,
    ) -> Result<T, BoxError> {
        Ok(block_on(self.send(job)?).ok_or(CLOSED)??)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // Before the writer's connection: the last to close clears the log away.
        self.pool.close();
    }
}

impl SqliteReadModel {
    /// Opens the current build. A damaged file is set aside: what it held can be made anew from the events.
    pub(crate) fn open(name: &str, builds: Builds, shared: Shared) -> Result<Arc<Self>, BoxError> {
        // A read model can be built again, so its commits need not survive the loss of power one by one.
        let synchronous = if shared.folder.is_temporary() { Synchronous::Off } else { Synchronous::Normal };
        let opener = Opener { name: name.to_owned(), synchronous };
        Ok(Self::with(name, OpenBuilds::open(builds, opener)?, shared))
    }

    fn with(name: &str, databases: OpenBuilds<Database>, shared: Shared) -> Arc<Self> {
        let (name, rebuilding) = (name.to_owned(), Rebuilding::default());
        Arc::new(Self(Arc::new(Inner { name, databases, rebuilding, shared })))
    }

    /// Runs `job` on a reading thread.
    fn blocking<T: Send + 'static>(
        &self,
        operation: &'static str,
        job: impl FnOnce(&Inner) -> Result<T, BoxError> + Send + 'static,
    ) -> BoxFuture<'_, Result<T, ReadModelError>> {
        let inner = Arc::clone(&self.0);
        Box::pin(async move {
            let reply = self.0.shared.threads.run(move || job(&inner));
            let result = reply.await.unwrap_or_else(|| Err(CLOSED.into()));
            result.map_err(|source| self.0.database(operation, source))
        })
    }

    /// Has the writer do a job. Sending it may have to wait for a swap, so that is done on a reading thread.
    fn by_the_writer<T: Send + 'static>(
        &self,
        operation: &'static str,
        job: impl FnOnce(Answer<Result<T, ReadModelError>>) -> ModelJob + Send + 'static,
    ) -> BoxFuture<'_, Result<T, ReadModelError>> {
        Box::pin(async move {
            let reply = self.blocking(operation, move |inner| inner.databases.live()?.send(job)).await?;
            reply.await.unwrap_or_else(|| Err(self.0.database(operation, CLOSED.into())))
        })
    }
}

const CLOSED: &str = "it is closed: open it again";

impl Inner {
    fn database(&self, operation: &'static str, source: BoxError) -> ReadModelError {
        let source = with_advice(source, &self.databases.place());
        ReadModelError::Database { operation, name: self.name.clone(), source }
    }

    fn snapshot(&self) -> Result<Snapshot, BoxError> {
        let live = self.databases.live()?;
        match self.snapshot_of(&live) {
            // Its file was removed, or another took its place, in just this moment.
            Err(_) if !self.databases.is_current(&live) => self.snapshot_of(&*self.databases.live()?),
            begun => begun,
        }
    }

    fn snapshot_of(&self, live: &Opened<Database>) -> Result<Snapshot, BoxError> {
        let snapshot = Snapshot::begin(Arc::clone(&self.shared.threads), Arc::clone(&live.pool), CHECKPOINT)?;
        snapshot.ok_or_else(|| CLOSED.into())
    }

    fn fork(&self) -> Result<Fork, BoxError> {
        let connection = open_writer(self.databases.live()?.path(), Synchronous::Normal)?;
        connection.execute_batch("BEGIN IMMEDIATE")?;
        let bookmark = bookmark_of(&connection)?;
        Ok((bookmark, Box::new(Snapshot::of(Arc::clone(&self.shared.threads), connection))))
    }

    fn bookmark(&self) -> Result<Bookmark, BoxError> {
        let snapshot = self.snapshot()?;
        let connection = snapshot.connection().ok_or(CLOSED)?;
        Ok(bookmark_of(connection)?)
    }

    fn begin_rebuild(&self) -> Result<Arc<dyn ReadModel>, BoxError> {
        let begin = || {
            let databases = self.databases.begin_rebuild()?;
            Ok(SqliteReadModel::with(&self.name, databases, self.shared.clone()))
        };
        Ok(self.rebuilding.begin(begin)?)
    }

    fn swap_in(&self, given: &Arc<dyn ReadModel>) -> Result<(), BoxError> {
        self.rebuilding.end(given, |built| self.databases.swap_in(&built.0.databases))
    }
}

impl ReadModel for SqliteReadModel {
    fn bookmark(&self) -> BoxFuture<'_, Result<Bookmark, ReadModelError>> {
        self.blocking("read the checkpoint of", Inner::bookmark)
    }

    fn write_with_notes(
        &self,
        from: Position,
        to: Position,
        notes: Option<Vec<u8>>,
        work: TxWork,
    ) -> BoxFuture<'_, Result<(), ReadModelError>> {
        self.by_the_writer("write to", move |answer| ModelJob::Write { from, to, notes, work, answer })
    }

    fn try_lead(&self) -> BoxFuture<'_, Result<Option<Lead>, ReadModelError>> {
        self.blocking("take the lead of", |inner| {
            Ok(inner.databases.try_lead(inner.rebuilding.is_under_way())?.map(Lead::new))
        })
    }

    fn bind(&self, store_id: &str) -> BoxFuture<'_, Result<bool, ReadModelError>> {
        let store_id = store_id.to_owned();
        self.by_the_writer("bind", move |answer| ModelJob::Bind(store_id, answer))
    }

    fn read(&self) -> BoxFuture<'_, Result<Box<dyn ReadModelTx>, ReadModelError>> {
        self.blocking("read", |inner| Ok(Box::new(inner.snapshot()?) as Box<dyn ReadModelTx>))
    }

    fn fork(&self) -> BoxFuture<'_, Result<Fork, ReadModelError>> {
        self.blocking("fork", Inner::fork)
    }

    fn begin_rebuild(&self) -> BoxFuture<'_, Result<Arc<dyn ReadModel>, ReadModelError>> {
        self.blocking("begin a rebuild of", Inner::begin_rebuild)
    }

    fn swap_in(&self, built: Arc<dyn ReadModel>) -> BoxFuture<'_, Result<(), ReadModelError>> {
        self.blocking("swap in the rebuild of", move |inner| inner.swap_in(&built))
    }

    fn swap_back(&self) -> BoxFuture<'_, Result<bool, ReadModelError>> {
        self.blocking("go back to the build before of", |inner| inner.databases.swap_back())
    }
}
