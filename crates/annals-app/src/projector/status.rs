//! How projections are doing, and why they do not get on.

use std::time::Duration;

use annals_core::{Position, ReadModelError, StoreError};
use serde::Serialize;

use crate::ledger::{FailedEvent, ParkedKey, SkippedEvent};
use crate::seen::SeenDifference;

/// How a projection is doing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "status", rename_all = "kebab-case")]
pub enum ProjectionState {
    /// It takes in history.
    CatchingUp,
    /// It has taken in all there is, and takes in what comes.
    Live,
    /// Another process keeps the read model. This one answers from it, and takes over when that one ends.
    StandingBy,
    /// It stopped at an event; the others go on. It is tried again now and then, and at once after a rebuild.
    Failed {
        /// The event; 0 when the read model as a whole cannot be used.
        #[serde(rename = "stopped_at")]
        position: Position,
        /// What is known of the event.
        #[serde(skip_serializing_if = "Option::is_none")]
        event: Option<Box<FailedEvent>>,
        /// What the projection said.
        error: String,
    },
}

/// Where a projection stands.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ProjectionStatus {
    /// Its name.
    pub name: &'static str,
    /// Its version.
    pub version: u32,
    /// Whether questions are answered from this version.
    pub answers: bool,
    /// Every event up to here is in the read model.
    pub position: Position,
    /// The end of the log.
    pub head: Position,
    /// How many events were handed to it; nothing where that was not counted from the beginning.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub events: Option<u64>,
    /// How it is doing.
    #[serde(flatten)]
    pub state: ProjectionState,
    /// How many positions of the log it passes in a second, while it catches up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub positions_per_second: Option<u64>,
    /// How long it will take to catch up at this speed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds_left: Option<u64>,
    /// How far a rebuild beside it has come.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rebuild: Option<RebuildProgress>,
    /// The events that are not in the read model because somebody said so.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub skipped: Vec<SkippedEvent>,
    /// The keys whose events wait.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub parked: Vec<ParkedKey>,
    /// Why an earlier version answers in this one's place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub withdrawn: Option<String>,
}

/// How far a rebuild has come, in positions of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct RebuildProgress {
    /// The projection.
    pub projection: &'static str,
    /// Positions passed.
    pub done: u64,
    /// Positions to pass.
    pub total: u64,
    /// Positions passed in a second.
    pub per_second: u64,
    /// How long the rest will take at this speed; nothing while it stands still.
    #[serde(rename = "seconds_left", serialize_with = "as_seconds", skip_serializing_if = "Option::is_none")]
    pub left: Option<Duration>,
}

fn as_seconds<S: serde::Serializer>(left: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    left.map(|left| left.as_secs()).serialize(serializer)
}

/// What a rebuild did.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Rebuilt {
    /// The projection.
    pub projection: &'static str,
    /// Every event up to here is in the new build.
    pub position: Position,
    /// How many events it was made from.
    pub events: u64,
    /// What the number and the positions of these events were compared with.
    pub verified_against: VerifiedAgainst,
    /// How long it took.
    pub seconds: f64,
}

/// With what the events seen by a new build were compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum VerifiedAgainst {
    /// With those that the build in whose place it came had seen.
    TheOneBefore,
    /// With a second pass over the store, from its end to its beginning.
    TheStore,
}

/// Whether a read model has seen every event that it needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GapProof {
    /// The projection.
    pub projection: &'static str,
    /// Its version.
    pub version: u32,
    /// Up to where it was looked at.
    pub position: Position,
    /// How many events the read model has seen; nothing where that was not counted from the beginning.
    pub seen: Option<u64>,
    /// How many the store has.
    pub stored: u64,
    /// What came of it.
    pub verdict: GapVerdict,
    /// Where they differ: at most the first hundred ranges.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub differences: Vec<SeenDifference>,
    /// How many of the events seen were skipped because somebody said so.
    pub skipped: usize,
    /// How many of them wait because their key is parked.
    pub waiting: u64,
}

/// What a [`GapProof`] shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum GapVerdict {
    /// Every event, and each once.
    Complete,
    /// Some were missed: rebuild it.
    Gaps,
    /// The read model has seen more than the store shows now: events were deleted since, which a rebuild would leave out.
    MoreThanStored,
    /// The read model is from before events were counted: rebuild it once.
    Unknown,
}

/// Why a projection, or a wait for one, did not get on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProjectionError {
    /// It stopped at an event.
    #[error(
        "the projection {name:?} stopped at position {position}{}: {reason}; what was before is in the read model, and it \
         goes on by itself when the cause is gone{}",
        told(.event.as_deref()),
        way_on(name, *position, .event.as_deref())
    )]
    Stopped {
        /// The projection.
        name: &'static str,
        /// The event.
        position: Position,
        /// What is known of the event.
        event: Option<Box<FailedEvent>>,
        /// What it said.
        reason: String,
    },
    /// It did not come as far as was asked within the time given.
    #[error(
        "the read model {name:?} is at position {position}, asked for at least {at_least}: try again in a moment"
    )]
    Behind {
        /// The projection.
        name: &'static str,
        /// Where it is.
        position: Position,
        /// Where it was to be.
        at_least: Position,
    },
    /// It was not made from the events of this store.
    #[error(
        "the read model {name:?}, at position {position}, was not made from this store, which ends at {head}, or the \
         store has lost its end; if the store is the right one, rebuild {name:?}"
    )]
    NotOfThisStore {
        /// The projection.
        name: &'static str,
        /// Where it is.
        position: Position,
        /// The end of the store.
        head: Position,
    },
    /// Another process keeps the read model.
    #[error(
        "another process keeps the read model {name:?}: ask that one (a command has --server for this), or end it first"
    )]
    NotLeading {
        /// The projection.
        name: &'static str,
    },
    /// What is to be mended is not there.
    #[error("{name:?} {found}, expected {expected}: look at the projections again")]
    NothingToMend {
        /// The projection.
        name: &'static str,
        /// What was expected.
        expected: String,
        /// What was found.
        found: String,
    },
    /// Too much is passed by.
    #[error(
        "the read model {name:?} passes by {} events or keys already: mend the projection, then rebuild {name:?}",
        crate::ledger::MOST_EXCEPTIONS
    )]
    TooManyExceptions {
        /// The projection.
        name: &'static str,
    },
    /// A new build is not what it should be; the one before goes on answering.
    #[error("the new build of {name:?} was not taken: {reason}; the one before goes on answering")]
    NotVerified {
        /// The projection.
        name: &'static str,
        /// Why not.
        reason: String,
    },
    /// A rebuild did not come to its end.
    #[error("the rebuild of {name:?} failed, and the one before goes on answering: {source}")]
    NotRebuilt {
        /// The projection.
        name: &'static str,
        /// Why.
        source: Box<ProjectionError>,
    },
    /// A parked key was to be released, and one of its events still fails.
    #[error(
        "the key {key:?} of {name:?} stays parked, from position {}{}: {reason}; release it again when the cause is gone, or \
         go on without this event: `projections skip {name} {}`",
        .event.position, told(Some(.event)), .event.position
    )]
    StaysParked {
        /// The projection.
        name: &'static str,
        /// The key.
        key: String,
        /// The event that fails.
        event: Box<FailedEvent>,
        /// What the projection said.
        reason: String,
    },
    /// There is nothing to go back to.
    #[error("{name:?} has no earlier version or build to go back to: build it anew instead")]
    NothingBefore {
        /// The projection.
        name: &'static str,
    },
    /// What a read model remembers cannot be read.
    #[error(
        "the notes of the read model {name:?} cannot be read: {reason}; delete its file to have it built anew, or use the \
         program that wrote it"
    )]
    Notes {
        /// The projection.
        name: &'static str,
        /// What is wrong with them.
        reason: String,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The read model failed.
    #[error(transparent)]
    ReadModel(#[from] ReadModelError),
}

fn told(event: Option<&FailedEvent>) -> String {
    let told = |event: &FailedEvent| format!(", {} of {} (id {})", event.event_type, event.stream, event.id);
    event.map(told).unwrap_or_default()
}

/// How to go on without an event, where it is one that is to blame.
fn way_on(name: &str, position: Position, event: Option<&FailedEvent>) -> String {
    let way = || {
        format!(
            "; to go on without this event: `projections skip {name} {position}`, or without all of its key: `projections \
             park {name} {position}`"
        )
    };
    event.map(|_| way()).unwrap_or_default()
}
