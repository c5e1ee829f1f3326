//! Appends of one group, checked one after the other, before any of them is stored.

use std::collections::HashMap;

use super::append_rules::{AppendState, Known, StagedAppend, find_known, receipt_of, stage_append};
use super::{Catalog, PreparedAppend};
use crate::{
    AppendCondition, AppendError, AppendReceipt, EventId, Position, RecordedEvent, StoreError, StreamName,
    StreamState, Timestamp,
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
    ids: HashMap<EventId, Known>,
    head: Position,
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
        let head = catalog.head();
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
        if let Some(first) = find_known(self, &append.events)? {
            return self.former(first);
        }
        let staged = stage_append(self, &append, self.head, self.recorded_at)?;
        self.head = staged.receipt.last_position;
        let append_first = staged.receipt.first_position;
        for (event, placed) in append.events.iter().zip(&staged.events) {
            let known = Known { position: placed.position(), digest: event.digest, append_first };
            self.ids.insert(event.id, known);
        }
        self.streams.extend(staged.streams.iter().map(|stream| (stream.name.clone(), stream.after)));
        self.appends.push(staged);
        Ok(Staged::Accepted(self.appends.len() - 1))
    }

    /// When the events of this group are recorded.
    pub fn recorded_at(&self) -> Timestamp {
        self.recorded_at
    }

    /// Ends the group.
    pub fn into_appends(self) -> Vec<StagedAppend> {
        self.appends
    }

    /// Tells of the append that begins at `first`, be it stored or of this group.
    fn former(&self, first: Position) -> Result<Staged, AppendError> {
        if first > self.catalog.head() {
            // An append without events ends before it begins, so it is passed over.
            let before = |append: &StagedAppend| append.receipt.last_position < first;
            return Ok(Staged::DuplicateOf(self.appends.partition_point(before)));
        }
        let (_, last) = self.catalog.append_around(first);
        let events = (first.get()..=last.get()).map(|at| self.source.event_at(Position::new(at)));
        Ok(Staged::Duplicate(receipt_of(first, events)?))
    }

    fn is_visible(&self, event: &RecordedEvent) -> bool {
        self.streams.get(event.stream()).is_none_or(|state| event.version() >= state.visible_from)
    }
}

impl<S: EventSource> AppendState for Staging<'_, S> {
    type Error = AppendError;

    fn stream_state(&self, stream: &StreamName) -> Result<StreamState, AppendError> {
        let staged = self.streams.get(stream).copied();
        Ok(staged.unwrap_or_else(|| self.catalog.stream_state(stream.as_str())))
    }

    fn known(&self, id: &EventId) -> Result<Option<Known>, AppendError> {
        if let Some(known) = self.ids.get(id) {
            return Ok(Some(*known));
        }
        let Some(position) = self.catalog.position_of(id) else { return Ok(None) };
        let (append_first, _) = self.catalog.append_around(position);
        let digest = self.source.event_at(position)?.content_digest();
        Ok(Some(Known { position, digest, append_first }))
    }

    fn first_breaking(&self, condition: &AppendCondition) -> Result<Option<Position>, AppendError> {
        let mut stored = self.catalog.first_breaking(condition);
        // An event stored before may have been hidden by one of this group; rare enough to be looked at one by one.
        while let Some(position) = stored {
            let hidden = self.source.event_at(position).is_ok_and(|event| !self.is_visible(&event));
            if !hidden {
                return Ok(stored);
            }
            let rest = AppendCondition { query: condition.query.clone(), after: position };
            stored = self.catalog.first_breaking(&rest);
        }
        let mut staged = self.appends.iter().flat_map(|append| &append.events);
        let breaking = staged.find(|event| {
            event.position() > condition.after && condition.query.matches(event) && self.is_visible(event)
        });
        Ok(breaking.map(RecordedEvent::position))
    }
}
