//! The events by which a store records what was done to a stream.

use serde::{Deserialize, Serialize};

use crate::Version;

/// How a stream ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeleteMode {
    /// Its events are hidden; when it is written again, its versions go on from where they were.
    Soft,
    /// Its events are hidden, and it takes no more.
    Tombstone,
}

/// What was done to a stream, recorded as an event of that stream. Such an event takes the next version, is itself
/// visible, and hides events before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SystemEvent {
    /// `$StreamDeleted`: all events before this one are hidden.
    StreamDeleted,
    /// `$StreamTombstoned`: all events before this one are hidden, and none may follow.
    StreamTombstoned,
    /// `$StreamTruncated`: events with a version before `before` are hidden.
    StreamTruncated {
        /// The first version that stays visible.
        before: Version,
    },
}

#[derive(Serialize, Deserialize)]
struct Truncation {
    before: Version,
}

impl SystemEvent {
    /// The name under which it is stored.
    pub fn event_type(&self) -> &'static str {
        match self {
            Self::StreamDeleted => "$StreamDeleted",
            Self::StreamTombstoned => "$StreamTombstoned",
            Self::StreamTruncated { .. } => "$StreamTruncated",
        }
    }

    /// Its payload, JSON.
    pub fn to_payload(&self) -> String {
        match self {
            Self::StreamTruncated { before } => format!(r#"{{"before":{before}}}"#),
            Self::StreamDeleted | Self::StreamTombstoned => "{}".to_owned(),
        }
    }

    /// Reads a system event back; `None` when it is not one.
    pub fn parse(event_type: &str, payload: &[u8]) -> Option<Self> {
        match event_type {
            "$StreamDeleted" => Some(Self::StreamDeleted),
            "$StreamTombstoned" => Some(Self::StreamTombstoned),
            "$StreamTruncated" => {
                let Truncation { before } = serde_json::from_slice(payload).ok()?;
                Some(Self::StreamTruncated { before })
            }
            _ => None,
        }
    }

    /// The first version that stays visible when this event itself has version `own`.
    pub fn visible_from(&self, own: Version) -> Version {
        match self {
            Self::StreamDeleted | Self::StreamTombstoned => own,
            Self::StreamTruncated { before } => (*before).min(own),
        }
    }
}

impl From<DeleteMode> for SystemEvent {
    fn from(mode: DeleteMode) -> Self {
        match mode {
            DeleteMode::Soft => Self::StreamDeleted,
            DeleteMode::Tombstone => Self::StreamTombstoned,
        }
    }
}

/// Whether a stored type name is one of the store's own.
pub(crate) fn is_system_type(event_type: &str) -> bool {
    event_type.starts_with('$')
}
