//! What a read model is made of, and everything that is done to it.

use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};

use annals_core::{BoxError, Lead, Position, ReadModel, ReadModelError, TxWork};
use annals_model_files::LeadLock;
use annals_threads::run_work;

use crate::disk::{Disk, Keeping};
use crate::published::{Held, Published};
use crate::read_model::MemoryReadModel;
use crate::tx::{MemoryTx, Outcome, Purpose};

/// A read model: what is published, and where it is kept. What changes it is done one by one, by one thread.
pub(crate) struct Inner {
    pub(crate) name: String,
    pub(crate) form: Arc<str>,
    is_rebuild: bool,
    /// What everybody reads. Locked for as long as it takes to exchange a pointer.
    now: RwLock<Arc<Published>>,
    building: Mutex<Weak<MemoryReadModel>>,
    pub(crate) place: Place,
}

pub(crate) enum Place {
    Memory {
        /// Held by who keeps the read model.
        lead: Mutex<Weak<()>>,
        previous: Mutex<Option<Arc<Published>>>,
    },
    Folder(Box<Disk>),
}

/// Why something failed.
pub(crate) enum Problem {
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

impl Place {
    pub(crate) fn memory() -> Self {
        Self::Memory { lead: Mutex::default(), previous: Mutex::default() }
    }
}

impl Inner {
    pub(crate) fn new(
        name: &str,
        form: Arc<str>,
        is_rebuild: bool,
        place: Place,
        now: Arc<Published>,
    ) -> Self {
        let (name, now) = (name.to_owned(), RwLock::new(now));
        Self { name, form, is_rebuild, now, building: Mutex::default(), place }
    }

    pub(crate) fn now(&self) -> Arc<Published> {
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
    pub(crate) fn is_elsewhere(&self) -> bool {
        matches!(&self.place, Place::Folder(disk) if disk.lead().is_none() && disk.is_other())
    }

    /// Goes on from another process's image when there is one.
    pub(crate) fn refresh(&self) -> Result<(), Problem> {
        if let Place::Folder(disk) = &self.place
            && self.is_elsewhere()
            && let Some(found) = disk.reload()?
        {
            self.publish(found);
        }
        Ok(())
    }

    /// Writes an image, when the disk says so and this process may.
    pub(crate) fn save_if(&self, wanted: fn(&Disk, &Published) -> bool) {
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

    pub(crate) fn write(
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

    pub(crate) fn bind(&self, store_id: &str) -> bool {
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

    pub(crate) fn begin_rebuild(&self) -> Result<Arc<dyn ReadModel>, Problem> {
        if self.is_rebuild {
            return Err("it is a rebuild itself: swap it in first".into());
        }
        let mut building = self.building();
        if building.strong_count() > 0 {
            return Err("a rebuild of it is under way: swap that in, or drop it".into());
        }
        let inner = Self::new(&self.name, Arc::clone(&self.form), true, Place::memory(), Published::empty());
        let built = MemoryReadModel::new(inner)?;
        *building = Arc::downgrade(&built);
        Ok(built)
    }

    pub(crate) fn swap_in(&self, given: &Arc<dyn ReadModel>) -> Result<(), Problem> {
        let mut building = self.building();
        let built =
            building.upgrade().filter(|built| std::ptr::addr_eq(Arc::as_ptr(built), Arc::as_ptr(given)));
        let built =
            built.ok_or("what is to be swapped in is not its rebuild: use the one from begin_rebuild")?;
        let (now, next) = (self.now(), built.now());
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

    pub(crate) fn swap_back(&self) -> Result<bool, Problem> {
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

/// Becomes the one that keeps the read model.
pub(crate) fn try_lead(inner: &Arc<Inner>) -> Result<Option<Lead>, Problem> {
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
