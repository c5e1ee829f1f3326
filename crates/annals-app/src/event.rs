//! Events as an application sees them.

use annals_core::{NameError, Position, RecordedEvent, Tag};

use crate::{Named, codec};

/// The events of an aggregate: `derive(Event)` writes it.
pub trait Event: Named {
    /// The tags under which the event is to be found across streams.
    ///
    /// # Errors
    /// [`NameError`] when a tagged field makes no valid tag.
    fn tags(&self) -> Result<Vec<Tag>, NameError> {
        Ok(Vec::new())
    }
}

/// A stored event cannot be read as the type that its name stands for.
#[derive(Debug, thiserror::Error)]
#[error(
    "the event {event_type} at position {position} cannot be read: {source}; was its Rust type changed since?"
)]
pub struct UnreadableEvent {
    /// Where the event is.
    pub position: Position,
    /// Its type.
    pub event_type: String,
    /// What does not fit.
    pub source: serde_json::Error,
}

/// Reads a stored event; `None` for one that the type does not know, which is passed by.
///
/// # Errors
/// [`UnreadableEvent`] for one that it knows by name but cannot read.
pub fn decode_event<E: Named>(event: &RecordedEvent) -> Result<Option<E>, UnreadableEvent> {
    codec::decode(event.event_type(), event.payload()).map_err(|source| UnreadableEvent {
        position: event.position(),
        event_type: event.event_type().to_owned(),
        source,
    })
}
