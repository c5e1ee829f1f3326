//! A disk in memory: quick, without mappings, with a place to step in before every write and barrier.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use annals_log::{OpenMode, Storage, StorageFile, StorageLock};

/// What is about to be done to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Bytes are about to be written.
    Write,
    /// A barrier is about to be made.
    Barrier,
}

/// Is told each step before it is made, and may wait, or have it fail.
pub type StepIn = dyn Fn(&Path, Step) -> io::Result<()> + Send + Sync;

/// The disk; its clones are the same disk.
#[derive(Clone, Default)]
pub struct MemoryDisk {
    tree: Arc<Mutex<Tree>>,
    step_in: Option<Arc<StepIn>>,
}

#[derive(Default)]
struct Tree {
    folders: BTreeSet<PathBuf>,
    files: BTreeMap<PathBuf, Arc<Mutex<Content>>>,
    locked: BTreeSet<PathBuf>,
}

/// A file: what is in it, and what a barrier has covered.
#[derive(Default)]
struct Content {
    bytes: Vec<u8>,
    durable: Vec<u8>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for MemoryDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MemoryDisk")
    }
}

impl MemoryDisk {
    /// The same disk, with somebody who steps in.
    pub fn with_steps(
        &self,
        step_in: impl Fn(&Path, Step) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        Self { tree: Arc::clone(&self.tree), step_in: Some(Arc::new(step_in)) }
    }

    /// All files below a folder with their bytes.
    pub fn files(&self, folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
        let tree = lock(&self.tree);
        let inside = tree.files.iter().filter(|(path, _)| path.starts_with(folder));
        inside.map(|(path, content)| (path.clone(), lock(content).bytes.clone())).collect()
    }

    /// Another disk with the same files; nobody holds a folder there, and nobody steps in.
    pub fn copy(&self) -> Self {
        let tree = lock(&self.tree);
        let copied = |content: &Arc<Mutex<Content>>| {
            let bytes = lock(content).bytes.clone();
            Arc::new(Mutex::new(Content { durable: bytes.clone(), bytes }))
        };
        let files = tree.files.iter().map(|(path, content)| (path.clone(), copied(content))).collect();
        let tree = Tree { folders: tree.folders.clone(), files, locked: BTreeSet::new() };
        Self { tree: Arc::new(Mutex::new(tree)), step_in: None }
    }

    /// Puts a file in its place, with all folders above it.
    pub fn put(&self, path: &Path, bytes: Vec<u8>) {
        let mut tree = lock(&self.tree);
        tree.folders.extend(path.ancestors().skip(1).map(Path::to_owned));
        let content = Content { durable: bytes.clone(), bytes };
        tree.files.insert(path.to_owned(), Arc::new(Mutex::new(content)));
    }

    /// What a barrier has covered of a file.
    pub fn durable(&self, path: &Path) -> Option<Vec<u8>> {
        lock(&self.tree).files.get(path).map(|content| lock(content).durable.clone())
    }

    fn step(&self, path: &Path, step: Step) -> io::Result<()> {
        self.step_in.as_ref().map_or(Ok(()), |step_in| step_in(path, step))
    }
}

fn not_found() -> io::Error {
    io::ErrorKind::NotFound.into()
}

impl Storage for MemoryDisk {
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        lock(&self.tree).folders.extend(path.ancestors().map(Path::to_owned));
        Ok(())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let tree = lock(&self.tree);
        if !tree.folders.contains(path) {
            return Err(not_found());
        }
        let inside = tree.files.keys().chain(&tree.folders).filter(|entry| entry.parent() == Some(path));
        let names =
            inside.filter_map(|entry| entry.file_name().map(|name| name.to_string_lossy().into_owned()));
        let mut names: Vec<String> = names.collect();
        names.sort();
        Ok(names)
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn StorageFile>> {
        let mut tree = lock(&self.tree);
        let content = match (tree.files.get(path), mode) {
            (Some(_), OpenMode::CreateNew) => return Err(io::ErrorKind::AlreadyExists.into()),
            (Some(content), _) => Arc::clone(content),
            (None, OpenMode::CreateNew) => {
                let content = Arc::<Mutex<Content>>::default();
                tree.files.insert(path.to_owned(), Arc::clone(&content));
                content
            }
            (None, _) => return Err(not_found()),
        };
        Ok(Arc::new(MemoryFile { disk: self.clone(), path: path.to_owned(), content }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut tree = lock(&self.tree);
        let content = tree.files.remove(from).ok_or_else(not_found)?;
        tree.files.insert(to.to_owned(), content);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        lock(&self.tree).files.remove(path).map(|_| ()).ok_or_else(not_found)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.step(path, Step::Barrier)
    }

    fn lock(&self, folder: &Path) -> io::Result<Option<Box<dyn StorageLock>>> {
        if !lock(&self.tree).locked.insert(folder.to_owned()) {
            return Ok(None);
        }
        let (tree, folder) = (Arc::clone(&self.tree), folder.to_owned());
        Ok(Some(Box::new(MemoryLock { tree, folder, held: AtomicBool::new(true) })))
    }
}

struct MemoryLock {
    tree: Arc<Mutex<Tree>>,
    folder: PathBuf,
    held: AtomicBool,
}

impl fmt::Debug for MemoryLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MemoryLock")
    }
}

impl StorageLock for MemoryLock {
    fn release(&self) {
        if self.held.swap(false, Ordering::SeqCst) {
            lock(&self.tree).locked.remove(&self.folder);
        }
    }
}

impl Drop for MemoryLock {
    fn drop(&mut self) {
        self.release();
    }
}

struct MemoryFile {
    disk: MemoryDisk,
    path: PathBuf,
    content: Arc<Mutex<Content>>,
}

impl fmt::Debug for MemoryFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemoryFile({})", self.path.display())
    }
}

impl StorageFile for MemoryFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let content = lock(&self.content);
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(content.bytes.len());
        let count = buffer.len().min(content.bytes.len() - start);
        buffer[..count].copy_from_slice(&content.bytes[start..start + count]);
        Ok(count)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.disk.step(&self.path, Step::Write)?;
        let mut content = lock(&self.content);
        let (start, end) = (offset as usize, offset as usize + bytes.len());
        if content.bytes.len() < end {
            content.bytes.resize(end, 0);
        }
        content.bytes[start..end].copy_from_slice(bytes);
        Ok(bytes.len())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.disk.step(&self.path, Step::Barrier)?;
        let mut content = lock(&self.content);
        content.durable = content.bytes.clone();
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        lock(&self.content).bytes.resize(length as usize, 0);
        Ok(())
    }

    fn length(&self) -> io::Result<u64> {
        Ok(lock(&self.content).bytes.len() as u64)
    }
}
