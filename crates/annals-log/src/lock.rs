//! One process at a time: a lock on the folder, and a note in it that tells who holds it and where the store is served.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;

use annals_core::StoreError;

/// Holds the lock until it is dropped. The system releases it however the process ends.
///
/// The folder itself is locked: a file in it could be deleted, and a new one locked by somebody else.
#[derive(Debug)]
pub(crate) struct FolderLock {
    folder: File,
    note: File,
}

impl FolderLock {
    pub(crate) fn acquire(folder: &Path) -> Result<Self, StoreError> {
        let path = folder.join("lock");
        let locked = File::open(folder).map_err(|error| StoreError::io("open", folder, error))?;
        match locked.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(in_use(folder, &path)),
            Err(TryLockError::Error(error)) => return Err(StoreError::io("lock", folder, error)),
        }
        let note = OpenOptions::new().write(true).create(true).truncate(false).open(&path);
        let lock = Self { folder: locked, note: note.map_err(|error| not_writable(folder, error))? };
        lock.announce("");
        Ok(lock)
    }

    /// Gives the lock up. Closing the file would do so only once a child process that is just being started, and still
    /// shares the file, has closed it too.
    pub(crate) fn release(&self) {
        let _ = self.folder.unlock();
    }

    /// Notes who holds the lock and where the store is served, for those who find it locked. The lock holds without
    /// the note, which a full disk may not take.
    pub(crate) fn announce(&self, address: &str) {
        let text = format!("{}\n{address}\n", std::process::id());
        let mut file = &self.note;
        let _ = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| file.write_all(text.as_bytes()));
    }
}

impl Drop for FolderLock {
    fn drop(&mut self) {
        self.release();
    }
}

fn in_use(folder: &Path, note: &Path) -> StoreError {
    let mut text = String::new();
    if let Ok(note) = File::open(note) {
        let _ = note.take(4096).read_to_string(&mut text);
    }
    let mut lines = text.lines();
    StoreError::InUse {
        path: folder.to_owned(),
        process_id: lines.next().and_then(|line| line.parse().ok()),
        address: lines.next().filter(|line| !line.is_empty()).map(str::to_owned),
    }
}

/// Explains a folder in which nothing can be written.
pub(crate) fn not_writable(folder: &Path, error: std::io::Error) -> StoreError {
    use std::io::ErrorKind::{PermissionDenied, ReadOnlyFilesystem};
    if matches!(error.kind(), PermissionDenied | ReadOnlyFilesystem) {
        let reason = format!(
            "{} cannot be written ({error}): give this user write permission, or copy the folder to a place that \
             can be written and open that",
            folder.display()
        );
        return StoreError::ReadOnly { reason };
    }
    StoreError::io("write in", folder, error)
}
