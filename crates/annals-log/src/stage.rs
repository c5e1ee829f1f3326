//! Checks appends against all that is stored or about to be, and enters them into the index, before they are written.

use std::sync::Arc;

use annals_core::append_rules::{
    Admitted, AppendState, FormerEvent, Known, PreparedAppend, WrittenStream, admit, find_known, receipt_of,
};
use annals_core::index::infallible;
use annals_core::{
    AppendCondition, AppendError, AppendReceipt, ChainHash, Checkpoint, Direction, EventId, InvalidRequest,
    Position, StoreError, StreamName, StreamState, Timestamp, Version,
};
use roaring::RoaringTreemap;

use crate::format::{AppendHasher, FrameBuilder, FrameRecords, Record, RemovedEvent, body_checksum};
use crate::recent::Recent;
use crate::segments::Segment;
use crate::view::{LogIndex, Older, View};

/// An append whose events are laid out, hashed and summed up, on its caller's own thread.
pub(crate) struct LogAppend {
    prepared: PreparedAppend,
    body_checksums: Vec<u32>,
    hash: [u8; 32],
    /// No event up to here has one of the ids.
    new_upto: Position,
}

impl LogAppend {
    pub(crate) fn new(prepared: PreparedAppend, index: &LogIndex) -> Self {
        let body_checksums = prepared.events.iter().map(|event| body_checksum(&event.body)).collect();
        let hash = AppendHasher::of(&prepared);
        let new_upto = index.older().without_ids(prepared.events.iter().map(|event| &event.id), index.seed);
        Self { prepared, body_checksums, hash, new_upto }
    }

    /// The checkpoint to store with it.
    pub(crate) fn checkpoint(&self) -> Option<&Checkpoint> {
        self.prepared.checkpoint.as_ref()
    }

    pub(crate) fn has_events(&self) -> bool {
        !self.prepared.events.is_empty()
    }

    pub(crate) fn body_bytes(&self) -> usize {
        self.prepared.body_bytes
    }
}

/// A frame in the making: the appends that were accepted for it.
pub(crate) struct Pending {
    pub(crate) frame: FrameBuilder,
    pub(crate) recorded_at: Timestamp,
    /// The end of the log before it.
    pub(crate) base: Position,
    pub(crate) appends: Vec<PendingAppend>,
    /// The positions that its events hide.
    pub(crate) hidden: Vec<u64>,
}

/// An append that was accepted.
pub(crate) struct PendingAppend {
    pub(crate) append: LogAppend,
    pub(crate) receipt: AppendReceipt,
}

/// What became of an append.
pub(crate) enum Staged {
    /// It is the n-th of the frame.
    Accepted(usize),
    /// Its events are those of the n-th of the frame.
    DuplicateOf(usize),
    /// Its events are stored: the receipt of that time.
    Duplicate(AppendReceipt),
    /// Whether it is a duplicate, or refused, is known once the frame before this one is durable.
    Undecided(LogAppend),
}

impl Pending {
    pub(crate) fn new(base: Position, recorded_at: Timestamp, buffer: Vec<u8>) -> Self {
        let frame = FrameBuilder::reusing(buffer);
        Self { frame, recorded_at, base, appends: Vec::new(), hidden: Vec::new() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.appends.is_empty()
    }

    /// The append of this frame that an event belongs to.
    fn append_at(&self, position: Position) -> Option<(usize, &PendingAppend)> {
        // An append without events ends before it begins, so it is passed over.
        let index = self.appends.partition_point(|append| append.receipt.last_position < position);
        self.appends.get(index).map(|append| (index, append)).filter(|_| position > self.base)
    }
}

/// What staging holds while it goes on: the index that it writes, and what is beside it.
pub(crate) struct Stage<'a> {
    pub(crate) recent: &'a mut Recent,
    pub(crate) older: Arc<Older>,
    pub(crate) segments: Arc<Vec<Arc<Segment>>>,
    pub(crate) hidden: Arc<RoaringTreemap>,
    pub(crate) index: &'a LogIndex,
    /// Behind this position stands what is not durable yet.
    durable: Position,
}

/// Why an append is not taken, or not yet.
enum Refusal {
    Error(AppendError),
    Undecided,
}

impl From<AppendError> for Refusal {
    fn from(error: AppendError) -> Self {
        Self::Error(error)
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        Self::Error(error.into())
    }
}

impl From<InvalidRequest> for Refusal {
    fn from(error: InvalidRequest) -> Self {
        Self::Error(error.into())
    }
}

impl<'a> Stage<'a> {
    pub(crate) fn new(index: &'a LogIndex, recent: &'a mut Recent) -> Self {
        // The head is read first: what is hidden up to it is among what is taken after.
        let durable = index.head.get();
        let (older, segments, hidden) = (index.older(), index.segments.all(), index.hidden());
        Self { recent, older, segments, hidden, index, durable }
    }

    fn view(&self) -> View<'_> {
        View {
            store: self.index.store,
            recent: self.recent,
            older: &self.older,
            segments: &self.segments,
            hidden: &self.hidden,
            upto: self.recent.index.last(),
        }
    }

    /// Checks an append and, if it passes, enters its events into the frame and the index.
    pub(crate) fn stage(&mut self, append: LogAppend, pending: &mut Pending) -> Result<Staged, AppendError> {
        let (durable, new_upto) = (self.durable, append.new_upto);
        let state = StageState { view: self.view(), pending, durable, new_upto };
        let found = find_known(&state, &append.prepared.events);
        let admitted = match found {
            Ok(Some(first)) => return state.former(first),
            Ok(None) => admit(&state, &append.prepared, self.recent.index.last(), pending.recorded_at),
            Err(refusal) => Err(refusal),
        };
        match admitted.and_then(|admitted| Ok((self.hidden_by(&admitted)?, admitted))) {
            Ok((hidden, admitted)) => {
                self.enter(append, admitted, hidden, pending);
                Ok(Staged::Accepted(pending.appends.len() - 1))
            }
            Err(Refusal::Undecided) => Ok(Staged::Undecided(append)),
            // It may rest on the frame before, which may be taken back, and may hide what stands in the way.
            Err(Refusal::Error(_)) if pending.base > self.durable => Ok(Staged::Undecided(append)),
            Err(Refusal::Error(error)) => Err(error),
        }
    }

    /// The stored positions that an append hides.
    fn hidden_by(&self, admitted: &Admitted) -> Result<Vec<u64>, Refusal> {
        let mut hidden = Vec::new();
        for stream in admitted.streams.iter().filter(|stream| stream.hides()) {
            let from = stream.before.visible_from.max(Version::new(1));
            let until = stream.after.visible_from;
            hidden.extend(self.view().positions_of_versions(stream.name.as_str(), from, until)?);
        }
        Ok(hidden)
    }

    fn enter(&mut self, append: LogAppend, admitted: Admitted, hidden: Vec<u64>, pending: &mut Pending) {
        let Admitted { streams, versions, receipt } = admitted;
        let LogAppend { prepared, body_checksums, hash, .. } = &append;
        let hiding = streams.iter().any(WrittenStream::hides);
        pending.hidden.extend(hidden);
        let mut position = receipt.first_position;
        for ((event, version), checksum) in prepared.events.iter().zip(versions).zip(body_checksums) {
            let written = || streams.iter().find(|stream| stream.name == event.stream);
            let before = || Ok(written().map(|stream| stream.before).unwrap_or_default());
            infallible(self.recent.index.insert(&event.terms(), event.system, before));
            pending.frame.push_event(version, position, &event.body, *checksum);
            if hiding && written().is_some_and(|stream| version < stream.after.visible_from) {
                pending.hidden.push(position.get());
            }
            position = position.next();
        }
        if let Some(checkpoint) = &prepared.checkpoint {
            pending.frame.push_checkpoint(checkpoint);
        }
        pending.frame.end_append(hash);
        pending.appends.push(PendingAppend { append, receipt });
    }
}

/// What an append is checked against.
struct StageState<'s> {
    view: View<'s>,
    pending: &'s Pending,
    /// Behind this position stands what is not durable yet.
    durable: Position,
    /// No event up to here has one of the ids of the append.
    new_upto: Position,
}

impl StageState<'_> {
    /// Tells of the append that begins at `first`, be it stored or of this frame.
    fn former(&self, first: Position) -> Result<Staged, AppendError> {
        if let Some((place, _)) = self.pending.append_at(first) {
            return Ok(Staged::DuplicateOf(place));
        }
        Ok(Staged::Duplicate(self.view.former_receipt(first)?))
    }
}

impl AppendState for StageState<'_> {
    type Error = Refusal;

    fn stream_state(&self, stream: &StreamName) -> Result<StreamState, Refusal> {
        Ok(self.view.stream_state(stream.as_str())?)
    }

    fn known(&self, id: &EventId) -> Result<Option<Known>, Refusal> {
        let Some(position) = self.view.position_of(id, self.new_upto)? else { return Ok(None) };
        if let Some((_, staged)) = self.pending.append_at(position) {
            let append_first = staged.receipt.first_position;
            let index = (position.get() - append_first.get()) as usize;
            let digest = staged.append.prepared.events.get(index).map(|event| event.digest);
            return Ok(digest.map(|digest| Known { position, digest, append_first }));
        }
        if position > self.durable {
            return Err(Refusal::Undecided);
        }
        let digest = match self.view.record_at(position)? {
            Record::Event(event) => event.content_digest(),
            Record::Removed(event) => event.digest,
            Record::Checkpoint(_) => return Ok(None),
        };
        let (append_first, _) = self.view.append_around(position)?;
        Ok(Some(Known { position, digest, append_first }))
    }

    fn first_breaking(&self, condition: &AppendCondition) -> Result<Option<Position>, Refusal> {
        let from = Some(condition.after.next().get());
        let mut matches = self.view.matches(&condition.query, from, Direction::Forwards);
        while let Some(found) = matches.next()? {
            if !self.pending.hidden.contains(&found) {
                return Ok(Some(Position::new(found)));
            }
        }
        Ok(None)
    }
}

impl View<'_> {
    /// The first and last position of the append that an event belongs to. An append lies within one frame.
    pub(crate) fn append_around(&self, position: Position) -> Result<(Position, Position), StoreError> {
        let (segment, offset) = self.frame_of(position)?;
        let (header, records) = segment.frame(offset, self.store)?;
        let (mut first, mut last) = (header.start.first_position, Position::ZERO);
        let mut next = first;
        for record in FrameRecords::new(header, records) {
            let record = record.map_err(|reason| segment.damaged(u64::from(offset), position, reason))?;
            if record.begins_append {
                if next > position {
                    break;
                }
                first = next;
            }
            if !matches!(record.record, Record::Checkpoint(_)) {
                last = next;
                next = next.next();
            }
        }
        Ok((first, last))
    }

    /// The receipt that the append beginning at `first` was given.
    pub(crate) fn former_receipt(&self, first: Position) -> Result<AppendReceipt, StoreError> {
        let (_, last) = self.append_around(first)?;
        let events = (first.get()..=last.get()).map(|position| {
            let place = self.place(Position::new(position))?;
            match place.read()? {
                Record::Event(event) => Ok((&event).into()),
                Record::Removed(RemovedEvent { position, stream, version, .. }) => {
                    Ok(FormerEvent { position, stream, version, recorded_at: place.recorded_at })
                }
                Record::Checkpoint(_) => {
                    Err(place.damaged("a checkpoint stands in the place of an event".into()))
                }
            }
        });
        let mut receipt = receipt_of(first, events)?;
        receipt.proof = Some(self.proof_of(last)?);
        Ok(receipt)
    }

    /// The chain's hash at the end of the frame that holds an event.
    fn proof_of(&self, position: Position) -> Result<ChainHash, StoreError> {
        let (segment, offset) = self.frame_of(position)?;
        let header = segment.frame_header(offset, self.store)?;
        let last = Position::new(header.start.first_position.get() + u64::from(header.event_count) - 1);
        Ok(ChainHash { position: last, hash: header.hash })
    }
}
