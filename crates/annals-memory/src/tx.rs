//! A transaction: the state that it began with, and the copy that it changes.

use std::any::{Any, type_name};
use std::sync::Arc;

use annals_core::{Position, ReadModelTx};

use crate::published::{Held, Published};
use crate::state::{AnyState, MemoryState};

/// Why a transaction does not lead to a state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// The transaction is of another kind of read models.
    #[error(
        "the transaction is not of a read model in memory: keep this projection's read model in `MemoryModels`, or use \
         what its own store offers"
    )]
    NotInMemory,
    /// The state is of another type.
    #[error(
        "the state of the read model is a {found}, asked for as a {expected}: ask for it as what its projection made"
    )]
    OtherType {
        /// The type asked for.
        expected: &'static str,
        /// The type that it has.
        found: &'static str,
    },
    /// A transaction that only reads was asked for a state to change.
    #[error("the transaction only reads: use `view` instead of `state`, and leave changes to the projection")]
    ReadOnly,
    /// The image on disk does not hold such a state.
    #[error(
        "the image of the read model is of no use: {reason}; the projection makes the state anew from the events"
    )]
    Image {
        /// What is wrong with it.
        reason: String,
    },
}

/// What a transaction is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    Read,
    Write,
    /// To be changed, and never published.
    Fork,
}

/// A transaction on a read model in memory.
pub(crate) struct MemoryTx {
    base: Arc<Published>,
    /// What the application says about the form of its states.
    form: Arc<str>,
    purpose: Purpose,
    /// The state, once it was asked for.
    opened: Option<Arc<dyn AnyState>>,
    /// Whether `opened` is a copy that nobody else sees.
    is_own: bool,
    /// Why the image that this began with cannot be gone on with.
    unusable: Option<String>,
}

/// What a write leaves behind.
pub(crate) enum Outcome {
    Unchanged,
    Changed(Arc<dyn AnyState>),
    /// The image that it began with is to be forgotten.
    Unusable(String),
}

impl MemoryTx {
    pub(crate) fn new(base: Arc<Published>, form: Arc<str>, purpose: Purpose) -> Self {
        Self { base, form, purpose, opened: None, is_own: false, unusable: None }
    }

    pub(crate) fn outcome(self) -> Outcome {
        match (self.unusable, self.opened) {
            (Some(reason), _) => Outcome::Unusable(reason),
            (None, Some(state)) if self.is_own => Outcome::Changed(state),
            _ => Outcome::Unchanged,
        }
    }

    /// Makes `opened` a state of this type.
    fn open<S: MemoryState>(&mut self) -> Result<(), StateError> {
        if self.opened.is_none() {
            self.opened = Some(match &self.base.held {
                Held::Live(state) => Arc::clone(state),
                Held::Nothing => Arc::new(S::default()),
                Held::Discarded(_) if self.purpose == Purpose::Write => Arc::new(S::default()),
                Held::Discarded(reason) => return Err(StateError::Image { reason: reason.to_string() }),
                Held::Encoded(encoded) => match encoded.decode::<S>(&self.form) {
                    Ok(state) => state,
                    // Nothing was applied yet, so nothing has to be forgotten.
                    Err(_) if self.base.position == Position::ZERO => Arc::new(S::default()),
                    Err(reason) => {
                        self.unusable = Some(reason.clone());
                        return Err(StateError::Image { reason });
                    }
                },
            });
        }
        let opened: Option<&dyn AnyState> = self.opened.as_deref();
        match opened {
            Some(state) if !(state as &dyn Any).is::<S>() => Err(other_type::<S>(state)),
            _ => Ok(()),
        }
    }

    fn view<S: MemoryState>(&mut self) -> Result<&S, StateError> {
        self.open::<S>()?;
        let state: Option<&dyn Any> = self.opened.as_deref().map(|state| state as &dyn Any);
        state.and_then(|state| state.downcast_ref()).ok_or(StateError::NotInMemory)
    }

    fn state<S: MemoryState>(&mut self) -> Result<&mut S, StateError> {
        if self.purpose == Purpose::Read {
            return Err(StateError::ReadOnly);
        }
        self.open::<S>()?;
        if !self.is_own {
            self.opened = self.opened.as_deref().map(AnyState::copy);
            self.is_own = true;
        }
        let state = self.opened.as_mut().and_then(Arc::get_mut).map(|state| state as &mut dyn Any);
        state.and_then(|state| state.downcast_mut()).ok_or(StateError::NotInMemory)
    }
}

fn other_type<S>(found: &dyn AnyState) -> StateError {
    StateError::OtherType { expected: type_name::<S>(), found: found.type_name() }
}

impl ReadModelTx for MemoryTx {
    fn as_any(&mut self) -> &mut dyn Any {
        self
    }
}

fn memory(tx: &mut dyn ReadModelTx) -> Result<&mut MemoryTx, StateError> {
    tx.as_any().downcast_mut().ok_or(StateError::NotInMemory)
}

/// The state of a projection, to be changed: what its `apply` uses. It is `S::default()` in an empty read model.
///
/// What is changed counts when the whole transaction succeeds; until then everybody else sees the state from before.
/// Ask once for each batch of events, and go through the events with what is returned.
///
/// # Errors
/// [`StateError`] when `tx` is of another store or only reads, or when the state is of another type.
pub fn state<S: MemoryState>(tx: &mut dyn ReadModelTx) -> Result<&mut S, StateError> {
    memory(tx)?.state()
}

/// The state of a projection, to be read: what its queries use. In a transaction that changes the state, it is the
/// changed one.
///
/// # Errors
/// [`StateError`] when `tx` is of another store, or when the state is of another type.
pub fn view<S: MemoryState>(tx: &mut dyn ReadModelTx) -> Result<&S, StateError> {
    memory(tx)?.view()
}
