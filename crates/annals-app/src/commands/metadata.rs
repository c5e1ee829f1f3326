//! Metadata that many commands have in common.

use std::sync::{Mutex, PoisonError};

use bytes::Bytes;

use crate::Command;

/// For each command of a type, the metadata that was made last: a principal's next command of that name has the same, unless it
/// has an id.
pub(super) struct LastMetadata(Vec<Mutex<Option<Made>>>);

struct Made {
    principal: String,
    metadata: Bytes,
}

impl LastMetadata {
    pub(super) fn of_commands<C: Command>() -> Self {
        Self(C::NAMES.iter().map(|_| Mutex::default()).collect())
    }

    /// The metadata of a command without an id.
    ///
    /// # Errors
    /// What `make` reports.
    pub(super) fn of<C: Command, E>(
        &self,
        command: &C,
        principal: &str,
        make: impl FnOnce() -> Result<Bytes, E>,
    ) -> Result<Bytes, E> {
        let Some(last) = self.0.get(command.name_index()) else { return make() };
        let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(made) = last.as_ref().filter(|made| made.principal == principal) {
            return Ok(made.metadata.clone());
        }
        let metadata = make()?;
        *last = Some(Made { principal: principal.to_owned(), metadata: metadata.clone() });
        Ok(metadata)
    }
}
