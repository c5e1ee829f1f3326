//! Why a command was not done.

use std::time::Duration;

use annals_core::{BoxError, Conflict, NameError, StoreError, StreamName, Version};

use crate::{Invalid, Rejection, UnreadableEvent};

/// Why a command was not done. Nothing was written, unless it says that this is not known.
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
    #[error(
        "{what} panicked: {message}; {}: the application has to be mended",
        if *is_unknown { "whether the command was done is not known" } else { "nothing was written" }
    )]
    Panicked {
        /// What was given to it: the name of a command or of an event, or `middleware`.
        what: String,
        /// What the panic said.
        message: String,
        /// Whether it is not known if the command was done: middleware may have panicked after it.
        is_unknown: bool,
    },
    /// Fields of the command are not as they should be.
    #[error("{command} is not valid: {invalid}")]
    Invalid {
        /// The command.
        command: String,
        /// The fields.
        invalid: Invalid,
    },
    /// As many commands as there may be at once are being done.
    #[error("{limit} commands are being done, more are not taken at once: try again in a second")]
    Overloaded {
        /// How many there may be.
        limit: usize,
    },
    /// It took longer than it may.
    #[error(
        "{command} was not answered within {limit:?}: whether it was done is not known; give it again with the same command id"
    )]
    TimedOut {
        /// The command.
        command: String,
        /// How long it may take.
        limit: Duration,
    },
    /// Middleware failed in a way of its own.
    #[error(
        "the middleware around the command failed: {reason}; it has to be looked after where it was added"
    )]
    Middleware {
        /// What it said.
        reason: String,
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
        Self::Panicked { what: what.to_owned(), message, is_unknown: false }
    }

    /// The same error with the domain's part changed, or the error that came of that.
    pub(crate) fn try_map_domain<F>(self, map: impl FnOnce(E) -> Result<F, Error<F>>) -> Error<F> {
        match self {
            Self::Domain(error) => map(error).map_or_else(|error| error, Error::Domain),
            Self::RefusedBefore { code, message } => Error::RefusedBefore { code, message },
            Self::Panicked { what, message, is_unknown } => Error::Panicked { what, message, is_unknown },
            Self::Invalid { command, invalid } => Error::Invalid { command, invalid },
            Self::Overloaded { limit } => Error::Overloaded { limit },
            Self::TimedOut { command, limit } => Error::TimedOut { command, limit },
            Self::Middleware { reason } => Error::Middleware { reason },
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

impl From<BoxError> for Error<Rejection> {
    /// What a `tower` layer with boxed errors reports: the error of a command as it was, where it is one.
    fn from(error: BoxError) -> Self {
        error.downcast().map_or_else(|other| Self::Middleware { reason: other.to_string() }, |own| *own)
    }
}
