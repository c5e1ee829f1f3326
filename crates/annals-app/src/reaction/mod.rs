//! What an application does about events outside of its store: mail, calls of other services.

mod attempt;
mod care;
mod context;
mod dead_letters;
mod follow;
mod in_hand;
mod reactor;
mod retry;
mod status;

use std::future::Future;
use std::time::Duration;

use annals_core::{BoxError, BoxFuture, Filter, RecordedEvent};

use crate::consumer::Begin;
pub use context::ReactionContext;
pub use dead_letters::DeadLetter;
pub(crate) use reactor::Reactor;
pub use retry::RetryPolicy;
pub use status::{ReactionError, ReactionState, ReactionStatus};

/// Does something about events that cannot be taken back: sends mail, calls another service, gives a command.
///
/// Every event that matches is handled **at least once**, also when the process ends at any moment. How far it has come is kept
/// in the store of events: the place before the first event that is not settled, saved whenever something was handled. After a
/// crash, or when the store failed, what was handled behind the saved place is handled again: what was done while the last save
/// was under way, as a rule; while an event waits to be tried again, what came after it, up to 10,000 events, which is where the
/// reaction waits for it. Let the receiver drop repeats by [`ReactionContext::idempotency_key`].
///
/// Events of one [`key`](Self::key) are handled one after the other, in order; those of different keys at the same time. One that
/// fails is tried again by [`retry`](Self::retry), while the later ones of its key wait and those of other keys go on. After the
/// last attempt it is put on the list of dead letters, which is kept in the store, and its key goes on.
///
/// It is never called for history that is read again: not by rebuilds, by questions about the past, by
/// [`what_if`](crate::what_if), nor in an application that was started [`passive`](crate::App::passive). Where several processes
/// have the same store and its read models, one handles the events; another takes over when it ends.
///
/// ```
/// # use annals_app::*;
/// # use annals_core::*;
/// /// Tells somebody whenever a bell has rung.
/// struct Bells;
///
/// impl Reaction for Bells {
///     const NAME: &'static str = "bells";
///
///     fn filter(&self) -> Filter {
///         Filter::types(EventType::new("BellRung"))
///     }
///
///     async fn react(&self, event: &RecordedEvent, context: &ReactionContext) -> Result<(), BoxError> {
///         println!("{} rang; drop what you know: {}", event.stream(), context.idempotency_key());
///         Ok(())
///     }
/// }
/// let app = App::new("bells").reaction(Bells);
/// ```
pub trait Reaction: Send + Sync + 'static {
    /// Its name, under which the store knows how far it has come. One with another name is a new one.
    const NAME: &'static str;
    /// Where it begins when it is started for the first time: unless told otherwise, events from before are none of its business.
    const BEGIN: Begin = Begin::Now;
    /// How many events it handles at the same time, each of another key.
    const CONCURRENCY: usize = 8;

    /// The events that it does something about. Notes on dead letters are never among them.
    fn filter(&self) -> Filter;

    /// Does it. An error, a panic, or not being done within [`time_limit`](Self::time_limit) is a failed attempt.
    ///
    /// It runs as a task: what blocks a thread belongs into one that may be blocked, and cannot be ended by the limit.
    /// [`decode_event`](crate::decode_event) reads the event.
    fn react(
        &self,
        event: &RecordedEvent,
        context: &ReactionContext,
    ) -> impl Future<Output = Result<(), BoxError>> + Send;

    /// How often a failed event is tried again.
    fn retry(&self) -> RetryPolicy {
        RetryPolicy::default()
    }

    /// How long one attempt may take.
    fn time_limit(&self) -> Duration {
        Duration::from_secs(30)
    }

    /// What an event belongs to: events of one key are handled in order. Without this, it is the stream.
    fn key(&self, event: &RecordedEvent) -> String {
        event.stream().to_owned()
    }
}

/// A reaction, its type forgotten.
pub(crate) trait AnyReaction: Send + Sync {
    fn name(&self) -> &'static str;
    fn begin(&self) -> Begin;
    fn concurrency(&self) -> usize;
    fn filter(&self) -> Filter;
    fn react<'a>(
        &'a self,
        event: &'a RecordedEvent,
        context: &'a ReactionContext,
    ) -> BoxFuture<'a, Result<(), BoxError>>;
    fn retry(&self) -> RetryPolicy;
    fn time_limit(&self) -> Duration;
    fn key(&self, event: &RecordedEvent) -> String;
}

impl<R: Reaction> AnyReaction for R {
    fn name(&self) -> &'static str {
        R::NAME
    }

    fn begin(&self) -> Begin {
        R::BEGIN
    }

    fn concurrency(&self) -> usize {
        R::CONCURRENCY.max(1)
    }

    fn filter(&self) -> Filter {
        Reaction::filter(self)
    }

    fn react<'a>(
        &'a self,
        event: &'a RecordedEvent,
        context: &'a ReactionContext,
    ) -> BoxFuture<'a, Result<(), BoxError>> {
        Box::pin(Reaction::react(self, event, context))
    }

    fn retry(&self) -> RetryPolicy {
        Reaction::retry(self)
    }

    fn time_limit(&self) -> Duration {
        Reaction::time_limit(self)
    }

    fn key(&self, event: &RecordedEvent) -> String {
        Reaction::key(self, event)
    }
}
