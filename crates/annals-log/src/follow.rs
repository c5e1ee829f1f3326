//! Follows a writer in another process: what it acknowledged is entered here, as far as its watermark says.

use std::sync::{Arc, PoisonError};

use annals_core::{Position, StoreError};

use crate::enter::enter_frame;
use crate::format::{MARK_MAGIC, Mark, SEGMENT_HEADER_BYTES, StoreId, WATERMARK_MAGIC};
use crate::marks::{FoundMark, MarkFile};
use crate::options::LogOptions;
use crate::places::Places;
use crate::planted::Mistakes;
use crate::recent::Recent;
use crate::run::Run;
use crate::scan::{Found, Scanner};
use crate::segment_files::{SegmentFile, open_segments};
use crate::segments::Segment;
use crate::sync::Mutex;
use crate::ticket::lock;
use crate::trusted_runs::{self, Opener, Trusted};
use crate::view::{LogIndex, Older};

/// While the writer replaces files, opening them is tried so often.
const ATTEMPTS: u32 = 50;
const BETWEEN_ATTEMPTS: std::time::Duration = std::time::Duration::from_millis(10);

/// Where the follower has come.
#[derive(Debug, Clone)]
struct Reached {
    segment: Arc<Segment>,
    offset: u64,
    hash: [u8; 32],
}

/// Keeps an index in step with a writer.
pub(crate) struct Follower {
    options: LogOptions,
    places: Places,
    pub(crate) index: LogIndex,
    state: Mutex<State>,
}

struct State {
    watermark: MarkFile,
    mark: MarkFile,
    reached: Option<Reached>,
}

/// The log as far as it was read while nobody could see it yet.
struct Loaded {
    runs: Vec<Arc<Run>>,
    recent: Recent,
    segments: Vec<Arc<Segment>>,
    reached: Option<Reached>,
}

impl Follower {
    pub(crate) fn new(options: LogOptions, places: Places, store: StoreId) -> Self {
        let state = State {
            watermark: MarkFile::new(places.watermark(), WATERMARK_MAGIC, store),
            mark: MarkFile::new(places.mark(), MARK_MAGIC, store),
            reached: None,
        };
        Self { options, places, index: LogIndex::new(store, Position::ZERO), state: Mutex::new(state) }
    }

    /// Enters what was acknowledged since the last time; says whether anything was.
    pub(crate) fn catch_up(&self) -> Result<bool, StoreError> {
        let mut state = lock(&self.state);
        let Some(target) = self.target(&mut state)? else { return Ok(false) };
        let reached = state.reached.as_ref().map(|reached| (reached.segment.first_position, reached.offset));
        if reached.is_some_and(|reached| reached >= (target.segment, target.end)) {
            return Ok(false);
        }
        let full = self.index.snapshot().recent.is_full(self.options.index_memory_bytes);
        if state.reached.is_none() || (full && self.has_newer_runs()) {
            self.load(&mut state, &target)?;
        }
        let mut recent = self.index.recent.write().unwrap_or_else(PoisonError::into_inner);
        let moved = self.read_on(&mut state.reached, &mut recent, &target, &mut |segment| {
            self.index.segments.put(segment);
        });
        let head = recent.index.last();
        drop(recent);
        self.index.head.advance(head);
        moved.map(|()| true)
    }

    /// How far the log may be read: as the watermark says, or the durable mark where no writer left one.
    fn target(&self, state: &mut State) -> Result<Option<Mark>, StoreError> {
        let storage = &*self.options.storage;
        let watermark = state.watermark.read(storage)?;
        let found = match watermark {
            FoundMark::Mark(mark) => Some(mark),
            FoundMark::None | FoundMark::Unreadable => state.mark.read(storage)?.mark(),
        };
        Ok(found)
    }

    fn has_newer_runs(&self) -> bool {
        let names = self.options.storage.list(&self.places.index()).unwrap_or_default();
        let (chosen, _) = crate::maintenance::choose_runs(&names);
        let known = self.index.older().runs.last().map_or(Position::ZERO, |run| run.last());
        chosen.last().is_some_and(|run| run.last > known)
    }

    /// Opens the files as they are now. The writer may be replacing some of them just then.
    fn load(&self, state: &mut State, target: &Mark) -> Result<(), StoreError> {
        let mut attempt = 0;
        let loaded = loop {
            attempt += 1;
            match self.try_load(target, attempt < ATTEMPTS) {
                Ok(Some(loaded)) => break loaded,
                Ok(None) if attempt < ATTEMPTS => {}
                Ok(None) => return Err(StoreError::Closed),
                Err(error) if attempt >= ATTEMPTS => return Err(error),
                Err(_) => {}
            }
            std::thread::sleep(BETWEEN_ATTEMPTS);
        };
        let mut recent = self.index.recent.write().unwrap_or_else(PoisonError::into_inner);
        self.index.change_older(|_| Older { frozen: None, runs: loaded.runs });
        self.index.segments.replace(loaded.segments);
        *recent = loaded.recent;
        state.reached = loaded.reached;
        Ok(())
    }

    /// Reads the log; `None` when the runs do not fit it and that may be so for a moment only.
    fn try_load(&self, target: &Mark, runs_must_fit: bool) -> Result<Option<Loaded>, StoreError> {
        let storage = &*self.options.storage;
        let store = self.index.store;
        let files = open_segments(storage, &self.places, store)?;
        let (runs, resume) = match trusted_runs::open(
            storage,
            &self.places,
            store,
            &files,
            Opener::Reader,
            Mistakes::default(),
        )? {
            Trusted::Runs { runs, resume } => (runs, Some(resume)),
            Trusted::Nothing => (Vec::new(), None),
            Trusted::Stale(_) if runs_must_fit => return Ok(None),
            Trusted::Stale(_) => (Vec::new(), None),
        };
        for run in &runs {
            self.index.hide(&run.hidden()?);
            self.index.set_checkpoints(run.checkpoints()?);
        }
        let base = runs.last().map_or(Position::ZERO, |run| run.last());
        let before = |file: &&SegmentFile| resume.is_none_or(|resume| file.first_position <= resume.segment);
        let known = files.iter().filter(before).take(if resume.is_some() { usize::MAX } else { 1 });
        let segments: Vec<Arc<Segment>> = known
            .map(|file| {
                Arc::new(Segment::new(file.first_position, file.path.clone(), Arc::clone(&file.file)))
            })
            .collect();
        let Some((last, sealed)) = segments.split_last() else { return Ok(None) };
        sealed.iter().for_each(|segment| segment.seal());
        let (offset, hash) =
            resume.map_or((SEGMENT_HEADER_BYTES as u64, [0; 32]), |resume| (resume.offset, resume.hash));
        let mut reached = Some(Reached { segment: Arc::clone(last), offset, hash });
        let mut recent = Recent::after(base, self.index.seed);
        let mut segments = segments.clone();
        // What is entered here is looked up among the new runs, not those that are still shown.
        let scratch = LogIndex::new(store, base);
        scratch.change_older(|_| Older { frozen: None, runs: runs.clone() });
        self.read_on_with(&scratch, &mut reached, &mut recent, target, &mut |segment| {
            segments.push(segment)
        })?;
        self.index.hide(&recent.hidden.iter().copied().collect::<Vec<_>>());
        self.index.set_checkpoints(recent.checkpoints.clone());
        Ok(Some(Loaded { runs, recent, segments, reached }))
    }

    fn read_on(
        &self,
        reached: &mut Option<Reached>,
        recent: &mut Recent,
        target: &Mark,
        opened: &mut dyn FnMut(Arc<Segment>),
    ) -> Result<(), StoreError> {
        self.read_on_with(&self.index, reached, recent, target, opened)
    }

    /// Enters the frames from where the follower has come up to where it may read.
    fn read_on_with(
        &self,
        index: &LogIndex,
        reached: &mut Option<Reached>,
        recent: &mut Recent,
        target: &Mark,
        opened: &mut dyn FnMut(Arc<Segment>),
    ) -> Result<(), StoreError> {
        let Some(at) = reached else { return Ok(()) };
        loop {
            // The index may lead beyond what the watermark names: into a segment that was begun since.
            let beyond = at.segment.first_position > target.segment;
            let last = beyond || at.segment.first_position == target.segment;
            let failed = |error| StoreError::io("read", &at.segment.path, error);
            let mut scanner = Scanner::new(Arc::clone(&at.segment.file), self.index.store).map_err(failed)?;
            while !last || (!beyond && at.offset < target.end) {
                match scanner.frame_at(at.offset).map_err(failed)? {
                    Found::Frame(header, records) => {
                        if header.start.previous_hash != at.hash {
                            let reason = "the frame does not continue the chain of hashes".to_owned();
                            return Err(at.segment.damaged(at.offset, recent.index.last().next(), reason));
                        }
                        enter_frame(index, recent, &at.segment, &header, &records, at.offset)?;
                        at.offset += header.frame_bytes();
                        at.hash = header.hash;
                    }
                    Found::End if !last => break,
                    Found::End => {
                        let reason = "zeros stand where the writer acknowledged a frame".to_owned();
                        return Err(at.segment.damaged(at.offset, recent.index.last().next(), reason));
                    }
                    Found::Bad(reason) => {
                        return Err(at.segment.damaged(at.offset, recent.index.last().next(), reason));
                    }
                }
            }
            if last {
                return Ok(());
            }
            let next = self.open_segment(recent.index.last().next())?;
            at.segment.seal();
            *at = Reached { segment: Arc::clone(&next), offset: SEGMENT_HEADER_BYTES as u64, hash: at.hash };
            opened(next);
        }
    }

    fn open_segment(&self, first_position: Position) -> Result<Arc<Segment>, StoreError> {
        let path = self.places.segment(first_position);
        let file = self.options.storage.open(&path, crate::storage::OpenMode::Read);
        let file = file.map_err(|error| StoreError::io("open", &path, error))?;
        Ok(Arc::new(Segment::new(first_position, path, file)))
    }
}
