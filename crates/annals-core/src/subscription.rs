//! Events from a position on, then live.

use std::sync::Arc;

use crate::{EventStore, Filter, Position, ReadRequest, RecordedEvent, StoreError};

/// What a subscription says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SubscriptionMessage {
    /// The next matching events, in order.
    Events(Vec<RecordedEvent>),
    /// Every matching event up to this position has been handed over; from here on they come as they are stored.
    /// Said again whenever the log has moved on without a matching event.
    CaughtUp(Position),
    /// More events were stored than one batch holds: history is being read again.
    FellBehind,
}

/// Reads from a position, then live, skipping nothing and repeating nothing.
///
/// It asks the store for the next batch only when it is itself asked, so a slow reader holds no memory.
pub struct Subscription {
    store: Arc<dyn EventStore>,
    filter: Filter,
    /// Every matching event up to here was handed over.
    seen: Position,
    state: State,
}

#[derive(PartialEq)]
enum State {
    /// Reading history.
    Behind,
    /// At the head; told so.
    Live,
    /// Was live; a batch was full, its events wait to follow the notice.
    Fell(Vec<RecordedEvent>),
}

impl Subscription {
    /// Subscribes to the matching events after a position.
    pub fn new(store: Arc<dyn EventStore>, filter: Filter, after: Position) -> Self {
        Self { store, filter, seen: after, state: State::Behind }
    }

    /// The position up to which every matching event was handed over.
    pub fn position(&self) -> Position {
        self.seen
    }

    /// Waits for what comes next. Dropping the future loses nothing.
    ///
    /// # Errors
    /// What the store's `read` reports; [`StoreError::Closed`] once it was closed.
    pub async fn next(&mut self) -> Result<SubscriptionMessage, StoreError> {
        if matches!(self.state, State::Fell(_))
            && let State::Fell(events) = std::mem::replace(&mut self.state, State::Behind)
        {
            return Ok(self.hand_over(events));
        }
        if self.state == State::Live {
            self.store.wait_past(self.seen).await?;
        }
        let batch = self.store.read(ReadRequest::new(self.filter.clone()).after(self.seen)).await?;
        let at_end = batch.next.is_none();
        if at_end && batch.events.is_empty() {
            self.seen = self.seen.max(batch.head);
            self.state = State::Live;
            return Ok(SubscriptionMessage::CaughtUp(self.seen));
        }
        if self.state == State::Live && !at_end {
            self.state = State::Fell(batch.events);
            return Ok(SubscriptionMessage::FellBehind);
        }
        let message = self.hand_over(batch.events);
        if at_end && self.state == State::Live {
            self.seen = self.seen.max(batch.head);
        }
        Ok(message)
    }

    fn hand_over(&mut self, events: Vec<RecordedEvent>) -> SubscriptionMessage {
        if let Some(last) = events.last() {
            self.seen = last.position();
        }
        SubscriptionMessage::Events(events)
    }
}
