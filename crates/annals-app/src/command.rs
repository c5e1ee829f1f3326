//! Commands on their way from the caller to the aggregate, and back.

use std::any::Any;
use std::borrow::Cow;
use std::sync::Arc;

use annals_core::{
    CausationId, Conflict, CorrelationId, NameError, Position, StoreError, StreamName, Timestamp, Version,
};
use bytes::Bytes;
use serde::Serialize;

use crate::{DomainError, Named, UnreadableEvent};

/// The commands of an aggregate: `derive(Command)` writes it.
pub trait Command: Named {}

/// Who asks. Authentication is the business of the door that the request came through.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct Principal {
    /// The name, recorded with the events.
    pub name: String,
}

impl Principal {
    /// Nobody known.
    pub fn anonymous() -> Self {
        Self { name: "anonymous".to_owned() }
    }

    /// Somebody by name.
    pub fn named(name: impl Into<String>) -> Self {
        Self { name: name.into() }
    }
}

impl Default for Principal {
    fn default() -> Self {
        Self::anonymous()
    }
}

/// What a command may carry besides itself.
#[derive(Debug, Clone, Default)]
pub struct CommandOptions {
    /// Makes the command idempotent: the second time with the same id, for the same entity, the first answer comes back, be it
    /// that the domain refused it. What was never decided has no answer: a command that was denied, that met another version
    /// than the expected one, or that the store could not take.
    pub command_id: Option<CausationId>,
    /// Refuses the command unless the entity is at this version.
    pub expected_version: Option<Version>,
    /// When it happened in the world; without it, when it was received.
    pub occurred_at: Option<Timestamp>,
    /// Who gives it.
    pub principal: Principal,
    /// What it belongs to.
    pub correlation_id: Option<CorrelationId>,
}

/// A command as the mediator sees it: what middleware may look at, and what only the handler opens.
pub struct CommandRequest {
    /// The category of the aggregate.
    pub category: Cow<'static, str>,
    /// The entity.
    pub id: String,
    /// The name of the command.
    pub name: Cow<'static, str>,
    /// What it carries besides itself.
    pub options: CommandOptions,
    pub(crate) payload: CommandPayload,
    /// Whether its answer is recorded also when it makes no events.
    pub(crate) records_answer: bool,
}

pub(crate) enum CommandPayload {
    /// From another process.
    Json(Bytes),
    /// From this one: a value of the aggregate's command type.
    Typed(Box<dyn Any + Send>),
}

impl CommandRequest {
    /// A command that came as JSON.
    pub fn json(
        category: &str,
        id: &str,
        name: &str,
        json: impl Into<Bytes>,
        options: CommandOptions,
    ) -> Self {
        Self {
            category: Cow::Owned(category.to_owned()),
            id: id.to_owned(),
            name: Cow::Owned(name.to_owned()),
            options,
            payload: CommandPayload::Json(json.into()),
            records_answer: true,
        }
    }

    pub(crate) fn typed(
        category: &'static str,
        id: &str,
        name: &'static str,
        command: impl Any + Send,
        options: CommandOptions,
    ) -> Self {
        Self {
            category: Cow::Borrowed(category),
            id: id.to_owned(),
            name: Cow::Borrowed(name),
            options,
            payload: CommandPayload::Typed(Box::new(command)),
            records_answer: true,
        }
    }
}

/// The mediator's answer to a command that was done.
pub struct CommandOutcome {
    /// The stream of the entity.
    pub stream: StreamName,
    /// Its version after the command.
    pub version: Version,
    /// The position of the last event, by which one's own write can be awaited in a read model.
    pub position: Position,
    /// The events, in order; none when there was nothing to do.
    pub events: Vec<OutcomeEvent>,
    /// Whether this is the first answer to a command that came again.
    pub duplicate: bool,
    pub(crate) typed: Box<dyn Any + Send>,
}

/// An event that a command gave rise to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutcomeEvent {
    /// Its type.
    pub event_type: &'static str,
    /// Its version.
    pub version: Version,
    /// Its payload, JSON.
    pub payload: Bytes,
}

/// What a typed command gave rise to.
#[derive(Debug, Clone)]
pub struct Executed<S, E> {
    /// The stream of the entity.
    pub stream: StreamName,
    /// Its version after the command.
    pub version: Version,
    /// The position of the last event, by which one's own write can be awaited in a read model.
    pub position: Position,
    /// The events, in order; none when there was nothing to do.
    pub events: Vec<E>,
    /// The state after them.
    pub state: Arc<S>,
    /// Whether this is the first answer to a command that came again.
    pub duplicate: bool,
}

/// A domain's refusal whose type is not known here: what the mediator passes on.
#[derive(Debug)]
pub struct Rejection {
    /// The code, for programs.
    pub code: Cow<'static, str>,
    /// The text, for people.
    pub message: String,
    /// The domain's own error; not known for one that was read from the store.
    pub(crate) source: Option<Box<dyn Any + Send + Sync>>,
}

impl Rejection {
    pub(crate) fn new<E: DomainError>(error: E) -> Self {
        let (code, message) = (Cow::Borrowed(error.code()), error.to_string());
        Self { code, message, source: Some(Box::new(error)) }
    }

    /// One that was recorded.
    pub(crate) fn restored(code: String, message: String) -> Self {
        Self { code: Cow::Owned(code), message, source: None }
    }

    /// Takes the domain's own error, if it is the one that was recorded.
    pub(crate) fn recognise<E: DomainError>(&mut self, error: E) {
        if error.code() == self.code {
            self.source = Some(Box::new(error));
        }
    }
}

impl std::fmt::Display for Rejection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

/// Why a command was not done. In every case but an unknown outcome of the store, nothing was written.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error<E> {
    /// The domain refused it.
    #[error("{0}")]
    Domain(E),
    /// The domain refused it when it was given first, for a reason that the domain does not know any more.
    #[error("{message} ({code}; so it was answered the first time)")]
    RefusedBefore {
        /// The code.
        code: String,
        /// The text.
        message: String,
    },
    /// Code of the application panicked.
    #[error("{what} panicked: {message}; nothing was written: the application has to be mended")]
    Panicked {
        /// What was given to it: the name of a command or of an event.
        what: String,
        /// What the panic said.
        message: String,
    },
    /// Others kept changing the entity, through every retry.
    #[error("the entity kept changing, through {attempts} attempts ({conflict}): try again")]
    Conflict {
        /// How often it was tried.
        attempts: u32,
        /// What stood in the way the last time.
        conflict: Conflict,
    },
    /// The entity is not at the version that the caller had seen.
    #[error("stream {:?} is at version {actual}, expected {expected}: read it again and decide anew", stream.as_str())]
    VersionMismatch {
        /// The stream.
        stream: StreamName,
        /// What the caller expected.
        expected: Version,
        /// What it is.
        actual: Version,
    },
    /// The command id was used for another command before.
    #[error(
        "command id {command_id:?} was used for a different command before: give each command an id of its own"
    )]
    CommandIdReused {
        /// The id.
        command_id: String,
    },
    /// There is no such thing to ask for.
    #[error("{}", .0)]
    Unknown(Unknown),
    /// What was asked for is not there.
    #[error("there is no {what}")]
    NotFound {
        /// What was asked for, such as `account "42"`.
        what: String,
    },
    /// Whoever asks may not do it.
    #[error("{principal} may not {action}: {reason}")]
    Denied {
        /// Who asked.
        principal: String,
        /// What for.
        action: String,
        /// Why not.
        reason: String,
    },
    /// What was given does not fit.
    #[error("{what} does not fit: {reason}")]
    Malformed {
        /// What was given.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A stored event cannot be read.
    #[error(transparent)]
    Unreadable(#[from] UnreadableEvent),
    /// The store could not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A name that nothing stands behind, and the names that something does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unknown {
    /// What kind of thing was asked for.
    pub kind: &'static str,
    /// Under which name.
    pub name: String,
    /// The names that exist.
    pub known: Vec<String>,
}

impl std::fmt::Display for Unknown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "there is no {} {:?}; ", self.kind, self.name)?;
        if self.known.is_empty() {
            return f.write_str("there are none");
        }
        write!(f, "there are: {}", self.known.join(", "))
    }
}

impl<E> Error<E> {
    pub(crate) fn malformed(what: impl Into<String>, reason: impl ToString) -> Self {
        Self::Malformed { what: what.into(), reason: reason.to_string() }
    }

    pub(crate) fn panicked(what: &str, message: String) -> Self {
        Self::Panicked { what: what.to_owned(), message }
    }

    /// The same error with the domain's part changed, or the error that came of that.
    pub(crate) fn try_map_domain<F>(self, map: impl FnOnce(E) -> Result<F, Error<F>>) -> Error<F> {
        match self {
            Self::Domain(error) => map(error).map_or_else(|error| error, Error::Domain),
            Self::RefusedBefore { code, message } => Error::RefusedBefore { code, message },
            Self::Panicked { what, message } => Error::Panicked { what, message },
            Self::Conflict { attempts, conflict } => Error::Conflict { attempts, conflict },
            Self::VersionMismatch { stream, expected, actual } => {
                Error::VersionMismatch { stream, expected, actual }
            }
            Self::CommandIdReused { command_id } => Error::CommandIdReused { command_id },
            Self::Unknown(unknown) => Error::Unknown(unknown),
            Self::NotFound { what } => Error::NotFound { what },
            Self::Denied { principal, action, reason } => Error::Denied { principal, action, reason },
            Self::Malformed { what, reason } => Error::Malformed { what, reason },
            Self::Unreadable(error) => Error::Unreadable(error),
            Self::Store(error) => Error::Store(error),
        }
    }
}

impl<E> From<NameError> for Error<E> {
    fn from(error: NameError) -> Self {
        Self::malformed("a name", error)
    }
}
