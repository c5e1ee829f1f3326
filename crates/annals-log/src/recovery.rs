//! Opening a folder: what is there, what can be trusted, and what becomes of a tail that nobody was promised.
//!
//! A frame that cannot be read is *damage* when something proves that it had been durable: a later frame (it was
//! written only after the barrier of those before it), a later segment, or the durable mark. The log then opens
//! read-only and nothing is touched. Otherwise it is a tail whose append was never acknowledged: its bytes are copied
//! to the quarantine folder, and then cut off.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use annals_core::{Clock, Damage, Position, StoreError};

use crate::format::{MARK_FILE_BYTES, Mark, SEGMENT_HEADER_BYTES, SegmentHeader, StoreId};
use crate::index::{Index, Segment};
use crate::scan::{Found, Scanner, proves_durable};
use crate::storage::{OpenMode, Storage, StorageFile};

pub(crate) const SEGMENT_SUFFIX: &str = ".segment";

/// The places within the folder of a store.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    pub(crate) folder: PathBuf,
}

impl Places {
    pub(crate) fn segments(&self) -> PathBuf {
        self.folder.join("segments")
    }

    pub(crate) fn segment(&self, first_position: Position) -> PathBuf {
        self.segments().join(format!("{:020}{SEGMENT_SUFFIX}", first_position.get()))
    }

    pub(crate) fn mark(&self) -> PathBuf {
        self.folder.join("mark")
    }

    pub(crate) fn quarantine(&self) -> PathBuf {
        self.folder.join("quarantine")
    }
}

/// A log as it was found.
pub(crate) struct Recovered {
    pub(crate) index: Index,
    /// The chain's hash at the end.
    pub(crate) hash: [u8; 32],
    pub(crate) mark: Option<Mark>,
    /// What keeps the log from being written, if anything does.
    pub(crate) damage: Option<Damage>,
    /// What a person should know.
    pub(crate) notices: Vec<String>,
}

pub(crate) struct Recovery<'a> {
    storage: &'a dyn Storage,
    clock: &'a dyn Clock,
    places: &'a Places,
    store: StoreId,
    found: Recovered,
}

impl<'a> Recovery<'a> {
    pub(crate) fn run(
        storage: &'a dyn Storage,
        clock: &'a dyn Clock,
        places: &'a Places,
        store: StoreId,
    ) -> Result<Recovered, StoreError> {
        let index = Index { store, catalog: Default::default(), segments: Vec::new() };
        let found = Recovered { index, hash: [0; 32], mark: None, damage: None, notices: Vec::new() };
        let mut recovery = Self { storage, clock, places, store, found };
        recovery.read_mark()?;
        recovery.read_segments()?;
        Ok(recovery.found)
    }

    fn read_mark(&mut self) -> Result<(), StoreError> {
        let path = self.places.mark();
        let file = match self.storage.open(&path, OpenMode::Read) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(StoreError::io("open", path, error)),
        };
        let mut bytes = vec![0; MARK_FILE_BYTES];
        let count = file.read_at(&mut bytes, 0).map_err(|error| StoreError::io("read", &path, error))?;
        self.found.mark = Mark::newest(&bytes[..count], self.store);
        if self.found.mark.is_none() && bytes.iter().any(|byte| *byte != 0) {
            let notice = format!(
                "the durable mark in {} cannot be read; it is written again, but a loss at the end of the log \
                 could not have been noticed this time",
                path.display()
            );
            self.found.notices.push(notice);
        }
        Ok(())
    }

    fn read_segments(&mut self) -> Result<(), StoreError> {
        let folder = self.places.segments();
        let names = match self.storage.list(&folder) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let reason = "its folder \"segments\" is missing: restore it from a copy".to_owned();
                return Err(StoreError::NotAStore { path: self.places.folder.clone(), reason });
            }
            listed => listed.map_err(|error| StoreError::io("list", &folder, error))?,
        };
        let names: Vec<_> = names.into_iter().filter(|name| name.ends_with(SEGMENT_SUFFIX)).collect();
        for (index, name) in names.iter().enumerate() {
            self.read_segment(&folder.join(name), index + 1 == names.len())?;
            if self.found.damage.is_some() {
                return Ok(());
            }
        }
        let head = self.head();
        if let Some(mark) = self.found.mark.filter(|mark| mark.position > head) {
            let reason = format!("events up to position {} were durable, found only {head}", mark.position);
            let last = self.found.index.segments.last();
            let (path, offset) =
                last.map_or_else(|| (folder, 0), |segment| (segment.file.path.clone(), segment.end));
            self.damaged(&path, offset, reason);
        }
        Ok(())
    }

    fn head(&self) -> Position {
        self.found.index.catalog.head()
    }

    fn damaged(&mut self, path: &Path, offset: u64, reason: String) {
        let first_position = self.head().next();
        self.found.damage = Some(Damage { path: path.to_owned(), offset, end: None, first_position, reason });
    }

    fn read_segment(&mut self, path: &Path, is_last: bool) -> Result<(), StoreError> {
        let failed = |operation| move |error| StoreError::io(operation, path, error);
        let file = self.storage.open(path, OpenMode::ReadWrite).map_err(failed("open"))?;
        let mut scanner = Scanner::new(Arc::clone(&file), self.store).map_err(failed("read"))?;
        let header = scanner.bytes(0, SEGMENT_HEADER_BYTES).map_err(failed("read"))?;
        let header = SegmentHeader::decode(&header, self.store).and_then(|header| self.follows(&header));
        if let Err(reason) = header {
            return self.end_here(path, &*file, &mut scanner, 0, is_last, reason);
        }
        let start = SEGMENT_HEADER_BYTES as u64;
        let first_position = self.head().next();
        self.found.index.segments.push(Segment::new(
            first_position,
            path.to_owned(),
            Arc::clone(&file),
            start,
        ));
        let mut offset = start;
        loop {
            let reason = match scanner.frame_at(offset).map_err(failed("read"))? {
                Found::Frame(frame, _) => {
                    let start = &frame.header.start;
                    if start.first_position == self.head().next() && start.previous_hash == self.found.hash {
                        let length = (crate::format::FRAME_HEADER_BYTES as u32 + frame.header.length).into();
                        self.found.hash = frame.header.hash;
                        if let Some(segment) = self.found.index.segments.last_mut() {
                            segment.add_frame(offset, length, start.first_position, &frame.event_offsets);
                        }
                        self.found.index.add_events(&frame.appends, &frame.checkpoints);
                        offset += length;
                        continue;
                    }
                    let (found, expected) = (start.first_position, self.head().next());
                    format!(
                        "a frame of position {found} stands here, expected {expected} and the chain's hash"
                    )
                }
                Found::End if scanner.end_of_content(offset).map_err(failed("read"))? == offset => {
                    if is_last {
                        // A whole frame may be here that no barrier covered: it is shown from now on, so it is kept.
                        return file.sync_data().map_err(failed("sync"));
                    }
                    return Ok(());
                }
                Found::End => "zeros stand where a frame should be".to_owned(),
                Found::Bad(reason) => reason,
            };
            return self.end_here(path, &*file, &mut scanner, offset, is_last, reason);
        }
    }

    /// Whether a segment with this header continues what was read so far.
    fn follows(&self, header: &SegmentHeader) -> Result<(), String> {
        let expected = self.head().next();
        if header.first_position == expected && header.previous_hash == self.found.hash {
            return Ok(());
        }
        Err(format!(
            "the segment begins at position {}, expected {expected} and the chain's hash",
            header.first_position
        ))
    }

    /// Decides between damage and a tail that nobody was promised, and sets the latter aside.
    fn end_here(
        &mut self,
        path: &Path,
        file: &dyn StorageFile,
        scanner: &mut Scanner,
        offset: u64,
        is_last: bool,
        reason: String,
    ) -> Result<(), StoreError> {
        let failed = |operation| move |error| StoreError::io(operation, path, error);
        let first_lost = self.head().next();
        let marked = self.found.mark.is_some_and(|mark| mark.position >= first_lost);
        let mut later = scanner.next_header(offset + 1).map_err(failed("read"))?;
        while let Some((at, header)) = later.filter(|(_, header)| !proves_durable(header, first_lost)) {
            let _ = header;
            later = scanner.next_header(at + 1).map_err(failed("read"))?;
        }
        if !is_last || marked || later.is_some() {
            self.damaged(path, offset, reason);
            if let (Some(damage), Some((at, _))) = (&mut self.found.damage, later) {
                damage.end = Some(at);
            }
            return Ok(());
        }
        let end = scanner.end_of_content(offset).map_err(failed("read"))?;
        self.quarantine(path, scanner, offset, end, &reason)?;
        file.set_len(offset).and_then(|()| file.sync_data()).map_err(failed("cut"))
    }

    fn quarantine(
        &mut self,
        path: &Path,
        scanner: &mut Scanner,
        offset: u64,
        end: u64,
        reason: &str,
    ) -> Result<(), StoreError> {
        if end <= offset {
            return Ok(());
        }
        let folder = self.places.quarantine();
        self.storage.create_dir_all(&folder).map_err(|error| StoreError::io("create", &folder, error))?;
        let now = self.clock.now().as_micros();
        let target = folder.join(format!("after-{:020}-at-{offset}-{now}.bytes", self.head().get()));
        let failed = |error| StoreError::io("write", &target, error);
        let copy = self.storage.open(&target, OpenMode::CreateNew).map_err(failed)?;
        let mut at = offset;
        while at < end {
            let length = (end - at).min(1 << 20) as usize;
            let bytes = scanner.bytes(at, length).map_err(|error| StoreError::io("read", path, error))?;
            copy.write_all_at(&bytes, at - offset).map_err(failed)?;
            at += bytes.len().max(1) as u64;
        }
        copy.sync_data().and_then(|()| self.storage.sync_dir(&folder)).map_err(failed)?;
        self.found.notices.push(format!(
            "{} bytes behind position {} were never acknowledged and were moved to {} ({reason})",
            end - offset,
            self.head(),
            target.display()
        ));
        Ok(())
    }
}
