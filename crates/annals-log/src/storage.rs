//! All input and output of the log passes through this trait, so that tests can put another disk in its place.

use std::fmt::Debug;
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::mapping::Mapping;

/// How to open a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenMode {
    /// To read an existing one.
    Read,
    /// To read and write an existing one.
    ReadWrite,
    /// To make a new one, which must not exist.
    CreateNew,
}

/// A disk with folders and files.
pub trait Storage: Debug + Send + Sync {
    /// Makes a folder and those above it, durably.
    fn create_dir_all(&self, path: &Path) -> io::Result<()>;
    /// The names in a folder, sorted.
    fn list(&self, path: &Path) -> io::Result<Vec<String>>;
    /// Opens a file.
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn StorageFile>>;
    /// Gives a file another name, taking the place of one that has it.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file. Who has it open can go on reading it.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes the entries of a folder durable.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// Takes a folder for one holder; `None` when another has it. It is given back when the lock is released or dropped,
    /// and however the process ends.
    fn lock(&self, folder: &Path) -> io::Result<Option<Box<dyn StorageLock>>>;
}

/// A folder taken by [`Storage::lock`].
pub trait StorageLock: Debug + Send + Sync {
    /// Gives it back.
    fn release(&self);
}

/// An open file. Each method stands for one system call.
pub trait StorageFile: Debug + Send + Sync {
    /// Reads some bytes, perhaps fewer than `buffer` takes; 0 at the end of the file.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes some of `bytes`, perhaps not all.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize>;
    /// A data barrier: what was written, and the file's length, is on disk when this returns.
    fn sync_data(&self) -> io::Result<()>;
    /// Cuts or extends the file.
    fn set_len(&self, length: u64) -> io::Result<()>;
    /// The file's length.
    fn length(&self) -> io::Result<u64>;
    /// Maps a file that is not written any more, where the disk can do that.
    fn map(&self) -> io::Result<Option<Mapping>> {
        Ok(None)
    }
}

impl dyn StorageFile + '_ {
    /// Reads until `buffer` is full; fewer bytes only at the end of the file.
    ///
    /// # Errors
    /// What the disk says; an interrupted call is made again.
    pub fn read_full_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut done = 0;
        while let Some(rest) = buffer.get_mut(done..).filter(|rest| !rest.is_empty()) {
            match self.read_at(rest, offset + done as u64) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    /// Writes all of `bytes`.
    ///
    /// # Errors
    /// What the disk says; an interrupted call is made again.
    pub fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut done = 0;
        while let Some(rest) = bytes.get(done..).filter(|rest| !rest.is_empty()) {
            match self.write_at(rest, offset + done as u64) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// The machine's own disk.
#[derive(Debug, Clone, Copy, Default)]
pub struct Disk;

impl Storage for Disk {
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        if path.as_os_str().is_empty() || path.is_dir() {
            return Ok(());
        }
        let parent = path.parent().unwrap_or(Path::new(""));
        self.create_dir_all(parent)?;
        match std::fs::create_dir(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
            Err(error) => Err(error),
            Ok(()) => self.sync_dir(if parent.as_os_str().is_empty() { Path::new(".") } else { parent }),
        }
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let names =
            std::fs::read_dir(path)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
        let mut names = names.collect::<io::Result<Vec<_>>>()?;
        names.sort();
        Ok(names)
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn StorageFile>> {
        let mut options = OpenOptions::new();
        options.read(true).write(mode != OpenMode::Read).create_new(mode == OpenMode::CreateNew);
        Ok(Arc::new(DiskFile(options.open(path)?)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn lock(&self, folder: &Path) -> io::Result<Option<Box<dyn StorageLock>>> {
        // The folder itself is locked: a file in it could be deleted, and a new one locked by somebody else.
        let file = File::open(folder)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Box::new(DiskLock(file)))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

#[derive(Debug)]
struct DiskLock(File);

impl StorageLock for DiskLock {
    /// Closing the file would release the lock only once a child process that is just being started, and still shares
    /// the file, has closed it too.
    fn release(&self) {
        let _ = self.0.unlock();
    }
}

impl Drop for DiskLock {
    fn drop(&mut self) {
        self.release();
    }
}

#[derive(Debug)]
struct DiskFile(File);

impl StorageFile for DiskFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        std::os::unix::fs::FileExt::read_at(&self.0, buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        std::os::unix::fs::FileExt::write_at(&self.0, bytes, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        // On macOS the standard library asks for F_FULLFSYNC here.
        self.0.sync_data()
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.0.set_len(length)
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn map(&self) -> io::Result<Option<Mapping>> {
        Mapping::of(&self.0, self.length()?)
    }
}
