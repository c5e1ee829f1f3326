//! Events that a process manager follows, and the answers to its commands, become steps of its processes.
//!
//! A process manager is a reaction: to the events that it follows, and to the steps of its own processes, whose commands it gives.
//! So it has all that reactions have: a place in the store, an order by key, retry, a list of what failed for good, a lead.

use std::sync::Arc;
use std::time::Duration;

use annals_core::{
    BoxError, BoxFuture, Category, CausationId, Filter, FilterItem, NameError, Position, RecordedEvent,
    Version,
};

use super::instance::{Instance, StepTaken, Take};
use super::steps::StepCommand;
use super::{AnswerEvent, ProcessManager};
use crate::commands::{AggregateHandler, CommandHandler, Ground, StateHandler};
use crate::panics::catch_panic;
use crate::reaction::AnyReaction;
use crate::{
    Begin, CommandOptions, CommandRequest, Error, Named, Principal, ReactionContext, Rejection, RetryPolicy,
    decode_event,
};

/// So many processes take steps at the same time.
const CONCURRENCY: usize = 256;
/// A step that fails, or a command that is not decided, is tried again for some ten minutes; then somebody has to look.
const ATTEMPTS: u32 = 20;
const FIRST_RETRY: Duration = Duration::from_millis(100);
const LONGEST_RETRY: Duration = Duration::from_secs(60);
/// A command may take so long before it is given again.
const TIME_LIMIT: Duration = Duration::from_secs(60);

/// A process manager of a running application.
pub(crate) struct Process<P: ProcessManager> {
    handler: Arc<AggregateHandler<Instance<P>>>,
    filter: Filter,
    principal: Principal,
}

/// A process manager, its type forgotten.
pub(crate) trait AnyProcess: AnyReaction {
    /// What knows the states of the processes.
    fn states(&self) -> Arc<dyn StateHandler>;

    /// Lets a process take in that a timer is due which was set by a step; nothing happens when it is not set any more. What the
    /// step that set it belongs to goes along. Returns where the new step is, if one was taken.
    fn fire<'a>(
        &'a self,
        key: &'a str,
        timer: &'a str,
        step: Version,
        because: CommandOptions,
    ) -> BoxFuture<'a, Result<Option<Position>, Error<Rejection>>>;
}

/// What is to be taken in, each with the process that it is for.
pub(crate) type Taken<P> = Vec<(String, Take<<P as ProcessManager>::Event>)>;

impl<P: ProcessManager> Process<P> {
    pub(crate) fn new(ground: &Ground) -> Result<Self, NameError> {
        let category = Category::new(P::NAME)?;
        let own = FilterItem { category: Some(category.clone()), ..FilterItem::default() };
        let handler = Arc::new(AggregateHandler::new(ground, category));
        let principal = Self::principal();
        Ok(Self { handler, filter: P::filter().or(own), principal })
    }

    /// Who gives the commands of its processes.
    pub(crate) fn principal() -> Principal {
        Principal::named(format!("process:{}", P::NAME))
    }

    async fn take(
        &self,
        key: &str,
        take: Take<P::Event>,
        options: CommandOptions,
    ) -> Result<Option<Position>, Error<Rejection>> {
        let mut request = CommandRequest::typed(P::NAME, key, take.name(), take, options);
        request.is_own = true;
        let done = Arc::clone(&self.handler).handle(request).await?;
        Ok((!done.events.is_empty()).then_some(done.position))
    }

    /// What a process is to take in of an event, and the process.
    pub(crate) fn taken(event: &RecordedEvent) -> Result<Taken<P>, BoxError> {
        let decoded = decode_event::<P::Event>(event)?;
        let taken = decoded.filter_map(|decoded| {
            let key = P::key(&decoded, event)?;
            Some((key, Take::Event { position: event.position(), event: decoded }))
        });
        Ok(taken.collect())
    }

    async fn follow(&self, event: &RecordedEvent, context: &ReactionContext) -> Result<(), BoxError> {
        for (index, (key, take)) in Self::taken(event)?.into_iter().enumerate() {
            // By the event's own id the step is known again, in whatever order events come, and tells what caused it.
            let id = if index == 0 { event.id().to_string() } else { format!("{}#{index}", event.id()) };
            let options = CommandOptions { command_id: Some(CausationId::new(id)?), ..self.options(context) };
            self.take(&key, take, options).await?;
        }
        Ok(())
    }

    /// Gives the commands of a step, and lets the process take in each answer.
    async fn carry_out(&self, event: &RecordedEvent, context: &ReactionContext) -> Result<(), BoxError> {
        for command in decode_event::<StepTaken>(event)?.flat_map(|step| step.commands) {
            let take = self.give(command, context).await?;
            self.take(event.entity_id(), take, self.options(context)).await?;
        }
        Ok(())
    }

    /// Gives a command, and returns what the process is to take in of the answer.
    async fn give(
        &self,
        command: StepCommand,
        context: &ReactionContext,
    ) -> Result<Take<P::Event>, BoxError> {
        let StepCommand { id: command_id, label, category, entity, command, body } = command;
        let options =
            CommandOptions { command_id: Some(CausationId::new(&command_id)?), ..self.options(context) };
        let body = String::from(Box::<str>::from(body));
        let request = CommandRequest::json(&category, &entity, &command, body, options);
        match context.dispatch(request).await {
            Ok(done) => {
                Ok(Take::Done { command_id, events: done.events.iter().map(AnswerEvent::from).collect() })
            }
            Err(Error::Domain(Rejection { code, message, .. })) => {
                Ok(Take::Refused { command_id, code: code.into_owned(), message })
            }
            Err(error) => {
                Err(format!("its command {label:?}, {command} to {category} {entity:?}: {error}").into())
            }
        }
    }

    /// What the steps and commands carry that an event gives rise to.
    fn options(&self, context: &ReactionContext) -> CommandOptions {
        CommandOptions { principal: self.principal.clone(), ..context.options() }
    }
}

impl<P: ProcessManager> AnyReaction for Process<P> {
    fn name(&self) -> &'static str {
        P::NAME
    }

    fn begin(&self) -> Begin {
        P::BEGIN
    }

    fn concurrency(&self) -> usize {
        CONCURRENCY
    }

    fn filter(&self) -> Filter {
        self.filter.clone()
    }

    fn react<'a>(
        &'a self,
        event: &'a RecordedEvent,
        context: &'a ReactionContext,
    ) -> BoxFuture<'a, Result<(), BoxError>> {
        Box::pin(async move {
            if event.category() == P::NAME {
                self.carry_out(event, context).await
            } else {
                self.follow(event, context).await
            }
        })
    }

    fn retry(&self) -> RetryPolicy {
        RetryPolicy { attempts: ATTEMPTS, first: FIRST_RETRY, longest: LONGEST_RETRY }
    }

    fn time_limit(&self) -> Duration {
        TIME_LIMIT
    }

    fn key(&self, event: &RecordedEvent) -> String {
        if event.category() == P::NAME {
            return event.entity_id().to_owned();
        }
        // What cannot be read fails when it is handled, and that is told.
        let taken = catch_panic(|| Self::taken(event)).ok().and_then(Result::ok).unwrap_or_default();
        taken.into_iter().next().map_or_else(|| event.stream().to_owned(), |(key, _)| key)
    }
}

impl<P: ProcessManager> AnyProcess for Process<P> {
    fn states(&self) -> Arc<dyn StateHandler> {
        Arc::clone(&self.handler) as _
    }

    fn fire<'a>(
        &'a self,
        key: &'a str,
        timer: &'a str,
        step: Version,
        because: CommandOptions,
    ) -> BoxFuture<'a, Result<Option<Position>, Error<Rejection>>> {
        let options = CommandOptions { principal: self.principal.clone(), ..because };
        Box::pin(self.take(key, Take::Due { timer: timer.to_owned(), step }, options))
    }
}
