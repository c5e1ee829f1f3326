//! What is done with the files of a read model's database.

use std::io::ErrorKind;
use std::path::Path;

use annals_core::{Clock, SystemClock};

use crate::place::beside;

/// What the files of databases end with.
pub(crate) const EXTENSION: &str = "sqlite";

/// What SQLite may keep beside a database.
const BESIDE: [&str; 3] = ["-journal", "-wal", "-shm"];

/// Removes a database that nobody needs any more, with what is beside it.
pub(crate) fn remove_database(path: &Path) -> std::io::Result<()> {
    remove(path)?;
    remove_beside(path)
}

/// Removes what may be left beside a database that is not there.
pub(crate) fn remove_beside(path: &Path) -> std::io::Result<()> {
    BESIDE.into_iter().try_for_each(|suffix| remove(&beside(path, suffix)))
}

/// Sets a damaged database aside, for people to look at, so that an empty one can begin in its place.
pub(crate) fn set_aside(path: &Path) -> std::io::Result<()> {
    let micros = SystemClock.now().as_micros();
    // Before its log goes: a log that a crash leaves beside no database, SQLite throws away.
    std::fs::rename(path, beside(path, &format!(".damaged-{micros}")))?;
    remove_beside(path)
}

fn remove(path: &Path) -> std::io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
