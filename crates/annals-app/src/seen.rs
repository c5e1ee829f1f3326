//! Which positions a read model has seen, in little space: so much that a missing or repeated one shows, and where.

use annals_core::Position;
use serde::{Deserialize, Serialize};

/// The positions are kept in at most so many ranges of the same width.
const MOST_RANGES: usize = 64;
/// How many positions the ranges hold at first; they grow with the log.
const FIRST_WIDTH: u64 = 1_024;

/// How many positions of each range were seen, and a sum over them that tells sets of the same size apart.
///
/// The sum is of 64 bits and does not depend on the order. It shows slips, not forgery. There are never more than 64 ranges,
/// so this takes some 2 kB, however long the log is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Seen {
    width: u64,
    /// Number of positions, and their sum.
    ranges: Vec<(u64, u64)>,
}

/// A range of positions of which two have not seen the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct SeenDifference {
    /// The first position of the range.
    pub first: Position,
    /// The last position of the range.
    pub last: Position,
    /// How many events of it the read model has seen.
    pub seen: u64,
    /// How many the store has.
    pub stored: u64,
}

impl Default for Seen {
    fn default() -> Self {
        Self { width: FIRST_WIDTH, ranges: Vec::new() }
    }
}

impl Seen {
    pub(crate) fn add(&mut self, position: Position) {
        let Some(offset) = position.get().checked_sub(1) else { return };
        while offset / self.width >= MOST_RANGES as u64 {
            self.widen();
        }
        let index = (offset / self.width) as usize;
        if self.ranges.len() <= index {
            self.ranges.resize(index + 1, (0, 0));
        }
        let (count, sum) = &mut self.ranges[index];
        *count += 1;
        *sum = sum.wrapping_add(mixed(position.get()));
    }

    /// Twice as many positions in a range.
    fn widen(&mut self) {
        self.width = self.width.saturating_mul(2);
        let pairs = self.ranges.chunks(2);
        let together = |pair: &[(u64, u64)]| {
            pair.iter().fold((0, 0_u64), |(count, sum), range| (count + range.0, sum.wrapping_add(range.1)))
        };
        self.ranges = pairs.map(together).collect();
    }

    /// How many positions were seen.
    pub(crate) fn events(&self) -> u64 {
        self.ranges.iter().map(|(count, _)| count).sum()
    }

    /// The ranges of which the two have not seen the same: this one as `seen`, the other as `stored`.
    pub(crate) fn differences(&self, other: &Self) -> Vec<SeenDifference> {
        let (mut seen, mut stored) = (self.clone(), other.clone());
        while seen.width < stored.width {
            seen.widen();
        }
        while stored.width < seen.width {
            stored.widen();
        }
        let ranges = seen.ranges.len().max(stored.ranges.len());
        let of = |all: &Self, index: usize| all.ranges.get(index).copied().unwrap_or((0, 0));
        let differing = (0..ranges).filter(|index| of(&seen, *index) != of(&stored, *index));
        let differences = differing.map(|index| {
            let before = index as u64 * seen.width;
            SeenDifference {
                first: Position::new(before + 1),
                last: Position::new(before + seen.width),
                seen: of(&seen, index).0,
                stored: of(&stored, index).0,
            }
        });
        differences.collect()
    }
}

/// Spreads a number over all bits: the last step of SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number
/// generators", 2014).
fn mixed(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(positions: impl IntoIterator<Item = u64>) -> Seen {
        let mut seen = Seen::default();
        positions.into_iter().for_each(|position| seen.add(Position::new(position)));
        seen
    }

    #[test]
    fn the_same_positions_in_any_order_are_the_same() {
        let (here, there) = (of(1..=300_000), of((1..=300_000).rev()));
        assert_eq!((here.events(), here.differences(&there)), (300_000, Vec::new()));
        assert!(here.ranges.len() <= MOST_RANGES);
        let text = serde_json::to_string(&here).unwrap();
        assert_eq!(serde_json::from_str::<Seen>(&text).unwrap(), here);
        assert!(text.len() < 2_500, "{}", text.len());
    }

    #[test]
    fn a_missing_a_repeated_and_a_mistaken_position_show() {
        let stored = of(1..=100_000);
        let check = |seen: Seen, expected: i64| {
            let differences = seen.differences(&stored);
            assert_eq!(differences.len(), 1, "{differences:?}");
            let SeenDifference { first, last, seen, stored } = differences[0];
            assert!(first.get() <= 70_000 && 70_000 <= last.get() && last.get() - first.get() < 4_096);
            assert_eq!(seen as i64 - stored as i64, expected);
        };
        check(of((1..=100_000).filter(|n| *n != 70_000)), -1);
        check(of((1..=100_000).chain([70_000])), 1);
        check(of((1..=100_000).map(|n| if n == 70_000 { 70_001 } else { n })), 0);
    }

    #[test]
    fn narrow_and_wide_ranges_compare() {
        let few = of(1..=10);
        let differences = few.differences(&of(1..=1_000_000));
        assert_eq!(differences.iter().map(|range| range.stored - range.seen).sum::<u64>(), 999_990);
        assert_eq!(of([]).differences(&few).len(), 1);
        let mut far = of([u64::MAX]);
        far.add(Position::ZERO);
        assert_eq!(far.events(), 1);
    }
}
