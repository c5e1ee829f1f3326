//! The segment files and how records are read from them.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock, PoisonError};

use annals_core::{Damage, Position, StoreError};
use bytes::{Bytes, BytesMut};

use crate::format::{FRAME_HEADER_BYTES, FrameHeader, StoreId, record_length};
use crate::mapping::Mapping;
use crate::storage::StorageFile;
use crate::sync::RwLock;

/// Records of at most this size are read from the mapping of a file that is still written.
const LARGEST_RECORD_IN_MAPPING: usize = 64 << 10;
/// A file that is still written is mapped again once it has so many bytes more.
const MAPPED_AT_ONCE: usize = 4 << 20;
/// A record without what tells its end is read with this many bytes first.
const FIRST_READ_BYTES: usize = 1024;

/// An open segment file.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) first_position: Position,
    pub(crate) path: PathBuf,
    pub(crate) file: Arc<dyn StorageFile>,
    /// The whole file, once it is sealed; `None` within where it cannot be mapped.
    mapping: OnceLock<Option<Mapping>>,
    /// The file as far as it went some time ago, while it is written. Only records that are durable are read from it, and
    /// those are never cut off.
    growing: RwLock<Option<Arc<Mapping>>>,
}

impl Segment {
    pub(crate) fn new(first_position: Position, path: PathBuf, file: Arc<dyn StorageFile>) -> Self {
        Self { first_position, path, file, mapping: OnceLock::new(), growing: RwLock::default() }
    }

    /// From now on the file is not written any more.
    pub(crate) fn seal(&self) {
        // A file that cannot be mapped is read by system calls.
        self.mapping.get_or_init(|| self.file.map().unwrap_or(None));
        *self.growing.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// A mapping of a file that is still written, as far as `offset`; made anew when much was written since.
    fn growing_to(&self, offset: u32) -> Option<Arc<Mapping>> {
        let known = self.growing.read().unwrap_or_else(PoisonError::into_inner).clone();
        let length = known.as_ref().map_or(0, |mapping| mapping.len());
        if length > offset as usize + LARGEST_RECORD_IN_MAPPING {
            return known;
        }
        if (offset as usize) < length + MAPPED_AT_ONCE {
            return None;
        }
        let mapping = self.file.map().ok()??;
        let mapping = Arc::new(mapping);
        *self.growing.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&mapping));
        Some(mapping).filter(|mapping| mapping.len() > offset as usize + LARGEST_RECORD_IN_MAPPING)
    }

    pub(crate) fn is_sealed(&self) -> bool {
        self.mapping.get().is_some()
    }

    pub(crate) fn damaged(&self, offset: u64, position: Position, reason: String) -> StoreError {
        let path = self.path.clone();
        StoreError::Damaged(Damage { path, offset, end: None, first_position: position, reason })
    }

    /// A block that cannot be decompressed is damage; whatever else keeps bytes from being read may pass.
    fn failed(&self, offset: u64, error: std::io::Error) -> StoreError {
        match error.kind() {
            std::io::ErrorKind::InvalidData => self.damaged(offset, self.first_position, error.to_string()),
            _ => StoreError::io("read", &self.path, error),
        }
    }

    /// The error of a disk that could not hand over a page of the mapping.
    pub(crate) fn check_health(&self) -> Result<(), StoreError> {
        match self.mapping.get() {
            Some(Some(mapping)) if mapping.has_failed() => {
                Err(self.failed(0, std::io::Error::other("a page of it could not be read")))
            }
            Some(_) => Ok(()),
            None => {
                let growing = self.growing.read().unwrap_or_else(PoisonError::into_inner);
                match growing.as_ref().filter(|mapping| mapping.has_failed()) {
                    Some(_) => Err(self.failed(0, std::io::Error::other("a page of it could not be read"))),
                    None => Ok(()),
                }
            }
        }
    }

    /// Up to `length` bytes from `offset`; fewer at the end of the file.
    pub(crate) fn read(&self, offset: u64, length: usize) -> Result<Bytes, StoreError> {
        let mut bytes = vec![0; length];
        let count = self.file.read_full_at(&mut bytes, offset).map_err(|error| self.failed(offset, error))?;
        bytes.truncate(count);
        Ok(bytes.into())
    }

    /// Up to `length` bytes from `offset`, by the quickest way, in `memory`; fewer at the end of the file.
    pub(crate) fn read_copy(
        &self,
        offset: u64,
        length: usize,
        mut memory: BytesMut,
    ) -> Result<Bytes, StoreError> {
        let Some(Some(mapping)) = self.mapping.get() else {
            memory.resize(length, 0);
            let count =
                self.file.read_full_at(&mut memory, offset).map_err(|error| self.failed(offset, error))?;
            memory.truncate(count);
            return Ok(memory.freeze());
        };
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(mapping.len());
        let end = start.saturating_add(length).min(mapping.len());
        memory.extend_from_slice(mapping.get(start..end).unwrap_or_default());
        self.check_health()?;
        Ok(memory.freeze())
    }

    /// Adds the bytes of the record at `offset` to `out`. `end` is where it ends at the latest, where that is known.
    pub(crate) fn read_record(
        &self,
        offset: u32,
        end: Option<u32>,
        out: &mut Vec<u8>,
    ) -> Result<(), StoreError> {
        let start = out.len();
        let at = u64::from(offset);
        if let Some(Some(mapping)) = self.mapping.get() {
            let rest = mapping.get(offset as usize..).unwrap_or_default();
            let length = record_length(rest).unwrap_or(0);
            // Whatever the length says, the checksum decides; the copy is what is checked.
            out.extend_from_slice(rest.get(..length).unwrap_or_default());
            return Ok(());
        }
        if let Some(mapping) = self.growing_to(offset) {
            let rest = mapping.get(offset as usize..).unwrap_or_default();
            let length = record_length(rest).unwrap_or(0);
            if length <= LARGEST_RECORD_IN_MAPPING {
                out.extend_from_slice(rest.get(..length).unwrap_or_default());
                return Ok(());
            }
        }
        let first = end.map_or(FIRST_READ_BYTES, |end| end.saturating_sub(offset) as usize);
        out.resize(start + first, 0);
        let buffer = out.get_mut(start..).unwrap_or_default();
        let mut count = self.file.read_full_at(buffer, at).map_err(|error| self.failed(at, error))?;
        let length = record_length(buffer.get(..count).unwrap_or_default()).unwrap_or(0);
        if length > count && end.is_none() {
            let length = length.min(annals_core::MAX_APPEND_BYTES * 2);
            out.resize(start + length, 0);
            let rest = out.get_mut(start + count..).unwrap_or_default();
            count +=
                self.file.read_full_at(rest, at + count as u64).map_err(|error| self.failed(at, error))?;
        }
        out.truncate(start + count.min(length));
        Ok(())
    }

    /// The header of the frame at `offset`.
    pub(crate) fn frame_header(&self, offset: u32, store: StoreId) -> Result<FrameHeader, StoreError> {
        let bytes = self.read(u64::from(offset), FRAME_HEADER_BYTES)?;
        FrameHeader::decode(&bytes, store)
            .map_err(|reason| self.damaged(u64::from(offset), self.first_position, reason))
    }

    /// The frame at `offset`: its header and records.
    pub(crate) fn frame(&self, offset: u32, store: StoreId) -> Result<(FrameHeader, Bytes), StoreError> {
        let header = self.frame_header(offset, store)?;
        let start = u64::from(offset) + FRAME_HEADER_BYTES as u64;
        let records = self.read(start, header.length as usize)?;
        Ok((header, records))
    }
}

/// All segments, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Segments(RwLock<Arc<Vec<Arc<Segment>>>>);

impl Segments {
    pub(crate) fn new(segments: Vec<Arc<Segment>>) -> Self {
        Self(RwLock::new(Arc::new(segments)))
    }

    /// The segments as they are now.
    pub(crate) fn all(&self) -> Arc<Vec<Arc<Segment>>> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes other segments in the place of all.
    pub(crate) fn replace(&self, segments: Vec<Arc<Segment>>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(segments);
    }

    /// Adds a segment, in the place of one that begins at the same position.
    pub(crate) fn put(&self, segment: Arc<Segment>) {
        let mut segments = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let mut changed: Vec<_> = segments.iter().cloned().collect();
        match changed.binary_search_by_key(&segment.first_position, |known| known.first_position) {
            Ok(index) => changed[index] = segment,
            Err(index) => changed.insert(index, segment),
        }
        *segments = Arc::new(changed);
    }
}

/// The segment that holds an event, among segments in order.
pub(crate) fn segment_of(segments: &[Arc<Segment>], position: Position) -> Option<&Arc<Segment>> {
    let index = segments.partition_point(|segment| segment.first_position <= position).checked_sub(1)?;
    segments.get(index)
}
