//! One attempt to handle an event.

use std::panic::AssertUnwindSafe;

use annals_core::RecordedEvent;
use futures_util::FutureExt;
use tokio::time::timeout;

use super::{AnyReaction, ReactionContext};
use crate::panics::panic_text;

/// Lets a reaction handle an event; the error is what it said, or that it panicked or took too long.
pub(super) async fn attempt(
    reaction: &dyn AnyReaction,
    event: &RecordedEvent,
    context: &ReactionContext,
) -> Result<(), String> {
    let limit = reaction.time_limit();
    let reacting = async { reaction.react(event, context).await };
    match AssertUnwindSafe(timeout(limit, reacting)).catch_unwind().await {
        Ok(Ok(Ok(()))) => Ok(()),
        Ok(Ok(Err(error))) => Err(error.to_string()),
        Ok(Err(_)) => Err(format!("it was not done within {limit:?}")),
        Err(panic) => Err(format!("it panicked: {}", panic_text(&*panic))),
    }
}
