//! The consistency boundary: state, commands, events, and the two pure functions between them.

use annals_core::{Position, Timestamp, Version};

use crate::{Command, Event, Principal, State};

/// A domain's word that a command cannot be done: what it says is for the customer, its code is for programs.
pub trait DomainError: std::error::Error + Send + Sync + 'static {
    /// A short code that stays the same when the text changes, such as `insufficient-funds`.
    fn code(&self) -> &'static str;
}

/// An entity whose events decide what may happen next.
///
/// Both functions are pure: the same state, command and context give the same events, and the same events give the
/// same state. That is why a command may be decided again when somebody else was faster.
pub trait Aggregate: Default + Clone + State {
    /// The category of its streams: entity `42` of category `account` lives in the stream `account-42`.
    const CATEGORY: &'static str;
    /// To be raised when [`apply`](Self::apply) folds events in another way than before, so that states that were saved by
    /// then are made anew. Upcasters that take an older form to other events than before count as that too: what was folded
    /// from it is saved. What changes the fields of the state is noticed without that.
    const FOLDING: u32 = 1;
    /// So many entities are kept folded in memory: those that were asked for last, this many at least and twice as many at most. The
    /// others are folded from their events, or a snapshot, when they are asked for.
    const KEPT_IN_MEMORY: usize = 10_000;
    /// What it can be asked to do.
    type Command: Command;
    /// What can have happened to it.
    type Event: Event;
    /// Why it may refuse.
    type Error: DomainError;

    /// Decides which events a command gives rise to; none means that there is nothing to do.
    ///
    /// # Errors
    /// The domain's reason for refusing the command.
    fn handle(&self, command: &Self::Command, context: &Context) -> Result<Vec<Self::Event>, Self::Error>;

    /// Takes an event that happened into the state.
    fn apply(&mut self, event: &Self::Event);
}

/// What a decision may take into account besides state and command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Context {
    /// The id of the entity, the part of its stream's name behind the category.
    pub id: String,
    /// How many events the entity has so far.
    pub version: Version,
    /// When the command is taken to happen: as given with it, else when it was received.
    pub occurred_at: Timestamp,
    /// Who gives the command.
    pub principal: Principal,
}

/// Which state of an entity is asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum At {
    /// The newest.
    #[default]
    Now,
    /// After its event of this version.
    Version(Version),
    /// After the event at this position, or the last one before.
    Position(Position),
    /// As it was known at this moment: with every event recorded until then.
    RecordedAt(Timestamp),
    /// As it was in the world at this moment, as far as is known now: with every event that had happened until then,
    /// whenever it was recorded.
    OccurredAt(Timestamp),
}
