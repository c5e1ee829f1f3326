//! One process at a time: a lock on the folder, and a note in it that tells who holds it and where the store is served.

use std::path::Path;
use std::sync::Arc;

use annals_core::StoreError;

use crate::storage::{OpenMode, Storage, StorageFile, StorageLock};

const LARGEST_NOTE_BYTES: usize = 4096;

/// Holds the lock until it is released or dropped.
#[derive(Debug)]
pub(crate) struct FolderLock {
    lock: Box<dyn StorageLock>,
    note: Arc<dyn StorageFile>,
}

impl FolderLock {
    pub(crate) fn acquire(storage: &dyn Storage, folder: &Path) -> Result<Self, StoreError> {
        let note = folder.join("lock");
        let locked = storage.lock(folder).map_err(|error| StoreError::io("lock", folder, error))?;
        let Some(lock) = locked else { return Err(in_use(storage, folder, &note)) };
        let file = match storage.open(&note, OpenMode::ReadWrite) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                storage.open(&note, OpenMode::CreateNew)
            }
            opened => opened,
        };
        let lock = Self { lock, note: file.map_err(|error| not_writable(folder, error))? };
        lock.announce("");
        Ok(lock)
    }

    /// Gives the lock up.
    pub(crate) fn release(&self) {
        self.lock.release();
    }

    /// Notes who holds the lock and where the store is served, for those who find it locked. The lock holds without
    /// the note, which a full disk may not take.
    pub(crate) fn announce(&self, address: &str) {
        let text = format!("{}\n{address}\n", std::process::id());
        let _ = self.note.set_len(0).and_then(|()| self.note.write_all_at(text.as_bytes(), 0));
    }
}

fn in_use(storage: &dyn Storage, folder: &Path, note: &Path) -> StoreError {
    let mut bytes = [0; LARGEST_NOTE_BYTES];
    let read = storage.open(note, OpenMode::Read).and_then(|note| note.read_full_at(&mut bytes, 0));
    let text = String::from_utf8_lossy(bytes.get(..read.unwrap_or(0)).unwrap_or_default()).into_owned();
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
