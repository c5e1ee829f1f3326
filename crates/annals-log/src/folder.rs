//! The folder of a store: told apart from anything else before a byte is written.

use std::path::Path;

use annals_core::StoreError;

use crate::format::{FORMAT_VERSION, StoreId};
use crate::lock::not_writable;
use crate::places::Places;
use crate::planted::{Mistakes, Planted};
use crate::storage::{OpenMode, Storage};

/// The file that says that this folder is a log, of which format, and which store: see [`text`].
const FORMAT_FILE: &str = "format";
const UNFINISHED_FORMAT_FILE: &str = "format.new";
const NAMES: [&str; 9] = [
    FORMAT_FILE,
    UNFINISHED_FORMAT_FILE,
    "lock",
    "mark",
    "watermark",
    "segments",
    "index",
    "quarantine",
    "read-models",
];
const LARGEST_FORMAT_FILE_BYTES: usize = 256;

/// The line of the file `format`: name, version, id, and a checksum of these, without which a flipped bit of the id would
/// make all segments look like those of another store.
pub(crate) fn text(id: StoreId) -> String {
    let checked = format!("annals-log {FORMAT_VERSION} {id} ");
    format!("{checked}{:08x}\n", crc32c::crc32c(checked.as_bytes()))
}

/// Looks at a folder without changing anything: the store in it, or `None` where one can be made.
pub(crate) fn inspect(storage: &dyn Storage, folder: &Path) -> Result<Option<StoreId>, StoreError> {
    let path = folder.join(FORMAT_FILE);
    let file = match storage.open(&path, OpenMode::Read) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return no_store_yet(storage, folder),
        Err(error) if error.kind() == std::io::ErrorKind::NotADirectory => {
            let reason = "it is a file, expected a folder or a place where one can be made".to_owned();
            return Err(StoreError::NotAStore { path: folder.to_owned(), reason });
        }
        Err(error) => return Err(StoreError::io("open", path, error)),
    };
    let mut bytes = [0; LARGEST_FORMAT_FILE_BYTES];
    let count = file.read_full_at(&mut bytes, 0).map_err(|error| StoreError::io("read", &path, error))?;
    parse(folder, &bytes[..count]).map(Some)
}

fn parse(folder: &Path, bytes: &[u8]) -> Result<StoreId, StoreError> {
    let foreign = || StoreError::NotAStore {
        path: folder.to_owned(),
        reason: format!(
            "its file {FORMAT_FILE:?} does not say \"annals-log VERSION ID CHECKSUM\": choose another folder"
        ),
    };
    let text = std::str::from_utf8(bytes).map_err(|_| foreign())?;
    let mut words = text.split_ascii_whitespace();
    let version = words.next().filter(|word| *word == "annals-log").and_then(|_| words.next());
    let found: u32 = version.and_then(|version| version.parse().ok()).ok_or_else(foreign)?;
    if found > FORMAT_VERSION {
        return Err(StoreError::NewerFormat { path: folder.to_owned(), found, supported: FORMAT_VERSION });
    }
    if found < FORMAT_VERSION {
        let reason = format!(
            "it has format version {found} of an early build, expected {FORMAT_VERSION}: export its events with that \
             build and import them into a new store"
        );
        return Err(StoreError::NotAStore { path: folder.to_owned(), reason });
    }
    let id = words.next().filter(|id| id.len() == 32).and_then(|id| u128::from_str_radix(id, 16).ok());
    let id = StoreId(id.ok_or_else(foreign)?.to_be_bytes());
    let expected = self::text(id);
    if text != expected {
        let (found, expected) = (text.trim_end(), expected.trim_end());
        let reason = format!(
            "its file {FORMAT_FILE:?} is damaged: it says {found:?}, but with that id it would say {expected:?}: restore \
             the file from a copy"
        );
        return Err(StoreError::NotAStore { path: folder.to_owned(), reason });
    }
    Ok(id)
}

fn no_store_yet(storage: &dyn Storage, folder: &Path) -> Result<Option<StoreId>, StoreError> {
    let names = match storage.list(folder) {
        Ok(names) => names,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StoreError::io("list", folder, error)),
    };
    let not_a_store = |reason: String| StoreError::NotAStore { path: folder.to_owned(), reason };
    if let Some(name) = names.iter().find(|name| !NAMES.contains(&name.as_str())) {
        let reason =
            format!("it holds {name:?} but no file {FORMAT_FILE:?}: choose an empty folder or a new one");
        return Err(not_a_store(reason));
    }
    let segments = folder.join("segments");
    let has_events = names.iter().any(|name| name == "segments")
        && storage
            .list(&segments)
            .map_err(|error| StoreError::io("list", &segments, error))?
            .iter()
            .any(|_| true);
    if has_events {
        let reason = format!(
            "it holds segments but its file {FORMAT_FILE:?} is missing: restore that file from a copy"
        );
        return Err(not_a_store(reason));
    }
    Ok(None)
}

/// Makes the folder of a new store, or finishes one whose making was interrupted.
pub(crate) fn create(
    storage: &dyn Storage,
    places: &Places,
    mistakes: Mistakes,
) -> Result<StoreId, StoreError> {
    let folder = &places.folder;
    let id = fresh_id()?;
    storage.create_dir_all(&places.segments()).map_err(|error| not_writable(folder, error))?;
    // The folder of segments is durable before the file that says that there is a store.
    sync_folders(storage, folder)?;
    let unfinished = folder.join(UNFINISHED_FORMAT_FILE);
    let failed = |error| StoreError::io("write", &unfinished, error);
    let opened = match storage.open(&unfinished, OpenMode::CreateNew) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            storage.open(&unfinished, OpenMode::ReadWrite)
        }
        other => other,
    };
    let file = opened.map_err(failed)?;
    file.set_len(0).and_then(|()| file.write_all_at(text(id).as_bytes(), 0)).map_err(failed)?;
    if !mistakes.make(Planted::SkipFormatBarrier) {
        file.sync_data().map_err(failed)?;
    }
    storage.rename(&unfinished, &folder.join(FORMAT_FILE)).map_err(failed)?;
    storage.sync_dir(folder).map_err(failed)?;
    Ok(id)
}

/// What is in the folder, and the folders above it, which a process that was killed may have made without making their
/// names durable.
fn sync_folders(storage: &dyn Storage, folder: &Path) -> Result<(), StoreError> {
    for above in folder.ancestors() {
        let above = if above.as_os_str().is_empty() { Path::new(".") } else { above };
        match storage.sync_dir(above) {
            // Who may not look into a folder did not make one in it either.
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => break,
            synced => synced.map_err(|error| StoreError::io("sync", above, error))?,
        }
    }
    Ok(())
}

fn fresh_id() -> Result<StoreId, StoreError> {
    let mut id = [0; 16];
    getrandom::fill(&mut id).map_err(|error| StoreError::backend("cannot make a store id", error))?;
    Ok(StoreId(id))
}
