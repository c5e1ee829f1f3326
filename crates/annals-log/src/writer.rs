//! The one who writes: frames into the active segment, a barrier behind each, and the durable mark.

use std::path::Path;
use std::sync::Arc;

use annals_core::{ChainHash, Clock, Position, StoreError, Timestamp};

use crate::active::{ActiveSegment, Failed};
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
use crate::sync::Mutex;
use crate::ticket::lock;
use crate::view::LogIndex;

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
            mean_frame_bytes: 0,
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
        if base != self.head {
            // Only a mistake in this code leads here. To panic would leave those waiting who are in the frame.
            let reason = format!(
                "a frame of position {} was to follow {}: this is a bug in annals-log",
                base.next(),
                self.head
            );
            self.failed = Some(reason.clone());
            return Err(StoreError::ReadOnly { reason });
        }
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
        let offset = self.active.as_ref().map_or(0, |active| active.end) as u32;
        let place = FramePlace { first_position: start.first_position, offset, recorded_at };
        let head = Position::new(self.head.get() + event_offsets.len() as u64);
        let (event_offsets, frame_bytes) = (event_offsets.as_slice(), bytes.len() as u64);
        let written = Written { place, event_offsets, frame_bytes, begins_segment, head };
        if self.mistakes.make(Planted::ShowBeforeBarrier) {
            show(written);
            self.write(&bytes)?;
        } else {
            self.write(&bytes)?;
            show(written);
        }
        (self.head, self.hash, self.last_recorded_at) = (head, hash, recorded_at);
        self.publish_watermark();
        *lock(&self.spare) = bytes;
        Ok(ChainHash { position: self.head, hash })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        let mistakes = self.mistakes;
        let length = bytes.len() as u64;
        let Some(active) = &mut self.active else { return Err(StoreError::Closed) };
        if let Err(failed) = active.make_room(length) {
            let path = active.segment.path.clone();
            return Err(self.step_failed("extend", &path, failed));
        }
        let written = match mistakes.make(Planted::BelieveShortWrite) {
            true => active.file().write_at(bytes, active.end).map(|_| ()),
            false => active.file().write_all_at(bytes, active.end),
        };
        if let Err(error) = written {
            if mistakes.make(Planted::KeepTornFrame) {
                active.end += length / 3;
                return Err(StoreError::io("write", &active.segment.path, error));
            }
            // What was written of the frame is not whole, but it must not stand in the way of the next one.
            if let Err(cut) = active.file().set_len(active.end) {
                let reason = format!("a frame could not be written ({error}) nor removed again ({cut})");
                self.failed = Some(format!("{reason}; reopen the store to go on"));
                return Err(StoreError::OutcomeUnknown { reason });
            }
            active.prewritten = active.end;
            return Err(StoreError::io("write", &active.segment.path, error));
        }
        let is_late =
            mistakes.make(Planted::AcknowledgeBeforeBarrier) || mistakes.make(Planted::IndexAheadOfLog);
        let barrier = if is_late { Ok(()) } else { active.file().sync_data() };
        let barrier = barrier.or_else(|error| match mistakes.make(Planted::RetryFailedBarrier) {
            true => active.file().sync_data(),
            false => Err(error),
        });
        if let Err(error) = barrier {
            let reason = barrier_failed(&active.segment.path, &error);
            if !mistakes.make(Planted::ForgetFailedBarrier) {
                self.failed = Some(format!("{reason}; reopen the store to go on"));
            }
            return Err(StoreError::OutcomeUnknown { reason });
        }
        active.end += length;
        active.prewritten = active.prewritten.max(active.end);
        Ok(())
    }

    /// The barrier that [`Planted::IndexAheadOfLog`] puts off.
    pub(crate) fn late_barrier(&self) {
        let _ = self.active.as_ref().map(|active| active.file().sync_data());
    }

    /// Tells of a failed step that no append rests on yet. After a failed barrier nothing more is written.
    fn step_failed(&mut self, operation: &'static str, path: &Path, failed: Failed) -> StoreError {
        if let Failed::Barrier(error) = &failed {
            self.failed = Some(format!("{}; reopen the store to go on", barrier_failed(path, error)));
        }
        StoreError::io(operation, path, failed.error())
    }

    /// Begins a new segment when there is none or the active one is full; says whether the next frame is its first.
    fn roll_if_full(&mut self) -> Result<bool, StoreError> {
        let is_full = self.active.as_ref().is_none_or(|active| active.end >= self.segment_bytes);
        if self.active.is_none() || (is_full && self.can_end()) {
            self.roll()?;
        }
        Ok(self.active.as_ref().is_some_and(|active| active.end == SEGMENT_HEADER_BYTES as u64))
    }

    fn roll(&mut self) -> Result<(), StoreError> {
        self.trim()?;
        let path = self.places.segment(self.head.next());
        let mut created =
            self.create_segment(&path).map_err(|failed| self.step_failed("create", &path, failed))?;
        if let Some(ended) = self.active.take() {
            created.mean_frame_bytes = ended.mean_frame_bytes;
            ended.segment.seal();
        }
        self.index.segments.put(Arc::clone(&created.segment));
        self.active = Some(created);
        Ok(())
    }

    /// Ends the active segment, if anything is in it.
    pub(crate) fn seal(&mut self) -> Result<(), StoreError> {
        self.check()?;
        if self.can_end() { self.roll() } else { Ok(()) }
    }

    /// Whether the active segment has an event. One that has none, be it full of checkpoints, goes on: the next one would
    /// begin at the same position, and have the same name.
    fn can_end(&self) -> bool {
        self.active.as_ref().is_some_and(|active| active.segment.first_position <= self.head)
    }

    /// Gives back the room that was prewritten and is not used.
    pub(crate) fn trim(&mut self) -> Result<(), StoreError> {
        let Some(active) = &mut self.active else { return Ok(()) };
        let path = active.segment.path.clone();
        active.trim().map_err(|failed| self.step_failed("end the segment", &path, failed))
    }

    fn create_segment(&self, path: &Path) -> Result<ActiveSegment, Failed> {
        let first_position = self.head.next();
        let file = create_or_reuse(&*self.storage, path)?;
        let header = SegmentHeader {
            store: self.index.store,
            content: SegmentContent::Frames,
            first_position,
            created_at: self.clock.now(),
            previous_hash: self.hash,
            generation: 0,
        };
        let end = SEGMENT_HEADER_BYTES as u64;
        let segment = Arc::new(Segment::new(first_position, path.to_owned(), file));
        let mut active = ActiveSegment {
            segment,
            end: 0,
            prewritten: 0,
            step: self.first_step_bytes,
            mean_frame_bytes: 0,
        };
        active.make_room(end)?;
        active.file().write_all_at(&header.encode(), 0)?;
        Failed::of_barrier(active.file().sync_data())?;
        if !self.mistakes.make(Planted::SkipSegmentFolderSync) {
            Failed::of_barrier(self.storage.sync_dir(&self.places.segments()))?;
        }
        active.end = end;
        Ok(active)
    }

    /// Whether something durable is not marked yet.
    pub(crate) fn needs_mark(&self) -> bool {
        let place = |mark: Mark| (mark.segment, mark.end);
        let here = self.mark_here(0).map(place);
        self.failed.is_none() && here.is_some() && here != self.mark.map(place)
    }

    fn mark_here(&self, sequence: u64) -> Option<Mark> {
        let active = self.active.as_ref()?;
        let segment = active.segment.first_position;
        Some(Mark { sequence, position: self.head, segment, end: active.end, hash: self.hash })
    }

    /// Notes durably how far the log is durable. A failure costs only the proof, not the events.
    pub(crate) fn write_mark(&mut self) -> Result<(), StoreError> {
        let sequence = self.mark.map_or(1, |mark| mark.sequence + 1);
        let Some(mut mark) = self.mark_here(sequence).filter(|_| self.failed.is_none()) else {
            return Ok(());
        };
        if self.mistakes.make(Planted::MarkAheadOfLog) {
            mark.position = mark.position.next();
        }
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

fn barrier_failed(path: &Path, error: &std::io::Error) -> String {
    format!("the barrier on {} failed: {error}", path.display())
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
