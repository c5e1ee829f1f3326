//! Events as an application sees them.

use std::sync::Arc;

use annals_core::{EventType, NameError, Position, Tag};

use crate::{Named, Upcaster};

/// The events of an aggregate: `derive(Event)` writes it.
pub trait Event: Named {
    /// What takes events of older forms to those of today: `#[event(upcasters = …)]` on the type.
    const UPCASTERS: &'static [Upcaster] = &[];

    /// The types under which its events are stored, those of older forms among them: for the filter of a projection.
    fn stored_types() -> Vec<EventType> {
        let older = Self::UPCASTERS.iter().map(|upcaster| &upcaster.from);
        Self::NAMES.iter().chain(older).filter_map(|name| EventType::new(*name).ok()).collect()
    }

    /// The tags under which the event is to be found across streams.
    ///
    /// # Errors
    /// [`NameError`] when a tagged field makes no valid tag.
    fn tags(&self) -> Result<Vec<Tag>, NameError> {
        Ok(Vec::new())
    }
}

/// A stored event cannot be read as the type that its name stands for.
#[derive(Debug, Clone, thiserror::Error)]
#[error(
    "the event {event_type} at position {position}, of {stream}, cannot be read: {source}; was its Rust type changed since? An upcaster \
     can take the old form to the new one"
)]
pub struct UnreadableEvent {
    /// Where the event is.
    pub position: Position,
    /// Its type.
    pub event_type: String,
    /// Its stream.
    pub stream: String,
    /// What does not fit.
    pub source: Arc<dyn std::error::Error + Send + Sync>,
}
