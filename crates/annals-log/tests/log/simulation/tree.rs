//! Files and folders as a value: what a disk holds at one moment, and what one operation makes of it.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entry {
    Folder,
    /// A file, by its number.
    File(usize),
}

/// One change of a disk, or one barrier.
#[derive(Debug, Clone)]
pub(crate) enum Op {
    Write {
        file: usize,
        offset: u64,
        bytes: Arc<[u8]>,
    },
    SetLength {
        file: usize,
        length: u64,
    },
    SyncFile {
        file: usize,
    },
    /// A barrier that reported failure: the system may have dropped what it was for, and takes it for written.
    FailedSync {
        file: usize,
    },
    CreateFile {
        path: Arc<str>,
        file: usize,
    },
    CreateFolder {
        path: Arc<str>,
    },
    Rename {
        from: Arc<str>,
        to: Arc<str>,
        file: usize,
    },
    Remove {
        path: Arc<str>,
        file: usize,
    },
    SyncFolder {
        path: Arc<str>,
    },
}

impl Op {
    /// The file whose content this changes.
    pub(crate) fn changed_file(&self) -> Option<usize> {
        match self {
            Self::Write { file, .. } | Self::SetLength { file, .. } => Some(*file),
            _ => None,
        }
    }

    /// The folder whose entries this changes.
    pub(crate) fn changed_folder(&self) -> Option<&str> {
        match self {
            Self::CreateFile { path, .. } | Self::CreateFolder { path } | Self::Remove { path, .. } => {
                Some(parent(path))
            }
            Self::Rename { to, .. } => Some(parent(to)),
            _ => None,
        }
    }

    /// The name or the file that this is about, for people.
    pub(crate) fn label(&self) -> String {
        match self {
            Self::Write { file, offset, bytes } => {
                format!("write {} bytes at {offset} of file {file}", bytes.len())
            }
            Self::SetLength { file, length } => format!("set the length of file {file} to {length}"),
            Self::SyncFile { file } => format!("sync file {file}"),
            Self::FailedSync { file } => format!("fail to sync file {file}"),
            Self::CreateFile { path, file } => format!("create {path} as file {file}"),
            Self::CreateFolder { path } => format!("create the folder {path}"),
            Self::Rename { from, to, .. } => format!("rename {from} to {to}"),
            Self::Remove { path, .. } => format!("remove {path}"),
            Self::SyncFolder { path } => format!("sync the folder {path}"),
        }
    }
}

/// The folder in which a name stands.
pub(crate) fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}

/// The last part of a path.
pub(crate) fn base_name(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, name)| name)
}

/// The bytes of a file, and their hash once somebody asked for it.
#[derive(Debug, Default)]
pub(crate) struct FileContent {
    bytes: Vec<u8>,
    hash: OnceLock<[u8; 32]>,
}

impl Clone for FileContent {
    fn clone(&self) -> Self {
        // A clone is made to be changed.
        Self { bytes: self.bytes.clone(), hash: OnceLock::new() }
    }
}

impl PartialEq for FileContent {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl FileContent {
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn hash(&self) -> &[u8; 32] {
        self.hash.get_or_init(|| *blake3::hash(&self.bytes).as_bytes())
    }

    fn change(shared: &mut Arc<Self>) -> &mut Vec<u8> {
        let content = Arc::make_mut(shared);
        content.hash = OnceLock::new();
        &mut content.bytes
    }
}

/// What a disk holds. Cloning shares the contents.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Tree {
    pub(crate) files: Vec<Arc<FileContent>>,
    pub(crate) entries: BTreeMap<Arc<str>, Entry>,
}

impl Tree {
    /// Makes a file known by its number, empty.
    pub(crate) fn ensure(&mut self, file: usize) {
        while self.files.len() <= file {
            self.files.push(Arc::default());
        }
    }

    pub(crate) fn content(&self, file: usize) -> &[u8] {
        self.files.get(file).map_or(&[], |content| content.bytes())
    }

    /// The content of the file with this name.
    pub(crate) fn file_at(&self, path: &str) -> Option<&[u8]> {
        match self.entries.get(path) {
            Some(Entry::File(file)) => Some(self.content(*file)),
            _ => None,
        }
    }

    /// Gives the file with this name other bytes.
    pub(crate) fn replace(&mut self, path: &str, bytes: Vec<u8>) {
        if let Some(Entry::File(file)) = self.entries.get(path).copied() {
            self.ensure(file);
            self.files[file] = Arc::new(FileContent { bytes, hash: OnceLock::new() });
        }
    }

    pub(crate) fn write(&mut self, file: usize, offset: u64, bytes: &[u8]) {
        self.ensure(file);
        let content = FileContent::change(&mut self.files[file]);
        let (start, end) = (offset as usize, offset as usize + bytes.len());
        if content.len() < end {
            content.resize(end, 0);
        }
        content[start..end].copy_from_slice(bytes);
    }

    pub(crate) fn set_length(&mut self, file: usize, length: u64) {
        self.ensure(file);
        FileContent::change(&mut self.files[file]).resize(length as usize, 0);
    }

    /// Applies an operation; barriers change nothing here.
    pub(crate) fn apply(&mut self, op: &Op) {
        match op {
            Op::Write { file, offset, bytes } => self.write(*file, *offset, bytes),
            Op::SetLength { file, length } => self.set_length(*file, *length),
            Op::CreateFile { path, file } => {
                self.ensure(*file);
                self.entries.insert(Arc::clone(path), Entry::File(*file));
            }
            Op::CreateFolder { path } => {
                self.entries.insert(Arc::clone(path), Entry::Folder);
            }
            Op::Rename { from, to, file } => {
                self.remove_if(from, *file);
                self.entries.insert(Arc::clone(to), Entry::File(*file));
            }
            Op::Remove { path, file } => self.remove_if(path, *file),
            Op::SyncFile { .. } | Op::FailedSync { .. } | Op::SyncFolder { .. } => {}
        }
    }

    /// A name that stands for another file by now is not that operation's any more.
    fn remove_if(&mut self, path: &str, file: usize) {
        if self.entries.get(path) == Some(&Entry::File(file)) {
            self.entries.remove(path);
        }
    }

    /// Takes away what cannot be reached because a folder above it is missing, and the contents without a name.
    pub(crate) fn reachable(&self) -> Self {
        let mut tree = Self::default();
        for (path, entry) in &self.entries {
            let above = parent(path);
            if !above.is_empty() && tree.entries.get(above) != Some(&Entry::Folder) {
                continue;
            }
            let entry = match entry {
                Entry::Folder => Entry::Folder,
                Entry::File(file) => {
                    tree.files.push(self.files.get(*file).cloned().unwrap_or_default());
                    Entry::File(tree.files.len() - 1)
                }
            };
            tree.entries.insert(Arc::clone(path), entry);
        }
        tree
    }

    /// A hash over all names and contents but for those that `ignored` names.
    pub(crate) fn hash(&self, ignored: &[&str]) -> u128 {
        let mut hasher = blake3::Hasher::new();
        for (path, entry) in &self.entries {
            if ignored.contains(&base_name(path)) {
                continue;
            }
            hasher.update(path.as_bytes()).update(&[0]);
            if let Entry::File(file) = entry {
                self.files.get(*file).map(|content| hasher.update(content.hash()));
            }
        }
        let mut short = [0; 16];
        short.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        u128::from_le_bytes(short)
    }
}
