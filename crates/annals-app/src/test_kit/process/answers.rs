//! Answers to the commands that a process has given, as a test plays them.

use super::GivenProcess;
use crate::process::{StepCommand, Take};
use crate::{AnswerEvent, Event, ProcessManager, codec};

impl<P: ProcessManager> GivenProcess<P> {
    /// A command is done, and nothing came of it that the process looks at.
    ///
    /// # Panics
    /// When the process does not wait for the answer to a command of this label.
    #[track_caller]
    pub fn answered(self, label: &str) -> Self {
        self.answer(label, |command_id| Take::Done { command_id, events: Vec::new() })
    }

    /// A command is done, and these events came of it.
    ///
    /// # Panics
    /// As [`answered`](Self::answered); when an event cannot be written.
    #[track_caller]
    pub fn answered_with<E: Event>(self, label: &str, events: impl IntoIterator<Item = E>) -> Self {
        let written = events.into_iter().map(|event| match codec::encode(&event) {
            Ok(json) => {
                let data = String::from_utf8_lossy(&json).into_owned();
                AnswerEvent { event_type: event.name().to_owned(), data }
            }
            Err(error) => panic!("the event {} of the answer cannot be written: {error}", event.name()),
        });
        let events = written.collect();
        self.answer(label, |command_id| Take::Done { command_id, events })
    }

    /// A command is refused by the domain, with this code, which is its text as well.
    ///
    /// # Panics
    /// As [`answered`](Self::answered).
    #[track_caller]
    pub fn refused(self, label: &str, code: &str) -> Self {
        let (code, message) = (code.to_owned(), code.to_owned());
        self.answer(label, |command_id| Take::Refused { command_id, code, message })
    }

    #[track_caller]
    fn answer(mut self, label: &str, take: impl FnOnce(String) -> Take<P::Event>) -> Self {
        let found = self.waiting().find(|command| command.label == label).map(|command| command.id.clone());
        let Some(command_id) = found else {
            let labels: Vec<_> = self.waiting().map(|command| format!("{:?}", command.label)).collect();
            let waits = match labels.as_slice() {
                [] if self.instance.is_over => "it is over".to_owned(),
                [] => "it waits for none".to_owned(),
                labels => format!("it waits for {}", labels.join(", ")),
            };
            panic!("the process waits for no answer to {label:?}: {waits}");
        };
        self.begin();
        self.take(take(command_id));
        self
    }

    /// The commands without an answer, in the order in which they were given.
    pub(super) fn waiting(&self) -> impl Iterator<Item = &StepCommand> {
        let given = self.steps.iter().flat_map(|step| &step.commands);
        given.filter(|command| self.instance.waiting.contains_key(&command.id))
    }
}
