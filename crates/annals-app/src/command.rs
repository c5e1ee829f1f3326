//! Commands on their way from the caller to the aggregate, and back.

use std::any::Any;
use std::borrow::Cow;
use std::sync::Arc;

use crate::{DomainError, Invalid, Named, Principal};
use annals_core::{CausationId, CorrelationId, Position, StreamName, Timestamp, Version};
use bytes::Bytes;

/// The commands of an aggregate: `derive(Command)` writes it.
pub trait Command: Named {
    /// Looks at the command alone, before anything is loaded for it: whether texts are of a length that can be kept, whether
    /// fields fit each other. What depends on the entity is for [`Aggregate::handle`](crate::Aggregate::handle) to decide.
    ///
    /// `#[command(validate = path)]` on the type fills it in with the `fn(&Self) -> Result<(), Invalid>` at that path.
    ///
    /// ```
    /// # use annals_app::{Command, Invalid};
    /// # use serde::{Deserialize, Serialize};
    /// #[derive(Command, Serialize, Deserialize)]
    /// # #[annals(crate = annals_app)]
    /// #[command(validate = fits)]
    /// struct WriteNote {
    ///     title: String,
    /// }
    ///
    /// fn fits(note: &WriteNote) -> Result<(), Invalid> {
    ///     Invalid::new().at_most_chars(5, "title", &note.title).into_result()
    /// }
    ///
    /// assert!(WriteNote { title: "short".into() }.validate().is_ok());
    /// assert_eq!(WriteNote { title: "longer".into() }.validate().unwrap_err().fields()[0].field, "title");
    /// ```
    ///
    /// # Errors
    /// [`Invalid`] names every field that is not as it should be; the command is not done then.
    fn validate(&self) -> Result<(), Invalid> {
        Ok(())
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
    /// What it belongs to; recorded with its events.
    pub correlation_id: Option<CorrelationId>,
    /// What caused it: for the command of a reaction the id of the event. Recorded with its events, as their causation id where
    /// the command has no id of its own, else beside it.
    pub causation_id: Option<CausationId>,
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
    /// Whether it is one of the framework's own: its id alone tells what it is, however its content is read by then, and nothing is
    /// recorded of it when it makes no events.
    pub(crate) is_own: bool,
    /// Whether code for it must not hold up the runtime, should it never return.
    pub(crate) is_apart: bool,
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
            is_own: false,
            is_apart: false,
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
            is_own: false,
            is_apart: false,
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
