//! Where every event is: the catalog of terms, and the place of each record in the segment files. In memory, rebuilt
//! when the log is opened.

use std::path::PathBuf;
use std::sync::Arc;

use annals_core::catalog::{Catalog, EventSource};
use annals_core::{
    ChainHash, Checkpoint, Damage, EventBatch, MAX_BATCH_BYTES, MAX_BATCH_EVENTS, Position, ReadRequest,
    RecordedEvent, StoreError, Timestamp,
};
use bytes::Bytes;

use crate::format::{FRAME_HEADER_BYTES, FrameHeader, StoreId, decode_record};
use crate::storage::StorageFile;

/// Records this close together are fetched by one read.
const LARGEST_GAP_BYTES: u64 = 4 << 10;
/// A read fetches about this much at once.
const RUN_BYTES: u64 = 1 << 20;

#[derive(Debug)]
pub(crate) struct Index {
    pub(crate) store: StoreId,
    pub(crate) catalog: Catalog,
    pub(crate) segments: Vec<Segment>,
}

/// An open segment file.
#[derive(Debug)]
pub(crate) struct SegmentFile {
    pub(crate) path: PathBuf,
    pub(crate) file: Arc<dyn StorageFile>,
}

/// Where things are in a segment file.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) first_position: Position,
    pub(crate) file: Arc<SegmentFile>,
    /// Where the last frame ends.
    pub(crate) end: u64,
    /// Where each event's record begins.
    event_offsets: Vec<u32>,
    /// The first position of each frame that has events, and where the frame begins.
    frames: Vec<(Position, u32)>,
}

impl Segment {
    pub(crate) fn new(first_position: Position, path: PathBuf, file: Arc<dyn StorageFile>, end: u64) -> Self {
        let file = Arc::new(SegmentFile { path, file });
        Self { first_position, file, end, event_offsets: Vec::new(), frames: Vec::new() }
    }

    /// Notes a frame that was written or found at `offset`.
    pub(crate) fn add_frame(
        &mut self,
        offset: u64,
        length: u64,
        first_position: Position,
        event_offsets: &[u32],
    ) {
        if !event_offsets.is_empty() {
            self.frames.push((first_position, offset as u32));
        }
        self.event_offsets.extend(event_offsets.iter().map(|within| offset as u32 + within));
        self.end = offset + length;
    }

    /// Where the record of the event at `position` begins, and where it must have ended.
    fn range_of(&self, position: Position) -> Option<(u64, u64)> {
        let index = position.get().checked_sub(self.first_position.get())? as usize;
        let start = *self.event_offsets.get(index)?;
        let end = self.event_offsets.get(index + 1).map_or(self.end, |next| u64::from(*next));
        Some((u64::from(start), end))
    }
}

impl SegmentFile {
    fn damaged(&self, offset: u64, position: Position, reason: String) -> StoreError {
        let path = self.path.clone();
        StoreError::Damaged(Damage { path, offset, end: None, first_position: position, reason })
    }

    fn read_exactly(&self, offset: u64, length: usize) -> Result<Bytes, StoreError> {
        let mut bytes = vec![0; length];
        let failed = |source| StoreError::io("read", &self.path, source);
        let count = self.file.read_at(&mut bytes, offset).map_err(failed)?;
        if count < length {
            return Err(failed(std::io::ErrorKind::UnexpectedEof.into()));
        }
        Ok(bytes.into())
    }
}

/// A batch whose events are still to be fetched, without holding the index.
pub(crate) struct Plan {
    batch: EventBatch,
    runs: Vec<Run>,
}

/// Some events that lie close together in one segment.
struct Run {
    file: Arc<SegmentFile>,
    start: u64,
    end: u64,
    events: Vec<(Position, u64, Timestamp)>,
}

impl Plan {
    /// Reads the events from the disk.
    pub(crate) fn fetch(mut self) -> Result<EventBatch, StoreError> {
        self.batch.events.reserve(self.runs.iter().map(|run| run.events.len()).sum());
        self.runs.iter().try_for_each(|run| run.fetch(&mut self.batch.events))?;
        Ok(self.batch)
    }
}

impl Run {
    fn fetch(&self, out: &mut Vec<RecordedEvent>) -> Result<(), StoreError> {
        let bytes = self.file.read_exactly(self.start, (self.end - self.start) as usize)?;
        for (position, offset, recorded_at) in &self.events {
            let event = decode_record(&bytes, (offset - self.start) as usize, *position, *recorded_at)
                .map_err(|reason| self.file.damaged(*offset, *position, reason))?;
            out.push(event);
        }
        Ok(())
    }
}

impl Index {
    pub(crate) fn add_events(&mut self, appends: &[Vec<RecordedEvent>], checkpoints: &[Checkpoint]) {
        appends.iter().for_each(|events| self.catalog.insert(events));
        checkpoints.iter().for_each(|checkpoint| self.catalog.set_checkpoint(checkpoint));
    }

    fn segment_of(&self, position: Position) -> Option<&Segment> {
        let index =
            self.segments.partition_point(|segment| segment.first_position <= position).checked_sub(1)?;
        self.segments.get(index)
    }

    /// Finds where the events are that a request selects, up to the size of one batch.
    pub(crate) fn plan(&self, request: &ReadRequest) -> Result<Plan, StoreError> {
        let mut batch = EventBatch { head: self.catalog.head(), ..EventBatch::default() };
        let mut runs: Vec<Run> = Vec::new();
        let (mut count, mut bytes) = (0, 0);
        for position in self.catalog.select(request)? {
            if count >= MAX_BATCH_EVENTS || bytes >= MAX_BATCH_BYTES as u64 {
                batch.next = Some(position);
                break;
            }
            bytes += self.add_to_runs(&mut runs, position)?;
            count += 1;
        }
        Ok(Plan { batch, runs })
    }

    /// Adds an event to the last run, or begins a new one; returns the bytes of its record.
    fn add_to_runs(&self, runs: &mut Vec<Run>, position: Position) -> Result<u64, StoreError> {
        let place =
            self.segment_of(position).and_then(|segment| Some((segment, segment.range_of(position)?)));
        let (segment, (start, end)) = place.ok_or(StoreError::Closed)?;
        let event = (position, start, self.catalog.recorded_at(position));
        if let Some(run) = runs.last_mut().filter(|run| Arc::ptr_eq(&run.file, &segment.file)) {
            let (joined_start, joined_end) = (run.start.min(start), run.end.max(end));
            let covered = (run.end - run.start) + (end - start) + LARGEST_GAP_BYTES;
            if joined_end - joined_start <= covered.min(RUN_BYTES) {
                (run.start, run.end) = (joined_start, joined_end);
                run.events.push(event);
                return Ok(end - start);
            }
        }
        runs.push(Run { file: Arc::clone(&segment.file), start, end, events: vec![event] });
        Ok(end - start)
    }

    /// The chain's hash at the end of the frame that holds an event.
    pub(crate) fn proof_of(&self, position: Position) -> Result<ChainHash, StoreError> {
        let segment = self.segment_of(position).ok_or(StoreError::Closed)?;
        let index = segment.frames.partition_point(|(first, _)| *first <= position);
        let frame = index.checked_sub(1).and_then(|index| segment.frames.get(index));
        let (first, offset) = *frame.ok_or(StoreError::Closed)?;
        let bytes = segment.file.read_exactly(u64::from(offset), FRAME_HEADER_BYTES)?;
        let header = FrameHeader::decode(&bytes, self.store)
            .map_err(|reason| segment.file.damaged(u64::from(offset), first, reason))?;
        let last = Position::new(first.get() + u64::from(header.event_count) - 1);
        Ok(ChainHash { position: last, hash: header.hash })
    }
}

impl EventSource for Index {
    fn event_at(&self, position: Position) -> Result<RecordedEvent, StoreError> {
        let mut runs = Vec::new();
        self.add_to_runs(&mut runs, position)?;
        let mut events = Vec::new();
        runs.iter().try_for_each(|run| run.fetch(&mut events))?;
        events.pop().ok_or(StoreError::Closed)
    }
}
