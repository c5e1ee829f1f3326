//! The one who writes: frames into the active segment, a barrier behind each, and the durable mark.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use annals_core::catalog::StagedAppend;
use annals_core::{ChainHash, Clock, Position, StoreError, Timestamp};

use crate::format::{
    BuiltFrame, FrameStart, MARK_FILE_BYTES, Mark, SEGMENT_HEADER_BYTES, SegmentHeader, StoreId, build_frame,
};
use crate::index::{Index, Segment};
use crate::recovery::{Places, Recovered};
use crate::storage::{OpenMode, Storage, StorageFile};

/// The first step in which a segment is prewritten with zeros; each later step is twice as large.
const FIRST_STEP_BYTES: u64 = 256 << 10;
const LARGEST_STEP_BYTES: u64 = 8 << 20;

pub(crate) struct Writer {
    storage: Arc<dyn Storage>,
    clock: Arc<dyn Clock>,
    places: Places,
    store: StoreId,
    segment_bytes: u64,
    active: Option<ActiveSegment>,
    hash: [u8; 32],
    head: Position,
    mark: Option<Mark>,
    mark_file: Option<Arc<dyn StorageFile>>,
    /// Why nothing is written any more.
    failed: Option<String>,
}

struct ActiveSegment {
    first_position: Position,
    path: PathBuf,
    file: Arc<dyn StorageFile>,
    /// Where the next frame goes.
    end: u64,
    /// Up to here the file has blocks on disk, so that a barrier flushes data only.
    prewritten: u64,
    step: u64,
}

impl Writer {
    pub(crate) fn new(
        storage: Arc<dyn Storage>,
        clock: Arc<dyn Clock>,
        places: Places,
        segment_bytes: u64,
        found: &Recovered,
    ) -> Self {
        let active = found.index.segments.last().map(|segment| ActiveSegment {
            first_position: segment.first_position,
            path: segment.file.path.clone(),
            file: Arc::clone(&segment.file.file),
            end: segment.end,
            prewritten: segment.file.file.length().unwrap_or(segment.end),
            step: FIRST_STEP_BYTES,
        });
        Self {
            storage,
            clock,
            places,
            store: found.index.store,
            segment_bytes,
            active,
            hash: found.hash,
            head: found.index.catalog.head(),
            mark: found.mark,
            mark_file: None,
            failed: found.damage.as_ref().map(ToString::to_string),
        }
    }

    /// Refuses when a failure before left it unknown what is on disk, or when stored bytes are damaged.
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        match &self.failed {
            Some(reason) => Err(StoreError::ReadOnly { reason: reason.clone() }),
            None => Ok(()),
        }
    }

    /// Writes the appends of a group as one frame, makes it durable, and only then shows it in the index.
    pub(crate) fn commit(
        &mut self,
        index: &RwLock<Index>,
        appends: &[StagedAppend],
        recorded_at: Timestamp,
    ) -> Result<ChainHash, StoreError> {
        self.check()?;
        let start = FrameStart {
            first_position: self.head.next(),
            recorded_at,
            durable_upto: self.head,
            previous_hash: self.hash,
        };
        let frame = build_frame(start, appends, self.store);
        self.roll_if_full(index)?;
        let (offset, length) = self.write(&frame.bytes)?;
        self.show(index, appends, start.first_position, offset, length, &frame);
        Ok(ChainHash { position: self.head, hash: self.hash })
    }

    fn show(
        &mut self,
        index: &RwLock<Index>,
        appends: &[StagedAppend],
        first_position: Position,
        offset: u64,
        length: u64,
        frame: &BuiltFrame,
    ) {
        let mut index = index.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(segment) = index.segments.last_mut() {
            segment.add_frame(offset, length, first_position, &frame.event_offsets);
        }
        for append in appends {
            index.catalog.insert(&append.events);
            if let Some(checkpoint) = &append.checkpoint {
                index.catalog.set_checkpoint(checkpoint);
            }
        }
        self.head = index.catalog.head();
        self.hash = frame.hash;
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(u64, u64), StoreError> {
        let Some(active) = &mut self.active else { return Err(StoreError::Closed) };
        let length = bytes.len() as u64;
        active.make_room(length)?;
        if let Err(error) = active.file.write_all_at(bytes, active.end) {
            // What was written of the frame is not whole, but it must not stand in the way of the next one.
            if let Err(cut) = active.file.set_len(active.end) {
                self.failed =
                    Some(format!("a frame could not be written ({error}) nor removed again ({cut})"));
            }
            active.prewritten = active.end;
            return Err(StoreError::io("write", &active.path, error));
        }
        if let Err(error) = active.file.sync_data() {
            // After a failed barrier the system may have dropped the pages: trying again would prove nothing.
            let reason = format!("the barrier on {} failed: {error}", active.path.display());
            self.failed = Some(format!("{reason}; reopen the store to go on"));
            return Err(StoreError::OutcomeUnknown { reason });
        }
        let offset = active.end;
        active.end += length;
        Ok((offset, length))
    }

    fn roll_if_full(&mut self, index: &RwLock<Index>) -> Result<(), StoreError> {
        if self.active.as_ref().is_some_and(|active| active.end < self.segment_bytes) {
            return Ok(());
        }
        if let Some(active) = &self.active {
            let trimmed = active.file.set_len(active.end).and_then(|()| active.file.sync_data());
            trimmed.map_err(|error| StoreError::io("end the segment", &active.path, error))?;
        }
        let created = self.create_segment()?;
        let mut index = index.write().unwrap_or_else(PoisonError::into_inner);
        let first_position = created.first_position;
        let segment =
            Segment::new(first_position, created.path.clone(), Arc::clone(&created.file), created.end);
        // A segment without a frame, left by a failed attempt, makes way for this one.
        index.segments.retain(|segment| segment.first_position != first_position);
        index.segments.push(segment);
        self.active = Some(created);
        Ok(())
    }

    fn create_segment(&self) -> Result<ActiveSegment, StoreError> {
        let first_position = self.head.next();
        let path = self.places.segment(first_position);
        let failed = |error| StoreError::io("create", &path, error);
        let file = create_or_reuse(&*self.storage, &path).map_err(failed)?;
        let header = SegmentHeader {
            store: self.store,
            first_position,
            created_at: self.clock.now(),
            previous_hash: self.hash,
        };
        let end = SEGMENT_HEADER_BYTES as u64;
        let mut segment = ActiveSegment {
            first_position,
            path: path.clone(),
            file,
            end: 0,
            prewritten: 0,
            step: FIRST_STEP_BYTES,
        };
        segment.make_room(end)?;
        segment.file.write_all_at(&header.encode(), 0).map_err(failed)?;
        segment.file.sync_data().map_err(failed)?;
        self.storage.sync_dir(&self.places.segments()).map_err(failed)?;
        segment.end = end;
        Ok(segment)
    }

    /// Whether something durable is not marked yet.
    pub(crate) fn needs_mark(&self) -> bool {
        let marked = self.mark.map_or(Position::ZERO, |mark| mark.position);
        self.failed.is_none() && self.head > marked
    }

    /// Notes durably how far the log is durable. A failure costs only the proof, not the events.
    pub(crate) fn write_mark(&mut self) -> Result<(), StoreError> {
        let Some(active) = self.active.as_ref().filter(|_| self.failed.is_none()) else { return Ok(()) };
        let mark = Mark {
            sequence: self.mark.map_or(1, |mark| mark.sequence + 1),
            position: self.head,
            segment: active.first_position,
            end: active.end,
            hash: self.hash,
        };
        let path = self.places.mark();
        let failed = |error| StoreError::io("write", &path, error);
        let file = match self.mark_file.take() {
            Some(file) => file,
            None => self.open_mark(&path).map_err(failed)?,
        };
        let (offset, bytes) = mark.encode(self.store);
        file.write_all_at(&bytes, offset).and_then(|()| file.sync_data()).map_err(failed)?;
        self.mark_file = Some(file);
        self.mark = Some(mark);
        Ok(())
    }

    fn open_mark(&self, path: &Path) -> std::io::Result<Arc<dyn StorageFile>> {
        match self.storage.open(path, OpenMode::ReadWrite) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let file = self.storage.open(path, OpenMode::CreateNew)?;
                file.write_all_at(&[0; MARK_FILE_BYTES], 0)?;
                file.sync_data()?;
                self.storage.sync_dir(&self.places.folder)?;
                Ok(file)
            }
            other => other,
        }
    }
}

/// Creates a file, or takes one that an interrupted attempt left.
fn create_or_reuse(storage: &dyn Storage, path: &Path) -> std::io::Result<Arc<dyn StorageFile>> {
    match storage.open(path, OpenMode::CreateNew) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            let file = storage.open(path, OpenMode::ReadWrite)?;
            file.set_len(0)?;
            Ok(file)
        }
        other => other,
    }
}

impl ActiveSegment {
    /// Prewrites zeros so that `length` more bytes have blocks on disk.
    fn make_room(&mut self, length: u64) -> Result<(), StoreError> {
        let needed = self.end + length;
        if needed <= self.prewritten {
            return Ok(());
        }
        let step = (self.end + self.step).max(needed);
        // With little room left, take only what this frame needs.
        let result = self.prewrite(step).or_else(|_| self.prewrite(needed));
        if let Err(error) = result {
            let _ = self.file.set_len(self.prewritten);
            return Err(StoreError::io("extend", &self.path, error));
        }
        self.step = (self.step * 2).min(LARGEST_STEP_BYTES);
        Ok(())
    }

    fn prewrite(&mut self, upto: u64) -> std::io::Result<()> {
        let zeros = vec![0; (upto - self.prewritten).min(1 << 20) as usize];
        let mut at = self.prewritten;
        while at < upto {
            let count = zeros.len().min((upto - at) as usize);
            self.file.write_all_at(&zeros[..count], at)?;
            at += count as u64;
        }
        self.file.sync_data()?;
        self.prewritten = upto;
        Ok(())
    }
}
