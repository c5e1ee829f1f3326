//! What may happen to an append.

use super::dice::Dice;

/// What happens to an append, other than that it is done and answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// Somebody else is said to have been faster.
    Conflict,
    /// It is stored, but the answer is that nobody knows.
    OutcomeUnknown,
    /// It fails, and nothing is stored.
    NotStored,
    /// The application ends before it is stored.
    CrashBefore,
    /// The application ends when it is stored, and nobody is told.
    CrashAfter,
}

impl Fault {
    /// What happens to the next append to a stream.
    pub(super) fn choose(dice: &Dice, stream: &str) -> Option<Self> {
        Some(match dice.throw(&format!("append to {stream}"), 100) {
            0..8 => Self::Conflict,
            8..14 => Self::OutcomeUnknown,
            14..20 => Self::NotStored,
            20..23 => Self::CrashBefore,
            23..26 => Self::CrashAfter,
            _ => return None,
        })
    }

    /// What a person reads in the list of what was done.
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Conflict => "a conflict was told, as if somebody had been faster",
            Self::OutcomeUnknown => "it was stored, and the answer was an error",
            Self::NotStored => "it failed, and was not stored",
            Self::CrashBefore => "the application ended before it was stored",
            Self::CrashAfter => "the application ended when it was stored, before it answered",
        }
    }
}
