//! The way of every command: through the middleware to the mediator, in a span of its own; what panics on it fails alone.

use std::panic::AssertUnwindSafe;

use annals_core::CorrelationId;
use futures_util::FutureExt;
use tracing::field::Empty;
use tracing::{Instrument, Span, info_span};

use crate::mediator::Commands;
use crate::panics::panic_text;
use crate::{CommandOutcome, CommandRequest, Error, Rejection};

/// Gives a command to the middleware, and through it to the mediator.
pub(crate) async fn dispatch(
    commands: &Commands,
    request: CommandRequest,
) -> Result<CommandOutcome, Error<Rejection>> {
    let span = span_of(&request);
    let giving = AssertUnwindSafe(commands.give(request)).catch_unwind();
    let answer = giving.instrument(span.clone()).await.unwrap_or_else(|panic| {
        // What the domain and the permission panic with is caught nearer to them.
        let (what, message) = ("middleware".to_owned(), panic_text(&*panic));
        Err(Error::Panicked { what, message, is_unknown: true })
    });
    record(&span, &answer);
    answer
}

/// Who asks for what; never the content of the command.
fn span_of(CommandRequest { category, id, name, options, .. }: &CommandRequest) -> Span {
    info_span!(
        "command",
        category = &**category,
        id = id.as_str(),
        name = &**name,
        principal = &*options.principal.name,
        correlation_id = options.correlation_id.as_ref().map(CorrelationId::as_str),
        outcome = Empty,
        version = Empty,
        position = Empty,
    )
}

fn record(span: &Span, answer: &Result<CommandOutcome, Error<Rejection>>) {
    if span.is_disabled() {
        return;
    }
    match answer {
        Ok(done) => {
            span.record("outcome", "done");
            span.record("version", done.version.get());
            span.record("position", done.position.get());
        }
        Err(error) => {
            span.record("outcome", outcome_of(error));
        }
    }
}

fn outcome_of<E>(error: &Error<E>) -> &'static str {
    match error {
        Error::Conflict { .. } | Error::VersionMismatch { .. } => "conflict",
        Error::Domain(_)
        | Error::RefusedBefore { .. }
        | Error::Denied { .. }
        | Error::Invalid { .. }
        | Error::Malformed { .. }
        | Error::Unknown(_)
        | Error::NotFound { .. }
        | Error::CommandIdReused { .. } => "refused",
        Error::Panicked { .. }
        | Error::Overloaded { .. }
        | Error::TimedOut { .. }
        | Error::Middleware { .. }
        | Error::Unreadable(_)
        | Error::Store(_) => "failed",
    }
}
