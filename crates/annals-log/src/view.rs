//! All that is indexed, as one: the runs, the part being written out, the latest events.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

use annals_core::index::{PositionList, Search, SliceCursor, Term, TermSource, infallible};
use annals_core::{
    ConsumerName, Direction, EventId, Filter, Head, Position, StoreError, StreamState, Timestamp, Version,
};
use bytes::Bytes;
use roaring::RoaringTreemap;

use crate::format::{Record, StoreId, decode_record};
use crate::read::Windows;
use crate::recent::Recent;
use crate::run::{PostingsCursor, Run, hash_seed};
use crate::segments::{Segment, Segments, segment_of};
use crate::sync::{RwLock, RwLockReadGuard};

/// The index of a log and its segments, shared by who writes and who reads.
#[derive(Debug)]
pub(crate) struct LogIndex {
    pub(crate) store: StoreId,
    pub(crate) seed: u64,
    pub(crate) recent: RwLock<Recent>,
    pub(crate) older: RwLock<Arc<Older>>,
    /// The positions of events that are not shown any more.
    pub(crate) hidden: RwLock<Arc<RoaringTreemap>>,
    pub(crate) checkpoints: RwLock<BTreeMap<ConsumerName, Position>>,
    pub(crate) segments: Segments,
    /// The last event that may be shown.
    pub(crate) head: Head,
    /// Memory of reads.
    pub(crate) windows: Windows,
}

/// What is indexed but not the latest.
#[derive(Debug, Default)]
pub(crate) struct Older {
    /// A part that is being written out as a run.
    pub(crate) frozen: Option<Arc<Recent>>,
    pub(crate) runs: Vec<Arc<Run>>,
}

impl Older {
    /// The position up to which no event has one of some ids, as far as the runs tell at once.
    pub(crate) fn without_ids<'i>(
        &self,
        ids: impl Iterator<Item = &'i EventId> + Clone,
        seed: u64,
    ) -> Position {
        let mut upto = Position::ZERO;
        for run in &self.runs {
            // Ids side by side: the processor fetches the places of several from memory at a time.
            if ids.clone().any(|id| run.may_have_id(id.hash_seeded(seed))) {
                break;
            }
            upto = run.last();
        }
        upto
    }

    /// The state of a stream after the events that are indexed here.
    pub(crate) fn stream_state(&self, name: &str) -> Result<StreamState, StoreError> {
        if let Some(state) =
            self.frozen.as_ref().and_then(|frozen| frozen.index.stream_state(name, Position::MAX))
        {
            return Ok(state);
        }
        for run in self.runs.iter().rev() {
            if let Some(span) = run.term(Term::stream(name))?.and_then(|record| record.span) {
                return Ok(span.after);
            }
        }
        Ok(StreamState::default())
    }
}

/// What must not change while a question is answered.
pub(crate) struct Snapshot<'a> {
    pub(crate) recent: RwLockReadGuard<'a, Recent>,
    pub(crate) older: Arc<Older>,
    pub(crate) segments: Arc<Vec<Arc<Segment>>>,
    pub(crate) hidden: Arc<RoaringTreemap>,
    store: StoreId,
    upto: Position,
}

impl LogIndex {
    pub(crate) fn new(store: StoreId, base: Position) -> Self {
        let seed = hash_seed(store);
        Self {
            store,
            seed,
            recent: RwLock::new(Recent::after(base, seed)),
            older: RwLock::default(),
            hidden: RwLock::default(),
            checkpoints: RwLock::default(),
            segments: Segments::default(),
            head: Head::at(base),
            windows: Windows::default(),
        }
    }

    pub(crate) fn older(&self) -> Arc<Older> {
        Arc::clone(&self.older.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn change_older(&self, change: impl FnOnce(&Older) -> Older) {
        let mut older = self.older.write().unwrap_or_else(PoisonError::into_inner);
        *older = Arc::new(change(&older));
    }

    pub(crate) fn hidden(&self) -> Arc<RoaringTreemap> {
        Arc::clone(&self.hidden.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn hide(&self, positions: &[u64]) {
        if !positions.is_empty() {
            let mut hidden = self.hidden.write().unwrap_or_else(PoisonError::into_inner);
            Arc::make_mut(&mut hidden).extend(positions.iter().copied());
        }
    }

    pub(crate) fn set_checkpoints(&self, checkpoints: impl IntoIterator<Item = (ConsumerName, Position)>) {
        self.checkpoints.write().unwrap_or_else(PoisonError::into_inner).extend(checkpoints);
    }

    pub(crate) fn checkpoint(&self, consumer: &ConsumerName) -> Option<Position> {
        self.checkpoints.read().unwrap_or_else(PoisonError::into_inner).get(consumer).copied()
    }

    pub(crate) fn snapshot(&self) -> Snapshot<'_> {
        // The head is read first: what is shown up to it is in what is taken after.
        let upto = self.head.get();
        let recent = self.recent.read().unwrap_or_else(PoisonError::into_inner);
        Snapshot {
            older: self.older(),
            recent,
            segments: self.segments.all(),
            hidden: self.hidden(),
            store: self.store,
            upto,
        }
    }
}

impl Snapshot<'_> {
    pub(crate) fn view(&self) -> View<'_> {
        View {
            store: self.store,
            recent: &self.recent,
            older: &self.older,
            segments: &self.segments,
            hidden: &self.hidden,
            upto: self.upto,
        }
    }
}

/// Answers questions about the events up to a position.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    pub(crate) store: StoreId,
    pub(crate) recent: &'a Recent,
    pub(crate) older: &'a Older,
    pub(crate) segments: &'a [Arc<Segment>],
    pub(crate) hidden: &'a RoaringTreemap,
    pub(crate) upto: Position,
}

/// Where the record of an event is.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) position: Position,
    pub(crate) segment: Arc<Segment>,
    pub(crate) offset: u32,
    /// Where the next event's record begins, when that is known and in the same segment.
    pub(crate) end: Option<u32>,
    pub(crate) recorded_at: Timestamp,
}

impl Place {
    pub(crate) fn damaged(&self, reason: String) -> StoreError {
        self.segment.damaged(u64::from(self.offset), self.position, reason)
    }

    /// Reads the record from the disk.
    pub(crate) fn read(&self) -> Result<Record, StoreError> {
        let mut bytes = Vec::new();
        self.segment.read_record(self.offset, self.end, &mut bytes)?;
        self.segment.check_health()?;
        let record = decode_record(&Bytes::from(bytes), 0, self.position, self.recorded_at);
        record.map(|(record, _)| record).map_err(|reason| self.damaged(reason))
    }
}

/// One of the parts of the index; each covers a range of positions.
#[derive(Clone, Copy)]
pub(crate) enum Part<'a> {
    Run(&'a Run),
    Recent(&'a Recent),
}

/// A list of positions in one of the parts.
pub(crate) enum PartList<'a> {
    Packed(PostingsCursor<'a>),
    Slice(SliceCursor<'a>),
}

impl PositionList for PartList<'_> {
    type Error = StoreError;

    fn seek(&mut self, from: u64, direction: Direction) -> Result<Option<u64>, StoreError> {
        match self {
            Self::Packed(list) => list.seek(from, direction),
            Self::Slice(list) => Ok(infallible(list.seek(from, direction))),
        }
    }
}

impl<'a> Part<'a> {
    fn first(&self) -> Position {
        match self {
            Self::Run(run) => run.first(),
            Self::Recent(recent) => recent.first(),
        }
    }

    fn last(&self) -> Position {
        match self {
            Self::Run(run) => run.last(),
            Self::Recent(recent) => recent.index.last(),
        }
    }

    fn is_recent(&self) -> bool {
        matches!(self, Self::Recent(_))
    }

    fn list(&self, term: Term<'_>) -> Result<Option<PartList<'a>>, StoreError> {
        Ok(match self {
            Self::Run(run) => run
                .term(term)?
                .map(|record| PartList::Packed(PostingsCursor::new(run.base(), record.postings))),
            Self::Recent(recent) => infallible(recent.index.list(term)).map(PartList::Slice),
        })
    }
}

/// A part, asked with a view at hand that can read records to tell ids apart.
#[derive(Clone, Copy)]
struct PartOf<'v, 'a> {
    part: Part<'a>,
    view: &'v View<'a>,
}

impl<'a> TermSource for PartOf<'_, 'a> {
    type Error = StoreError;
    type List<'l>
        = PartList<'a>
    where
        Self: 'l;

    fn list(&self, term: Term<'_>) -> Result<Option<PartList<'a>>, StoreError> {
        self.part.list(term)
    }

    fn position_of(&self, id: &EventId) -> Result<Option<u64>, StoreError> {
        Ok(self.view.position_in(self.part, id)?.map(Position::get))
    }
}

impl<'a> View<'a> {
    /// The parts from old to new.
    fn parts(&self) -> impl DoubleEndedIterator<Item = Part<'a>> + use<'a> {
        let runs = self.older.runs.iter().map(|run| Part::Run(run));
        let frozen = self.older.frozen.as_deref().map(Part::Recent);
        runs.chain(frozen).chain([Part::Recent(self.recent)])
    }

    /// The state of a stream.
    pub(crate) fn stream_state(&self, name: &str) -> Result<StreamState, StoreError> {
        match self.recent.index.stream_state(name, self.upto) {
            Some(state) => Ok(state),
            None => self.older.stream_state(name),
        }
    }

    /// The positions of a stream's versions from `from` to before `until`, ascending.
    pub(crate) fn positions_of_versions(
        &self,
        name: &str,
        from: Version,
        until: Version,
    ) -> Result<Vec<u64>, StoreError> {
        let mut found = Vec::new();
        for part in self.parts().rev() {
            let mut decoded = Vec::new();
            let (base, before, distances) = match part {
                Part::Recent(recent) => {
                    let Some((distances, before)) = recent.index.stream(name) else { continue };
                    (recent.index.base().get(), before.version, distances)
                }
                Part::Run(run) => {
                    let Some(record) = run.term(Term::stream(name))? else { continue };
                    let before = record.span.map_or(Version::ZERO, |span| span.version_before);
                    record.postings.decode_into(&mut decoded);
                    (run.base(), before, decoded.as_slice())
                }
            };
            let index = |version: Version| {
                (version.get().saturating_sub(before.next().get()) as usize).min(distances.len())
            };
            let range = index(from)..index(until).max(index(from));
            let positions = distances.get(range).unwrap_or_default().iter();
            found.splice(0..0, positions.map(|distance| base + u64::from(*distance)));
            if before < from {
                break;
            }
        }
        Ok(found)
    }

    /// The position of a stream's version; of the last one before it when there is none and `or_last` says so.
    pub(crate) fn position_of_version(
        &self,
        name: &str,
        version: Version,
        or_last: bool,
    ) -> Result<Option<u64>, StoreError> {
        let last = self.stream_state(name)?.version;
        if version == Version::ZERO || (version > last && !or_last) {
            return Ok(None);
        }
        let version = version.min(last);
        Ok(self.positions_of_versions(name, version, version.next())?.first().copied())
    }

    /// Where an event with this id is in a part.
    fn position_in(&self, part: Part<'a>, id: &EventId) -> Result<Option<Position>, StoreError> {
        match part {
            Part::Recent(recent) => Ok(infallible(recent.index.position_of(id)).map(Position::new)),
            Part::Run(run) => {
                for position in run.positions_of_id(id)? {
                    // A number that a damaged directory made up is no position of the run.
                    if run.contains(position) && self.id_at(position)? == *id {
                        return Ok(Some(position));
                    }
                }
                Ok(None)
            }
        }
    }

    fn id_at(&self, position: Position) -> Result<EventId, StoreError> {
        Ok(match self.record_at(position)? {
            Record::Event(event) => event.id(),
            Record::Removed(event) => event.id,
            Record::Checkpoint(_) => EventId::from_bytes([0; 16]),
        })
    }

    /// Where the event with this id is, hidden or not. Up to `new_upto` it is known not to be.
    pub(crate) fn position_of(
        &self,
        id: &EventId,
        new_upto: Position,
    ) -> Result<Option<Position>, StoreError> {
        for part in self.parts().rev().take_while(|part| part.last() > new_upto || part.is_recent()) {
            if let Some(position) = self.position_in(part, id)? {
                return Ok(Some(position));
            }
        }
        Ok(None)
    }

    /// Where the record of an event is.
    pub(crate) fn place(&self, position: Position) -> Result<Place, StoreError> {
        let segment = segment_of(self.segments, position).ok_or(StoreError::Closed)?;
        let (offset, next, frame) = self.offsets_around(position)?;
        // The next event may be the first of the next segment.
        let same = segment_of(self.segments, position.next()).is_some_and(|next| Arc::ptr_eq(next, segment));
        let next = next.filter(|next| same && *next > offset);
        Ok(Place {
            position,
            segment: Arc::clone(segment),
            offset,
            end: next,
            recorded_at: frame.recorded_at,
        })
    }

    /// Where an event's record begins, where the next one does, and the frame of the event.
    fn offsets_around(
        &self,
        position: Position,
    ) -> Result<(u32, Option<u32>, crate::run::FramePlace), StoreError> {
        let in_memory = [Some(self.recent), self.older.frozen.as_deref()].into_iter().flatten();
        for recent in in_memory.filter(|recent| recent.first() <= position) {
            if let (Some(offset), Some(frame)) = (recent.offset_of(position), recent.frame_of(position)) {
                return Ok((offset, recent.offset_of(position.next()), frame));
            }
        }
        let runs = &self.older.runs;
        let run = runs.partition_point(|run| run.last() < position);
        let run = runs.get(run).ok_or(StoreError::Closed)?;
        // A sealed segment is mapped and needs no end.
        Ok((run.offset_of(position)?, None, run.frame_of(position)?))
    }

    /// The frame that holds an event: its segment and where it begins.
    pub(crate) fn frame_of(&self, position: Position) -> Result<(Arc<Segment>, u32), StoreError> {
        let segment = segment_of(self.segments, position).ok_or(StoreError::Closed)?;
        let (_, _, frame) = self.offsets_around(position)?;
        Ok((Arc::clone(segment), frame.offset))
    }

    pub(crate) fn record_at(&self, position: Position) -> Result<Record, StoreError> {
        self.place(position)?.read()
    }

    /// The first event recorded at or after a moment; the one behind the last when there is none.
    pub(crate) fn first_recorded_at(&self, moment: Timestamp) -> Result<Position, StoreError> {
        for run in &self.older.runs {
            if run.resume().recorded_at >= moment {
                let frames = run.frames()?;
                let index = frames.partition_point(|frame| frame.recorded_at < moment);
                if let Some(frame) = frames.get(index) {
                    return Ok(frame.first_position);
                }
            }
        }
        for recent in [self.older.frozen.as_deref(), Some(self.recent)].into_iter().flatten() {
            let index = recent.frames.partition_point(|frame| frame.recorded_at < moment);
            if let Some(frame) = recent.frames.get(index) {
                return Ok(frame.first_position);
            }
        }
        Ok(self.upto.next())
    }

    /// The visible positions that match, lazily.
    pub(crate) fn matches(
        &self,
        filter: &'a Filter,
        from: Option<u64>,
        direction: Direction,
    ) -> Matches<'_, 'a> {
        Matches { view: self, filter, direction, next: from, part: None }
    }

    /// Whether some page that was used could not be read.
    pub(crate) fn check_health(&self) -> Result<(), StoreError> {
        self.older.runs.iter().try_for_each(|run| run.check_health())
    }
}

/// Goes from matching position to matching position, part by part.
pub(crate) struct Matches<'v, 'a> {
    view: &'v View<'a>,
    filter: &'a Filter,
    direction: Direction,
    next: Option<u64>,
    part: Option<OpenPart<'a>>,
}

/// The part that is being searched: its range, and the search.
struct OpenPart<'a> {
    first: u64,
    last: u64,
    search: Search<PartList<'a>>,
}

impl<'a> Matches<'_, 'a> {
    /// The next visible position that matches; `None` when there are no more.
    pub(crate) fn next(&mut self) -> Result<Option<u64>, StoreError> {
        let forwards = self.direction == Direction::Forwards;
        while let Some(from) = self.next.filter(|from| *from > 0) {
            let Some((first, last)) = self.open(from)? else { return Ok(None) };
            let Some(part) = &mut self.part else { return Ok(None) };
            let from = from.clamp(first, last);
            match part.search.seek(from, self.direction)?.filter(|found| (first..=last).contains(found)) {
                Some(found) => {
                    self.next = if forwards { Some(found + 1) } else { found.checked_sub(1) };
                    if !self.view.hidden.contains(found) {
                        return Ok(Some(found));
                    }
                }
                None => self.next = if forwards { Some(last + 1) } else { first.checked_sub(1) },
            }
        }
        Ok(None)
    }

    /// Makes the part that a search from `from` begins in the open one; returns its range, as far as it may be shown.
    fn open(&mut self, from: u64) -> Result<Option<(u64, u64)>, StoreError> {
        let upto = self.view.upto.get();
        if let Some(part) = &self.part
            && (part.first..=part.last).contains(&from)
        {
            return Ok(Some((part.first, part.last)));
        }
        let range = |part: &Part<'a>| (part.first().get(), part.last().get().min(upto));
        let not_empty = |part: &Part<'a>| range(part).0 <= range(part).1;
        let chosen = match self.direction {
            Direction::Forwards => self.view.parts().find(|part| not_empty(part) && range(part).1 >= from),
            Direction::Backwards => self.view.parts().rfind(|part| not_empty(part) && range(part).0 <= from),
        };
        let Some(part) = chosen else { return Ok(None) };
        let (first, last) = range(&part);
        let search = Search::new(&PartOf { part, view: self.view }, self.filter)?;
        self.part = Some(OpenPart { first, last, search });
        Ok(Some((first, last)))
    }
}
