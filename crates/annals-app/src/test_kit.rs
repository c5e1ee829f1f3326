//! Tests of a domain without a store: *given* these events, *when* this command comes, *then* these events follow.

#![allow(clippy::panic)]

use std::fmt::Debug;

use annals_core::{Timestamp, Version};

use crate::{Aggregate, Context, DomainError, Principal};

/// Begins a test of an aggregate: these events have happened.
///
/// ```
/// # use annals_app::*;
/// # use serde::{Deserialize, Serialize};
/// # #[derive(Event, Serialize, Deserialize, Debug, PartialEq)] #[annals(crate = annals_app)] enum LampEvent { SwitchedOn }
/// # #[derive(Command, Serialize, Deserialize)] #[annals(crate = annals_app)] enum LampCommand { SwitchOn }
/// # #[derive(Debug, thiserror::Error, DomainError)] #[annals(crate = annals_app)]
/// # enum LampError { #[error("the lamp is on already")] AlreadyOn }
/// # #[derive(Default, Clone, Serialize, Deserialize, State)] #[annals(crate = annals_app)] struct Lamp { on: bool }
/// # impl Aggregate for Lamp {
/// #     const CATEGORY: &'static str = "lamp";
/// #     type Command = LampCommand; type Event = LampEvent; type Error = LampError;
/// #     fn handle(&self, _: &LampCommand, _: &Context) -> Result<Vec<LampEvent>, LampError> {
/// #         if self.on { Err(LampError::AlreadyOn) } else { Ok(vec![LampEvent::SwitchedOn]) }
/// #     }
/// #     fn apply(&mut self, _: &LampEvent) { self.on = true; }
/// # }
/// given::<Lamp>([]).when(LampCommand::SwitchOn).then([LampEvent::SwitchedOn]);
/// given::<Lamp>([LampEvent::SwitchedOn]).when(LampCommand::SwitchOn).then_refused("already-on");
/// ```
pub fn given<A: Aggregate>(events: impl IntoIterator<Item = A::Event>) -> Given<A> {
    let mut state = A::default();
    let mut count = 0;
    for event in events {
        state.apply(&event);
        count += 1;
    }
    let context = Context {
        id: "1".to_owned(),
        version: Version::new(count),
        occurred_at: Timestamp::from_micros(0),
        principal: Principal::anonymous(),
    };
    Given { state, context }
}

/// What has happened so far.
pub struct Given<A: Aggregate> {
    state: A,
    context: Context,
}

impl<A: Aggregate> Given<A> {
    /// The command comes at this moment.
    #[must_use]
    pub fn at(mut self, moment: Timestamp) -> Self {
        self.context.occurred_at = moment;
        self
    }

    /// The command comes from this principal.
    #[must_use]
    pub fn by(mut self, principal: Principal) -> Self {
        self.context.principal = principal;
        self
    }

    /// This command comes.
    pub fn when(self, command: A::Command) -> Decided<A> {
        let decided = self.state.handle(&command, &self.context);
        Decided { state: self.state, decided }
    }
}

/// What the aggregate decided.
pub struct Decided<A: Aggregate> {
    state: A,
    decided: Result<Vec<A::Event>, A::Error>,
}

impl<A: Aggregate> Decided<A> {
    /// These events follow; returns the state after them.
    ///
    /// # Panics
    /// When others follow, or the command is refused.
    #[track_caller]
    pub fn then(mut self, expected: impl IntoIterator<Item = A::Event>) -> A
    where
        A::Event: Debug + PartialEq,
    {
        let expected: Vec<_> = expected.into_iter().collect();
        match self.decided {
            Ok(events) if events == expected => {
                events.iter().for_each(|event| self.state.apply(event));
                self.state
            }
            Ok(events) => panic!("expected the events {expected:?}, found {events:?}"),
            Err(error) => panic!("expected the events {expected:?}, but the command was refused: {error}"),
        }
    }

    /// Nothing follows.
    ///
    /// # Panics
    /// When something does, or the command is refused.
    #[track_caller]
    pub fn then_nothing(self) -> A
    where
        A::Event: Debug + PartialEq,
    {
        self.then([])
    }

    /// The command is refused with this code; returns the error, whose text a test may look at.
    ///
    /// # Panics
    /// When it is not refused, or with another code.
    #[track_caller]
    pub fn then_refused(self, code: &str) -> A::Error
    where
        A::Event: Debug,
    {
        match self.decided {
            Err(error) if error.code() == code => error,
            Err(error) => panic!("expected a refusal with code {code:?}, found {:?}: {error}", error.code()),
            Ok(events) => panic!("expected a refusal with code {code:?}, found the events {events:?}"),
        }
    }
}
