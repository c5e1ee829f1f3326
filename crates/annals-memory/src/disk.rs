//! Where the images of one read model are, and who writes them.

use std::io::Result;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

use annals_core::{Clock, Position, SystemClock};
use annals_model_files::{Builds, LeadLock, Mark, ModelFolder, Standing};

use crate::ImageOptions;
use crate::image::{self, Unreadable, beside, unfinished};
use crate::published::Published;

/// What the files of images end with.
pub(crate) const EXTENSION: &str = "image";

/// The images of one read model.
pub(crate) struct Disk {
    pub(crate) builds: Builds,
    pub(crate) options: ImageOptions,
    _folder: Arc<ModelFolder>,
    lead: Mutex<LeadState>,
    last: Mutex<Last>,
    /// Held as long as files are written or exchanged.
    busy: Mutex<()>,
}

#[derive(Default)]
struct LeadState {
    held: Weak<LeadLock>,
    /// Whether this process ever led: if so, its writes count no more once another one does.
    has_led: bool,
}

/// The image that was read or written last.
#[derive(Clone)]
struct Last {
    build: u64,
    mark: Mark,
    serial: u64,
    position: Position,
    at: Instant,
    took: std::time::Duration,
}

/// Nobody else writes images, as long as this is not dropped.
pub(crate) struct Keeping<'d> {
    _busy: MutexGuard<'d, ()>,
    _lock: Arc<LeadLock>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Disk {
    /// Reads what there is. An image that is damaged is set aside: the state can be made anew from the events.
    pub(crate) fn open(
        builds: Builds,
        options: ImageOptions,
        folder: Arc<ModelFolder>,
    ) -> Result<(Self, Arc<Published>)> {
        let (last, published) = load_current(&builds)?;
        let (lead, last) = (Mutex::default(), Mutex::new(last));
        Ok((Self { builds, options, _folder: folder, lead, last, busy: Mutex::default() }, published))
    }

    pub(crate) fn lead(&self) -> Option<Arc<LeadLock>> {
        locked(&self.lead).held.upgrade()
    }

    /// Becomes the one that keeps the read model.
    pub(crate) fn try_lead(&self) -> Result<Option<Arc<LeadLock>>> {
        // An image that is just written may hold the lock for that long.
        let _busy = locked(&self.busy);
        let mut lead = locked(&self.lead);
        if lead.held.strong_count() > 0 {
            return Ok(None);
        }
        self.builds.make_folder()?;
        let Some(lock) = self.builds.try_lead()? else { return Ok(None) };
        let lock = Arc::new(lock);
        *lead = LeadState { held: Arc::downgrade(&lock), has_led: true };
        Ok(Some(lock))
    }

    /// Whether this process led once, and another one leads now.
    pub(crate) fn is_fenced(&self) -> Result<bool> {
        let is_past = {
            let lead = locked(&self.lead);
            lead.has_led && lead.held.strong_count() == 0
        };
        if !is_past {
            return Ok(false);
        }
        let _busy = locked(&self.busy);
        Ok(self.builds.try_lead()?.is_none())
    }

    /// Takes care that nobody else writes images: the leader does not allow it, and where nobody leads, the lead is taken
    /// for the moment. `None` when another process leads.
    pub(crate) fn keep(&self) -> Result<Option<Keeping<'_>>> {
        let busy = locked(&self.busy);
        let lock = match self.lead() {
            Some(lock) => Some(lock),
            None => {
                self.builds.make_folder()?;
                self.builds.try_lead()?.map(Arc::new)
            }
        };
        Ok(lock.map(|lock| Keeping { _busy: busy, _lock: lock }))
    }

    /// Whether the image on disk is another one than was read or written last.
    pub(crate) fn is_other(&self) -> bool {
        let last = locked(&self.last);
        last.mark != self.builds.mark(last.build)
    }

    /// Reads the image again if it is another one.
    pub(crate) fn reload(&self) -> Result<Option<Arc<Published>>> {
        let _busy = locked(&self.busy);
        if !self.is_other() {
            return Ok(None);
        }
        let (last, published) = load_current(&self.builds)?;
        *locked(&self.last) = last;
        Ok(Some(published))
    }

    /// Whether it is time to write an image of this.
    pub(crate) fn is_due(&self, now: &Published) -> bool {
        let last = locked(&self.last);
        let passed = now.position.get().saturating_sub(last.position.get());
        let since = last.at.elapsed();
        let is_wanted = since >= self.options.every || passed >= self.options.every_positions;
        // Writing images is never to take more than a tenth of the time.
        now.serial != last.serial && is_wanted && since >= last.took * 9
    }

    /// Whether the image on disk is not of this.
    pub(crate) fn is_behind(&self, now: &Published) -> bool {
        let last = locked(&self.last);
        now.serial != last.serial
    }

    /// Writes the image of the build that counts.
    pub(crate) fn save(&self, _keeping: &Keeping<'_>, now: &Published) -> Result<()> {
        let build = locked(&self.last).build;
        self.save_as(build, now)
    }

    fn save_as(&self, build: u64, now: &Published) -> Result<()> {
        let began = Instant::now();
        self.builds.make_folder()?;
        image::write(&self.builds.path_of(build), now, &self.options.form)?;
        self.builds.sync_folder()?;
        let (mark, took) = (self.builds.mark(build), began.elapsed());
        let (serial, position, at) = (now.serial, now.position, Instant::now());
        *locked(&self.last) = Last { build, mark, serial, position, at, took };
        Ok(())
    }

    /// Puts a state that was built in the place of the one that counts, which is kept.
    pub(crate) fn swap_in(&self, keeping: &Keeping<'_>, now: &Published, built: &Published) -> Result<()> {
        let before = locked(&self.last).build;
        if self.is_behind(now) || !self.builds.path_of(before).exists() {
            self.save(keeping, now)?;
        }
        let _alone = self.builds.lock_folder();
        let standing = self.builds.standing()?;
        let build = self.builds.next()?;
        self.save_as(build, built)?;
        if let Err(error) = self.builds.put(Standing { current: build, previous: Some(before) }) {
            locked(&self.last).build = before;
            return Err(error);
        }
        locked(&self.last).mark = self.builds.mark(build);
        let forgotten = standing.previous.filter(|previous| ![build, before].contains(previous));
        forgotten.map_or(Ok(()), |build| remove(&self.builds.path_of(build)))
    }

    /// Exchanges the build that counts and the one before, which is returned; `None` when there is none.
    pub(crate) fn swap_back(&self, keeping: &Keeping<'_>, now: &Published) -> Result<Option<Arc<Published>>> {
        let Standing { current, previous } = self.builds.standing()?;
        let Some(previous) = previous else { return Ok(None) };
        let path = self.builds.path_of(previous);
        let found = match image::read(&path) {
            Ok(Some(found)) => found,
            Ok(None) => return Ok(None),
            Err(Unreadable::Io(error)) => return Err(error),
            Err(Unreadable::Damaged(_)) => {
                set_aside(&path)?;
                return Ok(None);
            }
        };
        if self.is_behind(now) {
            self.save(keeping, now)?;
        }
        let _alone = self.builds.lock_folder();
        self.builds.put(Standing { current: previous, previous: Some(current) })?;
        *locked(&self.last) = Last::of(&self.builds, previous, &found);
        Ok(Some(found))
    }

    /// Removes what killed processes have left. Only who leads may.
    pub(crate) fn remove_strays(&self) -> Result<()> {
        self.builds.strays()?.iter().try_for_each(|path| remove(path))
    }
}

impl Last {
    fn of(builds: &Builds, build: u64, published: &Published) -> Self {
        let mark = builds.mark(build);
        let (serial, position, at) = (published.serial, published.position, Instant::now());
        Self { build, mark, serial, position, at, took: std::time::Duration::ZERO }
    }
}

fn load_current(builds: &Builds) -> Result<(Last, Arc<Published>)> {
    builds.make_folder()?;
    // Else the image that one process has just written could be what another sets aside.
    let _alone = builds.lock_folder();
    let build = builds.standing()?.current;
    // Before it is read: one that is replaced meanwhile is noticed.
    let mark = builds.mark(build);
    let path = builds.path_of(build);
    let published = match image::read(&path) {
        Ok(found) => found.unwrap_or_else(Published::empty),
        Err(Unreadable::Io(error)) => return Err(error),
        Err(Unreadable::Damaged(reason)) => {
            tracing::warn!(image = %path.display(), reason, "a damaged image is set aside: the state is made anew");
            set_aside(&path)?;
            Published::empty()
        }
    };
    Ok((Last { mark, ..Last::of(builds, build, &published) }, published))
}

/// Sets a damaged image aside, for people to look at.
fn set_aside(path: &Path) -> Result<()> {
    let micros = SystemClock.now().as_micros();
    std::fs::rename(path, beside(path, &format!(".damaged-{micros}")))
}

fn remove(path: &Path) -> Result<()> {
    for path in [path, &unfinished(path)] {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}
