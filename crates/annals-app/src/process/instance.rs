//! One process: an entity whose events are its steps.

use std::any::TypeId;
use std::collections::BTreeMap;

use annals_core::{Position, Timestamp, Version};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::steps::{StepCommand, Steps};
use super::{AnswerEvent, Happened, ProcessManager};
use crate::state::shape_of;
use crate::upcast::decode_stored;
use crate::{Aggregate, Command, Context, DomainError, Event, Named, State, codec};

/// A process: the state that its manager keeps, and what it waits for.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
#[serde(bound = "P: Serialize + DeserializeOwned")]
pub(crate) struct Instance<P> {
    pub(crate) state: P,
    /// The commands that have no answer yet: what the process calls each, by its id.
    pub(crate) waiting: BTreeMap<String, String>,
    pub(crate) timers: BTreeMap<String, SetTimer>,
    #[serde(default)]
    pub(crate) is_over: bool,
    /// Why a step cannot be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    unreadable: Option<String>,
}

/// A timer that was set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SetTimer {
    pub(crate) due: Timestamp,
    /// The step that set it.
    pub(crate) step: Version,
}

/// What a process is given to take in.
#[derive(Debug, Serialize, Deserialize)]
#[serde(bound = "E: Serialize + DeserializeOwned")]
pub(crate) enum Take<E> {
    Event { position: Position, event: E },
    Done { command_id: String, events: Vec<AnswerEvent> },
    Refused { command_id: String, code: String, message: String },
    Due { timer: String, step: Version },
}

impl<E: Event> Named for Take<E> {
    const NAMES: &'static [&'static str] = &["TakeEvent", "TakeAnswer", "TakeRefusal", "TakeTimer"];

    fn name_index(&self) -> usize {
        match self {
            Self::Event { .. } => 0,
            Self::Done { .. } => 1,
            Self::Refused { .. } => 2,
            Self::Due { .. } => 3,
        }
    }
}

impl<E: Event> Command for Take<E> {}

/// A step of a process: what happened, and what is to be done for it.
#[derive(Event, Debug, Clone, Serialize, Deserialize)]
#[event(unlocked)]
#[annals(crate = crate)]
pub(crate) struct StepTaken {
    /// Which step of the process it is, counted from 1.
    step: Version,
    happened: Recorded,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) commands: Vec<StepCommand>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) timers: BTreeMap<String, Timestamp>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) cancelled: Vec<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) is_over: bool,
}

/// What happened, as it is stored.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Recorded {
    Event {
        position: Position,
        #[serde(rename = "type")]
        event_type: String,
        data: Box<RawValue>,
    },
    Done {
        command_id: String,
        label: String,
        events: Vec<AnswerEvent>,
    },
    Refused {
        command_id: String,
        label: String,
        code: String,
        message: String,
    },
    TimerFired {
        timer: String,
    },
}

impl StepTaken {
    /// The command that this step has the answer to.
    pub(crate) fn answered(&self) -> Option<&str> {
        match &self.happened {
            Recorded::Done { command_id, .. } | Recorded::Refused { command_id, .. } => Some(command_id),
            _ => None,
        }
    }

    /// The timer that fired.
    pub(crate) fn fired(&self) -> Option<&str> {
        match &self.happened {
            Recorded::TimerFired { timer } => Some(timer),
            _ => None,
        }
    }
}

/// Why a process takes something not in.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProcessError {
    /// A step of it cannot be read.
    #[error(
        "a step of the process cannot be read: {0}; was a Rust type changed since? An upcaster can take the old form to the new one"
    )]
    Unreadable(String),
    /// What it decided cannot be recorded.
    #[error("what the process decided cannot be recorded: {0}")]
    NotRecorded(String),
}

impl DomainError for ProcessError {
    fn code(&self) -> &'static str {
        match self {
            Self::Unreadable(_) => "unreadable",
            Self::NotRecorded(_) => "not-recorded",
        }
    }
}

impl<P: ProcessManager> State for Instance<P> {
    fn shape(seen: &mut Vec<TypeId>) -> u64 {
        shape_of("process 1", [P::shape(seen)])
    }
}

impl<P: ProcessManager> Aggregate for Instance<P> {
    const CATEGORY: &'static str = P::NAME;
    const FOLDING: u32 = P::FOLDING;
    const KEPT_IN_MEMORY: usize = P::KEPT_IN_MEMORY;
    type Command = Take<P::Event>;
    type Event = StepTaken;
    type Error = ProcessError;

    fn handle(&self, take: &Self::Command, context: &Context) -> Result<Vec<StepTaken>, ProcessError> {
        if let Some(reason) = &self.unreadable {
            return Err(ProcessError::Unreadable(reason.clone()));
        }
        let Some(happened) = self.recorded(take)? else { return Ok(Vec::new()) };
        let Some(told) = told::<P::Event>(&happened).map_err(ProcessError::NotRecorded)? else {
            return Ok(Vec::new());
        };
        let mut state = self.state.clone();
        state.apply(&told);
        let Steps { mut commands, timers, cancelled, is_over, failed } = state.react(&told, context);
        if let Some(reason) = failed {
            return Err(ProcessError::NotRecorded(reason));
        }
        let timers = timers.into_iter().map(|(name, when)| (name, when.due(context.occurred_at))).collect();
        let step = context.version.next();
        for (index, command) in commands.iter_mut().enumerate() {
            command.id = format!("{}-{}@{step}.{index}", P::NAME, context.id);
        }
        Ok(vec![StepTaken { step, happened, commands, timers, cancelled, is_over }])
    }

    fn apply(&mut self, step: &StepTaken) {
        match told(&step.happened) {
            Ok(Some(told)) => self.state.apply(&told),
            Ok(None) => {}
            Err(reason) => self.unreadable = Some(reason),
        }
        match &step.happened {
            Recorded::Event { .. } => {}
            Recorded::TimerFired { timer } => {
                self.timers.remove(timer);
            }
            Recorded::Done { command_id, .. } | Recorded::Refused { command_id, .. } => {
                self.waiting.remove(command_id);
            }
        }
        let given = step.commands.iter().map(|command| (command.id.clone(), command.label.clone()));
        self.waiting.extend(given);
        self.timers.retain(|timer, _| !step.cancelled.contains(timer));
        let set = |due: &Timestamp| SetTimer { due: *due, step: step.step };
        self.timers.extend(step.timers.iter().map(|(timer, due)| (timer.clone(), set(due))));
        if step.is_over {
            self.is_over = true;
            self.waiting.clear();
            self.timers.clear();
        }
    }
}

impl<P: ProcessManager> Instance<P> {
    /// What is to be recorded of something that the process is given; nothing when it was given before, or comes too late.
    fn recorded(&self, take: &Take<P::Event>) -> Result<Option<Recorded>, ProcessError> {
        if self.is_over {
            return Ok(None);
        }
        let label = |command_id: &String| self.waiting.get(command_id).cloned();
        Ok(match take {
            Take::Event { position, event } => {
                let json = codec::encode(event).map(|json| String::from_utf8_lossy(&json).into_owned());
                let data = json.and_then(RawValue::from_string);
                let data = data.map_err(|error| ProcessError::NotRecorded(error.to_string()))?;
                let event_type = event.name().to_owned();
                Some(Recorded::Event { position: *position, event_type, data })
            }
            Take::Done { command_id, events } => label(command_id).map(|label| {
                let (command_id, events) = (command_id.clone(), events.clone());
                Recorded::Done { command_id, label, events }
            }),
            Take::Refused { command_id, code, message } => label(command_id).map(|label| {
                let (code, message) = (code.clone(), message.clone());
                Recorded::Refused { command_id: command_id.clone(), label, code, message }
            }),
            Take::Due { timer, step } => {
                let set = self.timers.get(timer).filter(|set| set.step == *step);
                set.map(|_| Recorded::TimerFired { timer: timer.clone() })
            }
        })
    }
}

/// What a process is told of something that was recorded; nothing for an event of a type that it does not follow any more.
fn told<E: Event>(recorded: &Recorded) -> Result<Option<Happened<E>>, String> {
    Ok(Some(match recorded.clone() {
        Recorded::Event { event_type, data, .. } => {
            let mut events = decode_stored::<E>(&event_type, data.get().as_bytes())
                .map_err(|error| format!("the event {event_type}: {error}"))?;
            return Ok(events.next().map(Happened::Event));
        }
        Recorded::Done { label, events, .. } => Happened::Done { label, events },
        Recorded::Refused { label, code, message, .. } => Happened::Refused { label, code, message },
        Recorded::TimerFired { timer } => Happened::TimerFired { timer },
    }))
}
