//! Ascending positions, and cursors over them.

use crate::Direction;

/// The positions of one term in memory, as distances from the base of their index. Most terms have few.
#[derive(Debug, Clone)]
pub(super) enum Distances {
    Few { count: u8, items: [u32; 4] },
    Many(Vec<u32>),
}

impl Default for Distances {
    fn default() -> Self {
        Self::Few { count: 0, items: [0; 4] }
    }
}

impl Distances {
    pub(super) fn as_slice(&self) -> &[u32] {
        match self {
            Self::Few { count, items } => items.get(..usize::from(*count)).unwrap_or_default(),
            Self::Many(items) => items,
        }
    }

    /// Adds an entry larger than all before; returns how many bytes of memory that took on top.
    pub(super) fn push(&mut self, distance: u32) -> usize {
        match self {
            Self::Few { count, items } => {
                if let Some(free) = items.get_mut(usize::from(*count)) {
                    *free = distance;
                    *count += 1;
                    return 0;
                }
                let mut many = Vec::with_capacity(16);
                many.extend_from_slice(items);
                many.push(distance);
                *self = Self::Many(many);
                16 * size_of::<u32>()
            }
            Self::Many(items) => {
                let before = items.capacity();
                items.push(distance);
                (items.capacity() - before) * size_of::<u32>()
            }
        }
    }

    /// Removes the last entry when it is `distance`.
    pub(super) fn pop(&mut self, distance: u32) {
        match self {
            Self::Few { count, items } => {
                let last = count.checked_sub(1).and_then(|last| items.get(usize::from(last)));
                *count -= u8::from(last == Some(&distance));
            }
            Self::Many(items) => {
                items.pop_if(|last| *last == distance);
            }
        }
    }
}

/// A list of ascending positions that can be searched.
pub trait PositionList {
    /// What keeps it from being read.
    type Error;

    /// The nearest entry at or beyond `from`, in the given direction.
    ///
    /// # Errors
    /// What keeps it from being read.
    fn seek(&mut self, from: u64, direction: Direction) -> Result<Option<u64>, Self::Error>;
}

/// A cursor over positions in memory, which are kept as distances from `base`.
#[derive(Debug, Clone)]
pub struct SliceCursor<'a> {
    base: u64,
    distances: &'a [u32],
    /// Where the last search ended: the next is likely to end nearby.
    at: usize,
}

impl<'a> SliceCursor<'a> {
    /// A cursor over `base + distance` for each distance.
    pub fn new(base: u64, distances: &'a [u32]) -> Self {
        Self { base, distances, at: 0 }
    }

    /// How many entries are below `distance`.
    fn count_below(&mut self, distance: u64) -> usize {
        let below = |entry: &u32| u64::from(*entry) < distance;
        let from =
            if self.at > 0 && !self.distances.get(self.at - 1).is_some_and(below) { 0 } else { self.at };
        let rest = self.distances.get(from..).unwrap_or_default();
        // Doubling steps first: going on from entry to entry costs one or two comparisons.
        let mut step = 1;
        while rest.get(step - 1).is_some_and(below) {
            step *= 2;
        }
        let (low, high) = (step / 2, step.min(rest.len()));
        self.at = from + low + rest.get(low..high).unwrap_or_default().partition_point(below);
        self.at
    }
}

impl PositionList for SliceCursor<'_> {
    type Error = std::convert::Infallible;

    fn seek(&mut self, from: u64, direction: Direction) -> Result<Option<u64>, Self::Error> {
        let found = match direction {
            Direction::Forwards => {
                let index = self.count_below(from.saturating_sub(self.base));
                self.distances.get(index)
            }
            Direction::Backwards => {
                let beyond = from.checked_sub(self.base).map_or(0, |distance| distance + 1);
                self.count_below(beyond).checked_sub(1).and_then(|index| self.distances.get(index))
            }
        };
        Ok(found.map(|distance| self.base + u64::from(*distance)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_cursor_finds_what_a_walk_finds(
            set in proptest::collection::btree_set(0_u32..500, 0..60),
            seeks in proptest::collection::vec((0_u64..620, any::<bool>()), 1..40),
        ) {
            let distances: Vec<u32> = set.into_iter().collect();
            let mut cursor = SliceCursor::new(100, &distances);
            for (from, forwards) in seeks {
                let all = distances.iter().map(|distance| 100 + u64::from(*distance));
                let (direction, expected) = match forwards {
                    true => (Direction::Forwards, all.clone().find(|position| *position >= from)),
                    false => (Direction::Backwards, all.clone().rfind(|position| *position <= from)),
                };
                prop_assert_eq!(cursor.seek(from, direction).unwrap(), expected);
            }
        }

        #[test]
        fn entries_come_and_go(count in 0_u32..40, kept in 0_u32..40) {
            let mut list = Distances::default();
            (0..count).for_each(|entry| { list.push(entry * 3); });
            let kept = kept.min(count);
            (kept..count).rev().for_each(|entry| list.pop(entry * 3));
            list.pop(1);
            prop_assert_eq!(list.as_slice(), (0..kept).map(|entry| entry * 3).collect::<Vec<_>>());
        }
    }
}
