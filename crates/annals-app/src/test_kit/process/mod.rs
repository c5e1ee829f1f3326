//! Tests of a process without a store and without time: *when* this happens, *then* it decides that.

mod answers;
mod said;
mod then;

use std::time::Duration;

use annals_core::{
    AppendRequest, BoxError, EventStore, Filter, MemoryStore, ReadFrom, ReadRequest, RecordedEvent,
    Timestamp, Version, block_on,
};

use super::given_events::add_events;
use crate::process::{Instance, Process, StepTaken, Take, When};
use crate::upcast::decode_stored;
use crate::{Aggregate, Context, Event, Named, ProcessManager, codec};

/// More timers than these do not fire in one turn of the clock.
const MOST_FIRED: usize = 10_000;
/// An event of which a test does not say where it lies.
const ANY_STREAM: &str = "event-1";

/// Begins a test of a process: nothing has happened so far, and it is midnight of 1970-01-01.
///
/// The test says what happens and what the process decides about it, in the words in which the process says it. It plays
/// the entities to which commands are given, so it says how they answer, and it turns the clock.
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
/// # #[derive(Event, Serialize, Deserialize)] #[annals(crate = annals_app)] #[event(unlocked)]
/// # enum Switching { SwitchedOn {}, SwitchedOff {} }
/// # #[derive(Default, Clone, Serialize, Deserialize, State)] #[annals(crate = annals_app)]
/// # struct Forgotten {}
/// # impl ProcessManager for Forgotten {
/// #     const NAME: &'static str = "forgotten";
/// #     type Event = Switching;
/// #     fn key(_: &Switching, event: &RecordedEvent) -> Option<String> { Some(event.entity_id().to_owned()) }
/// #     fn apply(&mut self, _: &Happened<Switching>) {}
/// #     fn react(&self, happened: &Happened<Switching>, context: &Context) -> Steps {
/// #         match happened {
/// #             Happened::Event(Switching::SwitchedOn {}) => Steps::none().timer("long", Duration::from_secs(600)),
/// #             Happened::TimerFired { .. } => Steps::none().give::<Kettle>("off", &context.id, KettleCommand::SwitchOff),
/// #             Happened::Done { .. } => Steps::none().end(),
/// #             _ => Steps::none().cancel("long"),
/// #         }
/// #     }
/// # }
/// let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
/// given_process::<Forgotten>()
///     .when(Switching::SwitchedOn {})
///     .then(Steps::none().timer("long", minutes(10)))
///     .turn_clock(minutes(9))
///     .then_nothing()
///     .turn_clock(minutes(1))
///     .then_gives::<Kettle>("off", "1", KettleCommand::SwitchOff)
///     .then_waits_for(["off"])
///     .answered_with("off", [KettleEvent::SwitchedOff])
///     .then_ends();
/// ```
pub fn given_process<P: ProcessManager>() -> GivenProcess<P> {
    GivenProcess {
        key: None,
        instance: Instance::default(),
        now: Timestamp::from_micros(0),
        steps: Vec::new(),
        store: MemoryStore::default(),
        last: Vec::new(),
        passed_by: None,
    }
}

/// A process, and what has happened to it so far.
pub struct GivenProcess<P> {
    /// That of the first event that belongs to a process.
    key: Option<String>,
    instance: Instance<P>,
    now: Timestamp,
    /// Its stream.
    steps: Vec<StepTaken>,
    /// What events look like when they are stored.
    store: MemoryStore,
    /// The steps that came of what happened last, each with its moment.
    last: Vec<(Timestamp, StepTaken)>,
    /// Why none came of it.
    passed_by: Option<String>,
}

impl<P: ProcessManager> GivenProcess<P> {
    /// It is this moment now; timers that are due by then fire with the next turn of the clock.
    #[must_use]
    pub fn at(mut self, moment: Timestamp) -> Self {
        self.now = moment;
        self
    }

    /// This event happens, on a stream of no importance, whose entity has the id `1`.
    ///
    /// # Panics
    /// As [`when_recorded`](Self::when_recorded).
    #[track_caller]
    pub fn when(self, event: P::Event) -> Self {
        self.when_recorded(ANY_STREAM, event)
    }

    /// This event is stored on a stream: the event of an aggregate, say, which reaches the process as one of its own. That of
    /// another process, by its key, is passed by.
    ///
    /// # Panics
    /// When the stream has no valid name, the event cannot be written or read, or the process cannot record what it decides.
    #[track_caller]
    pub fn when_recorded<E: Event>(mut self, stream: &str, event: E) -> Self {
        self.begin();
        let mut given = Vec::new();
        add_events(&mut given, [(stream, event)], Some(self.now));
        let taken = block_on(self.store_events(AppendRequest::new(given)));
        let taken = taken.and_then(|(event, is_followed)| match is_followed {
            true => Process::<P>::taken(&event).map(|taken| (event, taken)),
            false => Ok((event, Vec::new())),
        });
        let (event, taken) = match taken {
            Ok(taken) => taken,
            Err(error) => panic!("the event on {stream} does not come to {:?}: {error}", P::NAME),
        };
        if taken.is_empty() {
            let (what, name) = (event.event_type(), P::NAME);
            self.passed_by =
                Some(format!("{what} on {stream} is not in the filter of {name:?}, or has no key for it"));
        }
        for (key, take) in taken {
            let own = self.key.get_or_insert_with(|| key.clone());
            if *own == key {
                self.take(take);
            } else {
                self.passed_by = Some(format!("it belongs to the process {key:?}, and this one is {own:?}"));
            }
        }
        self
    }

    /// So much time passes. The timers that are due meanwhile fire, in the order in which they are due, those among them that
    /// are set by the first ones: each in a step of its own, at its own moment.
    ///
    /// # Panics
    /// When timers keep setting timers, without any time between them.
    #[track_caller]
    pub fn turn_clock(mut self, time: Duration) -> Self {
        self.begin();
        let end = When::After(time).due(self.now);
        while let Some((due, take)) = self.next_timer().filter(|(due, _)| *due <= end) {
            if self.last.len() == MOST_FIRED {
                panic!(
                    "{MOST_FIRED} timers have fired, and more are due: does a timer set one that is due at once?"
                );
            }
            self.now = self.now.max(due);
            self.take(take);
        }
        self.now = end;
        self
    }

    /// The service is started again: the process goes on with what was saved of it.
    ///
    /// # Panics
    /// When its state cannot be written, or not be read again.
    #[track_caller]
    pub fn restarted(mut self) -> Self {
        self.begin();
        let saved = serde_json::to_vec(&self.instance);
        match saved.and_then(|json| serde_json::from_slice(&json)) {
            Ok(instance) => self.instance = instance,
            Err(error) => panic!("the state of {:?} cannot be saved and read again: {error}", P::NAME),
        }
        self
    }

    /// The state that the process keeps.
    pub fn state(&self) -> &P {
        &self.instance.state
    }

    fn begin(&mut self) {
        self.last.clear();
        self.passed_by = self.instance.is_over.then(|| "the process is over".to_owned());
    }

    /// Stores an event, and returns it with whether the process follows it.
    async fn store_events(&self, request: AppendRequest) -> Result<(RecordedEvent, bool), BoxError> {
        let position = self.store.append(request).await?.last_position;
        let read =
            |filter| self.store.read(ReadRequest::new(filter).from(ReadFrom::Position(position)).limit(1));
        let is_followed = !read(P::filter()).await?.events.is_empty();
        let stored = read(Filter::all()).await?.events.into_iter().next();
        Ok((stored.ok_or("it was not stored")?, is_followed))
    }

    /// The timer that is due first, and when.
    fn next_timer(&self) -> Option<(Timestamp, Take<P::Event>)> {
        let (timer, set) = self.instance.timers.iter().min_by_key(|(_, set)| set.due)?;
        Some((set.due, Take::Due { timer: timer.clone(), step: set.step }))
    }

    #[track_caller]
    fn take(&mut self, take: Take<P::Event>) {
        let context = Context {
            id: self.key.clone().unwrap_or_default(),
            version: Version::new(self.steps.len() as u64),
            occurred_at: self.now,
            principal: Process::<P>::principal(),
        };
        let taken = self.instance.handle(&take, &context).map_err(BoxError::from);
        let stored = taken.and_then(|steps| steps.iter().map(stored).collect::<Result<Vec<_>, _>>());
        match stored {
            Ok(steps) => {
                for step in steps {
                    self.instance.apply(&step);
                    self.steps.push(step.clone());
                    self.last.push((self.now, step));
                }
            }
            Err(error) => panic!("{:?} cannot take a step: {error}", P::NAME),
        }
    }
}

/// A step as it is read again.
fn stored(step: &StepTaken) -> Result<StepTaken, BoxError> {
    let read = decode_stored(step.name(), &codec::encode(step)?)?.next();
    Ok(read.ok_or("it is not known any more")?)
}
