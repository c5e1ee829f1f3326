//! The identity of an event.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The identity of an event, stored once per store: 16 bytes, written as a UUID.
///
/// A fresh id is a UUID version 7 ([RFC 9562](https://www.rfc-editor.org/rfc/rfc9562)). An id derived from a name
/// ([`EventId::derived`]) is the same whenever it is made, so that a retried import or command is recognised.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EventId(uuid::Uuid);

/// Why a piece of text is not an event id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not an event id: expected a UUID, such as 0192d4e8-8c1e-7b32-9f3a-0242ac120002")]
pub struct EventIdError {
    text: String,
}

impl EventId {
    /// A fresh id.
    pub fn fresh() -> Self {
        Self(uuid::Uuid::now_v7())
    }

    /// The id that stands for `name` within `scope`, always the same: a UUID version 8 from the BLAKE3 hash of both.
    pub fn derived(scope: &str, name: &str) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("annals 2026 derived event id");
        hasher.update(&(scope.len() as u64).to_le_bytes()).update(scope.as_bytes()).update(name.as_bytes());
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        Self(uuid::Builder::from_custom_bytes(bytes).into_uuid())
    }

    /// From the 16 bytes of a UUID.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(uuid::Uuid::from_bytes(bytes))
    }

    /// The 16 bytes of the UUID.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl std::str::FromStr for EventId {
    type Err = EventIdError;
    fn from_str(text: &str) -> Result<Self, EventIdError> {
        text.parse().map(Self).map_err(|_| EventIdError { text: text.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derived_ids_depend_on_scope_and_name_only() {
        assert_eq!(EventId::derived("a", "b"), EventId::derived("a", "b"));
        assert_ne!(EventId::derived("a", "bc"), EventId::derived("ab", "c"));
    }
}
