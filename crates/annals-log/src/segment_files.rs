//! The segment files of a folder, opened.

use std::path::PathBuf;
use std::sync::Arc;

use annals_core::{Position, StoreError};

use crate::blocks::BlockFile;
use crate::format::{SEGMENT_HEADER_BYTES, SegmentContent, SegmentHeader, StoreId};
use crate::places::{Places, SEGMENT_SUFFIX};
use crate::storage::{OpenMode, Storage, StorageFile};

/// A segment file that was opened.
pub(crate) struct SegmentFile {
    pub(crate) first_position: Position,
    pub(crate) path: PathBuf,
    pub(crate) file: Arc<dyn StorageFile>,
    pub(crate) header: Result<SegmentHeader, Unusable>,
}

/// Why bytes of a segment cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Unusable {
    /// They are not whole: a power cut may have come while they were written.
    Torn(String),
    /// They are whole, but not what must stand there: that is not what a power cut leaves.
    Wrong(String),
}

impl Unusable {
    pub(crate) fn reason(&self) -> &str {
        match self {
            Self::Torn(reason) | Self::Wrong(reason) => reason,
        }
    }
}

impl std::fmt::Display for Unusable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.reason())
    }
}

/// Opens all segment files, oldest first, and reads their headers.
pub(crate) fn open_segments(
    storage: &dyn Storage,
    places: &Places,
    store: StoreId,
) -> Result<Vec<SegmentFile>, StoreError> {
    let folder = places.segments();
    let names = match storage.list(&folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let reason = "its folder \"segments\" is missing: restore it from a copy".to_owned();
            return Err(StoreError::NotAStore { path: places.folder.clone(), reason });
        }
        listed => listed.map_err(|error| StoreError::io("list", &folder, error))?,
    };
    let stems = names.iter().filter_map(|name| name.strip_suffix(SEGMENT_SUFFIX).map(|stem| (name, stem)));
    stems.map(|(name, stem)| open_segment(storage, folder.join(name), stem, store)).collect()
}

fn open_segment(
    storage: &dyn Storage,
    path: PathBuf,
    stem: &str,
    store: StoreId,
) -> Result<SegmentFile, StoreError> {
    let failed = |operation| {
        let path = &path;
        move |error| StoreError::io(operation, path, error)
    };
    let file = match storage.open(&path, OpenMode::ReadWrite) {
        // Who may only read can still look.
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            storage.open(&path, OpenMode::Read)
        }
        opened => opened,
    };
    let file = file.map_err(failed("open"))?;
    let mut bytes = [0; SEGMENT_HEADER_BYTES];
    let count = file.read_full_at(&mut bytes, 0).map_err(failed("read"))?;
    let header = read_header(&bytes[..count], stem, store);
    // Compressed segments are read as if they were not.
    let (header, file) = match header {
        Ok(header) if header.content == SegmentContent::Blocks => match BlockFile::open(Arc::clone(&file)) {
            Ok(blocks) => (Ok(header), blocks),
            Err(error) if error.kind() == std::io::ErrorKind::InvalidData => {
                (Err(Unusable::Wrong(error.to_string())), file)
            }
            Err(error) => return Err(failed("read")(error)),
        },
        header => (header, file),
    };
    Ok(SegmentFile { first_position: stem.parse().unwrap_or_default(), path, file, header })
}

fn read_header(bytes: &[u8], stem: &str, store: StoreId) -> Result<SegmentHeader, Unusable> {
    let header = SegmentHeader::decode(bytes, store).map_err(|reason| {
        match SegmentHeader::store_of_whole(bytes) {
            None => Unusable::Torn(reason),
            Some(known) if known == store => Unusable::Wrong(reason),
            // Either this file or the one that names the store is not what it was.
            Some(other) => {
                Unusable::Wrong(format!("the segment belongs to the store {other}, expected {store}"))
            }
        }
    })?;
    if format!("{:020}", header.first_position.get()) != stem {
        return Err(Unusable::Wrong(format!(
            "the segment begins at position {}, not as its name says",
            header.first_position
        )));
    }
    Ok(header)
}
