//! How reactions are doing, and why something cannot be done about them.

use annals_core::{AppendError, Position, StoreError, Timestamp};
use serde::Serialize;

use crate::{FailedEvent, Unknown};

/// How a reaction is doing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "status", rename_all = "kebab-case")]
pub enum ReactionState {
    /// It handles what came while it was not running.
    CatchingUp,
    /// It has taken up all there is, and takes up what comes.
    Live,
    /// At least one event failed and waits to be tried again; those of other keys go on. This is the one that is tried first.
    Retrying {
        /// The event.
        event: FailedEvent,
        /// What the last attempt said.
        error: String,
        /// Which attempt the next one is.
        attempt: u32,
        /// When that is.
        next_attempt: Timestamp,
    },
    /// Another process handles the events. This one takes over when that one ends.
    StandingBy,
    /// It cannot go on, for a reason that is no event's: the store takes no writes, for example.
    Stopped {
        /// Why.
        error: String,
        /// When it is tried again; nothing where the store was closed.
        #[serde(skip_serializing_if = "Option::is_none")]
        next_attempt: Option<Timestamp>,
    },
    /// The application was started without its reactions.
    Passive,
}

/// Where a reaction stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReactionStatus {
    /// Its name.
    pub name: &'static str,
    /// Every event up to here is handled or a dead letter; nothing for one that was never started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub position: Option<Position>,
    /// The end of the log.
    pub head: Position,
    /// How it is doing.
    #[serde(flatten)]
    pub state: ReactionState,
    /// How many events it has taken up that are not settled.
    pub in_hand: usize,
    /// How many events are given up until somebody retries or drops them.
    pub dead_letters: usize,
}

/// Why something cannot be done about a reaction.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReactionError {
    /// There is no such reaction.
    #[error("{}", .0)]
    Unknown(Unknown),
    /// The event is no dead letter.
    #[error(
        "{name:?} has no dead letter at position {position}: expected one of those that `reactions dead-letters {name}` lists"
    )]
    NoSuchLetter {
        /// The reaction.
        name: &'static str,
        /// The position asked for.
        position: Position,
    },
    /// The event of a dead letter is not in the store any more.
    #[error(
        "the event at position {position} was deleted, so {name:?} cannot handle it: drop the dead letter"
    )]
    Gone {
        /// The reaction.
        name: &'static str,
        /// Where it was.
        position: Position,
    },
    /// A dead letter was retried and failed again.
    #[error("{name:?} failed again at position {position}: {error}; the event stays a dead letter")]
    FailedAgain {
        /// The reaction.
        name: &'static str,
        /// The event.
        position: Position,
        /// What it said.
        error: String,
    },
    /// A note on a dead letter cannot be read.
    #[error("the note on a dead letter of {name:?} at position {position} cannot be read: {reason}")]
    Unreadable {
        /// The reaction.
        name: &'static str,
        /// Where the note is.
        position: Position,
        /// What is wrong with it.
        reason: String,
    },
    /// It did not come as far as was asked within the time given.
    #[error("the reaction {name:?} is at position {position}, asked for {at_least}{}", why(.state))]
    Behind {
        /// The reaction.
        name: &'static str,
        /// Where it is.
        position: Position,
        /// Where it was to be.
        at_least: Position,
        /// How it is doing.
        state: Box<ReactionState>,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What was to be noted was not taken.
    #[error("it cannot be noted: {0}")]
    NotNoted(AppendError),
}

impl From<AppendError> for ReactionError {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::Store(error) => Self::Store(error),
            other => Self::NotNoted(other),
        }
    }
}

fn why(state: &ReactionState) -> String {
    match state {
        ReactionState::Retrying { event, error, .. } => {
            format!(": it waits to try position {} again: {error}", event.position)
        }
        ReactionState::Stopped { error, .. } => format!(": it has stopped: {error}"),
        ReactionState::Passive => ": the application was started without its reactions".to_owned(),
        ReactionState::CatchingUp | ReactionState::Live | ReactionState::StandingBy => {
            ": try again in a moment".to_owned()
        }
    }
}
