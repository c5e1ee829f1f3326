//! Types that go over the wire under a name: events and commands.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// A type whose values each have one of some fixed names; `derive(Event)` and `derive(Command)` write it.
///
/// For an enum, the names are in the order of its variants, so that the n-th name stands for the n-th variant. A
/// struct has one name.
pub trait Named: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// The names.
    const NAMES: &'static [&'static str];

    /// Which of the names this value has.
    fn name_index(&self) -> usize;

    /// The name of this value.
    fn name(&self) -> &'static str {
        Self::NAMES.get(self.name_index()).copied().unwrap_or_default()
    }
}
