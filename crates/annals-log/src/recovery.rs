//! Opening a folder: what is there, what can be trusted, and what becomes of a tail that nobody was promised.
//!
//! The runs tell what is behind them; only what follows the last of them is read. A frame that cannot be read is *damage* when
//! something proves that it had been durable: a later frame (it was written only after the barrier of those before it), a
//! later segment, or the durable mark. The log then opens read-only and nothing is touched. Otherwise it is a tail whose
//! append was never acknowledged: its bytes are copied to the quarantine folder, and then cut off.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use annals_core::{Damage, Position, StoreError, Timestamp};

use crate::blocks::BlockFile;
use crate::enter::enter_frame;
use crate::format::{
    FrameHeader, FrameRecord, MARK_MAGIC, Mark, SEGMENT_HEADER_BYTES, SegmentContent, SegmentHeader,
    WATERMARK_MAGIC,
};
use crate::maintenance::Upkeep;
use crate::marks::{FoundMark, MarkFile};
use crate::options::LogOptions;
use crate::places::{Places, SEGMENT_SUFFIX};
use crate::planted::{Mistakes, Planted};
use crate::recent::Recent;
use crate::run::{Resume, SegmentStamp};
use crate::scan::{Found, Scanner, proves_durable};
use crate::segments::{Segment, Segments};
use crate::storage::{OpenMode, Storage, StorageFile};
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
    options: &'a LogOptions,
    storage: &'a dyn Storage,
    places: &'a Places,
    upkeep: &'a Upkeep,
    index: LogIndex,
    recent: Recent,
    segments: Vec<Arc<Segment>>,
    found: Recovered,
    /// Whether nothing is kept of the runs that are there.
    rebuild_index: bool,
}

/// A segment file that was opened.
pub(crate) struct SegmentFile {
    pub(crate) first_position: Position,
    pub(crate) path: PathBuf,
    pub(crate) file: Arc<dyn StorageFile>,
    pub(crate) header: Result<SegmentHeader, String>,
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
                let mut recovery = Self::new(options, places, upkeep, store, true);
                recovery
                    .found
                    .notices
                    .push(format!("the index was damaged and was built again: {}: {reason}", path.display()));
                recovery.read()
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
        let segments = Vec::new();
        Self { options, storage, places, upkeep, index, recent, segments, found, rebuild_index }
    }

    fn read(mut self) -> Result<(Arc<LogIndex>, Recovered), StoreError> {
        self.read_marks()?;
        self.read_log()?;
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
        self.index.recent = self.recent.into();
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
        self.found.mark = mark.mark();
        let mut watermark = MarkFile::new(self.places.watermark(), WATERMARK_MAGIC, self.index.store);
        // Of the watermark nothing is believed but that its sequence numbers are used up.
        let watermark = watermark.read(self.storage).ok().and_then(FoundMark::mark);
        self.found.watermark_sequence = watermark.map_or(0, |mark| mark.sequence);
        Ok(())
    }

    fn read_log(&mut self) -> Result<(), StoreError> {
        // Who was killed between making a file and this barrier may have been told of nothing in it; who goes on will be.
        for folder in [self.places.folder.clone(), self.places.segments()] {
            self.storage.sync_dir(&folder).map_err(|error| StoreError::io("sync", &folder, error))?;
        }
        let mut files = open_segments(self.storage, self.places, self.index.store)?;
        self.remove_unbegun(&mut files)?;
        let mut from = 0;
        let mut offset = SEGMENT_HEADER_BYTES as u64;
        let blindly = Mistakes::of(self.options).make(Planted::TrustStaleIndex);
        let opener = match (self.rebuild_index, blindly) {
            (true, _) => Opener::Rebuilder,
            (false, true) => Opener::BlindWriter,
            (false, false) => Opener::Writer,
        };
        match trusted_runs::open(self.storage, self.places, self.index.store, &files, opener)? {
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
        let head = self.head();
        if let Some(mark) = self.found.mark.filter(|mark| mark.position > head) {
            let reason = format!("events up to position {} were durable, found only {head}", mark.position);
            let (path, offset) = match &self.found.active {
                Some((segment, end)) => (segment.path.clone(), *end),
                None => (self.places.segments(), 0),
            };
            self.damaged(&path, offset, reason);
        }
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
        for run in &runs {
            self.index.hide(&run.hidden()?);
            self.index.set_checkpoints(run.checkpoints()?);
        }
        self.index.change_older(|_| Older { frozen: None, runs });
        self.found.hash = resume.hash;
        self.found.last_recorded_at = resume.recorded_at;
        for file in files {
            let segment = Segment::new(file.first_position, file.path.clone(), Arc::clone(&file.file));
            self.segments.push(Arc::new(segment));
        }
        Ok(())
    }

    fn head(&self) -> Position {
        self.recent.index.last()
    }

    fn damaged(&mut self, path: &Path, offset: u64, reason: String) {
        let first_position = self.head().next();
        self.found.damage = Some(Damage { path: path.to_owned(), offset, end: None, first_position, reason });
    }

    fn read_segment(&mut self, found: &SegmentFile, offset: u64, is_last: bool) -> Result<(), StoreError> {
        let SegmentFile { path, file, .. } = found;
        let failed = |operation| move |error| StoreError::io(operation, path, error);
        let mut scanner = Scanner::new(Arc::clone(file), self.index.store).map_err(failed("read"))?;
        let goes_on = offset > SEGMENT_HEADER_BYTES as u64;
        let header = found.header.clone().and_then(|header| match goes_on {
            true => Ok(header),
            false => self.follows(&header).map(|()| header),
        });
        let header = match header {
            Ok(header) => header,
            Err(reason) => return self.end_here(path, &**file, &mut scanner, 0, is_last, reason),
        };
        let first_position = header.first_position;
        let segment = Arc::new(Segment::new(first_position, path.clone(), Arc::clone(file)));
        self.segments.push(Arc::clone(&segment));
        if !goes_on {
            self.recent.segments.push(SegmentStamp { first_position, generation: header.generation });
        }
        self.found.active = Some((segment, offset));
        let mut offset = offset;
        loop {
            let reason = match scanner.frame_at(offset).map_err(failed("read"))? {
                Found::Frame(header, records) => {
                    let start = &header.start;
                    if start.first_position == self.head().next() && start.previous_hash == self.found.hash {
                        self.make_room(first_position, offset);
                        self.add_frame(&header, &records, offset)?;
                        offset += header.frame_bytes();
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
                    if is_last {
                        // A whole frame may be here that no barrier covered: it is shown from now on, so it is kept.
                        return file.sync_data().map_err(failed("sync"));
                    }
                    return Ok(());
                }
                Found::End => "zeros stand where a frame should be".to_owned(),
                Found::Bad(reason) => reason,
            };
            return self.end_here(path, &**file, &mut scanner, offset, is_last, reason);
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
            self.recent = Recent::after(run.last(), self.index.seed);
            self.index.change_older(|older| {
                let kept = older.runs.iter().filter(|known| known.path() != run.path()).cloned();
                let mut runs: Vec<_> = kept.collect();
                runs.push(Arc::new(run));
                Older { frozen: None, runs }
            });
            self.upkeep.merge_now(&self.index);
        }
    }

    fn add_frame(
        &mut self,
        header: &FrameHeader,
        records: &[FrameRecord],
        offset: u64,
    ) -> Result<(), StoreError> {
        enter_frame(&self.index, &mut self.recent, header, records, offset)?;
        self.found.hash = header.hash;
        self.found.last_recorded_at = header.start.recorded_at;
        Ok(())
    }

    /// Removes the last segment when it was never begun: without a sound header there is no frame in it, and it would stand
    /// in the way of the one before, where the log goes on.
    fn remove_unbegun(&mut self, files: &mut Vec<SegmentFile>) -> Result<(), StoreError> {
        let Some(last) = files.last().filter(|last| last.header.is_err()) else { return Ok(()) };
        let SegmentFile { first_position, path, file, header } = last;
        let failed = |operation| move |error| StoreError::io(operation, path, error);
        let mut scanner = Scanner::new(Arc::clone(file), self.index.store).map_err(failed("read"))?;
        let marked = self.found.mark.is_some_and(|mark| mark.position >= *first_position);
        if marked || scanner.next_header(0).map_err(failed("read"))?.is_some() {
            return Ok(());
        }
        let end = scanner.end_of_content(0).map_err(failed("read"))?;
        let reason = header.as_ref().err().cloned().unwrap_or_default();
        if !Mistakes::of(self.options).make(Planted::SkipQuarantine) {
            self.quarantine(path, &mut scanner, 0, end, &reason)?;
        }
        self.storage.remove(path).map_err(failed("remove"))?;
        let folder = self.places.segments();
        self.storage.sync_dir(&folder).map_err(|error| StoreError::io("sync", folder, error))?;
        files.pop();
        Ok(())
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
        let mistakes = Mistakes::of(self.options);
        let first_lost = self.head().next();
        let marked = self.found.mark.is_some_and(|mark| mark.position >= first_lost);
        let mut later = scanner.next_header(offset + 1).map_err(failed("read"))?;
        while let Some((at, _)) = later.filter(|(_, header)| !proves_durable(header, first_lost)) {
            later = scanner.next_header(at + 1).map_err(failed("read"))?;
        }
        if (!is_last || marked || later.is_some()) && !mistakes.make(Planted::CutDamagedTail) {
            self.damaged(path, offset, reason);
            if let (Some(damage), Some((at, _))) = (&mut self.found.damage, later) {
                damage.end = Some(at);
            }
            return Ok(());
        }
        let end = scanner.end_of_content(offset).map_err(failed("read"))?;
        if !mistakes.make(Planted::SkipQuarantine) {
            self.quarantine(path, scanner, offset, end, &reason)?;
        }
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
        let now = self.options.clock.now().as_micros();
        let target = folder.join(format!("after-{:020}-at-{offset}-{now}.bytes", self.head().get()));
        let failed = |error| StoreError::io("write", &target, error);
        let copy = match self.storage.open(&target, OpenMode::CreateNew) {
            // Of an attempt that was interrupted within the same microsecond.
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                self.storage.open(&target, OpenMode::ReadWrite)
            }
            other => other,
        };
        let copy = copy.map_err(failed)?;
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

/// Opens all segment files, oldest first, and reads their headers.
pub(crate) fn open_segments(
    storage: &dyn Storage,
    places: &Places,
    store: crate::format::StoreId,
) -> Result<Vec<SegmentFile>, StoreError> {
    let folder = places.segments();
    let names = match storage.list(&folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let reason = "its folder \"segments\" is missing: restore it from a copy".to_owned();
            return Err(StoreError::NotAStore { path: places.folder.clone(), reason });
        }
        listed => listed.map_err(|error| StoreError::io("list", &folder, error))?,
    };
    let mut files = Vec::new();
    let stems = names.iter().filter_map(|name| name.strip_suffix(SEGMENT_SUFFIX).map(|stem| (name, stem)));
    for (name, stem) in stems {
        let path = folder.join(name);
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
        let named = stem.parse::<Position>().unwrap_or_default();
        let header = SegmentHeader::decode(&bytes[..count], store).and_then(|header| {
            let expected = header.first_position;
            let fits = format!("{:020}", expected.get()) == stem;
            if fits {
                Ok(header)
            } else {
                Err(format!("the segment begins at position {expected}, not as its name says"))
            }
        });
        // Compressed segments are read as if they were not.
        let (header, file) = match header {
            Ok(header) if header.content == SegmentContent::Blocks => {
                match BlockFile::open(Arc::clone(&file)) {
                    Ok(blocks) => (Ok(header), blocks),
                    Err(error) => (Err(error.to_string()), file),
                }
            }
            header => (header, file),
        };
        files.push(SegmentFile { first_position: named, path, file, header });
    }
    Ok(files)
}
