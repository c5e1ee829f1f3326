//! The read model of one version of one projection, in a file of its own.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};

use annals_core::{BoxError, BoxFuture, Position, ReadModel, ReadModelError, ReadModelTx, TxWork, block_on};

use crate::connection::is_damaged;
use crate::failure::with_advice;
use crate::model_files::{
    Folder, lock_folder_of, rebuilding, remove_database, set_aside, settle, take_the_place,
};
use crate::model_writer::{CHECKPOINT, ModelJob, ModelWriter, checkpoint_of};
use crate::pool::Pool;
use crate::reply::{self, Answer, Reply};
use crate::snapshot::Snapshot;
use crate::work_threads::WorkThreads;
use crate::worker::Worker;

/// A read model; what it does on files, it does on threads of its own.
pub(crate) struct SqliteReadModel(Arc<Inner>);

struct Inner {
    name: String,
    path: PathBuf,
    rebuild: bool,
    /// The open file. Locked for writing while another takes its place, so that nobody opens the old name meanwhile.
    live: RwLock<Arc<Live>>,
    building: Mutex<Weak<SqliteReadModel>>,
    shared: Shared,
}

/// What all read models of one folder share.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) threads: Arc<WorkThreads>,
    /// Behind the threads, so that a temporary folder is removed when its files are closed.
    pub(crate) folder: Arc<Folder>,
}

/// An open file.
struct Live {
    pool: Arc<Pool>,
    writer: Worker<ModelJob>,
}

impl Live {
    fn open(name: &str, path: &std::path::Path) -> Result<Arc<Self>, BoxError> {
        let pool = Arc::new(Pool::new(path.to_owned()));
        let writer = ModelWriter::open(name, path, Arc::clone(&pool))?;
        let writer = Worker::spawn("annals-sqlite-model", move |queue| writer.run(&queue))?;
        Ok(Arc::new(Self { pool, writer }))
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        // Before the writer's connection: the last to close clears the log away.
        self.pool.close();
    }
}

impl SqliteReadModel {
    /// Opens the file at `path`. A swap that a killed process had begun is finished, a rebuild that it left is removed.
    /// A damaged file is set aside: what it held can be made anew from the events.
    pub(crate) fn open(name: &str, path: PathBuf, shared: Shared) -> Result<Arc<Self>, BoxError> {
        // Else the file that one process has just begun could be what another sets aside.
        let _alone = lock_folder_of(&path);
        take_the_place(&path)?;
        remove_database(&rebuilding(&path))?;
        let live = match Live::open(name, &path) {
            Err(error) if error.downcast_ref().is_some_and(is_damaged) => {
                set_aside(&path)?;
                Live::open(name, &path)?
            }
            opened => opened?,
        };
        Ok(Self::with(name, path, false, live, shared))
    }

    fn with(name: &str, path: PathBuf, rebuild: bool, live: Arc<Live>, shared: Shared) -> Arc<Self> {
        let (name, live, building) = (name.to_owned(), RwLock::new(live), Mutex::default());
        Arc::new(Self(Arc::new(Inner { name, path, rebuild, live, building, shared })))
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
            let reply = self.blocking(operation, move |inner| inner.send(job)).await?;
            reply.await.unwrap_or_else(|| Err(self.0.database(operation, CLOSED.into())))
        })
    }
}

const CLOSED: &str = "it is closed: open it again";

impl Inner {
    fn database(&self, operation: &'static str, source: BoxError) -> ReadModelError {
        ReadModelError::Database { operation, name: self.name.clone(), source: with_advice(source) }
    }

    fn snapshot(&self) -> Result<Snapshot, BoxError> {
        let live = self.live.read().unwrap_or_else(PoisonError::into_inner);
        let snapshot = Snapshot::begin(Arc::clone(&self.shared.threads), Arc::clone(&live.pool), CHECKPOINT)?;
        snapshot.ok_or_else(|| CLOSED.into())
    }

    fn position(&self) -> Result<Position, BoxError> {
        let snapshot = self.snapshot()?;
        let connection = snapshot.connection().ok_or(CLOSED)?;
        Ok(checkpoint_of(connection)?)
    }

    /// Sends a job to the writer of the file that is open now.
    fn send<T>(
        &self,
        job: impl FnOnce(Answer<Result<T, ReadModelError>>) -> ModelJob,
    ) -> Result<Reply<Result<T, ReadModelError>>, BoxError> {
        let live = self.live.read().unwrap_or_else(PoisonError::into_inner);
        let (answer, reply) = reply::pair();
        live.writer.send(job(answer)).map_err(|_| CLOSED)?;
        Ok(reply)
    }

    fn begin_rebuild(&self) -> Result<Arc<dyn ReadModel>, BoxError> {
        if self.rebuild {
            return Err("it is a rebuild itself: swap it in first".into());
        }
        let mut building = self.building.lock().unwrap_or_else(PoisonError::into_inner);
        if building.strong_count() > 0 {
            return Err("a rebuild of it is under way: swap that in, or drop it".into());
        }
        let path = rebuilding(&self.path);
        remove_database(&path)?;
        let live = Live::open(&self.name, &path)?;
        let built = SqliteReadModel::with(&self.name, path, true, live, self.shared.clone());
        *building = Arc::downgrade(&built);
        Ok(built)
    }

    fn swap_in(&self, given: &Arc<dyn ReadModel>) -> Result<(), BoxError> {
        let mut building = self.building.lock().unwrap_or_else(PoisonError::into_inner);
        let built =
            building.upgrade().filter(|built| std::ptr::addr_eq(Arc::as_ptr(built), Arc::as_ptr(given)));
        let built =
            built.ok_or("what is to be swapped in is not its rebuild: use the one from begin_rebuild")?;
        let built = &built.0;
        block_on(built.send(ModelJob::Seal)?).ok_or(CLOSED)??;

        let mut live = self.live.write().unwrap_or_else(PoisonError::into_inner);
        let mut built_live = built.live.write().unwrap_or_else(PoisonError::into_inner);
        let _alone = lock_folder_of(&self.path);
        let settled = retire(&live).and_then(|()| Ok(settle(&built.path, &self.path)?));
        if let Err(error) = settled {
            // Nothing has changed, so both go on as they were.
            *live = Live::open(&self.name, &self.path)?;
            *built_live = Live::open(&built.name, &built.path)?;
            return Err(error);
        }
        take_the_place(&self.path)?;
        *live = Live::open(&self.name, &self.path)?;
        *built_live = Arc::clone(&live);
        *building = Weak::new();
        Ok(())
    }
}

fn retire(live: &Live) -> Result<(), BoxError> {
    let (answer, reply) = reply::pair();
    live.writer.send(ModelJob::Retire(answer)).map_err(|_| CLOSED)?;
    Ok(block_on(reply).ok_or(CLOSED)??)
}

impl ReadModel for SqliteReadModel {
    fn checkpoint(&self) -> BoxFuture<'_, Result<Position, ReadModelError>> {
        self.blocking("read the checkpoint of", Inner::position)
    }

    fn write(&self, from: Position, to: Position, work: TxWork) -> BoxFuture<'_, Result<(), ReadModelError>> {
        self.by_the_writer("write to", move |answer| ModelJob::Write { from, to, work, answer })
    }

    fn bind(&self, store_id: &str) -> BoxFuture<'_, Result<bool, ReadModelError>> {
        let store_id = store_id.to_owned();
        self.by_the_writer("bind", move |answer| ModelJob::Bind(store_id, answer))
    }

    fn read(&self) -> BoxFuture<'_, Result<Box<dyn ReadModelTx>, ReadModelError>> {
        self.blocking("read", |inner| Ok(Box::new(inner.snapshot()?) as Box<dyn ReadModelTx>))
    }

    fn begin_rebuild(&self) -> BoxFuture<'_, Result<Arc<dyn ReadModel>, ReadModelError>> {
        self.blocking("begin a rebuild of", Inner::begin_rebuild)
    }

    fn swap_in(&self, built: Arc<dyn ReadModel>) -> BoxFuture<'_, Result<(), ReadModelError>> {
        self.blocking("swap in the rebuild of", move |inner| inner.swap_in(&built))
    }
}
