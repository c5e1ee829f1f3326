//! A disk in memory. It remembers every change in order, so that what a power cut may leave can be worked out later,
//! and it fails when it is told to.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use annals_log::{OpenMode, Storage, StorageFile, StorageLock};

use super::faults::{Call, Faults, Verdict};
use super::tree::{Entry, Op, Tree, base_name, parent};

/// A simulated disk; clones are the same disk.
#[derive(Debug, Clone)]
pub(crate) struct SimDisk {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// What programs see: all that was written, durable or not.
    tree: Tree,
    /// Every change since the disk was made, if it is traced.
    ops: Option<Vec<Op>>,
    /// Whether anything but the lock's note was changed.
    changed: bool,
    locked: BTreeSet<String>,
    faults: Faults,
}

impl SimDisk {
    /// A disk that holds `tree`, all of it durable.
    pub(crate) fn holding(tree: Tree) -> Self {
        Self::resumed(tree, None)
    }

    /// The same, remembering every change.
    pub(crate) fn traced(tree: Tree) -> Self {
        Self::resumed(tree, Some(Vec::new()))
    }

    /// A disk on which a process was killed: `tree` is what it saw, `ops` the changes so far.
    pub(crate) fn resumed(tree: Tree, ops: Option<Vec<Op>>) -> Self {
        Self { state: Arc::new(Mutex::new(State { tree, ops, ..State::default() })) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What programs see.
    pub(crate) fn tree(&self) -> Tree {
        self.state().tree.clone()
    }

    /// How many changes there were so far.
    pub(crate) fn op_count(&self) -> usize {
        self.state().ops.as_ref().map_or(0, Vec::len)
    }

    pub(crate) fn ops(&self) -> Vec<Op> {
        self.state().ops.clone().unwrap_or_default()
    }

    /// Whether anything was changed but the lock's note, since this was last asked.
    pub(crate) fn take_changed(&self) -> bool {
        std::mem::take(&mut self.state().changed)
    }

    pub(crate) fn set_faults(&self, faults: Faults) {
        self.state().faults = faults;
    }

    pub(crate) fn faults(&self) -> Faults {
        self.state().faults.clone()
    }
}

impl State {
    fn call(&mut self, call: Call) -> io::Result<Verdict> {
        self.faults.pass(call)
    }

    fn record(&mut self, op: Op) {
        self.tree.apply(&op);
        self.changed |= match &op {
            Op::Write { file, .. } | Op::SetLength { file, .. } => !self.is_note(*file),
            Op::CreateFile { path, .. } => base_name(path) != "lock",
            Op::SyncFile { .. } | Op::FailedSync { .. } | Op::SyncFolder { .. } => false,
            _ => true,
        };
        if let Some(ops) = &mut self.ops {
            ops.push(op);
        }
    }

    fn is_note(&self, file: usize) -> bool {
        self.tree.entries.iter().any(|(path, entry)| *entry == Entry::File(file) && base_name(path) == "lock")
    }

    /// As the machine's own disk: a folder that is there already is left alone, although it may not be durable yet.
    fn create_folders(&mut self, path: &str) -> io::Result<()> {
        if path.is_empty() || self.tree.entries.get(path) == Some(&Entry::Folder) {
            return Ok(());
        }
        self.create_folders(parent(path))?;
        self.call(Call::Grow)?;
        self.record(Op::CreateFolder { path: path.into() });
        self.call(Call::Sync)?;
        self.record(Op::SyncFolder { path: parent(path).into() });
        Ok(())
    }
}

fn text(path: &Path) -> String {
    path.to_string_lossy().trim_end_matches('/').to_owned()
}

fn not_found() -> io::Error {
    io::ErrorKind::NotFound.into()
}

impl Storage for SimDisk {
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.state().create_folders(&text(path))
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let (path, mut state) = (text(path), self.state());
        state.call(Call::Look)?;
        if state.tree.entries.get(path.as_str()) != Some(&Entry::Folder) {
            return Err(not_found());
        }
        let names = state.tree.entries.keys().filter(|name| parent(name) == path);
        Ok(names.map(|name| base_name(name).to_owned()).collect())
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn StorageFile>> {
        let (path, mut state) = (text(path), self.state());
        state.call(if mode == OpenMode::CreateNew { Call::Grow } else { Call::Look })?;
        let file = match state.tree.entries.get(path.as_str()).copied() {
            Some(Entry::Folder) => return Err(io::ErrorKind::IsADirectory.into()),
            Some(Entry::File(_)) if mode == OpenMode::CreateNew => {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            Some(Entry::File(file)) => file,
            None if mode == OpenMode::CreateNew => {
                if state.tree.entries.get(parent(&path)) != Some(&Entry::Folder) {
                    return Err(not_found());
                }
                let file = state.tree.files.len();
                state.record(Op::CreateFile { path: path.into(), file });
                file
            }
            None => return Err(not_found()),
        };
        Ok(Arc::new(SimFile { disk: self.clone(), file }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let (from, to, mut state) = (text(from), text(to), self.state());
        state.call(Call::Change)?;
        match state.tree.entries.get(from.as_str()).copied() {
            Some(Entry::File(file)) => {
                state.record(Op::Rename { from: from.into(), to: to.into(), file });
                Ok(())
            }
            _ => Err(not_found()),
        }
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let (path, mut state) = (text(path), self.state());
        state.call(Call::Change)?;
        match state.tree.entries.get(path.as_str()).copied() {
            Some(Entry::File(file)) => {
                state.record(Op::Remove { path: path.into(), file });
                Ok(())
            }
            _ => Err(not_found()),
        }
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let (path, mut state) = (text(path), self.state());
        // Entries whose barrier failed stay to be written: a journal that cannot take them takes nothing more.
        state.call(Call::Sync)?;
        state.record(Op::SyncFolder { path: path.into() });
        Ok(())
    }

    fn lock(&self, folder: &Path) -> io::Result<Option<Box<dyn StorageLock>>> {
        let (folder, mut state) = (text(folder), self.state());
        state.call(Call::Look)?;
        if state.tree.entries.get(folder.as_str()) != Some(&Entry::Folder) {
            return Err(not_found());
        }
        let free = state.locked.insert(folder.clone());
        Ok(free.then(|| Box::new(SimLock { disk: self.clone(), folder }) as Box<dyn StorageLock>))
    }
}

#[derive(Debug)]
struct SimLock {
    disk: SimDisk,
    folder: String,
}

impl StorageLock for SimLock {
    fn release(&self) {
        self.disk.state().locked.remove(&self.folder);
    }
}

impl Drop for SimLock {
    fn drop(&mut self) {
        self.release();
    }
}

#[derive(Debug)]
struct SimFile {
    disk: SimDisk,
    file: usize,
}

impl StorageFile for SimFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut state = self.disk.state();
        let verdict = state.call(Call::Read)?;
        let content = state.tree.content(self.file);
        let rest = content.get((offset as usize).min(content.len())..).unwrap_or_default();
        let count = verdict.share_of(rest.len().min(buffer.len()));
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let mut state = self.disk.state();
        let grows = offset + bytes.len() as u64 > state.tree.content(self.file).len() as u64;
        let verdict = state.call(if grows { Call::WriteMore } else { Call::Write })?;
        let count = verdict.share_of(bytes.len());
        state.record(Op::Write { file: self.file, offset, bytes: bytes[..count].into() });
        Ok(count)
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.disk.state();
        if let Err(error) = state.call(Call::Sync) {
            state.record(Op::FailedSync { file: self.file });
            return Err(error);
        }
        state.record(Op::SyncFile { file: self.file });
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        let grows = length > state.tree.content(self.file).len() as u64;
        state.call(if grows { Call::Grow } else { Call::Change })?;
        state.record(Op::SetLength { file: self.file, length });
        Ok(())
    }

    fn length(&self) -> io::Result<u64> {
        let mut state = self.disk.state();
        state.call(Call::Look)?;
        Ok(state.tree.content(self.file).len() as u64)
    }
}
