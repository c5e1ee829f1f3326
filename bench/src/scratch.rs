//! The folder that the benchmark writes in, removed at the end.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::failure::{Failure, Result, failed};
use crate::machine::free_bytes;

/// A folder for the time of the run.
pub(crate) struct Scratch {
    folder: tempfile::TempDir,
    made: AtomicU64,
}

impl Scratch {
    /// Makes a folder below `parent`, or below the system's folder for such.
    pub(crate) fn create(parent: Option<&Path>) -> Result<Self> {
        let parent = parent.map_or_else(std::env::temp_dir, Path::to_owned);
        let made = tempfile::Builder::new().prefix("annals-bench-").tempdir_in(&parent);
        let folder = made.map_err(|error| {
            Failure::from(format!(
                "cannot make a folder in {}: {error}; name another with --folder",
                parent.display()
            ))
        })?;
        Ok(Self { folder, made: AtomicU64::new(0) })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// A name in it that was not used before. Nothing is made there.
    pub(crate) fn fresh(&self, name: &str) -> PathBuf {
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        self.folder.path().join(format!("{number:03}-{name}"))
    }

    /// Removes all that is in it.
    pub(crate) fn clear(&self) -> Result<()> {
        for entry in std::fs::read_dir(self.path())? {
            let entry = entry?;
            match entry.file_type()?.is_dir() {
                true => std::fs::remove_dir_all(entry.path())?,
                false => std::fs::remove_file(entry.path())?,
            }
        }
        Ok(())
    }

    /// Refuses when the disk has less room than the run needs.
    pub(crate) fn check_room(&self, needed: u64) -> Result<()> {
        let free = free_bytes(self.path())?;
        if free < needed {
            return failed(format!(
                "the disk of {} has {:.1} GB free, this run needs {:.1} GB: name a folder on another disk with \
                 --folder, run with --quick, or choose works with --only",
                self.path().display(),
                free as f64 / 1e9,
                needed as f64 / 1e9
            ));
        }
        Ok(())
    }
}
