//! What a store knows about its events without looking at them: an index in memory, and the one implementation of
//! conditions, idempotency and visibility. It knows no files; a store adds where the bytes are.

mod append_rules;
mod prepared;
mod staging;
mod terms;

use std::collections::{BTreeMap, BTreeSet, HashMap};

pub use append_rules::{
    AppendState, Known, StagedAppend, WrittenStream, find_known, receipt_of, stage_append,
};
pub use prepared::{PreparedAppend, PreparedEvent};
pub use staging::{EventSource, Staged, Staging};

use crate::{
    AppendCondition, Checkpoint, ConsumerName, Direction, EventId, Filter, InvalidRequest, MAX_FILTER_ITEMS,
    Position, ReadFrom, ReadRequest, RecordedEvent, StreamName, StreamState, StreamSummary, SystemEvent,
    Timestamp,
};

/// The index of all visible events, and what is known of every stream and consumer. Memory grows with the number of
/// events.
#[derive(Debug, Default)]
pub struct Catalog {
    terms: terms::TermIndex,
    streams: BTreeMap<StreamName, StreamState>,
    hidden: BTreeSet<u64>,
    /// The first position of each append.
    append_starts: Vec<u64>,
    /// The first position of each run of events recorded at the same moment.
    times: Vec<(u64, Timestamp)>,
    checkpoints: HashMap<ConsumerName, Position>,
    head: u64,
}

impl Catalog {
    /// The last position.
    pub fn head(&self) -> Position {
        Position::new(self.head)
    }

    /// When the last event was recorded.
    pub fn last_recorded_at(&self) -> Option<Timestamp> {
        self.times.last().map(|(_, moment)| *moment)
    }

    /// When the event at `position` was recorded.
    pub fn recorded_at(&self, position: Position) -> Timestamp {
        let index = self.times.partition_point(|(first, _)| *first <= position.get());
        index
            .checked_sub(1)
            .and_then(|index| self.times.get(index))
            .map_or_else(Timestamp::default, |(_, at)| *at)
    }

    /// Adds the events of one append, which must follow those that are there.
    pub fn insert(&mut self, events: &[RecordedEvent]) {
        let Some(first) = events.first() else { return };
        debug_assert_eq!(first.position().get(), self.head + 1, "positions are dense");
        self.append_starts.push(first.position().get());
        for event in events {
            self.insert_event(event);
        }
    }

    fn insert_event(&mut self, event: &RecordedEvent) {
        self.head = event.position().get();
        if self.last_recorded_at().is_none_or(|last| last < event.recorded_at()) {
            self.times.push((self.head, event.recorded_at()));
        }
        self.terms.insert(event);
        let stream = event.stream_name();
        let system = event.system_event();
        let state = self.stream_state(stream.as_str());
        let after = state.after_event(system);
        debug_assert_eq!(after.version, event.version(), "versions are dense");
        if after.visible_from > state.visible_from {
            let until = after.visible_from.get().saturating_sub(1) as usize;
            let from = state.visible_from.get().saturating_sub(1) as usize;
            let positions = self.terms.of_stream(stream.as_str());
            self.hidden.extend(positions.get(from..until).unwrap_or_default());
        }
        self.streams.insert(stream, after);
    }

    /// Notes how far a consumer has come.
    pub fn set_checkpoint(&mut self, checkpoint: &Checkpoint) {
        self.checkpoints.insert(checkpoint.consumer.clone(), checkpoint.position);
    }

    /// How far a consumer has come.
    pub fn checkpoint(&self, consumer: &ConsumerName) -> Option<Position> {
        self.checkpoints.get(consumer).copied()
    }

    /// What is known of a stream.
    pub fn stream_state(&self, stream: &str) -> StreamState {
        self.streams.get(stream).copied().unwrap_or_default()
    }

    /// Streams by name, from the one after `after`, at most `limit`.
    pub fn streams(&self, after: Option<&StreamName>, limit: usize) -> Vec<StreamSummary> {
        use std::ops::Bound;
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let listed = self.streams.range::<StreamName, _>((from, Bound::Unbounded)).take(limit);
        listed
            .map(|(stream, state)| StreamSummary {
                stream: stream.clone(),
                state: *state,
                last_position: Position::new(
                    self.terms.of_stream(stream.as_str()).last().copied().unwrap_or(0),
                ),
            })
            .collect()
    }

    /// Where the event with this id is.
    pub fn position_of(&self, id: &EventId) -> Option<Position> {
        self.terms.position_of(id).map(Position::new)
    }

    /// The first and last position of the append that an event belongs to.
    pub fn append_around(&self, position: Position) -> (Position, Position) {
        let index = self.append_starts.partition_point(|start| *start <= position.get());
        let first = index.checked_sub(1).and_then(|i| self.append_starts.get(i)).copied().unwrap_or(1);
        let last = self.append_starts.get(index).map_or(self.head, |next| next - 1);
        (Position::new(first), Position::new(last))
    }

    /// The first visible event that breaks a condition.
    pub fn first_breaking(&self, condition: &AppendCondition) -> Option<Position> {
        let mut found = self.matching(&condition.query, condition.after.next().get(), Direction::Forwards);
        found.next().map(Position::new)
    }

    /// The visible positions that a read asks for, in its order, and lazily.
    ///
    /// # Errors
    /// [`InvalidRequest`] when the read breaks a rule.
    pub fn select(&self, request: &ReadRequest) -> Result<impl Iterator<Item = Position>, InvalidRequest> {
        check_filter(&request.filter)?;
        let from = self.start_of(request)?;
        let limit = request.limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
        let positions =
            from.into_iter().flat_map(move |from| self.matching(&request.filter, from, request.direction));
        Ok(positions.take(limit).map(Position::new))
    }

    fn matching(&self, filter: &Filter, from: u64, direction: Direction) -> impl Iterator<Item = u64> {
        let search = self.terms.search(filter);
        let mut next = Some(from).filter(|from| *from > 0);
        std::iter::from_fn(move || {
            loop {
                let from = next?;
                let found = search.seek(from, direction).filter(|found| (1..=self.head).contains(found));
                next = match direction {
                    Direction::Forwards => found.map(|found| found + 1),
                    Direction::Backwards => found.map(|found| found - 1).filter(|next| *next > 0),
                };
                if !self.hidden.contains(&found?) {
                    return found;
                }
            }
        })
    }

    /// The position at which a read begins; `None` when it begins beyond the end.
    fn start_of(&self, request: &ReadRequest) -> Result<Option<u64>, InvalidRequest> {
        let forwards = request.direction == Direction::Forwards;
        Ok(match request.from {
            ReadFrom::Start => Some(if forwards { 1 } else { self.head }),
            ReadFrom::Position(position) if forwards => Some(position.get().max(1)),
            ReadFrom::Position(position) => Some(position.get().min(self.head)),
            ReadFrom::Version(version) => {
                let stream = request.filter.as_stream().ok_or(InvalidRequest::VersionNeedsStream)?;
                let positions = self.terms.of_stream(stream.as_str());
                let index = version.get() as usize;
                if forwards {
                    positions.get(index.saturating_sub(1)).copied()
                } else {
                    index.min(positions.len()).checked_sub(1).and_then(|index| positions.get(index)).copied()
                }
            }
            ReadFrom::RecordedAt(moment) if forwards => {
                self.times.get(self.times.partition_point(|(_, at)| *at < moment)).map(|(first, _)| *first)
            }
            ReadFrom::RecordedAt(moment) => {
                let later = self.times.partition_point(|(_, at)| *at <= moment);
                Some(self.times.get(later).map_or(self.head, |(first, _)| first - 1))
            }
        })
    }

    /// Checks that what is known agrees with itself; returns what does not.
    pub fn inconsistencies(&self) -> Vec<String> {
        let mut found = Vec::new();
        for (stream, state) in &self.streams {
            let events = self.terms.of_stream(stream.as_str()).len() as u64;
            if events != state.version.get() {
                found.push(format!(
                    "stream {:?} is at version {} but {events} of its events are indexed",
                    stream.as_str(),
                    state.version
                ));
            }
        }
        found
    }
}

/// Reads the system event, if any, that an event to be stored is.
pub(crate) fn system_event_of(event: &crate::NewEvent) -> Option<SystemEvent> {
    SystemEvent::parse(event.event_type().as_str(), event.payload_bytes())
}

/// Checks the limits of a filter, be it of a read or of a condition.
///
/// # Errors
/// [`InvalidRequest`] when it has too many items.
pub fn check_filter(filter: &Filter) -> Result<(), InvalidRequest> {
    match filter.items().len() {
        found if found > MAX_FILTER_ITEMS => {
            Err(InvalidRequest::TooManyFilterItems { found, limit: MAX_FILTER_ITEMS })
        }
        _ => Ok(()),
    }
}
