//! One state of a read model, which everybody who reads it shares.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use annals_core::{Bookmark, Position};

use crate::state::{AnyState, Form, MemoryState};

/// What a read model is at a moment. It never changes: a write puts another in its place.
pub(crate) struct Published {
    pub(crate) position: Position,
    pub(crate) notes: Arc<[u8]>,
    pub(crate) store_id: Option<Arc<str>>,
    pub(crate) held: Held,
    /// Another one for each that is made, to tell them apart without keeping them.
    pub(crate) serial: u64,
}

/// The state itself.
#[derive(Clone)]
pub(crate) enum Held {
    /// Nothing was written yet.
    Nothing,
    /// What an image held; nobody has said of which type it is yet.
    Encoded(Arc<Encoded>),
    /// What an image held could not be taken, for this reason, and it was not written since.
    Discarded(Arc<str>),
    /// A state.
    Live(Arc<dyn AnyState>),
}

impl Published {
    pub(crate) fn new(
        position: Position,
        notes: Arc<[u8]>,
        store_id: Option<Arc<str>>,
        held: Held,
    ) -> Arc<Self> {
        static SERIAL: AtomicU64 = AtomicU64::new(1);
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        Arc::new(Self { position, notes, store_id, held, serial })
    }

    pub(crate) fn empty() -> Arc<Self> {
        Self::new(Position::ZERO, Arc::default(), None, Held::Nothing)
    }

    pub(crate) fn bookmark(&self) -> Bookmark {
        Bookmark { position: self.position, notes: self.notes.to_vec() }
    }
}

/// A state as an image holds it.
pub(crate) struct Encoded {
    pub(crate) body: Vec<u8>,
    pub(crate) form: Form,
    decoded: OnceLock<Arc<dyn AnyState>>,
}

impl Encoded {
    pub(crate) fn new(body: Vec<u8>, form: Form) -> Self {
        Self { body, form, decoded: OnceLock::new() }
    }

    /// The state, taken as an `S` the first time; why it cannot be one, else.
    pub(crate) fn decode<S: MemoryState>(&self, given: &str) -> Result<Arc<dyn AnyState>, String> {
        if let Some(decoded) = self.decoded.get() {
            return Ok(Arc::clone(decoded));
        }
        let form =
            Form::of::<S>(given).map_err(|error| format!("an empty state cannot be written: {error}"))?;
        if form.type_name != self.form.type_name {
            return Err(format!("it is of the type {}, expected {}", self.form.type_name, form.type_name));
        }
        if form != self.form {
            return Err(format!("it is of an earlier form of {}", form.type_name));
        }
        let state: S = rmp_serde::from_slice(&self.body)
            .map_err(|error| format!("it cannot be read as {}: {error}", form.type_name))?;
        Ok(Arc::clone(self.decoded.get_or_init(|| Arc::new(state))))
    }
}
