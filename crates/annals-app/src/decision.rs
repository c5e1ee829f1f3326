//! Rules across entities.

use annals_core::{Filter, FilterItem, NameError};

use crate::{Command, Context, DomainError, Event};

/// A decision that depends on events of several entities: that an e-mail address is used once, that a course takes no more
/// students than it has places, that invoices are numbered without gaps.
///
/// Where an [`Aggregate`](crate::Aggregate) is folded from its own stream, a decision is folded from the events of its
/// [`scope`](Self::scope), wherever they lie, and its events are stored only if nothing of that scope has happened meanwhile
/// (an append condition: a [Dynamic Consistency Boundary](https://dcb.events)). Else it is decided again. Its events
/// lie in the stream of the entity that the command is given to, so they may be those of an aggregate as well.
///
/// The value that implements it is what is known: it begins with what the command names, and takes the events in one by one. All
/// four functions are pure. They are run for each command, so a scope should be narrow: what has thousands of events is
/// better asked for by its [last](Scope::last) one.
///
/// ```
/// # use annals_app::*;
/// # use annals_core::*;
/// # use serde::{Deserialize, Serialize};
/// # use std::sync::Arc;
/// #[derive(Event, Serialize, Deserialize, Debug, PartialEq)]
/// # #[annals(crate = annals_app)]
/// # #[event(unlocked)]
/// struct CustomerRegistered {
///     #[event(tag = "email")]
///     email: String,
/// }
/// #[derive(Command, Serialize, Deserialize)]
/// # #[annals(crate = annals_app)]
/// struct RegisterCustomer {
///     email: String,
/// }
/// #[derive(Debug, thiserror::Error, DomainError)]
/// # #[annals(crate = annals_app)]
/// enum RegistrationError {
///     #[error("{0} is registered already")]
///     EmailTaken(String),
/// }
///
/// #[derive(Clone, Debug)]
/// struct Registration {
///     email: String,
///     is_taken: bool,
/// }
///
/// impl Decision for Registration {
///     const CATEGORY: &'static str = "customer";
///     type Command = RegisterCustomer;
///     type Event = CustomerRegistered;
///     type Error = RegistrationError;
///
///     fn begin(_id: &str, command: &RegisterCustomer) -> Self {
///         Self { email: command.email.to_lowercase(), is_taken: false }
///     }
///     fn scope(&self) -> Result<Scope, NameError> {
///         Ok(Scope::tagged([Tag::new(format!("email:{}", self.email))?]))
///     }
///     fn apply(&mut self, _: &CustomerRegistered) {
///         self.is_taken = true;
///     }
///     fn handle(&self, _: &RegisterCustomer, _: &Context) -> Result<Vec<CustomerRegistered>, RegistrationError> {
///         let email = self.email.clone();
///         if self.is_taken { Err(RegistrationError::EmailTaken(email)) } else { Ok(vec![CustomerRegistered { email }]) }
///     }
/// }
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// # let events = Arc::new(MemoryStore::default());
/// # let models = Arc::new(annals_sqlite::SqliteReadModels::temporary()?);
/// let app = App::new("shop").decision::<Registration>().start(events, models).await?;
/// app.decide::<Registration>("1", RegisterCustomer { email: "ann@example.org".into() }).await?;
/// let again = app.decide::<Registration>("2", RegisterCustomer { email: "Ann@example.org".into() }).await;
/// assert_eq!(again.unwrap_err().to_string(), "ann@example.org is registered already");
/// # Ok::<(), BoxError>(()) })?;
/// # Ok::<(), BoxError>(())
/// ```
pub trait Decision: Clone + Send + Sync + 'static {
    /// The category of the entities that its commands are given to, and in whose streams its events are stored.
    const CATEGORY: &'static str;
    /// What is to be decided. One that an aggregate or another decision of the same category has is refused at the start.
    type Command: Command;
    /// What can come of it, and what it is folded from. Stored events that this type does not know are passed by.
    type Event: Event;
    /// Why it may be refused.
    type Error: DomainError;

    /// What is known before any event: what the command names, and the id of the entity that it is given to.
    fn begin(id: &str, command: &Self::Command) -> Self;

    /// The events that it depends on.
    ///
    /// # Errors
    /// [`NameError`] when what the command names makes no valid name or tag; the command is refused as malformed then.
    fn scope(&self) -> Result<Scope, NameError>;

    /// Takes an event of its scope in, in the order in which they happened.
    fn apply(&mut self, event: &Self::Event);

    /// Decides which events the command gives rise to; none means that there is nothing to do. The context's version tells
    /// how many events were taken in.
    ///
    /// # Errors
    /// The domain's reason for refusing the command.
    fn handle(&self, command: &Self::Command, context: &Context) -> Result<Vec<Self::Event>, Self::Error>;
}

/// The events that a decision depends on: those of any of its parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    pub(crate) all: Vec<FilterItem>,
    pub(crate) last: Vec<FilterItem>,
}

impl Scope {
    /// All events that match.
    pub fn all(item: FilterItem) -> Self {
        Self { all: vec![item], last: Vec::new() }
    }

    /// All events that carry all of these tags.
    pub fn tagged(tags: impl IntoIterator<Item = annals_core::Tag>) -> Self {
        Self::all(tags.into_iter().fold(FilterItem::default(), FilterItem::tag))
    }

    /// Of the events that match only the last one, such as the last invoice. That none follows it is checked all the same.
    pub fn last(item: FilterItem) -> Self {
        Self { all: Vec::new(), last: vec![item] }
    }

    /// The events of this one, and those of another.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.all.extend(other.all);
        self.last.extend(other.last);
        self
    }

    /// What must not have happened since the decision was made.
    pub(crate) fn filter(&self) -> Filter {
        self.all.iter().chain(&self.last).cloned().collect()
    }
}
