//! What a process manager decides.

use std::time::Duration;

use annals_core::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{Aggregate, Decision, Named, codec};

/// What a process does next: commands to give, timers to set. Nothing, one or several of each.
#[derive(Debug, Default)]
pub struct Steps {
    pub(crate) commands: Vec<StepCommand>,
    pub(crate) timers: Vec<(String, When)>,
    pub(crate) cancelled: Vec<String>,
    pub(crate) is_over: bool,
    /// Why a command cannot be recorded.
    pub(crate) failed: Option<String>,
}

/// When a timer is due.
#[derive(Debug, Clone, Copy)]
pub(crate) enum When {
    After(Duration),
    At(Timestamp),
}

impl When {
    /// The moment, for a timer that is set now.
    pub(crate) fn due(self, now: Timestamp) -> Timestamp {
        match self {
            Self::At(moment) => moment,
            Self::After(time) => now.plus_micros(i64::try_from(time.as_micros()).unwrap_or(i64::MAX)),
        }
    }
}

/// A command as a step records it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct StepCommand {
    /// Made of the process and the step, so that it tells where it comes from.
    #[serde(default)]
    pub(crate) id: String,
    pub(crate) label: String,
    pub(crate) category: String,
    pub(crate) entity: String,
    pub(crate) command: String,
    pub(crate) body: Box<RawValue>,
}

impl Steps {
    /// Nothing is to be done: the process waits for what comes.
    pub fn none() -> Self {
        Self::default()
    }

    /// Gives a command to an aggregate. By the label, the process is told of the answer.
    #[must_use]
    pub fn give<A: Aggregate>(self, label: &str, id: &str, command: A::Command) -> Self {
        self.command(label, A::CATEGORY, id, &command)
    }

    /// Gives a command to a decision across entities.
    #[must_use]
    pub fn decide<D: Decision>(self, label: &str, id: &str, command: D::Command) -> Self {
        self.command(label, D::CATEGORY, id, &command)
    }

    fn command<C: Named>(mut self, label: &str, category: &str, id: &str, command: &C) -> Self {
        let json = codec::encode(command).map(|json| String::from_utf8_lossy(&json).into_owned());
        match json.and_then(RawValue::from_string) {
            Ok(body) => self.commands.push(StepCommand {
                id: String::new(),
                label: label.to_owned(),
                category: category.to_owned(),
                entity: id.to_owned(),
                command: command.name().to_owned(),
                body,
            }),
            Err(error) => {
                self.failed = Some(format!("{} cannot be written as JSON: {error}", command.name()))
            }
        }
        self
    }

    /// Sets a timer that is due after so long. One of the same name that was set before is forgotten.
    #[must_use]
    pub fn timer(mut self, name: &str, after: Duration) -> Self {
        self.timers.push((name.to_owned(), When::After(after)));
        self
    }

    /// Sets a timer that is due at a moment; one in the past is due at once.
    #[must_use]
    pub fn timer_at(mut self, name: &str, moment: Timestamp) -> Self {
        self.timers.push((name.to_owned(), When::At(moment)));
        self
    }

    /// Forgets a timer, if it is set.
    #[must_use]
    pub fn cancel(mut self, name: &str) -> Self {
        self.cancelled.push(name.to_owned());
        self
    }

    /// The process is over: its timers are forgotten, it waits for no answers, and what comes later is passed by.
    #[must_use]
    pub fn end(mut self) -> Self {
        self.is_over = true;
        self
    }
}
