//! What went wrong in SQLite, as the errors of the contract.

use std::path::Path;

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
            Self::Row(reason) => {
                StoreError::Backend { operation, source: format!("{}: {reason}", path.display()).into() }
            }
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
    let backend = |reason: String| StoreError::Backend {
        operation,
        source: format!("{}: {reason}", path.display()).into(),
    };
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

/// What went wrong, with what to do about it where SQLite leaves that out.
pub(crate) fn with_advice(source: BoxError) -> BoxError {
    match source.downcast_ref::<rusqlite::Error>().and_then(rusqlite::Error::sqlite_error_code) {
        Some(ErrorCode::DiskFull | ErrorCode::SystemIoFailure) => {
            format!("{source}; if the disk is full, free some space and try again").into()
        }
        _ => source,
    }
}
