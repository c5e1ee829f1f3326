//! What went wrong in SQLite, as the errors of the contract.

use std::path::{Path, PathBuf};

use annals_core::{AppendError, BoxError, InvalidRequest, StoreError};
use rusqlite::ErrorCode;

use crate::connection::{BUSY_TIMEOUT, is_busy};

/// Why something on the store's file failed.
#[derive(Debug)]
pub(crate) enum Failure {
    Sqlite(rusqlite::Error),
    /// A stored row is not what this program writes.
    Row(String),
    Invalid(InvalidRequest),
    Closed,
}

/// Why an append was not taken: it was refused, or the database failed.
#[derive(Debug)]
pub(crate) enum Refusal {
    Refused(AppendError),
    Failed(Failure),
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl From<InvalidRequest> for Failure {
    fn from(error: InvalidRequest) -> Self {
        Self::Invalid(error)
    }
}

impl From<AppendError> for Refusal {
    fn from(error: AppendError) -> Self {
        Self::Refused(error)
    }
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<rusqlite::Error> for Refusal {
    fn from(error: rusqlite::Error) -> Self {
        Self::Failed(error.into())
    }
}

impl Failure {
    pub(crate) fn to_store_error(&self, path: &Path, operation: &'static str) -> StoreError {
        match self {
            Self::Sqlite(error) => store_error(path, operation, error),
            Self::Row(reason) => StoreError::backend(operation, format!("{}: {reason}", path.display())),
            Self::Invalid(invalid) => StoreError::Invalid(invalid.clone()),
            Self::Closed => StoreError::Closed,
        }
    }
}

impl Refusal {
    pub(crate) fn into_append_error(self, path: &Path) -> AppendError {
        match self {
            Self::Refused(error) => error,
            Self::Failed(failure) => failure.to_store_error(path, "cannot append").into(),
        }
    }
}

/// What SQLite said, as the store's error. Made anew from a reference, because one failed commit is told to many.
pub(crate) fn store_error(path: &Path, operation: &'static str, error: &rusqlite::Error) -> StoreError {
    let backend = |reason: String| StoreError::backend(operation, format!("{}: {reason}", path.display()));
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => StoreError::DiskFull { path: path.to_owned() },
        Some(ErrorCode::ReadOnly) => StoreError::ReadOnly {
            reason: format!("{} may not be written ({error}): change its permissions", path.display()),
        },
        Some(ErrorCode::NotADatabase) => {
            let reason = "it is not an SQLite database: name another file".to_owned();
            StoreError::NotAStore { path: path.to_owned(), reason }
        }
        _ if is_busy(error) => backend(format!(
            "another process kept it locked for more than {} s: try again when that is done",
            BUSY_TIMEOUT.as_secs()
        )),
        _ => backend(error.to_string()),
    }
}

/// Whether the failure was in reading or writing the file, so that what is on disk is not known.
pub(crate) fn is_io_failure(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::SystemIoFailure)
}

/// The disk is full, or does not work.
#[derive(Debug)]
struct DiskTrouble {
    source: BoxError,
    folder: PathBuf,
}

impl std::fmt::Display for DiskTrouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { source, folder } = self;
        write!(
            f,
            "{source}; if the disk that has {} is full, free some space and try again",
            folder.display()
        )
    }
}

impl std::error::Error for DiskTrouble {}

/// What went wrong with a file, with what to do about it where SQLite leaves that out.
pub(crate) fn with_advice(source: BoxError, path: &Path) -> BoxError {
    match source.downcast_ref::<rusqlite::Error>().and_then(rusqlite::Error::sqlite_error_code) {
        Some(ErrorCode::DiskFull | ErrorCode::SystemIoFailure) => {
            DiskTrouble { source, folder: path.parent().unwrap_or(path).to_owned() }.into()
        }
        _ => source,
    }
}

/// Whether the disk is behind an error. Then what was to be written is not to blame.
pub(crate) fn is_disk_trouble(error: &(dyn std::error::Error + 'static)) -> bool {
    std::iter::successors(Some(error), |error| error.source()).any(|error| error.is::<DiskTrouble>())
}
