//! What a test says that a process decides.

use std::time::Duration;

use annals_core::Timestamp;

use super::GivenProcess;
use super::said::Said;
use crate::test_kit::difference::{difference_of_items, difference_of_values};
use crate::{Aggregate, Decision, ProcessManager, Steps};

impl<P: ProcessManager> GivenProcess<P> {
    /// It decides this about what happened last, and nothing else: the commands in this order, each the same as JSON; timers
    /// with the same times. What all timers gave that fired in one turn of the clock is taken together.
    ///
    /// # Panics
    /// When it decides something else.
    #[track_caller]
    pub fn then(self, expected: Steps) -> Self {
        let expected = Said::by(expected, self.moment());
        if let Some(difference) = difference_of_items("part", &expected, &self.said()) {
            panic!("something else is decided than expected: {difference}{}", self.note());
        }
        self
    }

    /// Nothing is to be done about what happened last.
    ///
    /// # Panics
    /// When something is.
    #[track_caller]
    pub fn then_nothing(self) -> Self {
        self.then(Steps::none())
    }

    /// Among other things, it gives this command to an aggregate.
    ///
    /// # Panics
    /// When it does not.
    #[track_caller]
    pub fn then_gives<A: Aggregate>(self, label: &str, id: &str, command: A::Command) -> Self {
        self.then_also(Steps::none().give::<A>(label, id, command))
    }

    /// Among other things, it gives this command to a decision across entities.
    ///
    /// # Panics
    /// When it does not.
    #[track_caller]
    pub fn then_decides<D: Decision>(self, label: &str, id: &str, command: D::Command) -> Self {
        self.then_also(Steps::none().decide::<D>(label, id, command))
    }

    /// Among other things, it sets this timer, due after so long.
    ///
    /// # Panics
    /// When it does not.
    #[track_caller]
    pub fn then_sets(self, timer: &str, after: Duration) -> Self {
        self.then_also(Steps::none().timer(timer, after))
    }

    /// Among other things, it forgets this timer.
    ///
    /// # Panics
    /// When it does not.
    #[track_caller]
    pub fn then_cancels(self, timer: &str) -> Self {
        self.then_also(Steps::none().cancel(timer))
    }

    /// Among other things, it ends.
    ///
    /// # Panics
    /// When it does not.
    #[track_caller]
    pub fn then_ends(self) -> Self {
        self.then_also(Steps::none().end())
    }

    /// These timers fired in the last turn of the clock, in this order.
    ///
    /// # Panics
    /// When others did.
    #[track_caller]
    pub fn then_fires<'t>(self, timers: impl IntoIterator<Item = &'t str>) -> Self {
        let expected: Vec<_> = timers.into_iter().collect();
        let fired: Vec<_> = self.last.iter().filter_map(|(_, step)| step.fired()).collect();
        if let Some(difference) = difference_of_items("timer", &expected, &fired) {
            panic!("other timers fire than expected: {difference}");
        }
        self
    }

    /// The process waits for the answers to these commands, by their labels, in the order in which they were given.
    ///
    /// # Panics
    /// When it waits for others.
    #[track_caller]
    pub fn then_waits_for<'l>(self, labels: impl IntoIterator<Item = &'l str>) -> Self {
        let expected: Vec<_> = labels.into_iter().collect();
        let waiting: Vec<_> = self.waiting().map(|command| command.label.as_str()).collect();
        if let Some(difference) = difference_of_items("answer", &expected, &waiting) {
            panic!("it waits for other answers than expected: {difference}");
        }
        self
    }

    /// When the first of the last steps was taken.
    fn moment(&self) -> Timestamp {
        self.last.first().map_or(self.now, |(moment, _)| *moment)
    }

    /// Everything that was decided last.
    fn said(&self) -> Vec<Said> {
        let mut said: Vec<_> =
            self.last.iter().flat_map(|(moment, step)| Said::in_step(step, *moment)).collect();
        said.sort_by_key(Said::kind);
        said
    }

    /// Each part of this is among what was decided last.
    #[track_caller]
    fn then_also(self, expected: Steps) -> Self {
        let said = self.said();
        for expected in Said::by(expected, self.moment()) {
            if said.contains(&expected) {
                continue;
            }
            let note = self.note();
            match said.iter().find(|said| said.is_about(&expected)) {
                Some(other) => {
                    let difference = difference_of_values(&expected, other);
                    panic!("something else is decided than expected:\n{difference}{note}")
                }
                None if said.is_empty() => panic!("expected: {expected:?}\nnothing is decided{note}"),
                None => panic!("expected: {expected:?}\nthis is decided: {said:#?}{note}"),
            }
        }
        self
    }

    /// Why nothing came of what happened last, where that was not for the process to say.
    fn note(&self) -> String {
        let passed_by = self.passed_by.as_ref();
        passed_by.map_or_else(String::new, |why| format!("\nwhat happened last was passed by: {why}"))
    }
}
