//! What a process decides, one thing after the other, as a test compares and shows it.

use std::collections::BTreeMap;
use std::fmt::{Debug, Formatter, Result};
use std::time::Duration;

use annals_core::Timestamp;
use serde_json::Value;

use crate::Steps;
use crate::process::{StepCommand, StepTaken};

/// One thing that a process decides. Two commands are the same when their JSON is.
#[derive(Clone, PartialEq)]
pub(super) enum Said {
    Give { label: String, category: String, entity: String, command: String, body: Value },
    Set { timer: String, after_micros: i64 },
    Cancel { timer: String },
    End,
}

impl Said {
    /// What these steps say when they are decided now.
    ///
    /// # Panics
    /// When a command cannot be written as JSON.
    #[track_caller]
    pub(super) fn by(steps: Steps, now: Timestamp) -> Vec<Self> {
        if let Some(reason) = steps.failed {
            panic!("what is expected cannot be compared: {reason}");
        }
        let timers = steps.timers.into_iter().map(|(name, when)| (name, when.due(now))).collect();
        all(&steps.commands, &timers, &steps.cancelled, steps.is_over, now)
    }

    /// What was said in a step that was taken at a moment.
    pub(super) fn in_step(step: &StepTaken, moment: Timestamp) -> Vec<Self> {
        all(&step.commands, &step.timers, &step.cancelled, step.is_over, moment)
    }

    /// Commands come first, then timers: the order in which things are compared.
    pub(super) fn kind(&self) -> u8 {
        match self {
            Self::Give { .. } => 0,
            Self::Set { .. } => 1,
            Self::Cancel { .. } => 2,
            Self::End => 3,
        }
    }

    /// Whether both are about the same thing: a command of the same label, a timer of the same name.
    pub(super) fn is_about(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Give { label, .. }, Self::Give { label: other, .. }) => label == other,
            (Self::Set { timer, .. }, Self::Set { timer: other, .. }) => timer == other,
            _ => self == other,
        }
    }
}

fn all(
    commands: &[StepCommand],
    timers: &BTreeMap<String, Timestamp>,
    cancelled: &[String],
    is_over: bool,
    now: Timestamp,
) -> Vec<Said> {
    let gives = commands.iter().map(|command| Said::Give {
        label: command.label.clone(),
        category: command.category.clone(),
        entity: command.entity.clone(),
        command: command.command.clone(),
        // What was written as JSON a moment ago is read again.
        body: serde_json::from_str(command.body.get()).unwrap_or_default(),
    });
    let sets = timers.iter().map(|(timer, due)| Said::Set {
        timer: timer.clone(),
        after_micros: due.as_micros().saturating_sub(now.as_micros()),
    });
    let cancels = cancelled.iter().map(|timer| Said::Cancel { timer: timer.clone() });
    gives.chain(sets).chain(cancels).chain(is_over.then_some(Said::End)).collect()
}

impl Debug for Said {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::Give { label, category, entity, command, body } => {
                write!(f, "give {label:?} to {category} {entity:?}: {command} {body:#}")
            }
            Self::Set { timer, after_micros } => {
                let time = Duration::from_micros(after_micros.unsigned_abs());
                match after_micros {
                    ..0 => write!(f, "set timer {timer:?}, due {time:?} ago"),
                    0.. => write!(f, "set timer {timer:?}, due after {time:?}"),
                }
            }
            Self::Cancel { timer } => write!(f, "cancel timer {timer:?}"),
            Self::End => f.write_str("end"),
        }
    }
}
