//! Which build of a read model is open, and how another takes its place.

use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};

use crate::{Builds, LeadLock, Mark, Standing};

/// What may go wrong in a store of read models.
pub type Problem = Box<dyn std::error::Error + Send + Sync>;

/// A build as a store of read models has it open: a database, an index.
pub trait Build: Send + Sync + Sized + 'static {
    /// What all builds of a read model are opened with.
    type Opener: Clone + Send + Sync + 'static;

    /// Opens what is at a path; an empty build where there is nothing.
    ///
    /// # Errors
    /// What keeps it from being opened.
    fn open(opener: &Self::Opener, path: &Path) -> Result<Self, Problem>;

    /// As [`open`](Self::open), but sets what is damaged aside and begins an empty one in its place.
    ///
    /// # Errors
    /// What keeps it from being opened.
    fn open_or_begin_anew(opener: &Self::Opener, path: &Path) -> Result<Self, Problem>;

    /// Becomes the one whose writes count.
    ///
    /// # Errors
    /// What keeps it from being written.
    fn lead(&self) -> Result<(), Problem>;

    /// Gets ready to be built, of which nobody else knows.
    ///
    /// # Errors
    /// What keeps it from being written.
    fn begin(&self) -> Result<(), Problem> {
        Ok(())
    }

    /// Makes what is in it survive the loss of power, before it takes another one's place.
    ///
    /// # Errors
    /// What keeps it from being written.
    fn seal(&self) -> Result<(), Problem>;

    /// Is written no more: another takes its place, or it is to be removed.
    ///
    /// # Errors
    /// What keeps it from being closed.
    fn stand_down(&self) -> Result<(), Problem> {
        Ok(())
    }

    /// Removes one that nobody needs any more, if it is there.
    ///
    /// # Errors
    /// What keeps it from being removed.
    fn remove(path: &Path) -> std::io::Result<()>;
}

/// A build that is open, and where it is.
pub struct Opened<B> {
    number: u64,
    path: PathBuf,
    /// What the file, and the word about which one is the current one, were when it was opened.
    mark: Mutex<Mark>,
    build: B,
}

impl<B: Build> Opened<B> {
    fn new(
        builds: &Builds,
        number: u64,
        open: impl FnOnce(&Path) -> Result<B, Problem>,
    ) -> Result<Arc<Self>, Problem> {
        let path = builds.path_of(number);
        let build = open(&path)?;
        let mark = Mutex::new(builds.mark(number));
        Ok(Arc::new(Self { number, path, mark, build }))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl<B> Deref for Opened<B> {
    type Target = B;

    fn deref(&self) -> &B {
        &self.build
    }
}

/// The builds of one read model as this process has them open: the current one, whichever that is now; or one that is being
/// built.
pub struct OpenBuilds<B: Build> {
    builds: Builds,
    opener: B::Opener,
    /// Whether this is one that is being built, whatever the current one is.
    is_rebuild: bool,
    /// Locked for writing while another takes its place, so that nobody opens the old one meanwhile.
    live: RwLock<Arc<Opened<B>>>,
    lead: Mutex<Weak<LeadLock>>,
}

fn locked<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<B: Build> OpenBuilds<B> {
    /// Opens the current build. What is damaged is set aside: what it held can be made anew from the events.
    ///
    /// # Errors
    /// What keeps it from being opened.
    pub fn open(builds: Builds, opener: B::Opener) -> Result<Self, Problem> {
        builds.make_folder()?;
        // Else what one process has just begun could be what another sets aside.
        let _alone = builds.lock_folder();
        let live = open_current(&builds, &opener)?;
        Ok(Self::with(builds, opener, false, live))
    }

    fn with(builds: Builds, opener: B::Opener, is_rebuild: bool, live: Arc<Opened<B>>) -> Self {
        Self { builds, opener, is_rebuild, live: RwLock::new(live), lead: Mutex::default() }
    }

    /// Whether a build is the current one still: another process may have swapped in another, somebody may have removed it.
    pub fn is_current(&self, live: &Opened<B>) -> bool {
        let mark = locked(&live.mark);
        self.is_rebuild || (mark.is_of_a_file() && *mark == self.builds.mark(live.number))
    }

    /// The build that is the current one now.
    ///
    /// # Errors
    /// What keeps it from being opened.
    pub fn live(&self) -> Result<Arc<Opened<B>>, Problem> {
        let live = Arc::clone(&self.live.read().unwrap_or_else(PoisonError::into_inner));
        if self.is_current(&live) {
            return Ok(live);
        }
        let mut live = self.live.write().unwrap_or_else(PoisonError::into_inner);
        self.builds.make_folder()?;
        let _alone = self.builds.lock_folder();
        if !self.is_current(&live) {
            self.replace(&mut live, open_current(&self.builds, &self.opener)?)?;
        }
        Ok(Arc::clone(&live))
    }

    /// The build that is open, even if it is not the current one any more.
    pub fn last_opened(&self) -> Arc<Opened<B>> {
        Arc::clone(&self.live.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn replace(&self, live: &mut Arc<Opened<B>>, other: Arc<Opened<B>>) -> Result<(), Problem> {
        live.stand_down()?;
        if locked(&self.lead).strong_count() > 0 {
            other.lead()?;
        }
        *locked(&other.mark) = self.builds.mark(other.number);
        *live = other;
        Ok(())
    }

    /// Becomes the one that keeps the read model, until what is returned is dropped; `None` while another one does. What killed
    /// processes have left is removed, unless a rebuild `is_under_way`.
    ///
    /// # Errors
    /// What keeps it from being written.
    pub fn try_lead(&self, is_under_way: bool) -> Result<Option<Arc<LeadLock>>, Problem> {
        let live = self.live()?;
        let mut lead = locked(&self.lead);
        if lead.strong_count() > 0 {
            return Ok(None);
        }
        let Some(lock) = self.builds.try_lead()? else { return Ok(None) };
        let lock = Arc::new(lock);
        live.lead()?;
        *lead = Arc::downgrade(&lock);
        drop(lead);
        if !is_under_way {
            self.builds.strays()?.iter().try_for_each(|path| B::remove(path))?;
        }
        Ok(Some(lock))
    }

    /// An empty build beside the current one. Dropped without being swapped in, it leaves nothing.
    ///
    /// # Errors
    /// What keeps it from being opened.
    pub fn begin_rebuild(&self) -> Result<Self, Problem> {
        if self.is_rebuild {
            return Err("it is a rebuild itself: swap it in first".into());
        }
        let number = self.builds.next()?;
        let live =
            Opened::new(&self.builds, number, |path| B::open(&self.opener, path)).inspect_err(|_| {
                // The disk may be full: what was begun gives its room back. What cannot be removed is a stray.
                let _ = B::remove(&self.builds.path_of(number));
            })?;
        live.begin()?;
        Ok(Self::with(self.builds.clone(), self.opener.clone(), true, live))
    }

    /// Puts a build that was begun here in the place of the current one, which is kept until the next time.
    ///
    /// # Errors
    /// What keeps it from being written; then nothing has changed.
    pub fn swap_in(&self, built: &Self) -> Result<(), Problem> {
        let built = built.live()?;
        built.seal()?;
        let mut live = self.live.write().unwrap_or_else(PoisonError::into_inner);
        let _alone = self.builds.lock_folder();
        let before = self.builds.standing()?;
        self.builds.put(Standing { current: built.number, previous: Some(live.number) })?;
        self.replace(&mut live, built)?;
        let forgotten = before.previous.filter(|previous| *previous != before.current);
        Ok(forgotten.map_or(Ok(()), |number| B::remove(&self.builds.path_of(number)))?)
    }

    /// Exchanges the current build and the one that it replaced; says whether there was one.
    ///
    /// # Errors
    /// What keeps it from being opened; then nothing has changed.
    pub fn swap_back(&self) -> Result<bool, Problem> {
        let mut live = self.live.write().unwrap_or_else(PoisonError::into_inner);
        let _alone = self.builds.lock_folder();
        let Standing { current, previous } = self.builds.standing()?;
        let Some(previous) = previous.filter(|previous| self.builds.path_of(*previous).exists()) else {
            return Ok(false);
        };
        let other = Opened::new(&self.builds, previous, |path| B::open(&self.opener, path))?;
        self.builds.put(Standing { current: previous, previous: Some(current) })?;
        self.replace(&mut live, other)?;
        Ok(true)
    }

    /// Where the first build is, for messages.
    pub fn place(&self) -> PathBuf {
        self.builds.path_of(0)
    }
}

/// The folder must be locked.
fn open_current<B: Build>(builds: &Builds, opener: &B::Opener) -> Result<Arc<Opened<B>>, Problem> {
    Opened::new(builds, builds.standing()?.current, |path| B::open_or_begin_anew(opener, path))
}

impl<B: Build> Drop for OpenBuilds<B> {
    fn drop(&mut self) {
        let live = self.live.get_mut().unwrap_or_else(PoisonError::into_inner);
        let is_kept =
            |standing: Standing| standing.current == live.number || standing.previous == Some(live.number);
        // One that was given up half-way. What cannot be removed now is a stray, and removed later.
        if self.is_rebuild && self.builds.standing().is_ok_and(|standing| !is_kept(standing)) {
            let _ = live.stand_down();
            let _ = B::remove(&live.path);
        }
    }
}

/// The rebuild of a read model that is under way, if there is one.
pub struct Rebuilding<M>(Mutex<Weak<M>>);

impl<M> Default for Rebuilding<M> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<M> Rebuilding<M> {
    /// Whether there is one.
    pub fn is_under_way(&self) -> bool {
        locked(&self.0).strong_count() > 0
    }

    /// Begins one.
    ///
    /// # Errors
    /// When there is one already, and what `make` reports.
    pub fn begin(&self, make: impl FnOnce() -> Result<Arc<M>, Problem>) -> Result<Arc<M>, Problem> {
        let mut building = locked(&self.0);
        if building.strong_count() > 0 {
            return Err("a rebuild of it is under way: swap that in, or drop it".into());
        }
        let built = make()?;
        *building = Arc::downgrade(&built);
        Ok(built)
    }

    /// Ends it by swapping it in, if it is the one that was given.
    ///
    /// # Errors
    /// When it is another one, and what `swap_in` reports.
    pub fn end<G: ?Sized>(
        &self,
        given: &Arc<G>,
        swap_in: impl FnOnce(&M) -> Result<(), Problem>,
    ) -> Result<(), Problem> {
        let mut building = locked(&self.0);
        let same = |built: &Arc<M>| std::ptr::addr_eq(Arc::as_ptr(built), Arc::as_ptr(given));
        let built = building.upgrade().filter(same);
        let built =
            built.ok_or("what is to be swapped in is not its rebuild: use the one from begin_rebuild")?;
        swap_in(&built)?;
        *building = Weak::new();
        Ok(())
    }
}
