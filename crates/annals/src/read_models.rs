//! Read models of all kinds in one place.

use std::path::Path;
use std::sync::Arc;

use annals_core::{BoxFuture, ModelKind, ReadModel, ReadModelError, ReadModelStore};
use annals_memory::MemoryModels;
#[cfg(feature = "search")]
use annals_search::SearchModels;
use annals_sqlite::SqliteReadModels;

/// Keeps read models in one folder: rows in SQLite, values in memory with their images, and, with the feature `search`,
/// documents for full-text search. This is what a store's address opens beside the events.
pub struct ReadModels {
    rows: SqliteReadModels,
    memory: Arc<MemoryModels>,
    #[cfg(feature = "search")]
    documents: Arc<SearchModels>,
}

impl ReadModels {
    /// Keeps them in the folder at `path`, which is made when there is none.
    ///
    /// # Errors
    /// [`ReadModelError::Database`] when the folder cannot be made.
    pub fn in_folder(path: impl AsRef<Path>) -> Result<Self, ReadModelError> {
        Ok(Self {
            rows: SqliteReadModels::in_folder(&path)?,
            memory: Arc::new(MemoryModels::in_folder(&path)?),
            #[cfg(feature = "search")]
            documents: Arc::new(SearchModels::in_folder(&path)?),
        })
    }

    /// Keeps them until this is dropped.
    ///
    /// # Errors
    /// [`ReadModelError::Database`] when no folder for the time being can be made.
    pub fn temporary() -> Result<Self, ReadModelError> {
        Ok(Self {
            rows: SqliteReadModels::temporary()?,
            memory: Arc::new(MemoryModels::new()),
            #[cfg(feature = "search")]
            documents: Arc::new(SearchModels::temporary()?),
        })
    }
}

impl ReadModelStore for ReadModels {
    fn open(&self, name: &str, version: u32) -> BoxFuture<'_, Result<Arc<dyn ReadModel>, ReadModelError>> {
        self.rows.open(name, version)
    }

    fn of_kind(&self, kind: ModelKind) -> Option<Arc<dyn ReadModelStore>> {
        match kind {
            ModelKind::Memory => Some(Arc::clone(&self.memory) as _),
            #[cfg(feature = "search")]
            ModelKind::Documents => Some(Arc::clone(&self.documents) as _),
            _ => None,
        }
    }

    fn scratch(&self, name: &str) -> BoxFuture<'_, Result<Arc<dyn ReadModel>, ReadModelError>> {
        self.rows.scratch(name)
    }
}
