//! Process managers: what goes on across several entities, and over time.
//!
//! ```text
//! steps.rs      what a process manager decides          instance.rs   one process: its stream, its state, what it waits for
//! follow.rs     events and answers become steps         work.rs       the read model of what processes wait for
//! timers.rs     timers that are due become steps
//! ```

mod follow;
mod instance;
mod steps;
mod timers;
mod work;

use annals_core::{Filter, RecordedEvent};

pub(crate) use follow::{AnyProcess, Process};
pub use instance::ProcessError;
pub(crate) use instance::{Instance, StepTaken, Take};
pub use steps::Steps;
pub(crate) use steps::{StepCommand, When};
pub(crate) use timers::Timers;
pub(crate) use work::open_processes as answer_open_processes;
#[cfg(feature = "simulation")]
pub(crate) use work::{DueTimer, due_timers};
pub use work::{OpenCommand, OpenProcess, OpenProcesses, OpenTimer, Work};

use crate::{Begin, Context, Event, OutcomeEvent, State};

/// Something that goes on across several entities, and over time: a transfer from one account to another, an order from payment to
/// delivery. (Others say "saga".)
///
/// Each process is an entity of its own. It is told of events that belong to it, of the answers to the commands that it gave, and
/// of its timers; it takes each into its state and then says what is to be done next. All of that is recorded, in one event a step
/// (`StepTaken`), in the stream `NAME-key`, before any of it is done: so a process goes on where it was whenever it
/// is ended, its state can be looked at like that of an aggregate, now or then, and what it did has a reason on record.
///
/// - An event is taken in once, however often it is delivered; events of one process are taken in order.
/// - A command that it gives has an id that is made of the step, so it is done once, and its first answer is the one that counts.
///   A command that cannot be decided (the store is down, the permission is denied) is tried again, and kept visible.
/// - A timer is stored with the step that sets it. It is due by the clock of the machine, a moment later if the service was down,
///   and fires once.
/// - [`apply`](Self::apply) and [`react`](Self::react) are pure: they may be run again.
///
/// What undoes things when a later part fails is written where that failure is told: in `react`, on
/// [`Happened::Refused`] or [`Happened::TimerFired`].
///
/// ```
/// # use std::time::Duration;
/// # use annals_app::*;
/// # use annals_core::*;
/// # use serde::{Deserialize, Serialize};
/// # #[derive(Command, Serialize, Deserialize)] #[annals(crate = annals_app)]
/// # enum KettleCommand { SwitchOff }
/// # #[derive(Event, Serialize, Deserialize)] #[event(unlocked)] #[annals(crate = annals_app)]
/// # enum KettleEvent { SwitchedOff }
/// # #[derive(Debug, thiserror::Error, DomainError)] #[annals(crate = annals_app)] enum Never {}
/// # #[derive(Default, Clone, Serialize, Deserialize, State)] #[annals(crate = annals_app)] struct Kettle {}
/// # impl Aggregate for Kettle {
/// #     const CATEGORY: &'static str = "kettle";
/// #     type Command = KettleCommand; type Event = KettleEvent; type Error = Never;
/// #     fn handle(&self, _: &KettleCommand, _: &Context) -> Result<Vec<KettleEvent>, Never> { Ok(vec![KettleEvent::SwitchedOff]) }
/// #     fn apply(&mut self, _: &KettleEvent) {}
/// # }
/// /// The events that matter here, of whatever entities: a type of their own, with only the fields that are needed.
/// #[derive(Event, Serialize, Deserialize)]
/// # #[annals(crate = annals_app)]
/// # #[event(unlocked)]
/// enum Switching {
///     SwitchedOn {},
///     SwitchedOff {},
/// }
///
/// /// A kettle that was forgotten is switched off.
/// #[derive(Default, Clone, Serialize, Deserialize, State)]
/// # #[annals(crate = annals_app)]
/// struct Forgotten {}
///
/// impl ProcessManager for Forgotten {
///     const NAME: &'static str = "forgotten";
///     type Event = Switching;
///
///     fn key(_: &Switching, event: &RecordedEvent) -> Option<String> {
///         Some(event.entity_id().to_owned())
///     }
///     fn apply(&mut self, _: &Happened<Switching>) {}
///     fn react(&self, happened: &Happened<Switching>, context: &Context) -> Steps {
///         match happened {
///             Happened::Event(Switching::SwitchedOn {}) => Steps::none().timer("long", Duration::from_secs(600)),
///             Happened::TimerFired { .. } => Steps::none().give::<Kettle>("off", &context.id, KettleCommand::SwitchOff),
///             _ => Steps::none().cancel("long"),
///         }
///     }
/// }
/// # let _ = App::new("kitchen").aggregate::<Kettle>().process_manager::<Forgotten>();
/// ```
pub trait ProcessManager: Default + Clone + State {
    /// Its name, and the category of the streams of its processes.
    const NAME: &'static str;
    /// Where it begins when it is started for the first time: unless told otherwise, events from before are none of its business.
    const BEGIN: Begin = Begin::Now;
    /// As [`Aggregate::FOLDING`](crate::Aggregate::FOLDING).
    const FOLDING: u32 = 1;
    /// As [`Aggregate::KEPT_IN_MEMORY`](crate::Aggregate::KEPT_IN_MEMORY): more than for others, for most processes are young and take
    /// their steps one soon after the other.
    const KEPT_IN_MEMORY: usize = 30_000;
    /// The events that it is told of, by their names; those of several kinds of entities can be variants of one type.
    type Event: Event;

    /// The events to look at; all of the types of [`Event`](Self::Event), unless told otherwise.
    fn filter() -> Filter {
        Filter::types(Self::Event::stored_types())
    }

    /// The process that an event belongs to, by the key that is the id of its entity; `None` for one that belongs to none.
    fn key(event: &Self::Event, recorded: &RecordedEvent) -> Option<String>;

    /// Takes what happened into the state.
    fn apply(&mut self, happened: &Happened<Self::Event>);

    /// Says what is to be done next. The state has what happened in it already. The context tells the key of the process, how many
    /// steps it has taken, and when this is.
    fn react(&self, happened: &Happened<Self::Event>, context: &Context) -> Steps;
}

/// What a process is told.
#[derive(Debug, Clone, PartialEq)]
pub enum Happened<E> {
    /// An event that belongs to it.
    Event(E),
    /// A command that it gave was done.
    Done {
        /// What it called the command.
        label: String,
        /// The events that the command gave rise to.
        events: Vec<AnswerEvent>,
    },
    /// A command that it gave was refused by the domain.
    Refused {
        /// What it called the command.
        label: String,
        /// The code of the refusal.
        code: String,
        /// What the refusal says.
        message: String,
    },
    /// A timer that it set is due.
    TimerFired {
        /// The name of the timer.
        timer: String,
    },
}

/// An event that a command of a process gave rise to.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct AnswerEvent {
    /// Its type.
    #[serde(rename = "type")]
    pub event_type: String,
    /// Its payload, JSON.
    pub data: String,
}

impl From<&OutcomeEvent> for AnswerEvent {
    fn from(event: &OutcomeEvent) -> Self {
        let data = String::from_utf8_lossy(&event.payload).into_owned();
        Self { event_type: event.event_type.to_owned(), data }
    }
}
