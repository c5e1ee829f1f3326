//! What came of what: the events of a correlation, each with its cause.

use std::collections::HashMap;

use annals_core::{
    CorrelationId, EventId, EventStore, Filter, FilterItem, Position, ReadRequest, Reader, RecordedEvent,
};

use crate::commands::CommandMetadata;
use crate::{Error, Rejection, RunningApp};

/// A trace shows so many events at most.
pub const MOST_TRACED_EVENTS: usize = 10_000;

/// The events of a correlation, in the order of the log.
#[derive(Debug, Clone)]
pub struct Trace {
    /// What they have in common: the correlation id that they carry, or the id of the event that all of it began with.
    pub correlation_id: CorrelationId,
    /// The events.
    pub events: Vec<TracedEvent>,
    /// Whether these are all; false when there are more than [`MOST_TRACED_EVENTS`].
    pub is_whole: bool,
}

/// An event, and what it came of.
#[derive(Debug, Clone)]
pub struct TracedEvent {
    /// The event.
    pub event: RecordedEvent,
    /// The name of the command that gave rise to it, where one did.
    pub command: Option<String>,
    /// Who gave that command.
    pub principal: Option<String>,
    /// The id of that command, where it had one.
    pub command_id: Option<String>,
    /// What caused that command, as it was noted: the id of an event, as a rule.
    pub caused_by: Option<String>,
    /// The position of the event that this is, where it is among those of the trace.
    pub cause: Option<Position>,
}

/// The events that have a correlation id, or the one of the event with this id.
///
/// An event without a correlation id gives its own id to all that reactions do because of it: it is a part of that trace.
///
/// # Errors
/// [`Error::NotFound`] when there are none, and what keeps the store from telling.
pub async fn trace(store: &dyn EventStore, id: &str) -> Result<Trace, Error<Rejection>> {
    let mut correlation_id = CorrelationId::new(id)?;
    if let Ok(event) = id.parse::<EventId>() {
        let found = store.read(ReadRequest::new(Filter::event_id(event)).limit(1)).await?.events;
        if let Some(event) = found.first() {
            let own = event.correlation_id().map_or_else(|| event.id().to_string(), str::to_owned);
            correlation_id = CorrelationId::new(own)?;
        }
    }
    let carries = FilterItem { correlation_id: Some(correlation_id.clone()), ..FilterItem::default() };
    let mut filter = Filter::from(carries);
    if let Ok(first) = correlation_id.as_str().parse::<EventId>() {
        filter = filter.or(FilterItem { event_id: Some(first), ..FilterItem::default() });
    }
    let request = ReadRequest::new(filter).limit(MOST_TRACED_EVENTS as u64 + 1);
    let mut events = Reader::new(store, request).collect().await?;
    if events.is_empty() {
        return Err(Error::NotFound { what: format!("event or correlation id {id:?}") });
    }
    let is_whole = events.len() <= MOST_TRACED_EVENTS;
    events.truncate(MOST_TRACED_EVENTS);
    Ok(Trace { correlation_id, events: with_causes(events), is_whole })
}

fn with_causes(events: Vec<RecordedEvent>) -> Vec<TracedEvent> {
    let mut known: HashMap<String, Position> = HashMap::new();
    let traced = events.into_iter().map(|event| {
        let mut traced = TracedEvent::new(event);
        let (id, position) = (traced.event.id().to_string(), traced.event.position());
        // A cause is before what it causes.
        traced.cause = traced.caused_by.as_ref().and_then(|cause| known.get(cause)).copied();
        known.insert(id, position);
        if let Some(command_id) = &traced.command_id {
            known.entry(command_id.clone()).or_insert(position);
        }
        traced
    });
    traced.collect()
}

impl TracedEvent {
    fn new(event: RecordedEvent) -> Self {
        let causation = event.causation_id().map(str::to_owned);
        let metadata = CommandMetadata::of(&event);
        let has_id = metadata.as_ref().is_some_and(|metadata| metadata.command_digest.is_some());
        let (command_id, caused_by) = if has_id { (causation, None) } else { (None, causation) };
        let Some(CommandMetadata { command, principal, caused_by: noted, .. }) = metadata else {
            return Self { event, command: None, principal: None, command_id, caused_by, cause: None };
        };
        let (command, principal, caused_by) = (Some(command), Some(principal), noted.or(caused_by));
        Self { event, command, principal, command_id, caused_by, cause: None }
    }
}

impl RunningApp {
    /// What came of what: the events of a correlation, or of the one that the event with this id belongs to.
    ///
    /// # Errors
    /// As [`trace`].
    pub async fn trace(&self, id: &str) -> Result<Trace, Error<Rejection>> {
        trace(&**self.store(), id).await
    }
}
