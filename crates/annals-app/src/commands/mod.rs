//! How a command becomes events: who decides it, on what, and what is recorded.
//!
//! ```text
//! aggregate_handler.rs  commands on one type of aggregate      line.rs       commands that wait for one entity
//! group.rs              commands decided in turn, appended at once            repository.rs  folding events into states
//! given.rs              a command on its way, and its events as they are stored       answers.rs    what a command id was answered
//! ```

mod aggregate_handler;
mod answers;
mod given;
mod group;
mod line;
mod repository;

use std::sync::Arc;

use annals_core::{BoxFuture, Version};

pub(crate) use aggregate_handler::AggregateHandler;
pub use repository::StateView;
pub(crate) use repository::{Folded, first_visible};

use crate::{At, CommandOutcome, CommandRequest, Error, Rejection, StateDifference};

/// How often a command is decided again when others were faster.
const ATTEMPTS: u32 = 16;

/// What decides the commands of a category, its type forgotten.
pub(crate) trait CommandHandler: Send + Sync {
    fn command_names(&self) -> &'static [&'static str];
    fn event_names(&self) -> &'static [&'static str];
    fn handle(
        self: Arc<Self>,
        request: CommandRequest,
    ) -> BoxFuture<'static, Result<CommandOutcome, Error<Rejection>>>;
    fn state<'a>(&'a self, id: &'a str, at: At) -> BoxFuture<'a, Result<StateView, Error<Rejection>>>;
    fn difference<'a>(
        &'a self,
        id: &'a str,
        from: Version,
        to: Version,
    ) -> BoxFuture<'a, Result<StateDifference, Error<Rejection>>>;
}
