//! The events that no run holds yet: their index and their places, in memory.

use std::collections::{BTreeMap, BTreeSet};

use annals_core::index::RecentIndex;
use annals_core::{ConsumerName, Position};

use crate::run::{FramePlace, Resume, SegmentStamp};

/// Of the events behind the last run: the index, which may be ahead of the disk, and the places, which are not.
#[derive(Debug)]
pub(crate) struct Recent {
    pub(crate) index: RecentIndex,
    /// Where each event's record begins in its segment.
    pub(crate) offsets: Vec<u32>,
    /// The frames that have events.
    pub(crate) frames: Vec<FramePlace>,
    /// The positions that these events hid.
    pub(crate) hidden: BTreeSet<u64>,
    pub(crate) checkpoints: BTreeMap<ConsumerName, Position>,
    /// The segments that begin among these events.
    pub(crate) segments: Vec<SegmentStamp>,
    /// How many bytes of the log these events take.
    pub(crate) log_bytes: u64,
    /// Where the first of their frames stands: segment and offset; zeros at the beginning of the log.
    pub(crate) begins: (Position, u64),
    /// The segment that they begin in, unless it begins with them.
    pub(crate) begins_in: Option<SegmentStamp>,
    /// Where the log goes on behind them, once no more are added.
    pub(crate) resume: Option<Resume>,
}

/// So many events are indexed in memory at most: after a crash they are read again.
const MOST_EVENTS: usize = 256 << 10;
/// Behind so many bytes of log a part is written out, even when it has few events.
const MOST_LOG_BYTES: u64 = 64 << 20;

impl Recent {
    pub(crate) fn after(base: Position, seed: u64) -> Self {
        Self {
            index: RecentIndex::after(base, seed),
            offsets: Vec::new(),
            frames: Vec::new(),
            hidden: BTreeSet::new(),
            checkpoints: BTreeMap::new(),
            segments: Vec::new(),
            log_bytes: 0,
            begins: (Position::ZERO, 0),
            begins_in: None,
            resume: None,
        }
    }

    /// Whether it is time to write it out.
    pub(crate) fn is_full(&self, memory_bytes: usize) -> bool {
        self.index.len() >= MOST_EVENTS
            || self.log_bytes >= MOST_LOG_BYTES
            || self.index.memory_bytes() + self.offsets.len() * 4 >= memory_bytes
    }

    /// What follows on this at a place of the log.
    pub(crate) fn begin_at(&mut self, segment: Position, offset: u64, within: Option<SegmentStamp>) {
        self.begins = (segment, offset);
        self.begins_in = within.filter(|stamp| stamp.first_position == segment);
    }

    /// The segment that they end in.
    pub(crate) fn ends_in(&self) -> Option<SegmentStamp> {
        self.segments.last().copied().or(self.begins_in)
    }

    /// The segments, in their forms, that the places of these events hold for.
    pub(crate) fn stamps(&self) -> Vec<SegmentStamp> {
        let first_begun = self.segments.first().map(|stamp| stamp.first_position);
        let begins_within = !self.index.is_empty() && first_begun.is_none_or(|begun| begun > self.first());
        let within = self.begins_in.filter(|_| begins_within);
        within.into_iter().chain(self.segments.iter().copied()).collect()
    }

    pub(crate) fn first(&self) -> Position {
        self.index.base().next()
    }

    /// Notes a frame that was written or found at `offset` of its segment.
    pub(crate) fn add_frame(&mut self, place: FramePlace, event_offsets: &[u32], frame_bytes: u64) {
        if !event_offsets.is_empty() {
            self.frames.push(place);
        }
        self.offsets.extend(event_offsets.iter().map(|within| place.offset + within));
        self.log_bytes += frame_bytes;
    }

    pub(crate) fn offset_of(&self, position: Position) -> Option<u32> {
        self.offsets.get(position.get().checked_sub(self.first().get())? as usize).copied()
    }

    pub(crate) fn frame_of(&self, position: Position) -> Option<FramePlace> {
        let index = self.frames.partition_point(|frame| frame.first_position <= position);
        self.frames.get(index.checked_sub(1)?).copied()
    }
}
