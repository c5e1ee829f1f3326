//! The read model of one version of one projection, in a folder of its own.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use annals_core::{
    Bookmark, BoxError, BoxFuture, Fork, Lead, Position, ReadModel, ReadModelError, ReadModelTx, TxWork,
    block_on,
};
use annals_model_files::{Build, Builds, LeadLock, ModelFolder, OpenBuilds, Rebuilding};
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
    indexes: OpenBuilds<OpenIndex>,
    rebuilding: Rebuilding<SearchReadModel>,
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
struct OpenIndex {
    reader: Arc<Reader>,
    writer: Worker<Job>,
}

const CLOSED: &str = "it is closed: open it again";

/// What indexes are opened with.
#[derive(Clone)]
pub(crate) struct Opener {
    name: String,
    tokenizers: TokenizerManager,
}

impl OpenIndex {
    fn open_checked(Opener { name, tokenizers }: &Opener, path: &Path) -> Result<Self, OpenError> {
        let index = open_checked(path, tokenizers)?;
        let reader = Arc::new(Reader::new(path.to_owned(), tokenizers.clone()));
        let tx = SearchTx::new(path.to_owned(), index, Arc::clone(&reader), tokenizers.clone());
        let mut writer = Writer::new(name.clone(), tx);
        let writer = Worker::<Job>::spawn("annals-search-model", move |queue| {
            while let Ok(job) = queue.recv() {
                // The job's answer tells of a panic by being dropped.
                if catch_unwind(AssertUnwindSafe(|| job(&mut writer))).is_err() {
                    writer.give_up();
                }
            }
        })?;
        Ok(Self { reader, writer })
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

impl Build for OpenIndex {
    type Opener = Opener;

    fn open(opener: &Opener, path: &Path) -> Result<Self, BoxError> {
        Ok(Self::open_checked(opener, path)?)
    }

    fn open_or_begin_anew(opener: &Opener, path: &Path) -> Result<Self, BoxError> {
        match Self::open_checked(opener, path) {
            Err(OpenError::Damaged(reason)) => {
                tracing::warn!(index = %path.display(), reason, "a damaged index is set aside: it is made anew");
                set_aside(path)?;
                Self::open(opener, path)
            }
            opened => Ok(opened?),
        }
    }

    fn lead(&self) -> Result<(), BoxError> {
        Ok(self.done(Writer::lead)??)
    }

    fn begin(&self) -> Result<(), BoxError> {
        self.done(Writer::hold)
    }

    /// A commit is durable. What writes it is closed, so that another one can.
    fn seal(&self) -> Result<(), BoxError> {
        self.stand_down()
    }

    fn stand_down(&self) -> Result<(), BoxError> {
        self.done(Writer::stand_down)
    }

    fn remove(path: &Path) -> std::io::Result<()> {
        remove(path)
    }
}

impl SearchReadModel {
    pub(crate) fn open(name: &str, builds: Builds, shared: Shared) -> Result<Arc<Self>, BoxError> {
        let opener = Opener { name: name.to_owned(), tokenizers: shared.tokenizers.clone() };
        Ok(Self::with(name, OpenBuilds::open(builds, opener)?, shared))
    }

    fn with(name: &str, indexes: OpenBuilds<OpenIndex>, shared: Shared) -> Arc<Self> {
        let (name, rebuilding) = (name.to_owned(), Rebuilding::default());
        Arc::new(Self(Arc::new(Inner { name, indexes, rebuilding, shared })))
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
            let reply = self.blocking(operation, move |inner| inner.indexes.live()?.send(job)).await?;
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

    fn begin_rebuild(&self) -> Result<Arc<dyn ReadModel>, BoxError> {
        let begin = || {
            let indexes = self.indexes.begin_rebuild()?;
            Ok(SearchReadModel::with(&self.name, indexes, self.shared.clone()))
        };
        Ok(self.rebuilding.begin(begin)?)
    }

    fn swap_in(&self, given: &Arc<dyn ReadModel>) -> Result<(), BoxError> {
        self.rebuilding.end(given, |built| self.indexes.swap_in(&built.0.indexes))
    }
}

/// The lead of an index: another one can write it as soon as this is dropped.
struct IndexLead {
    inner: Arc<Inner>,
    lock: Option<Arc<LeadLock>>,
}

impl Drop for IndexLead {
    fn drop(&mut self) {
        // A closed one writes no more anyway.
        let _ = self.inner.indexes.last_opened().stand_down();
        self.lock = None;
    }
}

fn try_lead(inner: &Arc<Inner>) -> Result<Option<Lead>, BoxError> {
    let lock = inner.indexes.try_lead(inner.rebuilding.is_under_way())?;
    Ok(lock.map(|lock| Lead::new(IndexLead { inner: Arc::clone(inner), lock: Some(lock) })))
}

impl ReadModel for SearchReadModel {
    fn bookmark(&self) -> BoxFuture<'_, Result<Bookmark, ReadModelError>> {
        self.blocking("read the checkpoint of", |inner| {
            Ok(inner.indexes.live()?.reader.view()?.payload.bookmark())
        })
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
            let view = inner.indexes.live()?.reader.view()?;
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
        self.blocking("go back to the build before of", |inner| inner.indexes.swap_back())
    }
}
