//! Gives back the space of events that are hidden for ever, and compresses segments, while the log goes on.
//!
//! A removed event leaves its position, version, id, stream, head and the digest of its content, which is all that the
//! hashes of frames cover: the chain still verifies, and the id stays known.

use std::path::PathBuf;
use std::sync::Arc;

use annals_core::{CompactReport, Position, StoreError};
use roaring::RoaringTreemap;

use crate::blocks::{BlockFile, BlockWriter};
use crate::format::{
    BuiltFrame, FRAME_HEADER_BYTES, FrameBuilder, FrameHeader, FrameRecord, FrameStart, Record, RemovedEvent,
    SEGMENT_HEADER_BYTES, SegmentContent, SegmentHeader, StoreId, body_checksum,
};
use crate::options::LogOptions;
use crate::places::UNFINISHED_SEGMENT_EXTENSION;
use crate::planted::{Mistakes, Planted};
use crate::run::{FramePlace, Rewritten, SegmentStamp};
use crate::scan::{Found, Scanner};
use crate::segments::Segment;
use crate::storage::{OpenMode, Storage, StorageFile};

/// One rewriting of sealed segments.
pub(crate) struct Compaction<'a> {
    pub(crate) options: &'a LogOptions,
    pub(crate) store: StoreId,
    pub(crate) hidden: Arc<RoaringTreemap>,
}

/// A segment in its new form, under another name still.
pub(crate) struct NewForm {
    form: UnopenedForm,
    rewritten: Rewritten,
    bytes_before: u64,
    bytes_after: u64,
    removed: u64,
}

/// The file of a new form.
pub(crate) struct UnopenedForm {
    stamp: SegmentStamp,
    pub(crate) unfinished: PathBuf,
    /// The name that it is to get.
    pub(crate) path: PathBuf,
    content: SegmentContent,
    file: Arc<dyn StorageFile>,
}

impl NewForm {
    /// How many events the segment has.
    pub(crate) fn events(&self) -> usize {
        self.rewritten.offsets.len()
    }

    /// Removes the file of a form that is not to be used.
    pub(crate) fn abandon(&self, storage: &dyn Storage) {
        // One that stays is found and removed when the log is opened the next time.
        let _ = storage.remove(&self.form.unfinished);
    }

    pub(crate) fn split(self) -> (UnopenedForm, Rewritten) {
        (self.form, self.rewritten)
    }
}

impl UnopenedForm {
    /// The segment, to be read in its new form from now on.
    pub(crate) fn open(&self) -> Result<Arc<Segment>, StoreError> {
        let file = match self.content {
            SegmentContent::Frames => Arc::clone(&self.file),
            SegmentContent::Blocks => BlockFile::open(Arc::clone(&self.file))
                .map_err(|error| StoreError::io("read", &self.path, error))?,
        };
        let segment = Arc::new(Segment::new(self.stamp.first_position, self.path.clone(), file));
        segment.seal();
        Ok(segment)
    }
}

/// Where the frames of a new form go.
enum Output {
    Frames(Arc<dyn StorageFile>, u64),
    Blocks(BlockWriter),
}

impl Output {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        match self {
            Self::Blocks(blocks) => blocks.write(bytes),
            Self::Frames(file, end) => {
                file.write_all_at(bytes, *end)?;
                *end += bytes.len() as u64;
                Ok(())
            }
        }
    }
}

impl Compaction<'_> {
    /// Writes the new form of a segment, durably; `None` when nothing would change.
    pub(crate) fn rewrite(
        &self,
        segment: &Arc<Segment>,
        last: Position,
    ) -> Result<Option<NewForm>, StoreError> {
        let header = segment.read(0, SEGMENT_HEADER_BYTES)?;
        let damaged = |offset, reason| segment.damaged(offset, segment.first_position, reason);
        let header = SegmentHeader::decode(&header, self.store).map_err(|reason| damaged(0, reason))?;
        let compresses = self.options.compress_sealed && header.content == SegmentContent::Frames;
        let hides = self.hidden.rank(last.get()) > self.hidden.rank(segment.first_position.get() - 1);
        let removes = || Ok::<_, StoreError>(hides && self.holds_hidden(segment)?);
        if !(compresses || removes()?) {
            return Ok(None);
        }
        self.write(segment, header).map(Some)
    }

    /// Whether the content of a hidden event is still there.
    fn holds_hidden(&self, segment: &Segment) -> Result<bool, StoreError> {
        let mut found = false;
        self.for_each_frame(segment, |_, records, _| {
            found |= records.iter().any(|record| self.goes(record));
            Ok(())
        })?;
        Ok(found)
    }

    fn goes(&self, record: &FrameRecord) -> bool {
        let visible_too = Mistakes::of(self.options).make(Planted::CompactVisible);
        // What was done to a stream is told by its events of the store's own, which are small: they keep their content.
        let goes = |event: &annals_core::RecordedEvent| {
            self.hidden.contains(event.position().get()) && event.system_event().is_none()
        };
        matches!(&record.record, Record::Event(event) if visible_too || goes(event))
    }

    fn for_each_frame(
        &self,
        segment: &Segment,
        mut visit: impl FnMut(&FrameHeader, &[FrameRecord], u64) -> std::io::Result<()>,
    ) -> Result<(), StoreError> {
        let failed = |error| StoreError::io("read", &segment.path, error);
        let mut scanner = Scanner::new(Arc::clone(&segment.file), self.store).map_err(failed)?;
        let mut offset = SEGMENT_HEADER_BYTES as u64;
        loop {
            match scanner.frame_at(offset).map_err(failed)? {
                Found::Frame(header, records) => {
                    visit(&header, &records, offset).map_err(failed)?;
                    offset += header.frame_bytes();
                }
                Found::End => return Ok(()),
                Found::Bad(reason) => return Err(segment.damaged(offset, segment.first_position, reason)),
            }
        }
    }

    fn write(&self, segment: &Arc<Segment>, header: SegmentHeader) -> Result<NewForm, StoreError> {
        let unfinished = segment.path.with_extension(UNFINISHED_SEGMENT_EXTENSION);
        let written = self.write_form(segment, header, unfinished.clone());
        written.inspect_err(|_| drop(self.options.storage.remove(&unfinished)))
    }

    /// The header that the segment has on disk: after a replacement that failed midway it is ahead of what is read.
    fn header_on_disk(&self, segment: &Segment) -> Result<(SegmentHeader, u64), StoreError> {
        let failed = |error| StoreError::io("read", &segment.path, error);
        let file = self.options.storage.open(&segment.path, OpenMode::Read).map_err(failed)?;
        let mut bytes = [0; SEGMENT_HEADER_BYTES];
        let count = file.read_full_at(&mut bytes, 0).map_err(failed)?;
        let header = SegmentHeader::decode(&bytes[..count], self.store);
        let damaged = |reason| segment.damaged(0, segment.first_position, reason);
        Ok((header.map_err(damaged)?, file.length().map_err(failed)?))
    }

    fn write_form(
        &self,
        segment: &Arc<Segment>,
        header: SegmentHeader,
        unfinished: PathBuf,
    ) -> Result<NewForm, StoreError> {
        let (on_disk, bytes_before) = self.header_on_disk(segment)?;
        let failed = |error| StoreError::io("write", &unfinished, error);
        let storage = &*self.options.storage;
        let file = match storage.open(&unfinished, OpenMode::CreateNew) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                storage.open(&unfinished, OpenMode::ReadWrite)
            }
            opened => opened,
        };
        let file = file.map_err(failed)?;
        let compress = self.options.compress_sealed || header.content == SegmentContent::Blocks;
        let content = if compress { SegmentContent::Blocks } else { SegmentContent::Frames };
        let header = SegmentHeader { content, generation: on_disk.generation + 1, ..header };
        file.set_len(0).and_then(|()| file.write_all_at(&header.encode(), 0)).map_err(failed)?;
        let start = SEGMENT_HEADER_BYTES as u64;
        let mut output = match compress {
            true => Output::Blocks(BlockWriter::new(Arc::clone(&file))),
            false => Output::Frames(Arc::clone(&file), start),
        };
        let stamp = SegmentStamp { first_position: header.first_position, generation: header.generation };
        let mut rewritten = Rewritten { stamp, offsets: Vec::new(), frames: Vec::new() };
        let (mut end, mut removed) = (start, 0);
        self.for_each_frame(segment, |frame, records, _| {
            let (built, offsets, gone) = self.frame(frame, records);
            let place = FramePlace {
                first_position: frame.start.first_position,
                offset: end as u32,
                recorded_at: frame.start.recorded_at,
            };
            if !offsets.is_empty() {
                rewritten.frames.push(place);
            }
            rewritten.offsets.extend(offsets.iter().map(|within| place.offset + within));
            removed += gone;
            end += built.len() as u64;
            output.write(&built)
        })?;
        if let Output::Blocks(blocks) = output {
            blocks.finish().map_err(failed)?;
        }
        if !Mistakes::of(self.options).make(Planted::CompactBeforeBarrier) {
            file.sync_data().map_err(failed)?;
        }
        let bytes_after = file.length().map_err(failed)?;
        let form = UnopenedForm { stamp, unfinished, path: segment.path.clone(), content, file };
        Ok(NewForm { form, rewritten, bytes_before, bytes_after, removed })
    }

    /// A frame without the content of hidden events, where its events begin in it, and how many lost their content.
    fn frame(&self, header: &FrameHeader, records: &[FrameRecord]) -> (Vec<u8>, Vec<u32>, u64) {
        let mut frame =
            FrameBuilder::reusing(Vec::with_capacity(FRAME_HEADER_BYTES + header.length as usize));
        let mut removed = 0;
        for record in records {
            if record.begins_append {
                frame.begin_append();
            }
            match &record.record {
                Record::Event(event) if self.goes(record) => {
                    let left = RemovedEvent::of(event);
                    frame.push_removed(event.version(), event.position(), &left.encode());
                    removed += 1;
                }
                Record::Event(event) => {
                    let body = event.body();
                    frame.push_event(event.version(), event.position(), body, body_checksum(body));
                }
                Record::Removed(event) => frame.push_removed(event.version, event.position, &event.encode()),
                Record::Checkpoint(checkpoint) => frame.push_checkpoint(checkpoint),
            }
        }
        let offsets = std::mem::take(&mut frame.event_offsets);
        let start: FrameStart = header.start;
        let count = offsets.len() as u32;
        let BuiltFrame { bytes, .. } = frame.finish_with_hash(start, count, header.hash, self.store);
        (bytes, offsets, removed)
    }

    /// Adds what became of a segment to a report.
    pub(crate) fn add_to(&self, report: &mut CompactReport, form: &NewForm) {
        report.segments += 1;
        report.events_removed += form.removed;
        report.bytes_before += form.bytes_before;
        report.bytes_after += form.bytes_after;
    }
}
