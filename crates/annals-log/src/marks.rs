//! The file of a mark: two slots, written in turn.

use std::path::PathBuf;
use std::sync::Arc;

use annals_core::StoreError;

use crate::format::{MARK_FILE_BYTES, Mark, StoreId};
use crate::storage::{OpenMode, Storage, StorageFile};

/// A file that holds the newest of two marks.
#[derive(Debug)]
pub(crate) struct MarkFile {
    path: PathBuf,
    magic: &'static [u8; 8],
    store: StoreId,
    file: Option<Arc<dyn StorageFile>>,
}

/// What a mark file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FoundMark {
    /// There is no file, or an empty one.
    None,
    /// Neither slot can be read.
    Unreadable,
    Mark(Mark),
}

impl FoundMark {
    pub(crate) fn mark(self) -> Option<Mark> {
        match self {
            Self::Mark(mark) => Some(mark),
            Self::None | Self::Unreadable => None,
        }
    }
}

impl MarkFile {
    pub(crate) fn new(path: PathBuf, magic: &'static [u8; 8], store: StoreId) -> Self {
        Self { path, magic, store, file: None }
    }

    pub(crate) fn path(&self) -> &std::path::Path {
        &self.path
    }

    /// Reads the newest mark.
    pub(crate) fn read(&mut self, storage: &dyn Storage) -> Result<FoundMark, StoreError> {
        if self.file.is_none() {
            match storage.open(&self.path, OpenMode::Read) {
                Ok(file) => self.file = Some(file),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(FoundMark::None),
                Err(error) => return Err(StoreError::io("open", &self.path, error)),
            }
        }
        let Some(file) = &self.file else { return Ok(FoundMark::None) };
        let mut bytes = vec![0; MARK_FILE_BYTES];
        let count =
            file.read_full_at(&mut bytes, 0).map_err(|error| StoreError::io("read", &self.path, error))?;
        let found = Mark::newest(&bytes[..count], self.magic, self.store);
        Ok(match found {
            Some(mark) => FoundMark::Mark(mark),
            None if bytes.iter().all(|byte| *byte == 0) => FoundMark::None,
            None => FoundMark::Unreadable,
        })
    }

    /// Opens the file to write it, making it if there is none.
    fn open_to_write(&mut self, storage: &dyn Storage, durably: bool) -> std::io::Result<()> {
        let file = match storage.open(&self.path, OpenMode::ReadWrite) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let file = storage.open(&self.path, OpenMode::CreateNew)?;
                file.write_all_at(&[0; MARK_FILE_BYTES], 0)?;
                if durably {
                    file.sync_data()?;
                    storage.sync_dir(self.path.parent().unwrap_or(&self.path))?;
                }
                file
            }
            other => other?,
        };
        self.file = Some(file);
        Ok(())
    }

    /// Writes a mark into its slot; durable only when asked to be.
    pub(crate) fn write(
        &mut self,
        storage: &dyn Storage,
        mark: &Mark,
        durably: bool,
    ) -> Result<(), StoreError> {
        let failed = |path: &PathBuf, error| StoreError::io("write", path, error);
        if self.file.is_none() {
            self.open_to_write(storage, durably).map_err(|error| failed(&self.path, error))?;
        }
        let Some(file) = &self.file else { return Err(StoreError::Closed) };
        let (offset, bytes) = mark.encode(self.magic, self.store);
        let written =
            file.write_all_at(&bytes, offset).and_then(|()| if durably { file.sync_data() } else { Ok(()) });
        written.map_err(|error| failed(&self.path, error))
    }
}
