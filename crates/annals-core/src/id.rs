//! The identity of an event.

use std::cell::RefCell;
use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

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

/// How many random bytes an id takes.
const RANDOM_BYTES: usize = 10;

/// Random bytes of the system, fetched for many ids at a time: a system call for each would take longer than all else
/// that an event needs.
struct Pool {
    bytes: [u8; 64 * RANDOM_BYTES],
    used: usize,
}

thread_local! {
    static POOL: RefCell<Pool> =
        const { RefCell::new(Pool { bytes: [0; 64 * RANDOM_BYTES], used: 64 * RANDOM_BYTES }) };
}

impl Pool {
    fn take(&mut self) -> [u8; RANDOM_BYTES] {
        if let Some(random) = self.bytes.get(self.used..).and_then(|rest| rest.first_chunk::<RANDOM_BYTES>())
        {
            self.used += RANDOM_BYTES;
            return *random;
        }
        let mut random = [0; RANDOM_BYTES];
        if getrandom::fill(&mut self.bytes).is_ok() {
            self.used = RANDOM_BYTES;
            random.copy_from_slice(&self.bytes[..RANDOM_BYTES]);
            return random;
        }
        // A system without random numbers: the id of a new UUID falls back to what that library can do.
        random.copy_from_slice(&uuid::Uuid::now_v7().as_bytes()[6..]);
        random
    }
}

impl EventId {
    /// A fresh id.
    pub fn fresh() -> Self {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let random = POOL.with_borrow_mut(Pool::take);
        let id = uuid::Builder::from_unix_timestamp_millis(since_1970.as_millis() as u64, &random);
        Self(id.into_uuid())
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
    fn fresh_ids_differ_and_are_of_version_7() {
        let ids: std::collections::HashSet<EventId> = (0..1_000).map(|_| EventId::fresh()).collect();
        assert_eq!(ids.len(), 1_000);
        assert!(ids.iter().all(|id| id.0.get_version_num() == 7));
    }

    #[test]
    fn derived_ids_depend_on_scope_and_name_only() {
        assert_eq!(EventId::derived("a", "b"), EventId::derived("a", "b"));
        assert_ne!(EventId::derived("a", "bc"), EventId::derived("ab", "c"));
    }
}
