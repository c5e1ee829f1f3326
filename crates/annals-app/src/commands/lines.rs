//! The entities that were asked for last.

use std::hash::BuildHasher;
use std::sync::{Arc, Mutex, PoisonError};

use annals_core::{Category, NameError, StreamName};
use hashbrown::{DefaultHashBuilder, HashTable};

use super::line::Line;
use crate::Aggregate;

/// The lines of the entities of one type, found by the ids of the entities. Those that were asked for last are kept: as many as a
/// generation has at least, twice as many at most.
pub(super) struct Lines<A: Aggregate> {
    category: Category,
    /// Ids come from outside, so nobody may know beforehand which of them meet in one place.
    hasher: DefaultHashBuilder,
    lines: Mutex<Generations<Arc<Line<A>>>>,
}

impl<A: Aggregate> Lines<A> {
    pub(super) fn new(category: Category) -> Self {
        Self {
            category,
            hasher: DefaultHashBuilder::default(),
            lines: Mutex::new(Generations::of(A::KEPT_IN_MEMORY)),
        }
    }

    fn id_of<'l>(&self, line: &'l Line<A>) -> &'l str {
        line.stream.as_str().get(self.category.as_str().len() + 1..).unwrap_or_default()
    }

    /// The line of an entity.
    ///
    /// # Errors
    /// [`NameError`] when no entity can have such an id.
    pub(super) fn of(&self, id: &str) -> Result<Arc<Line<A>>, NameError> {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.find(
            self.hasher.hash_one(id),
            |line| self.id_of(line) == id,
            |line| self.hasher.hash_one(self.id_of(line)),
            || Ok(Arc::new(Line::new(StreamName::from_parts(&self.category, id)?))),
        )
    }
}

/// Two tables in place of a list in the order of use, which every use would have to change, far apart in memory.
struct Generations<T> {
    size: usize,
    young: HashTable<T>,
    /// Who is asked for here becomes young again; the others are forgotten when there are too many young ones.
    old: HashTable<T>,
}

impl<T: Clone> Generations<T> {
    fn of(size: usize) -> Self {
        Self { size, young: HashTable::new(), old: HashTable::new() }
    }

    /// What is there under a hash, made if it is not there.
    fn find<E>(
        &mut self,
        hash: u64,
        is: impl Fn(&T) -> bool,
        hash_of: impl Fn(&T) -> u64,
        make: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        if let Some(known) = self.young.find(hash, &is) {
            return Ok(known.clone());
        }
        let found = match self.old.find_entry(hash, is) {
            Ok(known) => known.remove().0,
            Err(_) => make()?,
        };
        if self.young.len() >= self.size {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert_unique(hash, found.clone(), hash_of);
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_asked_for_last_are_kept_and_others_forgotten() {
        let mut generations = Generations::of(3);
        let mut made = Vec::new();
        for number in [0, 1, 2, 0, 3, 1, 4, 5, 3, 4, 1, 5, 0] {
            let make = || {
                made.push(number);
                Ok::<_, NameError>(number)
            };
            let found = generations.find(7, |known| *known == number, |_| 7, make);
            assert_eq!(found, Ok(number));
            assert!(generations.young.len() + generations.old.len() <= 6);
        }
        assert_eq!(made, [0, 1, 2, 3, 4, 5, 0], "0 was forgotten, and nothing else that was asked for again");
    }
}
