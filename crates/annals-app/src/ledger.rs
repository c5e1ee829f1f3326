//! What a read model remembers about the events in it, in the same transaction as its rows.

use annals_core::{Bookmark, Clock, Position, RecordedEvent, SystemClock, Timestamp};
use serde::{Deserialize, Serialize};

use crate::ProjectionError;
use crate::seen::Seen;

/// A read model passes by at most so many events, and keeps at most so many keys waiting: they are written with every batch.
pub const MOST_EXCEPTIONS: usize = 100;
/// So many bytes are kept of what a projection said about an event.
const LONGEST_REASON: usize = 300;

/// An event at which a projection stopped, or which a reaction could not handle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedEvent {
    /// Where it is.
    pub position: Position,
    /// Its id.
    pub id: String,
    /// Its type.
    #[serde(rename = "type")]
    pub event_type: String,
    /// Its stream.
    pub stream: String,
}

impl FailedEvent {
    pub(crate) fn of(event: &RecordedEvent) -> Self {
        Self {
            position: event.position(),
            id: event.id().to_string(),
            event_type: event.event_type().to_owned(),
            stream: event.stream().to_owned(),
        }
    }
}

/// An event that is not in a read model because somebody said so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SkippedEvent {
    /// The event.
    #[serde(flatten)]
    pub event: FailedEvent,
    /// What the projection said about it.
    pub reason: String,
    /// When it was skipped.
    pub at: Timestamp,
}

/// A key whose events wait, from the first one that a projection failed on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParkedKey {
    /// The key, as the projection gives it.
    pub key: String,
    /// The first event that waits.
    #[serde(flatten)]
    pub event: FailedEvent,
    /// What the projection said about it.
    pub reason: String,
    /// How many events wait.
    pub waiting: u64,
    /// When it was parked.
    pub at: Timestamp,
}

/// Where a projection stopped, for processes that stand by and for the next start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Failure {
    pub(crate) position: Position,
    pub(crate) event: Option<Box<FailedEvent>>,
    pub(crate) reason: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Ledger {
    /// The events that were handed to the projection; nothing for a read model from before this was kept.
    pub(crate) seen: Option<Seen>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) skipped: Vec<SkippedEvent>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) parked: Vec<ParkedKey>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) failure: Option<Failure>,
    /// Why an earlier version answers in this one's place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) withdrawn: Option<String>,
}

impl Default for Ledger {
    fn default() -> Self {
        Self {
            seen: Some(Seen::default()),
            skipped: Vec::new(),
            parked: Vec::new(),
            failure: None,
            withdrawn: None,
        }
    }
}

impl Ledger {
    pub(crate) fn of(name: &'static str, bookmark: &Bookmark) -> Result<Self, ProjectionError> {
        if bookmark.notes.is_empty() {
            let seen = (bookmark.position == Position::ZERO).then(Seen::default);
            return Ok(Self { seen, ..Self::default() });
        }
        let read = serde_json::from_slice(&bookmark.notes);
        read.map_err(|source| ProjectionError::Notes { name, reason: source.to_string() })
    }

    pub(crate) fn to_notes(&self) -> Vec<u8> {
        // A structure of strings and numbers can always be written.
        serde_json::to_vec(self).unwrap_or_default()
    }

    pub(crate) fn see(&mut self, events: &[RecordedEvent]) {
        if let Some(seen) = &mut self.seen {
            events.iter().for_each(|event| seen.add(event.position()));
        }
    }

    pub(crate) fn has_skipped(&self, position: Position) -> bool {
        self.skipped.iter().any(|skipped| skipped.event.position == position)
    }

    pub(crate) fn parked_mut(&mut self, key: &str) -> Option<&mut ParkedKey> {
        self.parked.iter_mut().find(|parked| parked.key == key)
    }

    pub(crate) fn skip(
        &mut self,
        name: &'static str,
        event: FailedEvent,
        reason: &str,
    ) -> Result<(), ProjectionError> {
        check_room(name, self.skipped.len())?;
        self.skipped.push(SkippedEvent { event, reason: short(reason), at: SystemClock.now() });
        Ok(())
    }

    pub(crate) fn park(
        &mut self,
        name: &'static str,
        key: String,
        event: FailedEvent,
        reason: &str,
    ) -> Result<(), ProjectionError> {
        check_room(name, self.parked.len())?;
        let (reason, at) = (short(reason), SystemClock.now());
        self.parked.push(ParkedKey { key, event, reason, waiting: 1, at });
        Ok(())
    }
}

fn check_room(name: &'static str, taken: usize) -> Result<(), ProjectionError> {
    if taken < MOST_EXCEPTIONS { Ok(()) } else { Err(ProjectionError::TooManyExceptions { name }) }
}

/// The beginning of a text.
pub(crate) fn short(text: &str) -> String {
    match text.char_indices().find(|(at, c)| at + c.len_utf8() > LONGEST_REASON) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
