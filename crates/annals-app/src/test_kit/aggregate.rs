//! Tests of an aggregate without a store: *given* these events, *when* this command comes, *then* these events follow.

use annals_core::{Timestamp, Version};

use super::decided::Decided;
use crate::upcast::decode_stored;
use crate::{Aggregate, Context, Principal};

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
    let mut given: Given<A> = Given::nothing();
    for event in events {
        given.state.apply(&event);
        given.context.version = given.context.version.next();
    }
    given
}

/// Begins a test of an aggregate: these events have happened, each by its type and its JSON as they are stored. Those of older
/// forms are read by way of their upcasters, and those of types that the aggregate does not know are passed by, as ever.
///
/// The command `events STREAM --as-test` of an application prints such a test from a real stream.
///
/// ```
/// # use annals_app::*;
/// # use serde::{Deserialize, Serialize};
/// # #[derive(Event, Serialize, Deserialize, Debug, PartialEq)] #[annals(crate = annals_app)] enum LampEvent { Dimmed { to: u8 } }
/// # #[derive(Command, Serialize, Deserialize)] #[annals(crate = annals_app)] enum LampCommand { Dim { to: u8 } }
/// # #[derive(Debug, thiserror::Error, DomainError)] #[annals(crate = annals_app)] enum Never {}
/// # #[derive(Default, Clone, Serialize, Deserialize, State)] #[annals(crate = annals_app)] struct Lamp { light: u8 }
/// # impl Aggregate for Lamp {
/// #     const CATEGORY: &'static str = "lamp";
/// #     type Command = LampCommand; type Event = LampEvent; type Error = Never;
/// #     fn handle(&self, command: &LampCommand, _: &Context) -> Result<Vec<LampEvent>, Never> {
/// #         let LampCommand::Dim { to } = *command;
/// #         if self.light == to { Ok(vec![]) } else { Ok(vec![LampEvent::Dimmed { to }]) }
/// #     }
/// #     fn apply(&mut self, event: &LampEvent) { let LampEvent::Dimmed { to } = event; self.light = *to; }
/// # }
/// let lamp = || given_stored::<Lamp>([("Dimmed", r#"{"to":40}"#), ("Dimmed", r#"{"to":10}"#)]);
/// assert_eq!(lamp().state().light, 10);
/// lamp().when(LampCommand::Dim { to: 10 }).then_nothing();
/// ```
///
/// # Panics
/// When one of them cannot be read.
#[track_caller]
pub fn given_stored<'e, A: Aggregate>(events: impl IntoIterator<Item = (&'e str, &'e str)>) -> Given<A> {
    let mut given: Given<A> = Given::nothing();
    for (event_type, json) in events {
        given.context.version = given.context.version.next();
        match decode_stored::<A::Event>(event_type, json.as_bytes()) {
            Ok(events) => events.for_each(|event| given.state.apply(&event)),
            Err(error) => panic!(
                "event {} of the given ones, {event_type}, cannot be read: {error}; it is {json}",
                given.context.version
            ),
        }
    }
    given
}

/// What has happened so far.
pub struct Given<A: Aggregate> {
    state: A,
    context: Context,
}

impl<A: Aggregate> Given<A> {
    fn nothing() -> Self {
        let context = Context {
            id: "1".to_owned(),
            version: Version::ZERO,
            occurred_at: Timestamp::from_micros(0),
            principal: Principal::anonymous(),
        };
        Self { state: A::default(), context }
    }

    /// The state after these events.
    pub fn state(self) -> A {
        self.state
    }

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
    pub fn when(self, command: A::Command) -> Decided<A, A::Event, A::Error> {
        let Self { mut state, context } = self;
        Decided::of(state.handle(&command, &context).map(|events| {
            events.iter().for_each(|event| state.apply(event));
            (state, events)
        }))
    }
}
