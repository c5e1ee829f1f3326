//! The read models of one application, in memory.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use annals_core::{BoxError, BoxFuture, ReadModel, ReadModelError, ReadModelStore};
use annals_model_files::ModelFolder;

use crate::disk::{Disk, EXTENSION};
use crate::read_model::MemoryReadModel;

/// When images are written, and what they depend on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageOptions {
    /// After so many positions of the log, looked at once in a second.
    pub every_positions: u64,
    /// After so long, if anything has changed. With much to write, images are made less often: they never take more than
    /// a tenth of the time.
    pub every: Duration,
    /// What else the form of the states depends on. An image that was written with another text is discarded, so an
    /// application that cannot remember to raise the `VERSION` of its projections may give its own version here.
    pub form: String,
}

impl Default for ImageOptions {
    /// Every 100,000 positions, and every 10 seconds.
    fn default() -> Self {
        Self { every_positions: 100_000, every: Duration::from_secs(10), form: String::new() }
    }
}

/// Keeps read models in memory, and perhaps an image of each on disk. The crate's documentation tells what that means.
pub struct MemoryModels {
    /// With a folder: who opens a read model last lets it go. Without one it stays, for there is nothing to open again.
    opened: Mutex<HashMap<(String, u32), Opened>>,
    images: Option<(Arc<ModelFolder>, ImageOptions)>,
}

enum Opened {
    Kept(Arc<MemoryReadModel>),
    Known(Weak<MemoryReadModel>),
}

impl MemoryModels {
    /// Keeps them in memory alone: they are gone when this and all that was opened from it are dropped.
    pub fn new() -> Self {
        Self { opened: Mutex::default(), images: None }
    }

    /// Keeps them in memory, with images in the folder at `path`, which is made when there is none.
    ///
    /// # Errors
    /// [`ReadModelError::Database`] when the folder cannot be made.
    pub fn in_folder(path: impl AsRef<Path>) -> Result<Self, ReadModelError> {
        Self::in_folder_with(path, ImageOptions::default())
    }

    /// As [`in_folder`](Self::in_folder), with other options.
    ///
    /// # Errors
    /// [`ReadModelError::Database`] when the folder cannot be made.
    pub fn in_folder_with(path: impl AsRef<Path>, options: ImageOptions) -> Result<Self, ReadModelError> {
        let path = path.as_ref();
        let folder = ModelFolder::lasting(path).map_err(|error| {
            let (operation, name) = ("make the folder of", path.display().to_string());
            ReadModelError::Database { operation, name, source: error.into() }
        })?;
        Ok(Self { opened: Mutex::default(), images: Some((Arc::new(folder), options)) })
    }

    /// Who opens a read model again gets the same one.
    fn open_now(&self, name: &str, version: u32) -> Result<Arc<MemoryReadModel>, BoxError> {
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (name.to_owned(), version);
        let known = match opened.get(&key) {
            Some(Opened::Kept(model)) => Some(Arc::clone(model)),
            Some(Opened::Known(model)) => model.upgrade(),
            None => None,
        };
        if let Some(model) = known {
            return Ok(model);
        }
        let model = match &self.images {
            None => {
                annals_model_files::check_name(name)?;
                MemoryReadModel::in_memory(name)?
            }
            Some((folder, options)) => {
                let builds = folder.builds(name, version, EXTENSION)?;
                let (disk, now) = Disk::open(builds, options.clone(), Arc::clone(folder))?;
                MemoryReadModel::in_folder(name, disk, now)?
            }
        };
        let remembered = match self.images {
            None => Opened::Kept(Arc::clone(&model)),
            Some(_) => Opened::Known(Arc::downgrade(&model)),
        };
        opened.insert(key, remembered);
        Ok(model)
    }
}

impl Default for MemoryModels {
    fn default() -> Self {
        Self::new()
    }
}

fn failed(name: &str, source: BoxError) -> ReadModelError {
    ReadModelError::Database { operation: "open", name: name.to_owned(), source }
}

impl ReadModelStore for MemoryModels {
    fn open(&self, name: &str, version: u32) -> BoxFuture<'_, Result<Arc<dyn ReadModel>, ReadModelError>> {
        let name = name.to_owned();
        // An image is read here, which may take a while when it is large: this is done once, when an application starts.
        Box::pin(async move {
            let model = self.open_now(&name, version).map_err(|source| failed(&name, source))?;
            Ok(model as Arc<dyn ReadModel>)
        })
    }

    fn scratch(&self, name: &str) -> BoxFuture<'_, Result<Arc<dyn ReadModel>, ReadModelError>> {
        let model = MemoryReadModel::in_memory(name).map_err(|error| failed(name, error.into()));
        Box::pin(std::future::ready(model.map(|model| model as Arc<dyn ReadModel>)))
    }
}

impl std::fmt::Debug for MemoryModels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemoryModels").finish_non_exhaustive()
    }
}
