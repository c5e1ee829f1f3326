//! Reading an index: one state of it, with the payload of the same commit.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use tantivy::tokenizer::TokenizerManager;
use tantivy::{Index, IndexReader, ReloadPolicy};

use crate::index_files;
use crate::payload::Payload;
use crate::search::Search;

/// One commit.
pub(crate) struct View {
    pub(crate) search: Search,
    pub(crate) payload: Payload,
}

/// What reads an index, and follows what this or another process commits.
pub(crate) struct Reader {
    path: PathBuf,
    tokenizers: TokenizerManager,
    last: Mutex<Option<Last>>,
}

struct Last {
    index: Index,
    reader: IndexReader,
    stamp: Option<Stamp>,
    view: Arc<View>,
}

/// What tells one commit's file from another's: each is a new file.
#[derive(PartialEq, Eq)]
struct Stamp {
    number: u64,
    modified: Option<SystemTime>,
    length: u64,
}

fn stamp(path: &Path) -> Option<Stamp> {
    let metadata = std::fs::metadata(path.join("meta.json")).ok()?;
    #[cfg(unix)]
    let number = std::os::unix::fs::MetadataExt::ino(&metadata);
    #[cfg(not(unix))]
    let number = 0;
    Some(Stamp { number, modified: metadata.modified().ok(), length: metadata.len() })
}

impl Reader {
    pub(crate) fn new(path: PathBuf, tokenizers: TokenizerManager) -> Self {
        Self { path, tokenizers, last: Mutex::default() }
    }

    /// The last commit.
    pub(crate) fn view(&self) -> tantivy::Result<Arc<View>> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        // Before it is read: one that comes meanwhile is noticed the next time.
        let stamp = stamp(&self.path);
        if let Some(last) = &*last
            && last.stamp == stamp
        {
            return Ok(Arc::clone(&last.view));
        }
        let (index, reader) = match last.take() {
            Some(last) if last.index.load_metas()?.schema == last.index.schema() => (last.index, last.reader),
            // The projection has given its schema since.
            _ => {
                let index = index_files::open(&self.path, &self.tokenizers)?;
                let reader = index.reader_builder().reload_policy(ReloadPolicy::Manual).try_into()?;
                (index, reader)
            }
        };
        let view = loop {
            let meta = index.load_metas()?;
            reader.reload()?;
            let again = index.load_metas()?;
            // Else a commit came between, and the payload is perhaps not that of the documents.
            if (meta.opstamp, &meta.payload) == (again.opstamp, &again.payload) {
                let payload = Payload::of(&meta)?;
                break Arc::new(View { search: Search::new(reader.searcher()), payload });
            }
        };
        *last = Some(Last { index, reader, stamp, view: Arc::clone(&view) });
        Ok(view)
    }
}
