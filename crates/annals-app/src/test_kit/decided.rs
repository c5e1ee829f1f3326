//! What came of a command in a test: *then* these events follow.

use std::fmt::Debug;

use super::difference::difference_of_items;
use crate::DomainError;

/// What was decided about a command: by an aggregate, or across entities.
pub struct Decided<S, E, R> {
    /// The events and the state after them, or why it is refused.
    decided: Result<(S, Vec<E>), R>,
}

impl<S, E, R: DomainError> Decided<S, E, R> {
    pub(super) fn of(decided: Result<(S, Vec<E>), R>) -> Self {
        Self { decided }
    }

    /// These events follow; returns the state after them.
    ///
    /// # Panics
    /// When others follow, or the command is refused.
    #[track_caller]
    pub fn then(self, expected: impl IntoIterator<Item = E>) -> S
    where
        E: Debug + PartialEq,
    {
        let expected: Vec<_> = expected.into_iter().collect();
        let (state, events) = match self.decided {
            Ok(decided) => decided,
            Err(error) => panic!(
                "the command was refused with code {:?}: {error}\nthese events were expected: {expected:#?}",
                error.code()
            ),
        };
        if let Some(difference) = difference_of_items("event", &expected, &events) {
            panic!("other events follow than expected: {difference}");
        }
        state
    }

    /// Nothing follows.
    ///
    /// # Panics
    /// When something does, or the command is refused.
    #[track_caller]
    pub fn then_nothing(self) -> S
    where
        E: Debug + PartialEq,
    {
        self.then([])
    }

    /// The command is refused with this code; returns the error, whose text a test may look at.
    ///
    /// # Panics
    /// When it is not refused, or with another code.
    #[track_caller]
    pub fn then_refused(self, code: &str) -> R
    where
        E: Debug,
    {
        match self.decided {
            Err(error) if error.code() == code => error,
            Err(error) => {
                panic!("expected a refusal with code {code:?}, found code {:?}: {error}", error.code())
            }
            Ok((_, events)) => {
                panic!("expected a refusal with code {code:?}, but the command was done: {events:#?}")
            }
        }
    }
}
