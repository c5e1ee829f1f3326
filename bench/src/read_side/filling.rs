//! Filling logs with the events of a domain before something is measured on them.

use annals_app::{Event, codec};
use annals_core::{AppendRequest, EventType, NewEvent, StreamName};
use annals_log::EventLog;

use crate::failure::Result;

/// So many events are stored by one append.
const APPEND_EVENTS: usize = 1_000;

/// A log that is being filled.
pub(super) struct Filling<'a> {
    log: &'a EventLog,
    batch: Vec<NewEvent>,
}

impl<'a> Filling<'a> {
    pub(super) fn new(log: &'a EventLog) -> Self {
        Self { log, batch: Vec::with_capacity(APPEND_EVENTS) }
    }

    /// Adds an event, encoded as the framework encodes it.
    pub(super) fn push<E: Event>(&mut self, stream: &StreamName, event: &E) -> Result<()> {
        let new = NewEvent::new(stream.clone(), EventType::new(event.name())?);
        self.batch.push(new.json(codec::encode(event)?).tags(event.tags()?));
        if self.batch.len() == APPEND_EVENTS { self.store() } else { Ok(()) }
    }

    /// Stores what was added since it was stored last.
    pub(super) fn store(&mut self) -> Result<()> {
        if !self.batch.is_empty() {
            let full = std::mem::replace(&mut self.batch, Vec::with_capacity(APPEND_EVENTS));
            self.log.append_blocking(AppendRequest::new(full))?;
        }
        Ok(())
    }
}
