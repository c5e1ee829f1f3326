//! Commands and answers whose types the caller knows, on their way through what does not.

use crate::dispatch::dispatch;
use crate::mediator::Commands;
use crate::{Command, CommandOptions, CommandRequest, DomainError, Error, Event, Executed, Rejection};

/// Gives a command to the mediator; its answer comes back as the caller knows its types.
pub(crate) async fn give_typed<C, S, E, R>(
    commands: &Commands,
    category: &'static str,
    id: &str,
    command: C,
    options: CommandOptions,
) -> Result<Executed<S, E>, Error<R>>
where
    C: Command,
    S: Send + Sync + 'static,
    E: Event,
    R: DomainError,
{
    let name = command.name();
    let request = CommandRequest::typed(category, id, name, command, options);
    let unexpected = || Error::malformed("the outcome", "middleware answered for another aggregate");
    match dispatch(commands, request).await {
        Ok(outcome) => outcome.typed.downcast().map(|done| *done).map_err(|_| unexpected()),
        Err(error) => Err(error.try_map_domain(|Rejection { code, message, source }| {
            let Some(source) = source else {
                return Err(Error::RefusedBefore { code: code.into_owned(), message });
            };
            source.downcast().map(|error| *error).map_err(|_| unexpected())
        })),
    }
}
