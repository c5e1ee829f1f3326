//! How a command becomes events: who decides it, on what, and what is recorded.
//!
//! ```text
//! aggregate_handler.rs  commands on one type of aggregate      lines.rs      the entities that were asked for last
//! decision_handler.rs   commands that depend on several        line.rs       commands that wait for one entity
//! handlers.rs           who decides which command              group.rs      commands decided in turn, appended at once
//! given.rs              a command on its way, and its events   metadata.rs   what many commands record alike
//! answers.rs            what a command with an id was answered repository.rs folding events into states
//! ```

mod aggregate_handler;
mod answers;
mod decision_handler;
mod given;
mod group;
mod handlers;
mod line;
mod lines;
mod metadata;
mod repository;

use std::sync::Arc;

use annals_core::{BoxFuture, Clock, EventStore, ReadModelStore, StoreError, Version};
use bytes::Bytes;

pub(crate) use aggregate_handler::AggregateHandler;
pub(crate) use decision_handler::{DecisionHandler, Turns};
pub(crate) use given::CommandMetadata;
pub(crate) use handlers::Handlers;
pub use repository::StateView;
pub(crate) use repository::{Folded, first_visible};

use crate::{
    At, CommandOutcome, CommandRequest, Error, Event, Executed, OutcomeEvent, Rejection, StateDifference,
};

/// What commands are decided on.
#[derive(Clone)]
pub(crate) struct Ground {
    pub(crate) store: Arc<dyn EventStore>,
    pub(crate) models: Arc<dyn ReadModelStore>,
    pub(crate) turns: Arc<Turns>,
    pub(crate) clock: Arc<dyn Clock>,
}

/// How often a command is decided again when others were faster.
const ATTEMPTS: u32 = 16;

/// The program stopped in the middle.
pub(crate) fn given_up() -> StoreError {
    StoreError::OutcomeUnknown { reason: "the application stopped while the command was decided".to_owned() }
}

/// What decides some of the commands of a category, its type forgotten.
pub(crate) trait CommandHandler: Send + Sync {
    fn command_names(&self) -> &'static [&'static str];
    fn event_names(&self) -> &'static [&'static str];
    fn handle(
        self: Arc<Self>,
        request: CommandRequest,
    ) -> BoxFuture<'static, Result<CommandOutcome, Error<Rejection>>>;
}

/// What knows the states of the entities of a category, its type forgotten.
pub(crate) trait StateHandler: Send + Sync {
    fn state<'a>(&'a self, id: &'a str, at: At) -> BoxFuture<'a, Result<StateView, Error<Rejection>>>;
    fn difference<'a>(
        &'a self,
        id: &'a str,
        from: Version,
        to: Version,
    ) -> BoxFuture<'a, Result<StateDifference, Error<Rejection>>>;
}

/// A command that was done, and the payloads of its events as they are stored.
struct Answered<S, E> {
    executed: Executed<S, E>,
    payloads: Vec<Bytes>,
}

impl<S: Send + Sync + 'static, E: Event> From<Answered<S, E>> for CommandOutcome {
    fn from(Answered { executed, payloads }: Answered<S, E>) -> Self {
        let first = executed.version.get() + 1 - payloads.len() as u64;
        let events = executed.events.iter().zip(payloads).zip(first..).map(|((event, payload), version)| {
            OutcomeEvent { event_type: event.name(), version: Version::new(version), payload }
        });
        Self {
            stream: executed.stream.clone(),
            version: executed.version,
            position: executed.position,
            events: events.collect(),
            duplicate: executed.duplicate,
            typed: Box::new(executed),
        }
    }
}
