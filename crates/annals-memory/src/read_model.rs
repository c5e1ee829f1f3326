//! The read model of one version of one projection.

use std::sync::mpsc::RecvTimeoutError;
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};
use std::time::Duration;

use annals_core::{
    Bookmark, BoxError, BoxFuture, Lead, Position, ReadModel, ReadModelError, ReadModelTx, TxWork,
};
use annals_model_files::LeadLock;
use annals_threads::{WorkThreads, Worker, run_work};

use crate::disk::{Disk, Keeping};
use crate::published::{Held, Published};
use crate::tx::{MemoryTx, Outcome, Purpose};

/// A read model. What changes it is done one by one, on a thread of its own.
pub(crate) struct MemoryReadModel {
    inner: Arc<Inner>,
    writer: Option<WorkThreads>,
    images: Option<Worker<()>>,
}

struct Inner {
    name: String,
    form: Arc<str>,
    is_rebuild: bool,
    /// What everybody reads. Locked for as long as it takes to exchange a pointer.
    now: RwLock<Arc<Published>>,
    building: Mutex<Weak<MemoryReadModel>>,
    place: Place,
}

enum Place {
    Memory {
        /// Held by who keeps the read model.
        lead: Mutex<Weak<()>>,
        previous: Mutex<Option<Arc<Published>>>,
    },
    Folder(Disk),
}

/// How often it is looked whether an image is due: at most, at least.
const TICK: (Duration, Duration) = (Duration::from_millis(1), Duration::from_secs(1));

const CLOSED: &str = "it is closed: open it again";

impl MemoryReadModel {
    pub(crate) fn in_memory(name: &str, form: Arc<str>) -> std::io::Result<Arc<Self>> {
        Self::with(
            name,
            form,
            false,
            Place::Memory { lead: Mutex::default(), previous: Mutex::default() },
            Published::empty(),
        )
    }

    pub(crate) fn in_folder(name: &str, disk: Disk, now: Arc<Published>) -> std::io::Result<Arc<Self>> {
        Self::with(name, disk.options.form.as_str().into(), false, Place::Folder(disk), now)
    }

    fn with(
        name: &str,
        form: Arc<str>,
        is_rebuild: bool,
        place: Place,
        now: Arc<Published>,
    ) -> std::io::Result<Arc<Self>> {
        let (name, now) = (name.to_owned(), RwLock::new(now));
        let inner = Arc::new(Inner { name, form, is_rebuild, now, building: Mutex::default(), place });
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

    async fn begin(&self, purpose: Purpose) -> Result<Box<dyn ReadModelTx>, ReadModelError> {
        let now = self.current().await?;
        Ok(Box::new(MemoryTx::new(now, Arc::clone(&self.inner.form), purpose)))
    }
}

/// Why something failed.
enum Problem {
    ReadModel(ReadModelError),
    Other(BoxError),
}

impl From<ReadModelError> for Problem {
    fn from(error: ReadModelError) -> Self {
        Self::ReadModel(error)
    }
}

impl From<std::io::Error> for Problem {
    fn from(error: std::io::Error) -> Self {
        Self::Other(error.into())
    }
}

impl From<&'static str> for Problem {
    fn from(reason: &'static str) -> Self {
        Self::Other(reason.into())
    }
}

impl Inner {
    fn now(&self) -> Arc<Published> {
        Arc::clone(&self.now.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn publish(&self, next: Arc<Published>) {
        let before = std::mem::replace(&mut *self.now.write().unwrap_or_else(PoisonError::into_inner), next);
        // Freeing a large state takes a while, for which readers need not wait.
        drop(before);
    }

    fn fenced(&self) -> ReadModelError {
        ReadModelError::Fenced { name: self.name.clone() }
    }

    fn keep<'d>(&self, disk: &'d Disk) -> Result<Keeping<'d>, Problem> {
        Ok(disk.keep()?.ok_or_else(|| self.fenced())?)
    }

    /// Whether another process has written an image since.
    fn is_elsewhere(&self) -> bool {
        matches!(&self.place, Place::Folder(disk) if disk.lead().is_none() && disk.is_other())
    }

    /// Goes on from another process's image when there is one.
    fn refresh(&self) -> Result<(), Problem> {
        if let Place::Folder(disk) = &self.place
            && self.is_elsewhere()
            && let Some(found) = disk.reload()?
        {
            self.publish(found);
        }
        Ok(())
    }

    /// Writes an image, when the disk says so and this process may.
    fn save_if(&self, wanted: fn(&Disk, &Published) -> bool) {
        let Place::Folder(disk) = &self.place else { return };
        if !wanted(disk, &self.now()) {
            return;
        }
        let saved = disk.keep().and_then(|keeping| {
            let Some(keeping) = keeping else { return Ok(()) };
            // Another process may have led since, and gone on from there.
            if disk.is_other() && disk.lead().is_none() {
                return Ok(());
            }
            disk.save(&keeping, &self.now())
        });
        if let Err(error) = saved {
            tracing::warn!(read_model = self.name, %error, "the image cannot be written: it is tried again");
        }
    }

    fn write(
        &self,
        from: Position,
        to: Position,
        notes: Option<Vec<u8>>,
        work: TxWork,
    ) -> Result<(), Problem> {
        if let Place::Folder(disk) = &self.place
            && disk.is_fenced()?
        {
            return Err(self.fenced().into());
        }
        let now = self.now();
        if now.position != from {
            return Err(ReadModelError::Superseded { found: now.position }.into());
        }
        let mut tx = MemoryTx::new(Arc::clone(&now), Arc::clone(&self.form), Purpose::Write);
        let done = run_work(&mut tx, work);
        let store_id = now.store_id.clone();
        let held = match tx.outcome() {
            // Whatever the work made of it: there is nothing to go on from.
            Outcome::Unusable(reason) => {
                tracing::warn!(
                    read_model = self.name,
                    reason,
                    "an image is discarded: the state is made anew"
                );
                let held = Held::Discarded(reason.into());
                self.publish(Published::new(Position::ZERO, Arc::default(), store_id, held));
                return Err(ReadModelError::Superseded { found: Position::ZERO }.into());
            }
            Outcome::Changed(state) => Held::Live(state),
            Outcome::Unchanged => now.held.clone(),
        };
        done.map_err(ReadModelError::Work)?;
        let notes = notes.map_or_else(|| Arc::clone(&now.notes), Arc::from);
        self.publish(Published::new(to, notes, store_id, held));
        Ok(())
    }

    fn bind(&self, store_id: &str) -> bool {
        let now = self.now();
        if let Some(bound) = &now.store_id {
            return **bound == *store_id;
        }
        let (notes, held) = (Arc::clone(&now.notes), now.held.clone());
        self.publish(Published::new(now.position, notes, Some(store_id.into()), held));
        true
    }

    fn building(&self) -> std::sync::MutexGuard<'_, Weak<MemoryReadModel>> {
        self.building.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin_rebuild(&self) -> Result<Arc<dyn ReadModel>, Problem> {
        if self.is_rebuild {
            return Err("it is a rebuild itself: swap it in first".into());
        }
        let mut building = self.building();
        if building.strong_count() > 0 {
            return Err("a rebuild of it is under way: swap that in, or drop it".into());
        }
        let place = Place::Memory { lead: Mutex::default(), previous: Mutex::default() };
        let form = Arc::clone(&self.form);
        let built = MemoryReadModel::with(&self.name, form, true, place, Published::empty())?;
        *building = Arc::downgrade(&built);
        Ok(built)
    }

    fn swap_in(&self, given: &Arc<dyn ReadModel>) -> Result<(), Problem> {
        let mut building = self.building();
        let built =
            building.upgrade().filter(|built| std::ptr::addr_eq(Arc::as_ptr(built), Arc::as_ptr(given)));
        let built =
            built.ok_or("what is to be swapped in is not its rebuild: use the one from begin_rebuild")?;
        let (now, next) = (self.now(), built.inner.now());
        match &self.place {
            Place::Memory { previous, .. } => {
                *previous.lock().unwrap_or_else(PoisonError::into_inner) = Some(now);
            }
            Place::Folder(disk) => disk.swap_in(&self.keep(disk)?, &now, &next)?,
        }
        self.publish(next);
        *building = Weak::new();
        Ok(())
    }

    fn swap_back(&self) -> Result<bool, Problem> {
        let now = self.now();
        let before = match &self.place {
            Place::Memory { previous, .. } => {
                let mut previous = previous.lock().unwrap_or_else(PoisonError::into_inner);
                previous.as_mut().map(|previous| std::mem::replace(previous, now))
            }
            Place::Folder(disk) => disk.swap_back(&self.keep(disk)?, &now)?,
        };
        let is_there = before.is_some();
        before.into_iter().for_each(|before| self.publish(before));
        Ok(is_there)
    }
}

/// The lead of a read model in a folder, which leaves an image to the next one that takes it.
struct FolderLead {
    inner: Arc<Inner>,
    _lock: Arc<LeadLock>,
}

impl Drop for FolderLead {
    fn drop(&mut self) {
        self.inner.save_if(Disk::is_behind);
    }
}

fn try_lead(inner: &Arc<Inner>) -> Result<Option<Lead>, Problem> {
    let disk = match &inner.place {
        Place::Memory { lead, .. } => {
            let mut lead = lead.lock().unwrap_or_else(PoisonError::into_inner);
            if lead.strong_count() > 0 {
                return Ok(None);
            }
            let held = Arc::new(());
            *lead = Arc::downgrade(&held);
            return Ok(Some(Lead::new(held)));
        }
        Place::Folder(disk) => disk,
    };
    let Some(lock) = disk.try_lead()? else { return Ok(None) };
    // The one that led before left an image, which this one may not have seen.
    if let Some(found) = disk.reload()? {
        inner.publish(found);
    }
    disk.remove_strays()?;
    Ok(Some(Lead::new(FolderLead { inner: Arc::clone(inner), _lock: lock })))
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
        Box::pin(self.begin(Purpose::Read))
    }

    fn fork(&self) -> BoxFuture<'_, Result<Box<dyn ReadModelTx>, ReadModelError>> {
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
