//! The positions of one term: ascending distances from the start of the run, packed in blocks.

use annals_core::Direction;
use annals_core::index::PositionList;

use super::bits::{self, BitWriter, width_of};
use crate::varint::{put_varint, take_varint};

/// A list of more entries than this has several blocks, found by a table of their first entries.
const BLOCK_ENTRIES: usize = 128;
/// A row of that table: the first entry, and where the block starts.
const ROW_BYTES: usize = 8;

/// Packs a list: `count · first · width · gaps`, or `count · table · blocks`.
#[derive(Debug, Default)]
pub(crate) struct PostingsPacker {
    count: usize,
    block: Vec<u32>,
    table: Vec<u8>,
    blocks: Vec<u8>,
}

impl PostingsPacker {
    /// Adds an entry larger than those before.
    pub(crate) fn push(&mut self, distance: u32) {
        if self.block.len() == BLOCK_ENTRIES {
            self.end_block();
        }
        self.block.push(distance);
        self.count += 1;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    fn end_block(&mut self) {
        let first = self.block.first().copied().unwrap_or(0);
        self.table.extend_from_slice(&first.to_le_bytes());
        self.table.extend_from_slice(&(self.blocks.len() as u32).to_le_bytes());
        encode_gaps(&mut self.blocks, &self.block);
        self.block.clear();
    }

    /// Adds the packed list to `out`; the packer is empty again.
    pub(crate) fn finish(&mut self, out: &mut Vec<u8>) {
        put_varint(out, self.count as u64);
        if self.count <= BLOCK_ENTRIES {
            if let Some(first) = self.block.first() {
                put_varint(out, u64::from(*first));
                encode_gaps(out, &self.block);
            }
        } else {
            self.end_block();
            out.extend_from_slice(&self.table);
            out.extend_from_slice(&self.blocks);
        }
        self.block.clear();
        self.table.clear();
        self.blocks.clear();
        self.count = 0;
    }
}

/// The width, then each entry but the first as its distance from the one before, less one.
fn encode_gaps(out: &mut Vec<u8>, block: &[u32]) {
    if block.len() < 2 {
        return;
    }
    let gaps = || block.windows(2).map(|pair| u64::from(pair[1] - pair[0] - 1));
    let width = width_of(gaps().max().unwrap_or(0));
    out.push(width as u8);
    let mut packed = BitWriter::default();
    gaps().for_each(|gap| packed.put(gap, width));
    out.extend_from_slice(&packed.finish());
}

/// A packed list.
#[derive(Debug, Clone)]
pub(crate) struct Postings<'a> {
    count: usize,
    /// Of a list of one block.
    first: u32,
    table: &'a [u8],
    blocks: &'a [u8],
}

impl<'a> Postings<'a> {
    /// Reads the head of a list; `bytes` may go on behind it.
    pub(crate) fn parse(mut bytes: &'a [u8]) -> Option<Self> {
        let count = usize::try_from(take_varint(&mut bytes)?).ok()?;
        if count <= BLOCK_ENTRIES {
            let first = if count == 0 { 0 } else { take_varint(&mut bytes)? as u32 };
            return Some(Self { count, first, table: &[], blocks: bytes });
        }
        let (table, blocks) =
            bytes.split_at_checked(count.div_ceil(BLOCK_ENTRIES).checked_mul(ROW_BYTES)?)?;
        Some(Self { count, first: 0, table, blocks })
    }

    pub(crate) fn len(&self) -> usize {
        self.count
    }

    fn block_count(&self) -> usize {
        self.count.div_ceil(BLOCK_ENTRIES)
    }

    fn row(&self, block: usize) -> (u32, usize) {
        if self.table.is_empty() {
            return (self.first, 0);
        }
        let row = self.table.get(block * ROW_BYTES..(block + 1) * ROW_BYTES).unwrap_or(&[0; ROW_BYTES]);
        let number = |at: usize| {
            row.get(at..).and_then(|four| four.first_chunk::<4>()).map_or(0, |b| u32::from_le_bytes(*b))
        };
        (number(0), number(4) as usize)
    }

    /// Unpacks a block into `out`.
    fn decode_block(&self, block: usize, out: &mut Vec<u32>) {
        out.clear();
        let length = self.count.saturating_sub(block * BLOCK_ENTRIES).min(BLOCK_ENTRIES);
        if length == 0 {
            return;
        }
        let (first, start) = self.row(block);
        out.push(first);
        let Some((width, packed)) = self.blocks.get(start..).and_then(<[u8]>::split_first) else { return };
        let width = u32::from(*width).min(32);
        let mut last = first;
        for index in 0..length as u64 - 1 {
            last = last.wrapping_add(bits::get(packed, index, width) as u32).wrapping_add(1);
            out.push(last);
        }
    }

    /// The last entry.
    pub(crate) fn last(&self) -> Option<u32> {
        let mut block = Vec::with_capacity(BLOCK_ENTRIES);
        self.decode_block(self.block_count().checked_sub(1)?, &mut block);
        block.last().copied()
    }

    /// All entries, block by block.
    pub(crate) fn for_each(&self, mut visit: impl FnMut(u32)) {
        let mut block = Vec::with_capacity(BLOCK_ENTRIES);
        for index in 0..self.block_count() {
            self.decode_block(index, &mut block);
            block.iter().for_each(|distance| visit(*distance));
        }
    }

    /// Adds all entries to `out`.
    pub(crate) fn decode_into(&self, out: &mut Vec<u32>) {
        self.for_each(|distance| out.push(distance));
    }
}

/// A cursor over a packed list; keeps the block that it used last.
#[derive(Debug, Clone)]
pub(crate) struct PostingsCursor<'a> {
    base: u64,
    postings: Postings<'a>,
    block: Vec<u32>,
    block_index: usize,
}

impl<'a> PostingsCursor<'a> {
    pub(crate) fn new(base: u64, postings: Postings<'a>) -> Self {
        Self { base, postings, block: Vec::new(), block_index: usize::MAX }
    }

    fn load(&mut self, index: usize) -> &[u32] {
        if self.block_index != index {
            self.postings.decode_block(index, &mut self.block);
            self.block_index = index;
        }
        &self.block
    }

    /// The last block whose first entry is at most `distance`.
    fn block_at(&self, distance: u32) -> Option<usize> {
        let count = self.postings.block_count();
        let begins_before = |block: usize| self.postings.row(block).0 <= distance;
        // The block at hand, or the next, is the usual answer.
        let at_hand = self.block_index;
        let next_begins_before = |block: usize| block + 1 < count && begins_before(block + 1);
        if at_hand < count && begins_before(at_hand) && !next_begins_before(at_hand) {
            return Some(at_hand);
        }
        let (mut low, mut high) = (0, count);
        while low < high {
            let middle = low + (high - low) / 2;
            if begins_before(middle) { low = middle + 1 } else { high = middle }
        }
        low.checked_sub(1)
    }

    fn at_or_after(&mut self, distance: u32) -> Option<u32> {
        let Some(block) = self.block_at(distance) else {
            return (self.postings.len() > 0).then(|| self.postings.row(0).0);
        };
        let entries = self.load(block);
        let found = entries.get(entries.partition_point(|entry| *entry < distance)).copied();
        let next = block + 1;
        found.or_else(|| (next < self.postings.block_count()).then(|| self.postings.row(next).0))
    }

    fn at_or_before(&mut self, distance: u32) -> Option<u32> {
        let block = self.block_at(distance)?;
        let entries = self.load(block);
        entries
            .partition_point(|entry| *entry <= distance)
            .checked_sub(1)
            .and_then(|i| entries.get(i))
            .copied()
    }
}

impl PositionList for PostingsCursor<'_> {
    type Error = annals_core::StoreError;

    fn seek(&mut self, from: u64, direction: Direction) -> Result<Option<u64>, Self::Error> {
        let found = match direction {
            Direction::Forwards => match u32::try_from(from.saturating_sub(self.base)) {
                Ok(distance) => self.at_or_after(distance),
                Err(_) => None,
            },
            Direction::Backwards => match from.checked_sub(self.base) {
                Some(distance) => self.at_or_before(u32::try_from(distance).unwrap_or(u32::MAX)),
                None => None,
            },
        };
        Ok(found.map(|distance| self.base + u64::from(distance)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn packed_positions_come_back_and_are_found(
            set in proptest::collection::btree_set(0_u32..3000, 0..700),
            seeks in proptest::collection::vec((0_u64..3300, any::<bool>()), 1..40),
        ) {
            let distances: Vec<u32> = set.into_iter().collect();
            let mut bytes = Vec::new();
            let mut packer = PostingsPacker::default();
            distances.iter().for_each(|distance| packer.push(*distance));
            packer.finish(&mut bytes);
            let postings = Postings::parse(&bytes).unwrap();
            let mut decoded = Vec::new();
            postings.decode_into(&mut decoded);
            prop_assert_eq!(&decoded, &distances);
            let mut cursor = PostingsCursor::new(100, postings);
            for (from, forwards) in seeks {
                let mut all = distances.iter().map(|distance| 100 + u64::from(*distance));
                let (direction, expected) = match forwards {
                    true => (Direction::Forwards, all.find(|position| *position >= from)),
                    false => (Direction::Backwards, all.rfind(|position| *position <= from)),
                };
                prop_assert_eq!(cursor.seek(from, direction).unwrap(), expected);
            }
        }

        #[test]
        fn no_bytes_make_a_list_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), from in any::<u64>()) {
            if let Some(postings) = Postings::parse(&bytes) {
                if postings.len() < 1_000_000 {
                    postings.decode_into(&mut Vec::new());
                }
                let mut cursor = PostingsCursor::new(1, postings);
                let _ = (cursor.seek(from, Direction::Forwards), cursor.seek(from, Direction::Backwards));
            }
        }
    }
}
