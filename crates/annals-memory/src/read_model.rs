//! The read model of one version of one projection.

use std::sync::Arc;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use annals_core::{
    Bookmark, BoxFuture, Fork, Lead, Position, ReadModel, ReadModelError, ReadModelTx, TxWork,
};
use annals_threads::{WorkThreads, Worker};

use crate::disk::Disk;
use crate::inner::{Inner, Place, Problem, try_lead};
use crate::published::Published;
use crate::tx::{MemoryTx, Purpose};

/// A read model. What changes it is done one by one, on a thread of its own.
pub(crate) struct MemoryReadModel {
    inner: Arc<Inner>,
    writer: Option<WorkThreads>,
    images: Option<Worker<()>>,
}

/// How often it is looked whether an image is due: at most, at least.
const TICK: (Duration, Duration) = (Duration::from_millis(1), Duration::from_secs(1));

const CLOSED: &str = "it is closed: open it again";

impl MemoryReadModel {
    pub(crate) fn in_memory(name: &str) -> std::io::Result<Arc<Self>> {
        Self::new(Inner::new(name, Arc::default(), false, Place::memory(), Published::empty()))
    }

    pub(crate) fn in_folder(name: &str, disk: Disk, now: Arc<Published>) -> std::io::Result<Arc<Self>> {
        let form = disk.options.form.as_str().into();
        Self::new(Inner::new(name, form, false, Place::Folder(Box::new(disk)), now))
    }

    pub(crate) fn new(inner: Inner) -> std::io::Result<Arc<Self>> {
        let inner = Arc::new(inner);
        let images = match &inner.place {
            Place::Memory { .. } => None,
            Place::Folder(disk) => {
                let (inner, tick) = (Arc::clone(&inner), disk.options.every.clamp(TICK.0, TICK.1));
                Some(Worker::spawn("annals-memory-image", move |ended| {
                    while let Err(RecvTimeoutError::Timeout) = ended.recv_timeout(tick) {
                        inner.save_if(Disk::is_due);
                    }
                })?)
            }
        };
        let writer = Some(WorkThreads::spawn("annals-memory-model", 1)?);
        Ok(Arc::new(Self { inner, writer, images }))
    }

    /// What everybody reads now.
    pub(crate) fn now(&self) -> Arc<Published> {
        self.inner.now()
    }

    /// Runs `job` on the writing thread, after what was asked of it before.
    fn alone<T: Send + 'static>(
        &self,
        operation: &'static str,
        job: impl FnOnce(&Inner) -> Result<T, Problem> + Send + 'static,
    ) -> BoxFuture<'_, Result<T, ReadModelError>> {
        let inner = Arc::clone(&self.inner);
        Box::pin(async move {
            let job = move || {
                inner.refresh()?;
                job(&inner)
            };
            let done = match &self.writer {
                Some(writer) => writer.run(job).await,
                None => None,
            };
            let problem = match done {
                Some(Ok(done)) => return Ok(done),
                Some(Err(problem)) => problem,
                None => CLOSED.into(),
            };
            Err(match problem {
                Problem::ReadModel(error) => error,
                Problem::Other(source) => {
                    ReadModelError::Database { operation, name: self.inner.name.clone(), source }
                }
            })
        })
    }

    /// What everybody reads. Who does not write images looks whether there is a newer one.
    async fn current(&self) -> Result<Arc<Published>, ReadModelError> {
        if self.inner.is_elsewhere() {
            return self.alone("read", |inner| Ok(inner.now())).await;
        }
        Ok(self.inner.now())
    }

    async fn begin(&self, purpose: Purpose) -> Result<Fork, ReadModelError> {
        let now = self.current().await?;
        Ok((now.bookmark(), Box::new(MemoryTx::new(now, Arc::clone(&self.inner.form), purpose))))
    }
}

impl Drop for MemoryReadModel {
    fn drop(&mut self) {
        // What was asked for is done first.
        self.writer = None;
        self.images = None;
        self.inner.save_if(Disk::is_behind);
    }
}

impl ReadModel for MemoryReadModel {
    fn bookmark(&self) -> BoxFuture<'_, Result<Bookmark, ReadModelError>> {
        Box::pin(async move { Ok(self.current().await?.bookmark()) })
    }

    fn write_with_notes(
        &self,
        from: Position,
        to: Position,
        notes: Option<Vec<u8>>,
        work: TxWork,
    ) -> BoxFuture<'_, Result<(), ReadModelError>> {
        self.alone("write to", move |inner| inner.write(from, to, notes, work))
    }

    fn try_lead(&self) -> BoxFuture<'_, Result<Option<Lead>, ReadModelError>> {
        let inner = Arc::clone(&self.inner);
        self.alone("take the lead of", move |_| try_lead(&inner))
    }

    fn bind(&self, store_id: &str) -> BoxFuture<'_, Result<bool, ReadModelError>> {
        let store_id = store_id.to_owned();
        self.alone("bind", move |inner| Ok(inner.bind(&store_id)))
    }

    fn read(&self) -> BoxFuture<'_, Result<Box<dyn ReadModelTx>, ReadModelError>> {
        Box::pin(async move { Ok(self.begin(Purpose::Read).await?.1) })
    }

    fn fork(&self) -> BoxFuture<'_, Result<Fork, ReadModelError>> {
        Box::pin(self.begin(Purpose::Fork))
    }

    fn begin_rebuild(&self) -> BoxFuture<'_, Result<Arc<dyn ReadModel>, ReadModelError>> {
        self.alone("begin a rebuild of", Inner::begin_rebuild)
    }

    fn swap_in(&self, built: Arc<dyn ReadModel>) -> BoxFuture<'_, Result<(), ReadModelError>> {
        self.alone("swap in the rebuild of", move |inner| inner.swap_in(&built))
    }

    fn swap_back(&self) -> BoxFuture<'_, Result<bool, ReadModelError>> {
        self.alone("go back to the build before of", Inner::swap_back)
    }
}
