//! The files of read models: their names, and how one takes the place of another.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use annals_core::{BoxError, Clock, SystemClock};

use crate::place::{beside, sync_folder_of};

/// The longest name of a read model, so that every file system takes the names made from it.
const LONGEST_NAME: usize = 100;

/// What SQLite may keep beside a database.
const BESIDE: [&str; 3] = ["-journal", "-wal", "-shm"];

/// The folder of the read models, removed at the end when it was made for the time being.
pub(crate) struct Folder {
    path: PathBuf,
    temporary: bool,
}

impl Folder {
    pub(crate) fn lasting(path: PathBuf) -> std::io::Result<Self> {
        std::fs::create_dir_all(&path)?;
        Ok(Self { path: std::path::absolute(path)?, temporary: false })
    }

    pub(crate) fn temporary() -> std::io::Result<Self> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let mut builder = std::fs::DirBuilder::new();
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        loop {
            let count = COUNT.fetch_add(1, Ordering::Relaxed);
            let name = format!("annals-read-models-{}-{count}", std::process::id());
            let path = std::path::absolute(std::env::temp_dir().join(name))?;
            match builder.create(&path) {
                Ok(()) => return Ok(Self { path, temporary: true }),
                // Left by a killed process that had the same number.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The file of a projection's version.
    pub(crate) fn file_of(&self, name: &str, version: u32) -> Result<PathBuf, BoxError> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if name.is_empty() || name.len() > LONGEST_NAME {
            let length = name.len();
            return Err(
                format!("its name has {length} bytes, expected 1 to {LONGEST_NAME}: rename it").into()
            );
        }
        if let Some(other) = name.chars().find(|c| !allowed(*c)) {
            let expected = "expected only ASCII letters, digits, '-', '_' and '.'";
            return Err(format!("its name has the character {other:?}, {expected}: rename it").into());
        }
        if name.starts_with('.') {
            return Err("its name starts with '.', which hides files: rename it".into());
        }
        Ok(self.path.join(format!("{name}-v{version}.sqlite")))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.temporary {
            // What cannot be removed is left to the system, which clears this place anyway.
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}

/// Where the one to come is built.
pub(crate) fn rebuilding(path: &Path) -> PathBuf {
    path.with_extension("rebuilding.sqlite")
}

/// Removes a database that nobody has open, with what is beside it.
pub(crate) fn remove_database(path: &Path) -> std::io::Result<()> {
    remove(path)?;
    BESIDE.into_iter().try_for_each(|suffix| remove(&beside(path, suffix)))
}

/// Sets a damaged database aside, for people to look at, so that an empty one can begin in its place.
pub(crate) fn set_aside(path: &Path) -> std::io::Result<()> {
    let micros = SystemClock.now().as_micros();
    // Before its log goes: a log that a crash leaves beside no database, SQLite throws away.
    std::fs::rename(path, beside(path, &format!(".damaged-{micros}")))?;
    BESIDE.into_iter().try_for_each(|suffix| remove(&beside(path, suffix)))
}

/// Keeps other processes from opening or swapping files of the folder, until what is returned is dropped.
pub(crate) fn lock_folder_of(path: &Path) -> Option<std::fs::File> {
    // The folder and no file in it, so that nothing is left behind. Where a folder cannot be locked, as on Windows and
    // some network disks, only two processes that open a damaged file, or swap, at the same moment are worse off.
    let folder = std::fs::File::open(path.parent()?).ok()?;
    folder.lock().ok().map(|()| folder)
}

/// Where one that is whole waits to take the place of the one at `path`.
fn ready(path: &Path) -> PathBuf {
    path.with_extension("ready.sqlite")
}

/// Settles that the database `built`, which must be whole by itself, takes the place of the one at `path`: from here
/// on [`take_the_place`] must follow, now or when the read model is opened again.
pub(crate) fn settle(built: &Path, path: &Path) -> std::io::Result<()> {
    std::fs::File::open(built)?.sync_all()?;
    std::fs::rename(built, ready(path))
}

/// Puts the one that was settled on, if there is one, in the place of the database at `path`, which nobody may write.
///
/// The old one may have reads under way, which keep its log from being copied into its main file; SQLite would apply
/// that log to whatever main file it finds beside it. So the log is removed, durably, before the new file has the
/// name. In between, the old file is not whole, and a crash leaves the settled one to be put in place by the next
/// call: there is never a new file beside an old log, and never an old file without its log to be read.
pub(crate) fn take_the_place(path: &Path) -> std::io::Result<()> {
    let ready = ready(path);
    if !ready.exists() {
        return Ok(());
    }
    sync_folder_of(path)?;
    BESIDE.into_iter().try_for_each(|suffix| remove(&beside(path, suffix)))?;
    sync_folder_of(path)?;
    std::fs::rename(&ready, path)?;
    sync_folder_of(path)
}

fn remove(path: &Path) -> std::io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_leave_the_folder_are_refused() {
        let folder = Folder::temporary().unwrap();
        for name in ["", "../a", "a/b", "a\\b", ".a", "a:b", "ü", &"x".repeat(101)] {
            assert!(folder.file_of(name, 1).unwrap_err().to_string().contains("its name"), "{name}");
        }
        let file = folder.file_of("a.b_c-D", 7).unwrap();
        assert!(file.ends_with("a.b_c-D-v7.sqlite"));
        assert!(rebuilding(&file).ends_with("a.b_c-D-v7.rebuilding.sqlite"));
    }

    #[test]
    fn a_temporary_folder_is_gone_afterwards() {
        let folder = Folder::temporary().unwrap();
        let path = folder.path.clone();
        assert!(path.is_dir());
        drop(folder);
        assert!(!path.exists());
    }
}
