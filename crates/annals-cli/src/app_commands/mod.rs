//! The commands that every application has.

mod as_test;
mod events;
mod execute;
mod projections;
mod query;
mod reactions;
mod replay;
mod serve;
mod state;
mod step;

use clap::Subcommand;

pub use serve::Listening;

use crate::trace::Trace;
use crate::verification::{self, Verify};
use crate::{Failure, Session, compaction};

/// The commands that every application has.
#[derive(Debug, Subcommand)]
pub(crate) enum AppCommands {
    /// Serve the application over HTTP, until Ctrl-C
    Serve(serve::Serve),
    /// Give a command to an entity
    Execute(execute::Execute),
    /// Ask a question
    Query(query::Query),
    /// Ask a question as of a position or a time
    AsOf(query::AsOf),
    /// Show the state of an entity, now or then
    State(state::State),
    /// Show what the events of an entity changed in its state
    Diff(state::Diff),
    /// Step through the events of an entity with the arrow keys
    Step(step::Step),
    /// Show the events, oldest first, or those of an entity as a test
    Events(events::Events),
    /// Show what came of what: the events of a correlation, each below the one that caused it
    Trace(Trace),
    /// Show where each projection stands, and look after them
    Projections(projections::Projections),
    /// Show where each reaction stands, and settle the events that one has given up
    Reactions(reactions::Reactions),
    /// Build read models anew from all events; the old ones answer meanwhile
    Rebuild(projections::Rebuild),
    /// Give history to another service again, as the commands that its events become
    Replay(replay::Replay),
    /// Read everything that is stored and check it
    Verify(Verify),
    /// Give back the space of events that were deleted or truncated
    Compact,
}

impl AppCommands {
    pub(crate) async fn run(self, session: Session) -> Result<(), Failure> {
        match self {
            Self::Serve(serve) => serve.run(session).await,
            Self::Execute(execute) => execute.run(session).await,
            Self::Query(query) => query.run(session).await,
            Self::AsOf(as_of) => as_of.run(session).await,
            Self::State(state) => state.run(session).await,
            Self::Diff(diff) => diff.run(session).await,
            Self::Step(step) => step.run(session).await,
            Self::Events(events) => events.run(session).await,
            Self::Trace(trace) => trace.run(session).await,
            Self::Projections(projections) => projections.run(session).await,
            Self::Reactions(reactions) => reactions.run(session).await,
            Self::Rebuild(rebuild) => rebuild.run(session).await,
            Self::Replay(replay) => replay.run(session).await,
            Self::Verify(verify) => verification::verify(&session, verify).await,
            Self::Compact => compaction::compact(&session).await,
        }
    }
}
