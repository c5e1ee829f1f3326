//! The one who writes: frames into the active segment, a barrier behind each, and the durable mark.

use std::path::Path;
use std::sync::{Arc, Mutex};

use annals_core::{ChainHash, Clock, Position, StoreError, Timestamp};

use crate::format::{
    BuiltFrame, FrameBuilder, FrameStart, MARK_MAGIC, Mark, SEGMENT_HEADER_BYTES, SegmentContent,
    SegmentHeader, WATERMARK_MAGIC,
};
use crate::marks::MarkFile;
use crate::options::LogOptions;
use crate::places::Places;
use crate::planted::{Mistakes, Planted};
use crate::recovery::Recovered;
use crate::run::{FramePlace, Resume};
use crate::segments::Segment;
use crate::storage::{OpenMode, Storage, StorageFile};
use crate::ticket::lock;
use crate::view::LogIndex;

/// Segments are prewritten in steps that double up to this size.
const LARGEST_STEP_BYTES: u64 = 8 << 20;

/// A frame of this size pays for the file's growth itself: writing everything twice would cost more than it saves.
const LARGE_FRAME_BYTES: u64 = 128 << 10;

pub(crate) struct Writer {
    storage: Arc<dyn Storage>,
    clock: Arc<dyn Clock>,
    places: Places,
    index: Arc<LogIndex>,
    segment_bytes: u64,
    first_step_bytes: u64,
    mistakes: Mistakes,
    active: Option<ActiveSegment>,
    hash: [u8; 32],
    head: Position,
    last_recorded_at: Timestamp,
    /// The mark as it was written last.
    mark: Option<Mark>,
    mark_file: MarkFile,
    watermark_file: MarkFile,
    watermark_sequence: u64,
    /// Memory of a frame that was written, for the next.
    spare: Arc<Mutex<Vec<u8>>>,
    /// Why nothing is written any more.
    failed: Option<String>,
}

/// A frame that is durable.
pub(crate) struct Written<'a> {
    pub(crate) place: FramePlace,
    pub(crate) event_offsets: &'a [u32],
    pub(crate) frame_bytes: u64,
    /// Whether it is the first of its segment.
    pub(crate) begins_segment: bool,
    pub(crate) head: Position,
}

struct ActiveSegment {
    segment: Arc<Segment>,
    /// Where the next frame goes.
    end: u64,
    /// Up to here the file has blocks on disk, so that a barrier flushes data only.
    prewritten: u64,
    step: u64,
}

impl Writer {
    pub(crate) fn new(
        options: &LogOptions,
        places: Places,
        index: Arc<LogIndex>,
        found: &Recovered,
        spare: Arc<Mutex<Vec<u8>>>,
    ) -> Self {
        let store = index.store;
        let active = found.active.as_ref().map(|(segment, end)| ActiveSegment {
            segment: Arc::clone(segment),
            end: *end,
            prewritten: segment.file.length().unwrap_or(*end),
            step: options.prewrite_bytes,
        });
        Self {
            storage: Arc::clone(&options.storage),
            clock: Arc::clone(&options.clock),
            mark_file: MarkFile::new(places.mark(), MARK_MAGIC, store),
            watermark_file: MarkFile::new(places.watermark(), WATERMARK_MAGIC, store),
            watermark_sequence: found.watermark_sequence,
            places,
            head: index.head.get(),
            index,
            segment_bytes: options.segment_bytes,
            first_step_bytes: options.prewrite_bytes,
            mistakes: Mistakes::of(options),
            active,
            hash: found.hash,
            last_recorded_at: found.last_recorded_at,
            mark: found.mark,
            spare,
            failed: found.damage.as_ref().map(ToString::to_string),
        }
    }

    /// The last durable position.
    pub(crate) fn head(&self) -> Position {
        self.head
    }

    /// Refuses when a failure before left it unknown what is on disk, or when stored bytes are damaged.
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        match &self.failed {
            Some(reason) => Err(StoreError::ReadOnly { reason: reason.clone() }),
            None => Ok(()),
        }
    }

    /// Where the log goes on.
    pub(crate) fn resume(&self) -> Option<Resume> {
        let active = self.active.as_ref()?;
        Some(Resume {
            segment: active.segment.first_position,
            offset: active.end,
            hash: self.hash,
            recorded_at: self.last_recorded_at,
        })
    }

    /// Writes a frame, makes it durable, and has it shown.
    pub(crate) fn commit(
        &mut self,
        frame: FrameBuilder,
        recorded_at: Timestamp,
        base: Position,
        show: impl FnOnce(Written<'_>),
    ) -> Result<ChainHash, StoreError> {
        self.check()?;
        assert_eq!(base, self.head, "a frame follows the one before it");
        let start = FrameStart {
            first_position: self.head.next(),
            recorded_at,
            durable_upto: self.head,
            previous_hash: self.hash,
        };
        let mut frame = frame;
        let event_offsets = std::mem::take(&mut frame.event_offsets);
        let BuiltFrame { bytes, hash } = frame.finish(start, event_offsets.len() as u32, self.index.store);
        let begins_segment = self.roll_if_full()?;
        let offset = self.write(&bytes)?;
        self.head = Position::new(self.head.get() + event_offsets.len() as u64);
        self.hash = hash;
        self.last_recorded_at = recorded_at;
        let place = FramePlace { first_position: start.first_position, offset: offset as u32, recorded_at };
        let (event_offsets, frame_bytes) = (event_offsets.as_slice(), bytes.len() as u64);
        show(Written { place, event_offsets, frame_bytes, begins_segment, head: self.head });
        self.publish_watermark();
        *lock(&self.spare) = bytes;
        Ok(ChainHash { position: self.head, hash })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<u64, StoreError> {
        let mistakes = self.mistakes;
        let Some(active) = &mut self.active else { return Err(StoreError::Closed) };
        let length = bytes.len() as u64;
        active.make_room(length)?;
        let file = &active.segment.file;
        if let Err(error) = file.write_all_at(bytes, active.end) {
            // What was written of the frame is not whole, but it must not stand in the way of the next one.
            if let Err(cut) = file.set_len(active.end) {
                self.failed =
                    Some(format!("a frame could not be written ({error}) nor removed again ({cut})"));
            }
            active.prewritten = active.end;
            return Err(StoreError::io("write", &active.segment.path, error));
        }
        let barrier = match mistakes.make(Planted::AcknowledgeBeforeBarrier) {
            true => Ok(()),
            false => file.sync_data(),
        };
        let barrier = barrier.or_else(|error| match mistakes.make(Planted::RetryFailedBarrier) {
            true => file.sync_data(),
            false => Err(error),
        });
        if let Err(error) = barrier {
            // After a failed barrier the system may have dropped the pages: trying again would prove nothing.
            let reason = format!("the barrier on {} failed: {error}", active.segment.path.display());
            self.failed = Some(format!("{reason}; reopen the store to go on"));
            return Err(StoreError::OutcomeUnknown { reason });
        }
        let offset = active.end;
        active.end += length;
        active.prewritten = active.prewritten.max(active.end);
        Ok(offset)
    }

    /// Begins a new segment when there is none or the active one is full; says whether the next frame is its first.
    fn roll_if_full(&mut self) -> Result<bool, StoreError> {
        if self.active.is_none() || (self.is_larger_than(self.segment_bytes) && self.active_has_events()) {
            self.roll()?;
        }
        Ok(self.active.as_ref().is_some_and(|active| active.end == SEGMENT_HEADER_BYTES as u64))
    }

    fn roll(&mut self) -> Result<(), StoreError> {
        self.trim()?;
        let created = self.create_segment()?;
        if let Some(ended) = self.active.take() {
            ended.segment.seal();
        }
        self.index.segments.put(Arc::clone(&created.segment));
        self.active = Some(created);
        Ok(())
    }

    /// Ends the active segment, if anything is in it.
    pub(crate) fn seal(&mut self) -> Result<(), StoreError> {
        self.check()?;
        if self.active_has_events() { self.roll() } else { Ok(()) }
    }

    fn is_larger_than(&self, bytes: u64) -> bool {
        self.active.as_ref().is_some_and(|active| active.end >= bytes)
    }

    /// One without events, be there checkpoints in it, is not ended: the next would have the same name.
    fn active_has_events(&self) -> bool {
        self.active.as_ref().is_some_and(|active| active.segment.first_position <= self.head)
    }

    /// Gives back the room that was prewritten and is not used.
    pub(crate) fn trim(&mut self) -> Result<(), StoreError> {
        let Some(active) = self.active.as_mut().filter(|active| active.prewritten > active.end) else {
            return Ok(());
        };
        let file = &active.segment.file;
        let trimmed = file.set_len(active.end).and_then(|()| file.sync_data());
        trimmed.map_err(|error| StoreError::io("end the segment", &active.segment.path, error))?;
        active.prewritten = active.end;
        Ok(())
    }

    fn create_segment(&self) -> Result<ActiveSegment, StoreError> {
        let first_position = self.head.next();
        let path = self.places.segment(first_position);
        let failed = |error| StoreError::io("create", &path, error);
        let file = create_or_reuse(&*self.storage, &path).map_err(failed)?;
        let header = SegmentHeader {
            store: self.index.store,
            content: SegmentContent::Frames,
            first_position,
            created_at: self.clock.now(),
            previous_hash: self.hash,
            generation: 0,
        };
        let end = SEGMENT_HEADER_BYTES as u64;
        let segment = Arc::new(Segment::new(first_position, path.clone(), file));
        let mut active = ActiveSegment { segment, end: 0, prewritten: 0, step: self.first_step_bytes };
        active.make_room(end)?;
        let file = &active.segment.file;
        file.write_all_at(&header.encode(), 0).map_err(failed)?;
        file.sync_data().map_err(failed)?;
        if !self.mistakes.make(Planted::SkipSegmentFolderSync) {
            self.storage.sync_dir(&self.places.segments()).map_err(failed)?;
        }
        active.end = end;
        Ok(active)
    }

    /// Whether something durable is not marked yet.
    pub(crate) fn needs_mark(&self) -> bool {
        let marked = self.mark.map_or(Position::ZERO, |mark| mark.position);
        self.failed.is_none() && self.head > marked
    }

    fn mark_here(&self, sequence: u64) -> Option<Mark> {
        let active = self.active.as_ref()?;
        let segment = active.segment.first_position;
        Some(Mark { sequence, position: self.head, segment, end: active.end, hash: self.hash })
    }

    /// Notes durably how far the log is durable. A failure costs only the proof, not the events.
    pub(crate) fn write_mark(&mut self) -> Result<(), StoreError> {
        let sequence = self.mark.map_or(1, |mark| mark.sequence + 1);
        let Some(mark) = self.mark_here(sequence).filter(|_| self.failed.is_none()) else { return Ok(()) };
        self.mark_file.write(&*self.storage, &mark, true)?;
        self.mark = Some(mark);
        Ok(())
    }

    /// Tells readers in other processes how far the log may be read. They go without it when it cannot be written.
    pub(crate) fn publish_watermark(&mut self) {
        self.watermark_sequence += 1;
        if let Some(mark) = self.mark_here(self.watermark_sequence) {
            let _ = self.watermark_file.write(&*self.storage, &mark, false);
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
        if needed <= self.prewritten || length >= LARGE_FRAME_BYTES {
            return Ok(());
        }
        let step = (self.end + self.step).max(needed);
        // With little room left, take only what this frame needs.
        let result = self.prewrite(step).or_else(|_| self.prewrite(needed));
        if let Err(error) = result {
            let _ = self.segment.file.set_len(self.prewritten);
            return Err(StoreError::io("extend", &self.segment.path, error));
        }
        self.step = (self.step * 2).min(LARGEST_STEP_BYTES);
        Ok(())
    }

    fn prewrite(&mut self, upto: u64) -> std::io::Result<()> {
        let zeros = vec![0; (upto - self.prewritten).min(1 << 20) as usize];
        let mut at = self.prewritten;
        while at < upto {
            let count = zeros.len().min((upto - at) as usize);
            self.segment.file.write_all_at(&zeros[..count], at)?;
            at += count as u64;
        }
        self.segment.file.sync_data()?;
        self.prewritten = upto;
        Ok(())
    }
}
