//! The read model of one version of one projection, in a file of its own.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};

use annals_core::{
    Bookmark, BoxError, BoxFuture, Fork, Lead, Position, ReadModel, ReadModelError, ReadModelTx, TxWork,
    block_on,
};
use annals_model_files::{Builds, LeadLock, Mark, ModelFolder, Standing};
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
    builds: Builds,
    /// Whether this is one that is being built, whatever the current one is.
    is_rebuild: bool,
    /// The open file. Locked for writing while another takes its place, so that nobody opens the old one meanwhile.
    live: RwLock<Arc<Live>>,
    building: Mutex<Weak<SqliteReadModel>>,
    lead: Mutex<Weak<LeadLock>>,
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
struct Live {
    build: u64,
    path: PathBuf,
    pool: Arc<Pool>,
    writer: Worker<ModelJob>,
    /// What the file, and the word about which one is the current one, were when it was opened.
    mark: Mutex<Mark>,
}

impl Live {
    fn open(name: &str, builds: &Builds, build: u64) -> Result<Arc<Self>, BoxError> {
        let path = builds.path_of(build);
        if !path.exists() {
            builds.make_folder()?;
            remove_beside(&path)?;
        }
        let pool = Arc::new(Pool::new(path.clone()));
        let writer = ModelWriter::open(name, &path)?;
        let writer = Worker::spawn("annals-sqlite-model", move |queue| writer.run(&queue))?;
        let mark = Mutex::new(builds.mark(build));
        Ok(Arc::new(Self { build, path, pool, writer, mark }))
    }

    fn mark(&self) -> std::sync::MutexGuard<'_, Mark> {
        self.mark.lock().unwrap_or_else(PoisonError::into_inner)
    }

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

impl Drop for Live {
    fn drop(&mut self) {
        // Before the writer's connection: the last to close clears the log away.
        self.pool.close();
    }
}

impl SqliteReadModel {
    /// Opens the current build. A damaged file is set aside: what it held can be made anew from the events.
    pub(crate) fn open(name: &str, builds: Builds, shared: Shared) -> Result<Arc<Self>, BoxError> {
        // Else the file that one process has just begun could be what another sets aside.
        let _alone = builds.lock_folder();
        let live = open_current(name, &builds)?;
        Ok(Self::with(name, builds, false, live, shared))
    }

    fn with(name: &str, builds: Builds, is_rebuild: bool, live: Arc<Live>, shared: Shared) -> Arc<Self> {
        let (name, live) = (name.to_owned(), RwLock::new(live));
        let (building, lead) = (Mutex::default(), Mutex::default());
        Arc::new(Self(Arc::new(Inner { name, builds, is_rebuild, live, building, lead, shared })))
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
            let reply = self.blocking(operation, move |inner| inner.live()?.send(job)).await?;
            reply.await.unwrap_or_else(|| Err(self.0.database(operation, CLOSED.into())))
        })
    }
}

/// Opens the current build, or an empty one in its place when it is damaged. The folder must be locked.
fn open_current(name: &str, builds: &Builds) -> Result<Arc<Live>, BoxError> {
    let current = builds.standing()?.current;
    match Live::open(name, builds, current) {
        Err(error) if error.downcast_ref().is_some_and(is_damaged) => {
            set_aside(&builds.path_of(current))?;
            Live::open(name, builds, current)
        }
        opened => opened,
    }
}

const CLOSED: &str = "it is closed: open it again";

impl Inner {
    fn database(&self, operation: &'static str, source: BoxError) -> ReadModelError {
        let source = with_advice(source, &self.builds.path_of(0));
        ReadModelError::Database { operation, name: self.name.clone(), source }
    }

    fn building(&self) -> std::sync::MutexGuard<'_, Weak<SqliteReadModel>> {
        self.building.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lead(&self) -> std::sync::MutexGuard<'_, Weak<LeadLock>> {
        self.lead.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_current(&self, live: &Live) -> bool {
        let mark = live.mark();
        mark.is_of_a_file() && *mark == self.builds.mark(live.build)
    }

    /// The file that is the current one now. Another process may have swapped in another, somebody may have removed it.
    fn live(&self) -> Result<Arc<Live>, BoxError> {
        let live = Arc::clone(&self.live.read().unwrap_or_else(PoisonError::into_inner));
        if self.is_rebuild || self.is_current(&live) {
            return Ok(live);
        }
        let mut live = self.live.write().unwrap_or_else(PoisonError::into_inner);
        self.builds.make_folder()?;
        let _alone = self.builds.lock_folder();
        if !self.is_current(&live) {
            self.replace(&mut live, open_current(&self.name, &self.builds)?)?;
        }
        Ok(Arc::clone(&live))
    }

    /// Puts another file in the place of the open one.
    fn replace(&self, live: &mut Arc<Live>, other: Arc<Live>) -> Result<(), BoxError> {
        if self.lead().strong_count() > 0 {
            other.done(ModelJob::Lead)?;
        }
        *other.mark() = self.builds.mark(other.build);
        *live = other;
        Ok(())
    }

    fn snapshot(&self) -> Result<Snapshot, BoxError> {
        let live = self.live()?;
        match self.snapshot_of(&live) {
            // Its file was removed, or another took its place, in just this moment.
            Err(_) if !self.is_current(&live) => self.snapshot_of(&*self.live()?),
            begun => begun,
        }
    }

    fn snapshot_of(&self, live: &Live) -> Result<Snapshot, BoxError> {
        let snapshot = Snapshot::begin(Arc::clone(&self.shared.threads), Arc::clone(&live.pool), CHECKPOINT)?;
        snapshot.ok_or_else(|| CLOSED.into())
    }

    fn fork(&self) -> Result<Fork, BoxError> {
        let connection = open_writer(&self.live()?.path, Synchronous::Normal)?;
        connection.execute_batch("BEGIN IMMEDIATE")?;
        let bookmark = bookmark_of(&connection)?;
        Ok((bookmark, Box::new(Snapshot::of(Arc::clone(&self.shared.threads), connection))))
    }

    fn bookmark(&self) -> Result<Bookmark, BoxError> {
        let snapshot = self.snapshot()?;
        let connection = snapshot.connection().ok_or(CLOSED)?;
        Ok(bookmark_of(connection)?)
    }

    fn try_lead(&self) -> Result<Option<Lead>, BoxError> {
        let live = self.live()?;
        let mut lead = self.lead();
        if lead.strong_count() > 0 {
            return Ok(None);
        }
        let Some(lock) = self.builds.try_lead()? else { return Ok(None) };
        let lock = Arc::new(lock);
        live.done(ModelJob::Lead)?;
        *lead = Arc::downgrade(&lock);
        drop(lead);
        if self.building().strong_count() == 0 {
            self.builds.strays()?.iter().try_for_each(|path| remove_database(path))?;
        }
        Ok(Some(Lead::new(lock)))
    }

    fn begin_rebuild(&self) -> Result<Arc<dyn ReadModel>, BoxError> {
        if self.is_rebuild {
            return Err("it is a rebuild itself: swap it in first".into());
        }
        let mut building = self.building();
        if building.strong_count() > 0 {
            return Err("a rebuild of it is under way: swap that in, or drop it".into());
        }
        let build = self.builds.next()?;
        let live = Live::open(&self.name, &self.builds, build).inspect_err(|_| {
            // The disk may be full: what was begun gives its room back. What cannot be removed is a stray.
            let _ = remove_database(&self.builds.path_of(build));
        })?;
        let built = SqliteReadModel::with(&self.name, self.builds.clone(), true, live, self.shared.clone());
        *building = Arc::downgrade(&built);
        Ok(built)
    }

    fn swap_in(&self, given: &Arc<dyn ReadModel>) -> Result<(), BoxError> {
        let mut building = self.building();
        let built =
            building.upgrade().filter(|built| std::ptr::addr_eq(Arc::as_ptr(built), Arc::as_ptr(given)));
        let built =
            built.ok_or("what is to be swapped in is not its rebuild: use the one from begin_rebuild")?;
        let built = built.0.live()?;
        built.done(ModelJob::Seal)?;

        let mut live = self.live.write().unwrap_or_else(PoisonError::into_inner);
        let _alone = self.builds.lock_folder();
        let before = self.builds.standing()?;
        self.builds.put(Standing { current: built.build, previous: Some(live.build) })?;
        self.replace(&mut live, built)?;
        *building = Weak::new();
        let forgotten = before.previous.filter(|previous| *previous != before.current);
        Ok(forgotten.map_or(Ok(()), |build| remove_database(&self.builds.path_of(build)))?)
    }

    fn swap_back(&self) -> Result<bool, BoxError> {
        let mut live = self.live.write().unwrap_or_else(PoisonError::into_inner);
        let _alone = self.builds.lock_folder();
        let Standing { current, previous } = self.builds.standing()?;
        let Some(previous) = previous.filter(|previous| self.builds.path_of(*previous).exists()) else {
            return Ok(false);
        };
        let other = Live::open(&self.name, &self.builds, previous)?;
        self.builds.put(Standing { current: previous, previous: Some(current) })?;
        self.replace(&mut live, other)?;
        Ok(true)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let live = self.live.get_mut().unwrap_or_else(PoisonError::into_inner);
        let is_kept =
            |standing: Standing| standing.current == live.build || standing.previous == Some(live.build);
        // One that was given up half-way. What cannot be removed now is a stray, and removed later.
        if self.is_rebuild && self.builds.standing().is_ok_and(|standing| !is_kept(standing)) {
            let _ = remove_database(&live.path);
        }
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
        self.blocking("take the lead of", Inner::try_lead)
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
        self.blocking("go back to the build before of", Inner::swap_back)
    }
}
