//! The read model of one version of one projection, in a folder of its own.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};

use annals_core::{
    Bookmark, BoxError, BoxFuture, Fork, Lead, Position, ReadModel, ReadModelError, ReadModelTx, TxWork,
    block_on,
};
use annals_model_files::{Builds, LeadLock, Mark, ModelFolder, Standing};
use annals_threads::{Reply, WorkThreads, Worker, pair};
use tantivy::tokenizer::TokenizerManager;

use crate::index_files::{OpenError, open_checked, remove, set_aside};
use crate::reader::Reader;
use crate::search::ReadTx;
use crate::tx::SearchTx;
use crate::writer::Writer;

/// A read model; what it does on files, it does on threads of its own.
pub(crate) struct SearchReadModel(Arc<Inner>);

struct Inner {
    name: String,
    builds: Builds,
    is_rebuild: bool,
    /// The open index. Locked for writing while another takes its place, so that nobody opens the old one meanwhile.
    live: RwLock<Arc<Live>>,
    building: Mutex<Weak<SearchReadModel>>,
    lead: Mutex<Weak<LeadLock>>,
    shared: Shared,
}

/// What all read models of one folder share.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) threads: Arc<WorkThreads>,
    /// Behind the threads, so that a temporary folder is removed when its files are closed.
    pub(crate) folder: Arc<ModelFolder>,
    pub(crate) tokenizers: TokenizerManager,
}

type Job = Box<dyn FnOnce(&mut Writer) + Send>;

/// An open index.
struct Live {
    build: u64,
    path: PathBuf,
    reader: Arc<Reader>,
    writer: Worker<Job>,
    mark: Mutex<Mark>,
}

const CLOSED: &str = "it is closed: open it again";

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Live {
    fn open(name: &str, builds: &Builds, build: u64, shared: &Shared) -> Result<Arc<Self>, OpenError> {
        builds.make_folder()?;
        let (path, tokenizers) = (builds.path_of(build), shared.tokenizers.clone());
        let index = open_checked(&path, &tokenizers)?;
        let reader = Arc::new(Reader::new(path.clone(), tokenizers.clone()));
        let tx = SearchTx::new(path.clone(), index, Arc::clone(&reader), tokenizers);
        let mut writer = Writer::new(name.to_owned(), tx);
        let writer = Worker::<Job>::spawn("annals-search-model", move |queue| {
            while let Ok(job) = queue.recv() {
                // The job's answer tells of a panic by being dropped.
                if catch_unwind(AssertUnwindSafe(|| job(&mut writer))).is_err() {
                    writer.give_up();
                }
            }
        })?;
        let mark = Mutex::new(builds.mark(build));
        Ok(Arc::new(Self { build, path, reader, writer, mark }))
    }

    /// Has the writer do a job.
    fn send<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Writer) -> T + Send + 'static,
    ) -> Result<Reply<T>, BoxError> {
        let (answer, reply) = pair();
        self.writer.send(Box::new(move |writer| answer.give(job(writer)))).map_err(|_| CLOSED)?;
        Ok(reply)
    }

    /// Has the writer do a job, and waits for it.
    fn done<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Writer) -> T + Send + 'static,
    ) -> Result<T, BoxError> {
        Ok(block_on(self.send(job)?).ok_or(CLOSED)?)
    }
}

/// Opens the current build, or an empty one in its place when it is damaged. The folder must be locked.
fn open_current(name: &str, builds: &Builds, shared: &Shared) -> Result<Arc<Live>, BoxError> {
    let current = builds.standing()?.current;
    match Live::open(name, builds, current, shared) {
        Err(OpenError::Damaged(reason)) => {
            let path = builds.path_of(current);
            tracing::warn!(index = %path.display(), reason, "a damaged index is set aside: it is made anew");
            set_aside(&path)?;
            Ok(Live::open(name, builds, current, shared)?)
        }
        opened => Ok(opened?),
    }
}

impl SearchReadModel {
    pub(crate) fn open(name: &str, builds: Builds, shared: Shared) -> Result<Arc<Self>, BoxError> {
        builds.make_folder()?;
        // Else the index that one process has just begun could be what another sets aside.
        let _alone = builds.lock_folder();
        let live = open_current(name, &builds, &shared)?;
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
        job: impl FnOnce(&Arc<Inner>) -> Result<T, BoxError> + Send + 'static,
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
        job: impl FnOnce(&mut Writer) -> Result<T, ReadModelError> + Send + 'static,
    ) -> BoxFuture<'_, Result<T, ReadModelError>> {
        Box::pin(async move {
            let reply = self.blocking(operation, move |inner| inner.live()?.send(job)).await?;
            reply.await.unwrap_or_else(|| Err(self.0.database(operation, CLOSED.into())))
        })
    }
}

impl Inner {
    fn database(&self, operation: &'static str, source: BoxError) -> ReadModelError {
        // What the writer says is said already.
        match source.downcast::<ReadModelError>() {
            Ok(error) => *error,
            Err(source) => ReadModelError::Database { operation, name: self.name.clone(), source },
        }
    }

    /// The index that is the current one now. Another process may have swapped in another, somebody may have removed it.
    fn live(&self) -> Result<Arc<Live>, BoxError> {
        let live = Arc::clone(&self.live.read().unwrap_or_else(PoisonError::into_inner));
        if self.is_rebuild || *locked(&live.mark) == self.builds.mark(live.build) {
            return Ok(live);
        }
        let mut live = self.live.write().unwrap_or_else(PoisonError::into_inner);
        self.builds.make_folder()?;
        let _alone = self.builds.lock_folder();
        if *locked(&live.mark) != self.builds.mark(live.build) {
            self.replace(&mut live, open_current(&self.name, &self.builds, &self.shared)?)?;
        }
        Ok(Arc::clone(&live))
    }

    /// Puts another index in the place of the open one.
    fn replace(&self, live: &mut Arc<Live>, other: Arc<Live>) -> Result<(), BoxError> {
        // Nobody writes the old one any more.
        live.done(Writer::stand_down)?;
        if locked(&self.lead).strong_count() > 0 {
            other.done(Writer::lead)??;
        }
        *locked(&other.mark) = self.builds.mark(other.build);
        *live = other;
        Ok(())
    }

    fn begin_rebuild(&self) -> Result<Arc<dyn ReadModel>, BoxError> {
        if self.is_rebuild {
            return Err("it is a rebuild itself: swap it in first".into());
        }
        let mut building = locked(&self.building);
        if building.strong_count() > 0 {
            return Err("a rebuild of it is under way: swap that in, or drop it".into());
        }
        let live = Live::open(&self.name, &self.builds, self.builds.next()?, &self.shared)?;
        live.done(Writer::hold)?;
        let built = SearchReadModel::with(&self.name, self.builds.clone(), true, live, self.shared.clone());
        *building = Arc::downgrade(&built);
        Ok(built)
    }

    fn swap_in(&self, given: &Arc<dyn ReadModel>) -> Result<(), BoxError> {
        let mut building = locked(&self.building);
        let built =
            building.upgrade().filter(|built| std::ptr::addr_eq(Arc::as_ptr(built), Arc::as_ptr(given)));
        let built =
            built.ok_or("what is to be swapped in is not its rebuild: use the one from begin_rebuild")?;
        let built = built.0.live()?;
        built.done(Writer::stand_down)?;

        let mut live = self.live.write().unwrap_or_else(PoisonError::into_inner);
        let _alone = self.builds.lock_folder();
        let before = self.builds.standing()?;
        self.builds.put(Standing { current: built.build, previous: Some(live.build) })?;
        self.replace(&mut live, built)?;
        *building = Weak::new();
        let forgotten = before.previous.filter(|previous| *previous != before.current);
        Ok(forgotten.map_or(Ok(()), |build| remove(&self.builds.path_of(build)))?)
    }

    fn swap_back(&self) -> Result<bool, BoxError> {
        let mut live = self.live.write().unwrap_or_else(PoisonError::into_inner);
        let _alone = self.builds.lock_folder();
        let Standing { current, previous } = self.builds.standing()?;
        let Some(previous) = previous.filter(|previous| self.builds.path_of(*previous).exists()) else {
            return Ok(false);
        };
        let other = Live::open(&self.name, &self.builds, previous, &self.shared)?;
        self.builds.put(Standing { current: previous, previous: Some(current) })?;
        self.replace(&mut live, other)?;
        Ok(true)
    }
}

/// The lead of an index: another one can write it as soon as this is dropped.
struct IndexLead {
    inner: Arc<Inner>,
    lock: Option<Arc<LeadLock>>,
}

impl Drop for IndexLead {
    fn drop(&mut self) {
        let live = Arc::clone(&self.inner.live.read().unwrap_or_else(PoisonError::into_inner));
        // A closed one writes no more anyway.
        let _ = live.done(Writer::stand_down);
        self.lock = None;
    }
}

fn try_lead(inner: &Arc<Inner>) -> Result<Option<Lead>, BoxError> {
    let live = inner.live()?;
    let mut lead = locked(&inner.lead);
    if lead.strong_count() > 0 {
        return Ok(None);
    }
    let Some(lock) = inner.builds.try_lead()? else { return Ok(None) };
    let lock = Arc::new(lock);
    live.done(Writer::lead)??;
    *lead = Arc::downgrade(&lock);
    drop(lead);
    if locked(&inner.building).strong_count() == 0 {
        inner.builds.strays()?.iter().try_for_each(|path| remove(path))?;
    }
    Ok(Some(Lead::new(IndexLead { inner: Arc::clone(inner), lock: Some(lock) })))
}

impl Drop for Inner {
    fn drop(&mut self) {
        let live = self.live.get_mut().unwrap_or_else(PoisonError::into_inner);
        let is_kept =
            |standing: Standing| standing.current == live.build || standing.previous == Some(live.build);
        // One that was given up half-way. What cannot be removed now is a stray, and removed later.
        if self.is_rebuild && self.builds.standing().is_ok_and(|standing| !is_kept(standing)) {
            let _ = live.done(Writer::stand_down);
            let _ = remove(&live.path);
        }
    }
}

impl ReadModel for SearchReadModel {
    fn bookmark(&self) -> BoxFuture<'_, Result<Bookmark, ReadModelError>> {
        self.blocking("read the checkpoint of", |inner| Ok(inner.live()?.reader.view()?.payload.bookmark()))
    }

    fn write_with_notes(
        &self,
        from: Position,
        to: Position,
        notes: Option<Vec<u8>>,
        work: TxWork,
    ) -> BoxFuture<'_, Result<(), ReadModelError>> {
        self.by_the_writer("write to", move |writer| writer.write(from, to, notes, work))
    }

    fn try_lead(&self) -> BoxFuture<'_, Result<Option<Lead>, ReadModelError>> {
        self.blocking("take the lead of", try_lead)
    }

    fn bind(&self, store_id: &str) -> BoxFuture<'_, Result<bool, ReadModelError>> {
        let store_id = store_id.to_owned();
        self.by_the_writer("bind", move |writer| writer.bind(&store_id))
    }

    fn read(&self) -> BoxFuture<'_, Result<Box<dyn ReadModelTx>, ReadModelError>> {
        self.blocking("read", |inner| {
            let view = inner.live()?.reader.view()?;
            Ok(Box::new(ReadTx(view.search.clone())) as Box<dyn ReadModelTx>)
        })
    }

    fn fork(&self) -> BoxFuture<'_, Result<Fork, ReadModelError>> {
        let advice = "documents are found when they are committed, and a commit is for everybody: use a scratch read \
                      model of the store, built from the events that are to count";
        let (name, operation) = (self.0.name.clone(), "be written for its reader's eyes only");
        Box::pin(async move { Err(ReadModelError::Unsupported { name, operation, advice }) })
    }

    fn begin_rebuild(&self) -> BoxFuture<'_, Result<Arc<dyn ReadModel>, ReadModelError>> {
        self.blocking("begin a rebuild of", |inner| inner.begin_rebuild())
    }

    fn swap_in(&self, built: Arc<dyn ReadModel>) -> BoxFuture<'_, Result<(), ReadModelError>> {
        self.blocking("swap in the rebuild of", move |inner| inner.swap_in(&built))
    }

    fn swap_back(&self) -> BoxFuture<'_, Result<bool, ReadModelError>> {
        self.blocking("go back to the build before of", |inner| inner.swap_back())
    }
}
