//! Appends of one group, checked one after the other, before any of them is stored.

use std::collections::HashMap;

use super::{Catalog, PreparedAppend, PreparedEvent};
use crate::{
    AppendCondition, AppendError, AppendReceipt, Checkpoint, Conflict, EventId, FailedCheck, KnownEvent,
    Position, RecordedEvent, StoreError, StreamName, StreamState, Timestamp, Version,
};

/// Hands out stored events by position, hidden ones too.
pub trait EventSource {
    /// The event at `position`, which is at most the catalog's head.
    ///
    /// # Errors
    /// What keeps the store from reading it.
    fn event_at(&self, position: Position) -> Result<RecordedEvent, StoreError>;
}

/// Checks appends against what is stored and against those of the same group before them. Dropping it forgets the
/// group; storing it is the store's work, after which the catalog is told of the events.
pub struct Staging<'a, S> {
    catalog: &'a Catalog,
    source: &'a S,
    recorded_at: Timestamp,
    appends: Vec<StagedAppend>,
    streams: HashMap<StreamName, StreamState>,
    ids: HashMap<EventId, Place>,
    head: u64,
}

struct Place {
    append: usize,
    position: Position,
    digest: [u8; 32],
}

/// An append that was accepted into the group.
#[derive(Debug)]
pub struct StagedAppend {
    /// Its events, placed.
    pub events: Vec<RecordedEvent>,
    /// The digest of each event's content.
    pub digests: Vec<[u8; 32]>,
    /// The checkpoint to store with it.
    pub checkpoint: Option<Checkpoint>,
    /// What to tell the appender once it is stored.
    pub receipt: AppendReceipt,
}

/// What became of an append.
#[derive(Debug)]
pub enum Staged {
    /// It is the n-th accepted one of the group.
    Accepted(usize),
    /// Its events are stored: the receipt of that time, without proof.
    Duplicate(AppendReceipt),
    /// Its events are those of the n-th accepted one of this group.
    DuplicateOf(usize),
}

impl<'a, S: EventSource> Staging<'a, S> {
    /// Begins a group; its events are recorded at `now`, or when the last event was if that is later.
    pub fn new(catalog: &'a Catalog, source: &'a S, now: Timestamp) -> Self {
        let recorded_at = catalog.last_recorded_at().map_or(now, |last| last.max(now));
        let head = catalog.head().get();
        Self {
            catalog,
            source,
            recorded_at,
            appends: Vec::new(),
            streams: HashMap::new(),
            ids: HashMap::new(),
            head,
        }
    }

    /// Checks an append and, if it passes, gives its events their places.
    ///
    /// # Errors
    /// [`AppendError`] when a check fails; the group is as it was.
    pub fn stage(&mut self, append: PreparedAppend) -> Result<Staged, AppendError> {
        if let Some(known) = self.find_known(&append.events)? {
            return Ok(known);
        }
        self.check(&append)?;
        Ok(Staged::Accepted(self.accept(append)?))
    }

    /// When the events of this group are recorded.
    pub fn recorded_at(&self) -> Timestamp {
        self.recorded_at
    }

    /// The accepted appends so far.
    pub fn appends(&self) -> &[StagedAppend] {
        &self.appends
    }

    /// Ends the group.
    pub fn into_appends(self) -> Vec<StagedAppend> {
        self.appends
    }

    fn find_known(&self, events: &[PreparedEvent]) -> Result<Option<Staged>, AppendError> {
        let mut known = Vec::new();
        let mut appends = Vec::new();
        for event in events {
            let Some((position, digest, append)) = self.place_of(&event.id)? else { continue };
            if digest != event.digest {
                return Err(AppendError::IdReused { id: event.id, position });
            }
            known.push(KnownEvent { id: event.id, position });
            appends.push(append);
        }
        let Some(first) = appends.first() else { return Ok(None) };
        if known.len() < events.len() {
            return Err(AppendError::PartialDuplicate { known, total: events.len() });
        }
        if appends.iter().any(|append| append != first) {
            return Err(AppendError::KnownFromSeveralAppends { known });
        }
        match *first {
            Home::Staged(index) => Ok(Some(Staged::DuplicateOf(index))),
            Home::Stored(first, last) => Ok(Some(Staged::Duplicate(self.receipt_of(first, last)?))),
        }
    }

    fn place_of(&self, id: &EventId) -> Result<Option<(Position, [u8; 32], Home)>, StoreError> {
        if let Some(place) = self.ids.get(id) {
            return Ok(Some((place.position, place.digest, Home::Staged(place.append))));
        }
        let Some(position) = self.catalog.position_of(id) else { return Ok(None) };
        let (first, last) = self.catalog.append_around(position);
        let digest = self.source.event_at(position)?.content_digest();
        Ok(Some((position, digest, Home::Stored(first, last))))
    }

    fn receipt_of(&self, first: Position, last: Position) -> Result<AppendReceipt, StoreError> {
        let mut streams = WrittenStreams::default();
        let mut recorded_at = self.recorded_at;
        for position in first.get()..=last.get() {
            let event = self.source.event_at(Position::new(position))?;
            recorded_at = event.recorded_at();
            streams.note(&event.stream_name(), event.version());
        }
        Ok(AppendReceipt {
            first_position: first,
            last_position: last,
            recorded_at,
            streams: streams.in_order,
            duplicate: true,
            proof: None,
        })
    }

    fn check(&self, append: &PreparedAppend) -> Result<(), AppendError> {
        let mut failed = Vec::new();
        for (stream, expected) in &append.expected {
            let actual = self.stream_state(stream);
            if !expected.is_met_by(&actual) {
                failed.push(FailedCheck::Version { stream: stream.clone(), expected: *expected, actual });
            }
        }
        let mut tombstoned: Vec<&StreamName> = Vec::new();
        for event in &append.events {
            let state = self.stream_state(&event.stream);
            if state.tombstoned && !tombstoned.contains(&&event.stream) {
                tombstoned.push(&event.stream);
                failed.push(FailedCheck::Tombstoned { stream: event.stream.clone(), version: state.version });
            }
        }
        if let Some(condition) = &append.condition
            && let Some(found) = self.first_breaking(condition)
        {
            failed.push(FailedCheck::Condition { found, after: condition.after });
        }
        if failed.is_empty() { Ok(()) } else { Err(AppendError::Conflict(Conflict { failed })) }
    }

    fn first_breaking(&self, condition: &AppendCondition) -> Option<Position> {
        let staged = || {
            let mut events = self.appends.iter().flat_map(|append| &append.events);
            events.find(|event| {
                event.position() > condition.after && condition.query.matches(event) && self.is_visible(event)
            })
        };
        let mut stored = self.catalog.first_breaking(condition);
        // An event stored before may have been hidden by one of this group; rare enough to be looked at one by one.
        while let Some(position) = stored {
            let hidden = self.source.event_at(position).is_ok_and(|event| !self.is_visible(&event));
            if !hidden {
                return stored;
            }
            let rest = AppendCondition { query: condition.query.clone(), after: position };
            stored = self.catalog.first_breaking(&rest);
        }
        staged().map(RecordedEvent::position)
    }

    fn is_visible(&self, event: &RecordedEvent) -> bool {
        self.streams.get(event.stream()).is_none_or(|state| event.version() >= state.visible_from)
    }

    fn stream_state(&self, stream: &StreamName) -> StreamState {
        self.streams.get(stream).copied().unwrap_or_else(|| self.catalog.stream_state(stream.as_str()))
    }

    fn accept(&mut self, append: PreparedAppend) -> Result<usize, AppendError> {
        let first = self.head + 1;
        let mut written = WrittenStreams::default();
        let mut events = Vec::with_capacity(append.events.len());
        let mut states: HashMap<StreamName, StreamState> = HashMap::new();
        for (event, position) in append.events.iter().zip(first..) {
            let state =
                states.get(&event.stream).copied().unwrap_or_else(|| self.stream_state(&event.stream));
            if state.tombstoned {
                // Ended by an earlier event of this same append.
                let check = FailedCheck::Tombstoned { stream: event.stream.clone(), version: state.version };
                return Err(AppendError::Conflict(Conflict { failed: vec![check] }));
            }
            let state = state.after_event(event.system);
            states.insert(event.stream.clone(), state);
            written.note(&event.stream, state.version);
            let position = Position::new(position);
            let placed = RecordedEvent::view(position, state.version, self.recorded_at, event.body.clone())
                .map_err(|error| StoreError::backend("cannot lay out an event", error))?;
            events.push(placed);
        }
        let index = self.appends.len();
        for (event, placed) in append.events.iter().zip(&events) {
            let place = Place { append: index, position: placed.position(), digest: event.digest };
            self.ids.insert(event.id, place);
        }
        self.head += events.len() as u64;
        self.streams.extend(states);
        let receipt = AppendReceipt {
            first_position: Position::new(first),
            last_position: Position::new(self.head),
            recorded_at: self.recorded_at,
            streams: written.in_order,
            duplicate: false,
            proof: None,
        };
        let digests = append.events.iter().map(|event| event.digest).collect();
        self.appends.push(StagedAppend { events, digests, checkpoint: append.checkpoint, receipt });
        Ok(index)
    }
}

/// Where a known event is: the append it belongs to.
#[derive(PartialEq)]
enum Home {
    Staged(usize),
    Stored(Position, Position),
}

/// The streams that an append writes, in order of first mention, with their last versions.
#[derive(Default)]
struct WrittenStreams {
    in_order: Vec<(StreamName, Version)>,
    places: HashMap<StreamName, usize>,
}

impl WrittenStreams {
    fn note(&mut self, stream: &StreamName, version: Version) {
        match self.places.get(stream) {
            Some(place) => self.in_order[*place].1 = version,
            None => {
                self.places.insert(stream.clone(), self.in_order.len());
                self.in_order.push((stream.clone(), version));
            }
        }
    }
}
