//! Opening a folder: what is there, what can be trusted, and what becomes of a tail that nobody was promised.
//!
//! The runs tell what is behind them; only what follows the last of them is read. A frame that cannot be read is *damage* when
//! something proves that it had been durable: a later frame (it was written only after the barrier of those before it), a
//! later segment, or the durable mark. The log then opens read-only and nothing is touched. Otherwise it is a tail whose
//! append was never acknowledged: its bytes are copied to the quarantine folder, and then cut off. Both are in `tail`.

use std::path::Path;
use std::sync::Arc;

use annals_core::{Damage, Position, StoreError, Timestamp};

use crate::enter::enter_frame;
use crate::format::{
    FrameHeader, FrameRecord, MARK_MAGIC, Mark, Record, SEGMENT_HEADER_BYTES, SegmentHeader, WATERMARK_MAGIC,
};
use crate::maintenance::Upkeep;
use crate::marks::{FoundMark, MarkFile};
use crate::options::LogOptions;
use crate::places::Places;
use crate::planted::{Mistakes, Planted};
use crate::recent::Recent;
use crate::run::{Resume, SegmentStamp};
use crate::scan::{Found, Scanner};
use crate::segment_files::{SegmentFile, Unusable, open_segments};
use crate::segments::{Segment, Segments};
use crate::storage::Storage;
use crate::sync::RwLock;
use crate::trusted_runs::{self, Opener, Trusted};
use crate::view::{LogIndex, Older};

/// A log as it was found; its index is in the [`LogIndex`] that recovery filled.
pub(crate) struct Recovered {
    /// The last segment, and where its last frame ends.
    pub(crate) active: Option<(Arc<Segment>, u64)>,
    /// The chain's hash at the end.
    pub(crate) hash: [u8; 32],
    /// When the last event was recorded.
    pub(crate) last_recorded_at: Timestamp,
    pub(crate) mark: Option<Mark>,
    pub(crate) watermark_sequence: u64,
    /// What keeps the log from being written, if anything does.
    pub(crate) damage: Option<Damage>,
    /// What a person should know.
    pub(crate) notices: Vec<String>,
}

/// Before the first event: no clock was ever so early.
const NEVER: Timestamp = Timestamp::from_micros(i64::MIN);

pub(crate) struct Recovery<'a> {
    pub(crate) options: &'a LogOptions,
    pub(crate) storage: &'a dyn Storage,
    pub(crate) places: &'a Places,
    pub(crate) mistakes: Mistakes,
    upkeep: &'a Upkeep,
    pub(crate) index: LogIndex,
    recent: Recent,
    segments: Vec<Arc<Segment>>,
    /// How often the last segment was compacted.
    pub(crate) generation: u32,
    /// Whether nothing is kept of the runs that are there.
    rebuild_index: bool,
    pub(crate) found: Recovered,
}

impl<'a> Recovery<'a> {
    pub(crate) fn run(
        options: &'a LogOptions,
        places: &'a Places,
        upkeep: &'a Upkeep,
        store: crate::format::StoreId,
    ) -> Result<(Arc<LogIndex>, Recovered), StoreError> {
        match Self::new(options, places, upkeep, store, options.rebuild_index).read() {
            // The index can be made of the log again, so its damage keeps nobody from opening it.
            Err(StoreError::IndexDamaged { path, reason }) => {
                let mut again = Self::new(options, places, upkeep, store, true);
                let notice =
                    format!("the index was damaged and was built again: {}: {reason}", path.display());
                again.found.notices.push(notice);
                again.read()
            }
            read => read,
        }
    }

    fn new(
        options: &'a LogOptions,
        places: &'a Places,
        upkeep: &'a Upkeep,
        store: crate::format::StoreId,
        rebuild_index: bool,
    ) -> Self {
        let found = Recovered {
            active: None,
            hash: [0; 32],
            last_recorded_at: NEVER,
            mark: None,
            watermark_sequence: 0,
            damage: None,
            notices: Vec::new(),
        };
        let index = LogIndex::new(store, Position::ZERO);
        let recent = Recent::after(Position::ZERO, index.seed);
        let storage = &*options.storage;
        let mistakes = Mistakes::of(options);
        let segments = Vec::new();
        Self {
            options,
            storage,
            places,
            mistakes,
            upkeep,
            index,
            recent,
            segments,
            generation: 0,
            rebuild_index,
            found,
        }
    }

    fn read(mut self) -> Result<(Arc<LogIndex>, Recovered), StoreError> {
        self.read_marks()?;
        self.read_log()?;
        if self.found.damage.is_none() {
            self.remove_unfinished();
            self.sync_folders()?;
        }
        Ok(self.finish())
    }

    fn finish(mut self) -> (Arc<LogIndex>, Recovered) {
        let head = self.recent.index.last();
        if let Some((segment, _)) = &self.found.active
            && self.found.damage.is_none()
        {
            let sealed = self.segments.iter().filter(|known| known.first_position != segment.first_position);
            sealed.for_each(|segment| segment.seal());
        }
        self.index.recent = RwLock::new(self.recent);
        self.index.segments = Segments::new(self.segments);
        self.index.head = annals_core::Head::at(head);
        (Arc::new(self.index), self.found)
    }

    fn read_marks(&mut self) -> Result<(), StoreError> {
        let mut file = MarkFile::new(self.places.mark(), MARK_MAGIC, self.index.store);
        let mark = file.read(self.storage)?;
        if mark == FoundMark::Unreadable {
            self.found.notices.push(format!(
                "the durable mark in {} cannot be read; it is written again, but a loss at the end of the log \
                 could not have been noticed this time",
                file.path().display()
            ));
        }
        self.found.mark = mark.mark().filter(|_| !self.mistakes.make(Planted::IgnoreMark));
        let mut watermark = MarkFile::new(self.places.watermark(), WATERMARK_MAGIC, self.index.store);
        // Of the watermark nothing is believed but that its sequence numbers are used up.
        let watermark = watermark.read(self.storage).ok().and_then(FoundMark::mark);
        self.found.watermark_sequence = watermark.map_or(0, |mark| mark.sequence);
        Ok(())
    }

    fn read_log(&mut self) -> Result<(), StoreError> {
        let files = open_segments(self.storage, self.places, self.index.store)?;
        let mut from = 0;
        let mut offset = SEGMENT_HEADER_BYTES as u64;
        let opener = match self.rebuild_index {
            true => Opener::Rebuilder,
            false => Opener::Writer,
        };
        match trusted_runs::open(self.storage, self.places, self.index.store, &files, opener, self.mistakes)?
        {
            Trusted::Runs { runs, resume } => {
                from = files.iter().position(|file| file.first_position == resume.segment).unwrap_or(0);
                offset = resume.offset;
                self.go_on_behind(runs, resume, &files[..from])?;
            }
            Trusted::Nothing => {}
            Trusted::Stale(reason) => {
                self.found
                    .notices
                    .push(format!("the index did not fit the log and was built again: {reason}"));
            }
        }
        for (index, file) in files.iter().enumerate().skip(from) {
            self.read_segment(
                file,
                std::mem::replace(&mut offset, SEGMENT_HEADER_BYTES as u64),
                index + 1 == files.len(),
            )?;
            if self.found.damage.is_some() {
                return Ok(());
            }
        }
        self.check_end();
        Ok(())
    }

    /// Takes what the runs tell, so that only what follows them has to be read.
    fn go_on_behind(
        &mut self,
        runs: Vec<Arc<crate::run::Run>>,
        resume: Resume,
        files: &[SegmentFile],
    ) -> Result<(), StoreError> {
        let last = runs.last().map_or(Position::ZERO, |run| run.last());
        self.recent = Recent::after(last, self.index.seed);
        let stamps =
            runs.iter().rev().find_map(|run| run.segments().map(|all| all.last().copied()).transpose());
        self.recent.begin_at(resume.segment, resume.offset, stamps.transpose()?);
        for run in &runs {
            self.index.hide(&run.hidden()?);
            if !self.mistakes.make(Planted::ForgetCheckpoints) {
                self.index.set_checkpoints(run.checkpoints()?);
            }
        }
        self.index.change_older(|_| Older { frozen: None, runs });
        self.found.hash = resume.hash;
        self.found.last_recorded_at = resume.recorded_at;
        for file in files {
            let segment = Segment::new(file.first_position, file.path.clone(), Arc::clone(&file.file));
            self.segments.push(Arc::new(segment));
        }
        let last = files.last().and_then(|file| file.header.as_ref().ok());
        self.generation = last.map_or(0, |header| header.generation);
        Ok(())
    }

    pub(crate) fn head(&self) -> Position {
        self.recent.index.last()
    }

    pub(crate) fn damaged(&mut self, path: &Path, offset: u64, reason: String) {
        let first_position = self.head().next();
        self.found.damage = Some(Damage { path: path.to_owned(), offset, end: None, first_position, reason });
    }

    fn read_segment(&mut self, found: &SegmentFile, offset: u64, is_last: bool) -> Result<(), StoreError> {
        let SegmentFile { path, file, .. } = found;
        let failed = |operation| move |error| StoreError::io(operation, path, error);
        let mut scanner = Scanner::new(Arc::clone(file), self.index.store).map_err(failed("read"))?;
        scanner = scanner.making(self.mistakes);
        let goes_on = offset > SEGMENT_HEADER_BYTES as u64;
        let header = found.header.clone().and_then(|header| match goes_on {
            true => Ok(header),
            false => self.follows(&header).map(|()| header),
        });
        let segment_header = match header {
            Ok(header) => header,
            Err(problem) => return self.end_here(found, &mut scanner, 0, is_last, problem),
        };
        let first_position = segment_header.first_position;
        let segment = Arc::new(Segment::new(first_position, path.clone(), Arc::clone(file)));
        self.segments.push(Arc::clone(&segment));
        self.generation = segment_header.generation;
        if !goes_on {
            let generation = segment_header.generation;
            self.recent.segments.push(SegmentStamp { first_position, generation });
        }
        self.found.active = Some((segment, offset));
        // Behind a run all is known to be durable.
        let mut unsettled = if goes_on { offset } else { 0 };
        let mut offset = offset;
        loop {
            let problem = match scanner.frame_at(offset).map_err(failed("read"))? {
                Found::Frame(header, records) => {
                    let start = &header.start;
                    let continues =
                        (start.first_position, start.previous_hash) == (self.head().next(), self.found.hash);
                    if continues || self.mistakes.make(Planted::IgnoreChain) {
                        let end = offset + header.frame_bytes();
                        // Before the frame is entered: what the mark denies is not to be shown.
                        if self.contradicts_mark(&segment_header, &header, offset..end) {
                            let reason = "the chain of hashes is not the one that the durable mark tells of: the file may \
                                          be of another copy of the store";
                            self.damaged(path, offset, reason.to_owned());
                            return Ok(());
                        }
                        self.make_room(first_position, offset);
                        let head = self.head();
                        match self.add_frame(&header, records, offset) {
                            Err(StoreError::Damaged(damage)) => {
                                self.recent.index.undo_after(head);
                                self.found.damage = Some(damage);
                                return Ok(());
                            }
                            added => added?,
                        }
                        unsettled = offset;
                        offset = end;
                        if let Some((_, end)) = &mut self.found.active {
                            *end = offset;
                        }
                        continue;
                    }
                    let (found, expected) = (start.first_position, self.head().next());
                    format!(
                        "a frame of position {found} stands here, expected {expected} and the chain's hash"
                    )
                }
                Found::End if scanner.end_of_content(offset).map_err(failed("read"))? == offset => {
                    return if is_last { self.settle(found, &mut scanner, unsettled, false) } else { Ok(()) };
                }
                Found::End => "zeros stand where a frame should be".to_owned(),
                Found::Bad(reason) => reason,
            };
            self.end_here(found, &mut scanner, offset, is_last, Unusable::Torn(problem))?;
            let was_cut = self.found.damage.is_none();
            return if was_cut { self.settle(found, &mut scanner, unsettled, true) } else { Ok(()) };
        }
    }

    /// Writes what was read out as a run once it takes much memory; if that fails, it stays in memory.
    fn make_room(&mut self, segment: Position, offset: u64) {
        if !self.recent.is_full(self.upkeep.memory_bytes) {
            return;
        }
        self.recent.resume =
            Some(Resume { segment, offset, hash: self.found.hash, recorded_at: self.found.last_recorded_at });
        if let Ok(run) = self.upkeep.write(&self.index, &self.recent) {
            let within = self.recent.ends_in();
            self.recent = Recent::after(run.last(), self.index.seed);
            self.recent.begin_at(segment, offset, within);
            self.index.change_older(|older| older.with_run(run));
            self.upkeep.merge_now(&self.index);
        }
    }

    fn add_frame(
        &mut self,
        header: &FrameHeader,
        mut records: Vec<FrameRecord>,
        offset: u64,
    ) -> Result<(), StoreError> {
        if self.mistakes.make(Planted::ForgetCheckpoints) {
            records.retain(|record| !matches!(record.record, Record::Checkpoint(_)));
        }
        if let Some((segment, _)) = &self.found.active {
            enter_frame(&self.index, &mut self.recent, segment, header, &records, offset)?;
        }
        self.found.hash = header.hash;
        self.found.last_recorded_at = header.start.recorded_at;
        Ok(())
    }

    /// Whether the mark tells of another frame than this one, while the segment is as it was then.
    fn contradicts_mark(
        &self,
        segment: &SegmentHeader,
        header: &FrameHeader,
        place: std::ops::Range<u64>,
    ) -> bool {
        self.found.mark.is_some_and(|mark| {
            let as_then = mark.segment == segment.first_position && segment.generation == 0;
            let within = place.start < mark.end && mark.end <= place.end;
            as_then && within && (mark.end, mark.hash) != (place.end, header.hash)
        })
    }

    /// Whether a segment with this header continues what was read so far.
    fn follows(&self, header: &SegmentHeader) -> Result<(), Unusable> {
        let expected = self.head().next();
        let continues = header.first_position == expected && header.previous_hash == self.found.hash;
        if continues || self.mistakes.make(Planted::IgnoreChain) {
            return Ok(());
        }
        // A header is written once all before it is durable.
        Err(Unusable::Wrong(format!(
            "the segment begins at position {}, expected {expected} and the chain's hash",
            header.first_position
        )))
    }
}
