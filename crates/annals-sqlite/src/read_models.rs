//! The read models of one folder.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use annals_core::{BoxError, BoxFuture, ReadModel, ReadModelError, ReadModelStore};
use annals_model_files::{Builds, ModelFolder};
use annals_threads::WorkThreads;

use crate::failure::with_advice;
use crate::model_files::EXTENSION;
use crate::read_model::{Shared, SqliteReadModel};

/// Keeps read models in a folder: a SQLite file for each version of each projection, `<name>-v<version>.sqlite`.
///
/// Rows and checkpoint are committed together. A loss of power may undo the last commits, each as a whole, after which
/// the projection goes on from the older checkpoint. A file that is damaged when it is opened is renamed to
/// `….damaged-<microseconds>`, and an empty read model takes its place, to be made anew from the events.
///
/// Several processes may have a folder open. One of them keeps a read model ([`ReadModel::try_lead`], a lock that the system
/// lets go of when the process ends); the others read it, and notice when another file takes its place or when it was
/// removed. A rebuild is made in a file of its own, `<name>-v<version>.build-<number>.sqlite`; which one counts stands in
/// `<name>-v<version>.current`. The one that was replaced is kept until the next rebuild.
///
/// ```
/// use annals_core::{Position, ReadModelStore, params};
/// use annals_sqlite::SqliteReadModels;
/// # annals_core::block_on(async {
/// let models = SqliteReadModels::temporary()?;
/// let balances = models.open("balances", 1).await?;
/// balances.write(Position::ZERO, Position::new(7), Box::new(|tx| Box::pin(async move {
///     tx.execute("CREATE TABLE balances (account TEXT PRIMARY KEY, amount BIGINT)", &[]).await?;
///     tx.execute("INSERT INTO balances VALUES ($1, $2)", params!["42", 12_i64]).await?;
///     Ok(())
/// }))).await?;
/// let mut tx = balances.read().await?;
/// let rows = tx.query("SELECT amount FROM balances WHERE account = $1", params!["42"]).await?;
/// assert_eq!(rows[0].get::<i64>("amount")?, 12);
/// assert_eq!(balances.checkpoint().await?, Position::new(7));
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
pub struct SqliteReadModels {
    shared: Shared,
    opened: Arc<Mutex<HashMap<PathBuf, Weak<SqliteReadModel>>>>,
}

impl SqliteReadModels {
    /// Keeps them in the folder at `path`, which is made when there is none.
    ///
    /// # Errors
    /// [`ReadModelError::Database`] when the folder cannot be made.
    pub fn in_folder(path: impl AsRef<Path>) -> Result<Self, ReadModelError> {
        let path = path.as_ref();
        Self::with(ModelFolder::lasting(path), &path.display().to_string())
    }

    /// Keeps them in a new folder among the system's temporary files, which is removed when this and all that was
    /// opened from it are dropped.
    ///
    /// # Errors
    /// [`ReadModelError::Database`] when the folder cannot be made.
    pub fn temporary() -> Result<Self, ReadModelError> {
        Self::with(ModelFolder::temporary(), "temporary")
    }

    fn with(folder: std::io::Result<ModelFolder>, name: &str) -> Result<Self, ReadModelError> {
        let failed = |error: std::io::Error| ReadModelError::Database {
            operation: "make the folder of",
            name: name.to_owned(),
            source: error.into(),
        };
        let count = std::thread::available_parallelism().map_or(2, |count| count.get().clamp(2, 8));
        let folder = Arc::new(folder.map_err(failed)?);
        let threads = Arc::new(WorkThreads::spawn("annals-sqlite-model-read", count).map_err(failed)?);
        Ok(Self { shared: Shared { threads, folder }, opened: Arc::default() })
    }
}

impl ReadModelStore for SqliteReadModels {
    fn open(&self, name: &str, version: u32) -> BoxFuture<'_, Result<Arc<dyn ReadModel>, ReadModelError>> {
        let name = name.to_owned();
        Box::pin(async move {
            let failed = |source: BoxError| ReadModelError::Database {
                operation: "open",
                name: name.clone(),
                source: with_advice(source, &self.shared.folder.path().join(&name)),
            };
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
        Box::pin(async move { Self::temporary()?.open(&name, 1).await })
    }
}

/// One file has one writer, so who opens it again gets the same read model.
fn open(
    opened: &Mutex<HashMap<PathBuf, Weak<SqliteReadModel>>>,
    name: &str,
    builds: Builds,
    shared: Shared,
) -> Result<Arc<SqliteReadModel>, BoxError> {
    let path = builds.path_of(0);
    let mut opened = opened.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(model) = opened.get(&path).and_then(Weak::upgrade) {
        return Ok(model);
    }
    let model = SqliteReadModel::open(name, builds, shared)?;
    opened.insert(path, Arc::downgrade(&model));
    Ok(model)
}

impl std::fmt::Debug for SqliteReadModels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SqliteReadModels").finish_non_exhaustive()
    }
}
