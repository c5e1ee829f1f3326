//! The read models of one folder.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use annals_core::{BoxError, BoxFuture, ReadModel, ReadModelError, ReadModelStore};
use annals_model_files::{Builds, ModelFolder};
use annals_threads::WorkThreads;
use tantivy::tokenizer::TokenizerManager;

use crate::index_files::EXTENSION;
use crate::read_model::{SearchReadModel, Shared};

/// Keeps read models for full-text search in a folder: an index for each version of each projection,
/// `<name>-v<version>.tantivy`. The crate's documentation has an example.
///
/// Documents and checkpoint are one commit, which survives the loss of power. Opening an index reads all of it once: one
/// that is damaged is renamed to `….damaged-<microseconds>`, and an empty one takes its place, to be made anew from the
/// events.
///
/// Several processes may have a folder open. One of them leads and writes; the others search what it has committed. A
/// rebuild is made in a folder of its own, `<name>-v<version>.build-<number>.tantivy`; which one counts stands in
/// `<name>-v<version>.current`. The one that was replaced is kept until the next rebuild.
pub struct SearchModels {
    shared: Shared,
    opened: Arc<Mutex<HashMap<PathBuf, Weak<SearchReadModel>>>>,
}

impl SearchModels {
    /// Keeps them in the folder at `path`, which is made when there is none.
    ///
    /// # Errors
    /// [`ReadModelError::Database`] when the folder cannot be made.
    pub fn in_folder(path: impl AsRef<Path>) -> Result<Self, ReadModelError> {
        let path = path.as_ref();
        Self::with(ModelFolder::lasting(path), &path.display().to_string(), TokenizerManager::default())
    }

    /// Keeps them in a new folder among the system's temporary files, which is removed when this and all that was
    /// opened from it are dropped.
    ///
    /// # Errors
    /// [`ReadModelError::Database`] when the folder cannot be made.
    pub fn temporary() -> Result<Self, ReadModelError> {
        Self::with(ModelFolder::temporary(), "temporary", TokenizerManager::default())
    }

    /// Has texts cut into words by these, which the fields of schemas name: for other languages, stems and stop words.
    /// When one of them cuts in another way than before, raise the `VERSION` of the projections that use it.
    pub fn tokenizers(mut self, tokenizers: TokenizerManager) -> Self {
        self.shared.tokenizers = tokenizers;
        self
    }

    fn with(
        folder: std::io::Result<ModelFolder>,
        name: &str,
        tokenizers: TokenizerManager,
    ) -> Result<Self, ReadModelError> {
        let failed = |error: std::io::Error| ReadModelError::Database {
            operation: "make the folder of",
            name: name.to_owned(),
            source: error.into(),
        };
        let count = std::thread::available_parallelism().map_or(2, |count| count.get().clamp(2, 8));
        let folder = Arc::new(folder.map_err(failed)?);
        let threads = Arc::new(WorkThreads::spawn("annals-search-read", count).map_err(failed)?);
        Ok(Self { shared: Shared { threads, folder, tokenizers }, opened: Arc::default() })
    }
}

impl ReadModelStore for SearchModels {
    fn open(&self, name: &str, version: u32) -> BoxFuture<'_, Result<Arc<dyn ReadModel>, ReadModelError>> {
        let name = name.to_owned();
        Box::pin(async move {
            let failed =
                |source: BoxError| ReadModelError::Database { operation: "open", name: name.clone(), source };
            let builds = self.shared.folder.builds(&name, version, EXTENSION);
            let builds = builds.map_err(|problem| failed(problem.into()))?;
            let (opened, shared, title) = (Arc::clone(&self.opened), self.shared.clone(), name.clone());
            let reply = self.shared.threads.run(move || open(&opened, &title, builds, shared));
            let model =
                reply.await.unwrap_or_else(|| Err("the read models are closed".into())).map_err(failed)?;
            Ok(model as Arc<dyn ReadModel>)
        })
    }

    fn scratch(&self, name: &str) -> BoxFuture<'_, Result<Arc<dyn ReadModel>, ReadModelError>> {
        let name = name.to_owned();
        // The folder is removed when the last read model of it is dropped.
        Box::pin(async move {
            let models = Self::with(ModelFolder::temporary(), &name, self.shared.tokenizers.clone())?;
            models.open(&name, 1).await
        })
    }
}

/// One index has one writer, so who opens it again gets the same read model.
fn open(
    opened: &Mutex<HashMap<PathBuf, Weak<SearchReadModel>>>,
    name: &str,
    builds: Builds,
    shared: Shared,
) -> Result<Arc<SearchReadModel>, BoxError> {
    let path = builds.path_of(0);
    let mut opened = opened.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(model) = opened.get(&path).and_then(Weak::upgrade) {
        return Ok(model);
    }
    let model = SearchReadModel::open(name, builds, shared)?;
    opened.insert(path, Arc::downgrade(&model));
    Ok(model)
}

impl std::fmt::Debug for SearchModels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SearchModels").finish_non_exhaustive()
    }
}
