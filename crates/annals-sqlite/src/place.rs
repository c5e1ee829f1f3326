//! Looks at what is at a path before anything there is touched.

use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use annals_core::StoreError;
use rusqlite::{Connection, OpenFlags, OptionalExtension};

use crate::failure::store_error;
use crate::schema::{FORMAT, META};

/// What is at the path of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    /// Nothing, or a database without tables: a new store may be made there.
    Nothing,
    /// A store that this program can open.
    Store,
}

/// Tells what is at `path`, changing nothing.
///
/// # Errors
/// [`StoreError::NotAStore`], [`StoreError::NewerFormat`], [`StoreError::ReadOnly`] or [`StoreError::Io`], each naming
/// what was found.
pub(crate) fn look(path: &Path) -> Result<Found, StoreError> {
    let not_a_store =
        |reason: &str| StoreError::NotAStore { path: path.to_owned(), reason: reason.to_owned() };
    let metadata = match std::fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == ErrorKind::NotFound => return parent_of(path).map(|()| Found::Nothing),
        Err(error) => return Err(StoreError::io("look at", path, error)),
    };
    if metadata.is_dir() {
        return Err(not_a_store("it is a folder, expected a file: name a file in it"));
    }
    if metadata.permissions().readonly() {
        let reason = format!("the file {} may not be written: change its permissions", path.display());
        return Err(StoreError::ReadOnly { reason });
    }
    if metadata.len() == 0 {
        return Ok(Found::Nothing);
    }
    // Read through SQLite alone: closing any other handle of the file would drop the locks that this process has on it.
    let connection =
        open_to_look(path).map_err(|error| store_error(path, "cannot look at the database", &error))?;
    identify(path, &connection)
}

/// Tells what a database holds, by its tables.
pub(crate) fn identify(path: &Path, connection: &Connection) -> Result<Found, StoreError> {
    let failed = |error| store_error(path, "cannot look at the database", &error);
    let not_a_store = |reason: String| StoreError::NotAStore { path: path.to_owned(), reason };
    let sql = "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name = ?1 DESC, name LIMIT 1";
    let table =
        connection.query_row(sql, [META], |row| row.get::<_, String>(0)).optional().map_err(failed)?;
    match table.as_deref() {
        None => return Ok(Found::Nothing),
        Some(META) => {}
        Some("annals_checkpoint") => {
            return Err(not_a_store("it is a read model of Annals, not a store of events".to_owned()));
        }
        Some(other) => {
            let reason = format!(
                "it is an SQLite database of another kind: it has a table {other:?} but no {META:?}; name another file"
            );
            return Err(not_a_store(reason));
        }
    }
    let format =
        connection.query_row("SELECT value FROM annals_meta WHERE key = 'format'", [], |row| row.get(0));
    let format: Option<String> = format.optional().map_err(failed)?;
    let known = format.as_deref().and_then(|text| text.parse::<u32>().ok()).filter(|found| *found > 0);
    match known {
        Some(found) if found > FORMAT => {
            Err(StoreError::NewerFormat { path: path.to_owned(), found, supported: FORMAT })
        }
        Some(FORMAT) => Ok(Found::Store),
        Some(found) => Err(not_a_store(format!(
            "it has format {found} of an early build, expected {FORMAT}: export its events with that build and import \
             them into a new store"
        ))),
        None => Err(not_a_store(format!(
            "its table {META:?} gives the format {:?}, expected a number from 1",
            format.unwrap_or_default()
        ))),
    }
}

fn parent_of(path: &Path) -> Result<(), StoreError> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    if parent.is_dir() {
        return Ok(());
    }
    let missing = std::io::Error::new(ErrorKind::NotFound, "there is no such folder: create it first");
    Err(StoreError::io("make a store in", parent, missing))
}

/// Opens for reading in a way that leaves no file beside the database where there was none.
fn open_to_look(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = match path.to_str() {
        // Without a log beside it, the file alone is the whole database, and nothing is lost by ignoring logs.
        Some(text) if cfg!(unix) && !beside(path, "-wal").exists() => {
            let address = format!("file:{}?immutable=1", percent_encoded(text));
            Connection::open_with_flags(address, flags | OpenFlags::SQLITE_OPEN_URI)?
        }
        _ => Connection::open_with_flags(path, flags)?,
    };
    connection.busy_timeout(crate::connection::BUSY_TIMEOUT)?;
    Ok(connection)
}

fn percent_encoded(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' | b'~' => {
                out.push(char::from(byte));
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// The path of a file that SQLite keeps beside a database.
pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path.as_os_str());
    name.push(suffix);
    PathBuf::from(name)
}

/// Makes the names in the folder of `path` as durable as their files.
pub(crate) fn sync_folder_of(path: &Path) -> std::io::Result<()> {
    if cfg!(unix) {
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        std::fs::File::open(parent.unwrap_or(Path::new(".")))?.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looking_at_a_database_leaves_nothing_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a %20?#b.db");
        let connection = Connection::open(&path).unwrap();
        connection.execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE t (x)").unwrap();
        drop(connection);
        let before = std::fs::read(&path).unwrap();
        assert!(look(&path).unwrap_err().to_string().contains("\"t\""));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        assert_eq!(std::fs::read(&path).unwrap(), before);
    }
}
