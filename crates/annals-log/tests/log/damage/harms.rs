//! What may happen to the bytes of a store: every bit, every length, every page, and whole files.

use crate::simulation::tree::{Entry, Tree, parent};

const PAGE_BYTES: usize = 4096;
const SECTOR_BYTES: usize = 512;

/// What is done to a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Harm {
    FlippedBit {
        path: String,
        bit: usize,
    },
    CutAt {
        path: String,
        length: usize,
    },
    Zeroed {
        path: String,
        from: usize,
        bytes: usize,
    },
    Removed {
        path: String,
    },
    /// The two files are exchanged.
    Swapped {
        path: String,
        with: String,
    },
    /// The file is a copy of this other one.
    CopiedFrom {
        path: String,
        source: String,
    },
    /// The file is that of another store.
    OfAnotherStore {
        path: String,
    },
    /// The file is that of a copy of the store in which other events were stored since.
    OfAnotherHistory {
        path: String,
    },
}

impl Harm {
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::FlippedBit { .. } => "flipped_bits",
            Self::CutAt { .. } => "truncations",
            Self::Zeroed { .. } => "zeroed_pages",
            Self::Removed { .. } => "removed_files",
            Self::Swapped { .. } | Self::CopiedFrom { .. } => "swapped_files",
            Self::OfAnotherStore { .. } => "files_of_another_store",
            Self::OfAnotherHistory { .. } => "files_of_another_history",
        }
    }

    /// Whether it is done to a whole file.
    pub(crate) fn is_of_whole_file(&self) -> bool {
        !matches!(self, Self::FlippedBit { .. } | Self::CutAt { .. } | Self::Zeroed { .. })
    }

    pub(crate) fn apply(&self, tree: &mut Tree, other_store: &Tree, other_history: &Tree) {
        let content = |tree: &Tree, path: &str| tree.file_at(path).unwrap_or_default().to_vec();
        match self {
            Self::FlippedBit { path, bit } => {
                let mut bytes = content(tree, path);
                bytes[bit / 8] ^= 1 << (bit % 8);
                tree.replace(path, bytes);
            }
            Self::CutAt { path, length } => {
                let mut bytes = content(tree, path);
                bytes.truncate(*length);
                tree.replace(path, bytes);
            }
            Self::Zeroed { path, from, bytes } => {
                let mut content = content(tree, path);
                let end = (from + bytes).min(content.len());
                content[*from..end].fill(0);
                tree.replace(path, content);
            }
            Self::Removed { path } => {
                tree.entries.remove(path.as_str());
            }
            Self::Swapped { path, with } => {
                let (one, two) = (content(tree, path), content(tree, with));
                tree.replace(path, two);
                tree.replace(with, one);
            }
            Self::CopiedFrom { path, source } => {
                let bytes = content(tree, source);
                tree.replace(path, bytes);
            }
            Self::OfAnotherStore { path } => {
                let bytes = content(other_store, path);
                tree.replace(path, bytes);
            }
            Self::OfAnotherHistory { path } => {
                let bytes = content(other_history, path);
                tree.replace(path, bytes);
            }
        }
    }
}

/// Every harm to the files that `concerned` names: all bits, all lengths, all pages, and what can be done with whole
/// files.
pub(crate) fn harms_to(tree: &Tree, concerned: impl Fn(&str) -> bool) -> Vec<Harm> {
    let mut harms = Vec::new();
    let files: Vec<(&str, usize)> = tree
        .entries
        .iter()
        .filter(|(path, entry)| **entry != Entry::Folder && concerned(path))
        .map(|(path, _)| (&**path, tree.file_at(path).unwrap_or_default().len()))
        .collect();
    for (path, length) in &files {
        let path = (*path).to_owned();
        harms.extend((0..length * 8).map(|bit| Harm::FlippedBit { path: path.clone(), bit }));
        harms.extend((0..*length).map(|length| Harm::CutAt { path: path.clone(), length }));
        for bytes in [SECTOR_BYTES, PAGE_BYTES] {
            let starts = (0..*length).step_by(bytes);
            harms.extend(starts.map(|from| Harm::Zeroed { path: path.clone(), from, bytes }));
        }
        harms.push(Harm::Removed { path: path.clone() });
        harms.push(Harm::OfAnotherStore { path: path.clone() });
        harms.push(Harm::OfAnotherHistory { path: path.clone() });
        for (other, _) in files.iter().filter(|(other, _)| *other != path && parent(other) == parent(&path)) {
            let other = (*other).to_owned();
            harms.push(Harm::CopiedFrom { path: path.clone(), source: other.clone() });
            if path < other {
                harms.push(Harm::Swapped { path: path.clone(), with: other });
            }
        }
    }
    harms
}
