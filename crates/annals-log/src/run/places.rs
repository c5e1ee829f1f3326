//! Where the records of a run's events begin in their segments, and the frames that they are in.

use annals_core::{Position, Timestamp};

use super::bits::{BitWriter, width_of};
use crate::format::Fields;

/// So many places share a line.
const BLOCK_ENTRIES: usize = 64;
/// Of a block: where its line begins, how steep it is, the width of the distances from it, and where those are.
const BLOCK_HEAD_BYTES: usize = 13;
const FRAME_BYTES: usize = 16;

/// A frame that has events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FramePlace {
    pub(crate) first_position: Position,
    /// Where it begins in its segment.
    pub(crate) offset: u32,
    pub(crate) recorded_at: Timestamp,
}

pub(crate) const SEGMENT_STAMP_BYTES: usize = 12;

/// A segment and how often it was compacted: places in it hold for that form only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SegmentStamp {
    pub(crate) first_position: Position,
    pub(crate) generation: u32,
}

impl SegmentStamp {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.first_position.get().to_le_bytes());
        out.extend_from_slice(&self.generation.to_le_bytes());
    }

    pub(crate) fn decode(bytes: &[u8; SEGMENT_STAMP_BYTES]) -> Self {
        let mut fields = Fields::of(bytes);
        Self { first_position: Position::new(fields.u64()), generation: fields.u32() }
    }
}

/// Packs offsets: those of 64 events as distances from the line between the first and the last. The packed distances
/// come first, then the heads of all blocks.
#[derive(Debug, Default)]
pub(crate) struct OffsetPacker {
    block: Vec<u32>,
    heads: Vec<u8>,
    packed: u32,
}

impl OffsetPacker {
    /// Adds an offset; returns the packed distances of a block that it completes.
    pub(crate) fn add(&mut self, offset: u32) -> Option<Vec<u8>> {
        self.block.push(offset);
        (self.block.len() == BLOCK_ENTRIES).then(|| self.end_block())
    }

    /// Packs what is left, with the heads of all blocks behind it.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        let mut rest = if self.block.is_empty() { Vec::new() } else { self.end_block() };
        rest.extend_from_slice(&self.heads);
        rest
    }

    fn end_block(&mut self) -> Vec<u8> {
        let block = std::mem::take(&mut self.block);
        let (first, last) = (block.first().copied().unwrap_or(0), block.last().copied().unwrap_or(0));
        let (first, last) = (i64::from(first), i64::from(last));
        let step = ((last - first) / (block.len() as i64 - 1).max(1)).max(0);
        let deviations = || (0..).zip(&block).map(|(n, offset)| i64::from(*offset) - first - step * n);
        let least = deviations().min().unwrap_or(0);
        let width = width_of((deviations().max().unwrap_or(0) - least).unsigned_abs());
        self.heads.extend_from_slice(&((first + least) as u32).to_le_bytes());
        self.heads.extend_from_slice(&(step as u32).to_le_bytes());
        self.heads.push(width as u8);
        self.heads.extend_from_slice(&self.packed.to_le_bytes());
        let mut packed = BitWriter::default();
        deviations().for_each(|deviation| packed.put((deviation - least).unsigned_abs(), width));
        let packed = packed.finish();
        self.packed += packed.len() as u32;
        packed
    }
}

/// How many bytes the heads of the blocks of so many events take.
pub(crate) fn offset_heads_bytes(events: u64) -> u64 {
    events.div_ceil(BLOCK_ENTRIES as u64) * BLOCK_HEAD_BYTES as u64
}

/// Where the head of the block of the n-th event is, from 0: start and length.
pub(crate) fn offset_head_range(heads_start: u64, index: u64) -> (u64, u64) {
    (heads_start + index / BLOCK_ENTRIES as u64 * BLOCK_HEAD_BYTES as u64, BLOCK_HEAD_BYTES as u64)
}

/// What is known of a block of offsets.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OffsetHead {
    begin: u32,
    step: u32,
    width: u32,
    start: u32,
}

impl OffsetHead {
    pub(crate) fn parse(head: &[u8]) -> Option<Self> {
        let number = |at: usize| head.get(at..)?.first_chunk::<4>().map(|four| u32::from_le_bytes(*four));
        let width = u32::from(*head.get(8)?).min(33);
        Some(Self { begin: number(0)?, step: number(4)?, width, start: number(9)? })
    }

    /// Where the packed distance of the n-th event is.
    pub(crate) fn range_of(&self, index: u64) -> (u64, u64) {
        let bit = index % BLOCK_ENTRIES as u64 * u64::from(self.width);
        (u64::from(self.start) + bit / 8, 8)
    }

    /// The offset of the n-th event; `bytes` begin where [`Self::range_of`] says.
    pub(crate) fn offset(&self, index: u64, bytes: &[u8]) -> u32 {
        let within = index % BLOCK_ENTRIES as u64;
        let shift = (within * u64::from(self.width)) % 8;
        let mut eight = [0; 8];
        let found = bytes.len().min(8);
        eight[..found].copy_from_slice(&bytes[..found]);
        let deviation = (u64::from_le_bytes(eight) >> shift) & ((1 << self.width) - 1);
        self.begin.wrapping_add(self.step.wrapping_mul(within as u32)).wrapping_add(deviation as u32)
    }
}

/// Lays frames out, each with the distance of its first position from `first` and of its time from the first frame's.
pub(crate) fn encode_frames(out: &mut Vec<u8>, first: Position, begun: Timestamp, frames: &[FramePlace]) {
    for frame in frames {
        let distance = (frame.first_position.get() - first.get()) as u32;
        let micros = frame.recorded_at.as_micros().saturating_sub(begun.as_micros()).max(0) as u64;
        out.extend_from_slice(&distance.to_le_bytes());
        out.extend_from_slice(&frame.offset.to_le_bytes());
        out.extend_from_slice(&micros.to_le_bytes());
    }
}

/// The frames of a run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Frames<'a> {
    pub(crate) first: Position,
    pub(crate) begun: Timestamp,
    pub(crate) bytes: &'a [u8],
}

impl Frames<'_> {
    pub(crate) fn len(&self) -> usize {
        self.bytes.len() / FRAME_BYTES
    }

    pub(crate) fn get(&self, index: usize) -> Option<FramePlace> {
        let bytes = self.bytes.get(index * FRAME_BYTES..(index + 1) * FRAME_BYTES)?;
        let number = |at: usize| bytes.get(at..)?.first_chunk::<4>().map(|four| u32::from_le_bytes(*four));
        let micros = *bytes.get(8..)?.first_chunk::<8>()?;
        Some(FramePlace {
            first_position: Position::new(self.first.get() + u64::from(number(0)?)),
            offset: number(4)?,
            recorded_at: Timestamp::from_micros(
                self.begun.as_micros().saturating_add(i64::from_le_bytes(micros)),
            ),
        })
    }

    /// How many frames, from the first, are as `before` says; they come first.
    pub(crate) fn partition_point(&self, before: impl Fn(&FramePlace) -> bool) -> usize {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low + (high - low) / 2;
            if self.get(middle).is_some_and(|frame| before(&frame)) {
                low = middle + 1
            } else {
                high = middle
            }
        }
        low
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn offsets_come_back(lengths in proptest::collection::vec(1_u32..70_000, 1..300), fall in any::<bool>()) {
            let mut at = 128;
            let mut offsets: Vec<u32> = lengths.iter().map(|length| { at += length; at }).collect();
            if fall {
                // The next segment begins within the run.
                offsets.extend((0..100).map(|n| 240 + n * 300));
            }
            let mut packer = OffsetPacker::default();
            let mut bytes: Vec<u8> = offsets.iter().filter_map(|offset| packer.add(*offset)).flatten().collect();
            bytes.extend(packer.finish());
            let heads = bytes.len() as u64 - offset_heads_bytes(offsets.len() as u64);
            for (index, offset) in (0..).zip(&offsets) {
                let (start, length) = offset_head_range(heads, index);
                let head = OffsetHead::parse(&bytes[start as usize..][..length as usize]).unwrap();
                let (start, _) = head.range_of(index);
                prop_assert_eq!(head.offset(index, &bytes[start as usize..]), *offset);
            }
        }

        #[test]
        fn no_bytes_make_a_place_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), index in 0_usize..2000) {
            if let Some(head) = OffsetHead::parse(&bytes) {
                let _ = (head.range_of(index as u64), head.offset(index as u64, &bytes));
            }
            let frames = Frames { first: Position::new(1), begun: Timestamp::default(), bytes: &bytes };
            let _ = (frames.get(index), frames.partition_point(|frame| frame.offset < 9));
        }
    }
}
