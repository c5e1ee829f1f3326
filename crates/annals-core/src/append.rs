//! What to append, under which conditions, and the store's answer.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{ConsumerName, EventId, Filter, NewEvent, Position, StreamName, Timestamp, Version};

/// The most events in one append.
pub const MAX_APPEND_EVENTS: usize = 10_000;
/// The largest append, in bytes of events.
pub const MAX_APPEND_BYTES: usize = 64 << 20;

/// A condition on one stream at the moment of the append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExpectedVersion {
    /// No condition.
    Any,
    /// The stream was never written, or was deleted since.
    NoStream,
    /// The stream has been written and is not deleted.
    Exists,
    /// Exactly this many events were ever appended to the stream.
    Exact(Version),
}

impl ExpectedVersion {
    /// Whether a stream in this state meets the condition.
    pub fn is_met_by(self, stream: &StreamState) -> bool {
        match self {
            Self::Any => true,
            Self::NoStream => !stream.exists,
            Self::Exists => stream.exists,
            Self::Exact(version) => stream.version == version,
        }
    }
}

impl fmt::Display for ExpectedVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any version"),
            Self::NoStream => f.write_str("no stream"),
            Self::Exists => f.write_str("an existing stream"),
            Self::Exact(version) => fmt::Display::fmt(version, f),
        }
    }
}

/// Fails the append if any visible event matching `query` lies after position `after`: a
/// [Dynamic Consistency Boundary](https://dcb.events).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppendCondition {
    /// The events that must not be there.
    pub query: Filter,
    /// The position up to which the writer has seen them.
    pub after: Position,
}

/// How far a consumer has come, to be stored with the events it caused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The consumer.
    pub consumer: ConsumerName,
    /// The position up to which it has applied events.
    pub position: Position,
}

/// One atomic append: all of it is stored, or nothing is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AppendRequest {
    /// The events, in order; of one stream or of several.
    pub events: Vec<NewEvent>,
    /// Conditions on streams, whether written here or not.
    pub expected: Vec<(StreamName, ExpectedVersion)>,
    /// A condition across streams.
    pub condition: Option<AppendCondition>,
    /// A consumer's checkpoint, stored with the events. It may also be stored alone.
    pub checkpoint: Option<Checkpoint>,
}

impl AppendRequest {
    /// Appends these events, unconditionally so far.
    pub fn new(events: impl IntoIterator<Item = NewEvent>) -> Self {
        Self { events: events.into_iter().collect(), ..Self::default() }
    }

    /// Adds a condition on a stream.
    #[must_use]
    pub fn expect(mut self, stream: StreamName, expected: ExpectedVersion) -> Self {
        self.expected.push((stream, expected));
        self
    }

    /// Sets the condition across streams.
    #[must_use]
    pub fn condition(mut self, query: Filter, after: Position) -> Self {
        self.condition = Some(AppendCondition { query, after });
        self
    }

    /// Sets the checkpoint to store with it.
    #[must_use]
    pub fn checkpoint(mut self, consumer: ConsumerName, position: Position) -> Self {
        self.checkpoint = Some(Checkpoint { consumer, position });
        self
    }
}

/// The store's word that an append is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppendReceipt {
    /// The position of the first event; one after `last_position` when the append had no events.
    pub first_position: Position,
    /// The position of the last event, or the end of the log when the append had none.
    pub last_position: Position,
    /// When the store took it.
    pub recorded_at: Timestamp,
    /// The version that each written stream has since, in order of first mention.
    pub streams: Vec<(StreamName, Version)>,
    /// Whether the events had been stored before: this is then the receipt of that time.
    pub duplicate: bool,
    /// Where the store chains its events by hash: the chain's hash at the end of this append. Kept elsewhere, it
    /// proves later that nothing was changed or cut off.
    pub proof: Option<ChainHash>,
}

impl AppendReceipt {
    /// How many events the append had.
    pub fn event_count(&self) -> u64 {
        (self.last_position.get() + 1).saturating_sub(self.first_position.get())
    }

    /// The version of `stream` after the append, if it was written.
    pub fn version_of(&self, stream: &str) -> Option<Version> {
        self.streams.iter().find(|(name, _)| name.as_str() == stream).map(|(_, version)| *version)
    }
}

/// The hash over all events up to a position.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ChainHash {
    /// The last position that it covers.
    pub position: Position,
    /// BLAKE3, chained over the frames of the log.
    pub hash: [u8; 32],
}

impl fmt::Display for ChainHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.position)?;
        self.hash.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ChainHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What a store knows of a stream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamState {
    /// How many events were ever appended to it.
    pub version: Version,
    /// Whether it was written and has not been deleted since.
    pub exists: bool,
    /// The first version that is visible, if any is.
    pub visible_from: Version,
    /// Whether it takes no more events.
    pub tombstoned: bool,
}

impl StreamState {
    /// The state after one more event, which is `system` if it is one of the store's own.
    #[must_use]
    pub fn after_event(mut self, system: Option<crate::SystemEvent>) -> Self {
        self.version = self.version.next();
        self.visible_from = self.visible_from.max(Version::new(1));
        match system {
            None => self.exists = true,
            Some(event) => {
                self.visible_from = self.visible_from.max(event.visible_from(self.version));
                match event {
                    crate::SystemEvent::StreamDeleted => self.exists = false,
                    crate::SystemEvent::StreamTombstoned => {
                        self.exists = false;
                        self.tombstoned = true;
                    }
                    crate::SystemEvent::StreamTruncated { .. } => {}
                }
            }
        }
        self
    }
}

/// A stream as it is listed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamSummary {
    /// Its name.
    pub stream: StreamName,
    /// What the store knows of it.
    #[serde(flatten)]
    pub state: StreamState,
    /// The position of its last event.
    pub last_position: Position,
}

/// One check that an append failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FailedCheck {
    /// A stream is not at the expected version.
    Version {
        /// The stream.
        stream: StreamName,
        /// What was expected.
        expected: ExpectedVersion,
        /// What was found.
        actual: StreamState,
    },
    /// A stream takes no more events.
    Tombstoned {
        /// The stream.
        stream: StreamName,
        /// The version of its tombstone.
        version: Version,
    },
    /// An event that must not be there is.
    Condition {
        /// The first such event's position.
        found: Position,
        /// The position after which there was to be none.
        after: Position,
    },
}

impl fmt::Display for FailedCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version { stream, expected, actual } => {
                write!(f, "stream {:?} is at version {}", stream.as_str(), actual.version)?;
                if actual.version > Version::ZERO && !actual.exists {
                    f.write_str(" and deleted")?;
                }
                write!(f, ", expected {expected}")
            }
            Self::Tombstoned { stream, version } => {
                write!(
                    f,
                    "stream {:?} ended with a tombstone at version {version} and takes no more events",
                    stream.as_str()
                )
            }
            Self::Condition { found, after } => {
                write!(
                    f,
                    "an event matching the append condition is at position {found}, expected none after {after}"
                )
            }
        }
    }
}

/// All the checks that an append failed; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// The checks.
    pub failed: Vec<FailedCheck>,
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, check) in self.failed.iter().enumerate() {
            if index > 0 {
                f.write_str("; ")?;
            }
            fmt::Display::fmt(check, f)?;
        }
        Ok(())
    }
}

/// An event id that a store already has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownEvent {
    /// The id.
    pub id: EventId,
    /// The position of the stored event.
    pub position: Position,
}
