//! What a reaction is given besides the event.

use annals_core::{CausationId, CorrelationId, EventId, RecordedEvent};

use crate::dispatch::dispatch;
use crate::mediator::Commands;
use crate::typed::give_typed;
use crate::{
    Aggregate, CommandOptions, CommandOutcome, CommandRequest, Error, Executed, Principal, Rejection,
};

/// What a reaction is given besides the event: which attempt it is, and a way to give commands.
#[derive(Clone)]
pub struct ReactionContext {
    reaction: &'static str,
    attempt: u32,
    event: EventId,
    correlation: Option<CorrelationId>,
    commands: Commands,
}

impl ReactionContext {
    pub(crate) fn new(
        reaction: &'static str,
        attempt: u32,
        event: &RecordedEvent,
        commands: Commands,
    ) -> Self {
        // A stored correlation id and the text of an event id are both valid ones.
        let own = event.correlation_id().map_or_else(|| event.id().to_string(), str::to_owned);
        let correlation = CorrelationId::new(own).ok();
        Self { reaction, attempt, event: event.id(), correlation, commands }
    }

    /// Which attempt this is, from 1, since the process was started; 1 again for a dead letter that is retried.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// What the receiver of a side effect can know a repeat by: the id of the event.
    pub fn idempotency_key(&self) -> String {
        self.event.to_string()
    }

    /// What a command carries that the reaction gives because of the event: the correlation id of the event, or the event's id
    /// where it has none; the event's id as what caused it; the principal `reaction:NAME`; and a command id made of reaction, event and `label`, so that giving it
    /// again changes nothing. Each command to one entity needs a label of its own.
    pub fn command_options(&self, label: &str) -> CommandOptions {
        let scope = format!("annals reaction {}", self.reaction);
        let id = EventId::derived(&scope, &format!("{}:{label}", self.event));
        CommandOptions {
            command_id: CausationId::new(id.to_string()).ok(),
            principal: Principal::named(format!("reaction:{}", self.reaction)),
            ..self.options()
        }
    }

    /// What every command carries that is given because of the event.
    pub(crate) fn options(&self) -> CommandOptions {
        CommandOptions {
            correlation_id: self.correlation.clone(),
            causation_id: CausationId::new(self.event.to_string()).ok(),
            ..CommandOptions::default()
        }
    }

    /// Gives a command to an entity because of the event, as [`command_options`](Self::command_options) says. It goes the way of
    /// every command: through the middleware and the permission of the application.
    ///
    /// # Errors
    /// As [`RunningApp::execute`](crate::RunningApp::execute).
    pub async fn execute<A: Aggregate>(
        &self,
        id: &str,
        command: A::Command,
        label: &str,
    ) -> Result<Executed<A, A::Event>, Error<A::Error>> {
        give_typed(&self.commands, A::CATEGORY, id, command, self.command_options(label)).await
    }

    /// Gives a command whose type is not known here. Its options are its own:
    /// [`command_options`](Self::command_options) makes fitting ones.
    ///
    /// # Errors
    /// As [`RunningApp::dispatch`](crate::RunningApp::dispatch).
    pub async fn dispatch(&self, request: CommandRequest) -> Result<CommandOutcome, Error<Rejection>> {
        dispatch(&self.commands, request).await
    }
}
