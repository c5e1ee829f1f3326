//! The state of a read model, its type forgotten and found again.

use std::any::{Any, type_name};
use std::io::Write;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// What a read model in memory can be made of; every type that has these traits is.
///
/// It is cloned once for each batch of events, so it is best made of maps that share what is equal ([`imbl`](crate::imbl)):
/// cloning those takes no time, and a batch costs what it changes. A `HashMap` of the standard library works as well, and is
/// copied whole each time: faster for a few thousand entries while history is taken in, by thousands of events at once, and
/// slower from then on, when events come one by one.
pub trait MemoryState: Clone + Default + Send + Sync + Serialize + DeserializeOwned + 'static {}

impl<S: Clone + Default + Send + Sync + Serialize + DeserializeOwned + 'static> MemoryState for S {}

/// A state of any type.
pub(crate) trait AnyState: Any + Send + Sync {
    fn copy(&self) -> Arc<dyn AnyState>;
    fn encode(&self, out: &mut dyn Write) -> Result<(), rmp_serde::encode::Error>;
    fn type_name(&self) -> &'static str;
    fn form(&self, given: &str) -> Result<Form, rmp_serde::encode::Error>;
}

impl<S: MemoryState> AnyState for S {
    fn copy(&self) -> Arc<dyn AnyState> {
        Arc::new(self.clone())
    }

    fn encode(&self, out: &mut dyn Write) -> Result<(), rmp_serde::encode::Error> {
        rmp_serde::encode::write_named(out, self)
    }

    fn type_name(&self) -> &'static str {
        type_name::<S>()
    }

    fn form(&self, given: &str) -> Result<Form, rmp_serde::encode::Error> {
        Form::of::<S>(given)
    }
}

/// What tells whether a state that was written once can be taken as one of today's type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Form {
    pub(crate) type_name: String,
    /// Of the type's name, of an empty state as it is written (so of the names of its fields), and of what the
    /// application adds.
    pub(crate) digest: [u8; 32],
}

impl Form {
    pub(crate) fn of<S: MemoryState>(given: &str) -> Result<Self, rmp_serde::encode::Error> {
        let empty = rmp_serde::to_vec_named(&S::default())?;
        let mut digest = blake3::Hasher::new();
        for part in [type_name::<S>().as_bytes(), given.as_bytes(), &empty] {
            digest.update(&(part.len() as u64).to_le_bytes()).update(part);
        }
        Ok(Self { type_name: type_name::<S>().to_owned(), digest: *digest.finalize().as_bytes() })
    }
}
