//! Tests of a decision across entities: *given* these events, wherever they lie, *when* this command comes, *then* these follow.

use std::marker::PhantomData;
use std::sync::Arc;

use annals_core::{
    AppendRequest, BoxFuture, EventStore, MemoryStore, NewEvent, ReadModel, ReadModelError, ReadModelStore,
    Timestamp, block_on,
};

use super::decided::Decided;
use super::given_events::add_events;
use crate::{App, CommandOptions, Decision, Error, Event, Executed, Named, Principal};

/// Begins a test of a decision across entities: these events have happened, each on a stream, in this order.
///
/// They are stored as an application stores them, with their tags, and the command goes the way of every command: an event that
/// is not in the scope of the decision is not known to it.
///
/// ```
/// # use annals_app::*;
/// # use serde::{Deserialize, Serialize};
/// # #[derive(Event, Serialize, Deserialize, Debug, PartialEq)]
/// # #[annals(crate = annals_app)]
/// # #[event(unlocked)]
/// # struct CustomerRegistered {
/// #     #[event(tag = "email")]
/// #     email: String,
/// # }
/// # #[derive(Command, Serialize, Deserialize)]
/// # #[annals(crate = annals_app)]
/// # struct RegisterCustomer {
/// #     email: String,
/// # }
/// # #[derive(Debug, thiserror::Error, DomainError)]
/// # #[annals(crate = annals_app)]
/// # enum RegistrationError {
/// #     #[error("{0} is registered already")]
/// #     EmailTaken(String),
/// # }
/// # #[derive(Clone, Debug)]
/// # struct Registration {
/// #     email: String,
/// #     is_taken: bool,
/// # }
/// # impl Decision for Registration {
/// #     const CATEGORY: &'static str = "customer";
/// #     type Command = RegisterCustomer;
/// #     type Event = CustomerRegistered;
/// #     type Error = RegistrationError;
/// #     fn begin(_id: &str, command: &RegisterCustomer) -> Self {
/// #         Self { email: command.email.to_lowercase(), is_taken: false }
/// #     }
/// #     fn scope(&self) -> Result<Scope, NameError> {
/// #         Ok(Scope::tagged([Tag::new(format!("email:{}", self.email))?]))
/// #     }
/// #     fn apply(&mut self, _: &CustomerRegistered) {
/// #         self.is_taken = true;
/// #     }
/// #     fn handle(&self, _: &RegisterCustomer, _: &Context) -> Result<Vec<CustomerRegistered>, RegistrationError> {
/// #         let email = self.email.clone();
/// #         if self.is_taken { Err(RegistrationError::EmailTaken(email)) } else { Ok(vec![CustomerRegistered { email }]) }
/// #     }
/// # }
/// let ann = || CustomerRegistered { email: "ann@example.org".into() };
/// let register = |email: &str| RegisterCustomer { email: email.into() };
/// given_decision::<Registration>([]).when("1", register("Ann@example.org")).then([ann()]);
/// given_decision::<Registration>([("customer-1", ann())]).when("2", register("ann@example.org")).then_refused("email-taken");
/// ```
///
/// # Panics
/// When a stream has no valid name, or an event cannot be written.
#[track_caller]
pub fn given_decision<'s, D: Decision>(
    events: impl IntoIterator<Item = (&'s str, D::Event)>,
) -> GivenDecision<D> {
    let occurred_at = Some(Timestamp::from_micros(0));
    let options = CommandOptions { occurred_at, ..CommandOptions::default() };
    GivenDecision { events: Vec::new(), options, of: PhantomData }.events(events)
}

/// What has happened so far.
pub struct GivenDecision<D> {
    events: Vec<NewEvent>,
    options: CommandOptions,
    of: PhantomData<fn() -> D>,
}

impl<D: Decision> GivenDecision<D> {
    /// These events happened too, of any type: to a decision it is all the same whose they are.
    ///
    /// # Panics
    /// When a stream has no valid name, or an event cannot be written.
    #[must_use]
    #[track_caller]
    pub fn events<'s, E: Event>(mut self, events: impl IntoIterator<Item = (&'s str, E)>) -> Self {
        add_events(&mut self.events, events, None);
        self
    }

    /// The command comes at this moment.
    #[must_use]
    pub fn at(mut self, moment: Timestamp) -> Self {
        self.options.occurred_at = Some(moment);
        self
    }

    /// The command comes from this principal.
    #[must_use]
    pub fn by(mut self, principal: Principal) -> Self {
        self.options.principal = principal;
        self
    }

    /// This command comes, for the entity with this id.
    ///
    /// # Panics
    /// When it cannot be decided: what it names makes no valid tag, or the decision panics.
    #[track_caller]
    pub fn when(self, id: &str, command: D::Command) -> Decided<D, D::Event, D::Error> {
        let name = command.name();
        match block_on(self.decide(id, command)) {
            Ok(Executed { state, events, .. }) => Decided::of(Ok((D::clone(&state), events))),
            Err(Error::Domain(refused)) => Decided::of(Err(refused)),
            Err(error) => panic!("{name} to {} {id:?} cannot be decided: {error}", D::CATEGORY),
        }
    }

    async fn decide(self, id: &str, command: D::Command) -> Result<Executed<D, D::Event>, Error<D::Error>> {
        let cannot = |what: &str, error: &dyn std::error::Error| Error::malformed(what, error);
        let store = Arc::new(MemoryStore::default());
        if !self.events.is_empty() {
            let stored = store.append(AppendRequest::new(self.events)).await;
            stored.map_err(|error| cannot("what was given", &error))?;
        }
        let app = App::new("a decision in a test").decision::<D>().start(store, Arc::new(NoModels)).await;
        let app = app.map_err(|error| cannot("the decision", &error))?;
        app.decide_with::<D>(id, command, self.options).await
    }
}

/// No read models: a decision needs none.
struct NoModels;

impl ReadModelStore for NoModels {
    fn open(&self, name: &str, _: u32) -> BoxFuture<'_, Result<Arc<dyn ReadModel>, ReadModelError>> {
        self.scratch(name)
    }

    fn scratch(&self, name: &str) -> BoxFuture<'_, Result<Arc<dyn ReadModel>, ReadModelError>> {
        let (name, advice) = (name.to_owned(), "a decision in a test has no read models");
        Box::pin(async { Err(ReadModelError::Unsupported { name, operation: "be opened", advice }) })
    }
}
