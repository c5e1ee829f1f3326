//! A run that is open.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use annals_core::index::Term;
use annals_core::{ConsumerName, EventId, Position, StoreError};

use super::build::hash_seed;
use super::directory::{Directory, DirectoryShape, sort_key};
use super::file::{Resume, RunFile, RunHeader, Section};
use super::places::{FramePlace, Frames, OffsetHead, offset_head_range, offset_heads_bytes};
use super::places::{SEGMENT_STAMP_BYTES, SegmentStamp};
use super::terms::{TermRecord, decode_name, decode_term};
use crate::format::StoreId;
use crate::planted::{Mistakes, Planted};
use crate::storage::Storage;
use crate::varint::take_varint;

/// The index of a range of positions.
#[derive(Debug)]
pub(crate) struct Run {
    file: RunFile,
    seed: u64,
    /// A planted mistake.
    forgets_ids: bool,
}

impl Run {
    /// Opens a run; the error says why it cannot be used.
    pub(crate) fn open(storage: &dyn Storage, path: PathBuf, store: StoreId) -> Result<Self, String> {
        let file = RunFile::open(storage, path, store, false)?;
        Ok(Self { file, seed: hash_seed(store), forgets_ids: false })
    }

    /// Opens a run that this process has just written, whose pages need no checking.
    pub(crate) fn open_written(storage: &dyn Storage, path: PathBuf, store: StoreId) -> Result<Self, String> {
        let file = RunFile::open(storage, path, store, true)?;
        Ok(Self { file, seed: hash_seed(store), forgets_ids: false })
    }

    /// The same, making a mistake.
    pub(crate) fn making(mut self, mistakes: Mistakes) -> Self {
        self.forgets_ids = mistakes.make(Planted::ForgetOldIds);
        if mistakes.make(Planted::ReadIndexUnchecked) {
            self.file.believe();
        }
        self
    }

    pub(crate) fn header(&self) -> &RunHeader {
        &self.file.header
    }

    pub(crate) fn path(&self) -> &Path {
        &self.file.path
    }

    pub(crate) fn file_bytes(&self) -> u64 {
        self.file.length()
    }

    pub(crate) fn first(&self) -> Position {
        self.file.header.first
    }

    pub(crate) fn last(&self) -> Position {
        self.file.header.last
    }

    pub(crate) fn resume(&self) -> Resume {
        self.file.header.resume
    }

    pub(crate) fn contains(&self, position: Position) -> bool {
        (self.first()..=self.last()).contains(&position)
    }

    /// The position from which distances count.
    pub(crate) fn base(&self) -> u64 {
        self.first().get().saturating_sub(1)
    }

    pub(crate) fn check_health(&self) -> Result<(), StoreError> {
        self.file.check_health()
    }

    /// Checks every page.
    pub(crate) fn check_all(&self) -> Result<(), StoreError> {
        self.file.check_all()
    }

    fn malformed(&self, what: &str) -> StoreError {
        self.file.damaged(format!("{what} is malformed"))
    }

    /// The numbers in a directory that may have this key, checked as far as they are used.
    fn candidates(
        &self,
        shape: DirectoryShape,
        [starts, entries]: [Section; 2],
        key: u32,
    ) -> Result<impl Iterator<Item = u64>, StoreError> {
        let directory =
            Directory { shape, starts: self.file.unchecked(starts), entries: self.file.unchecked(entries) };
        if shape.count > 0 {
            let bucket_bits = 32 - shape.bucket_bits;
            let bucket = u64::from(key) >> bucket_bits;
            self.file.check(starts, bucket * u64::from(shape.deviation_bits) / 8, 24)?;
        }
        let bucket = directory.bucket(key);
        let bits = u64::from(shape.entry_bits());
        let (from, to) = (bucket.start * bits / 8, bucket.end * bits / 8 + 8);
        self.file.check(entries, from, to.saturating_sub(from))?;
        Ok(directory.candidates(key, bucket))
    }

    /// The positions at which an event with this id may be.
    pub(crate) fn positions_of_id(&self, id: &EventId) -> Result<impl Iterator<Item = Position>, StoreError> {
        let key = sort_key(id.hash_seeded(self.seed));
        let base = self.base();
        let found =
            self.candidates(self.file.header.id_directory, [Section::IdStarts, Section::IdEntries], key)?;
        let forgets = self.forgets_ids;
        Ok(found.filter(move |_| !forgets).map(move |distance| Position::new(base + distance)))
    }

    /// Whether an event with an id of this hash may be in the run; `true` also where that cannot be told.
    pub(crate) fn may_have_id(&self, hash: u64) -> bool {
        let sections = [Section::IdStarts, Section::IdEntries];
        let found = self.candidates(self.file.header.id_directory, sections, sort_key(hash));
        found.map_or(true, |mut found| found.next().is_some() && !self.forgets_ids)
    }

    /// Where a term's record begins and ends.
    fn term_range(&self, number: u64) -> Result<(u64, u64), StoreError> {
        let offsets = self.file.range(Section::TermOffsets, number * 4, 8)?;
        let at = |index: usize| {
            offsets
                .get(index..)
                .and_then(|bytes| bytes.first_chunk::<4>())
                .map(|b| u64::from(u32::from_le_bytes(*b)))
        };
        let (_, length) = self.file.header.sections[Section::TermData as usize];
        let start = at(0).ok_or_else(|| self.malformed("the list of terms"))?;
        let is_last = number + 1 >= self.file.header.terms;
        let end = if is_last { length } else { at(4).unwrap_or(length) };
        Ok((start, end))
    }

    fn term_bytes(&self, number: u64) -> Result<&[u8], StoreError> {
        let (start, end) = self.term_range(number)?;
        self.file.range(Section::TermData, start, end.saturating_sub(start))
    }

    /// The term with this number; terms are numbered from 0, in order of kind and name.
    pub(crate) fn term_at(&self, number: u64) -> Result<TermRecord<'_>, StoreError> {
        decode_term(self.term_bytes(number)?).ok_or_else(|| self.malformed("a term"))
    }

    /// The name of the term with this number.
    pub(crate) fn term_name_at(&self, number: u64) -> Result<Term<'_>, StoreError> {
        let (start, end) = self.term_range(number)?;
        let bytes = self.file.range(Section::TermData, start, end.saturating_sub(start).min(2 + 255))?;
        decode_name(bytes).map(|(term, _)| term).ok_or_else(|| self.malformed("a term"))
    }

    /// The record of a term, if an event of the run has it.
    pub(crate) fn term(&self, term: Term<'_>) -> Result<Option<TermRecord<'_>>, StoreError> {
        let key = sort_key(term.hash(self.seed));
        let sections = [Section::TermStarts, Section::TermEntries];
        for number in self.candidates(self.file.header.term_directory, sections, key)? {
            if number < self.file.header.terms && self.term_name_at(number)? == term {
                return Ok(Some(self.term_at(number)?));
            }
        }
        Ok(None)
    }

    /// The number of the first term that is not before `term`.
    pub(crate) fn term_number_at(&self, term: Term<'_>) -> Result<u64, StoreError> {
        let (mut low, mut high) = (0, self.file.header.terms);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.term_name_at(middle)? < term { low = middle + 1 } else { high = middle }
        }
        Ok(low)
    }

    /// The ids in order of their sort keys, with their distances.
    pub(crate) fn ids(&self) -> Result<impl Iterator<Item = (u32, u64)>, StoreError> {
        let starts = self.file.section(Section::IdStarts)?;
        let entries = self.file.section(Section::IdEntries)?;
        let shape = self.file.header.id_directory;
        // The padding behind the sections takes part in reading the last entries, so it is checked too.
        self.file.check(Section::IdEntries, entries.len() as u64, 8)?;
        Ok(Directory { shape, starts, entries }.all())
    }

    /// Where the record of an event begins in its segment.
    pub(crate) fn offset_of(&self, position: Position) -> Result<u32, StoreError> {
        let index = position.get().wrapping_sub(self.first().get());
        let (_, length) = self.file.header.sections[Section::Offsets as usize];
        let heads = length.saturating_sub(offset_heads_bytes(self.header().events()));
        let (head_start, head_length) = offset_head_range(heads, index);
        let head = OffsetHead::parse(self.file.range(Section::Offsets, head_start, head_length)?)
            .ok_or_else(|| self.malformed("the list of places"))?;
        let (start, length) = head.range_of(index);
        Ok(head.offset(index, self.file.range(Section::Offsets, start, length)?))
    }

    /// The frames of the run, checked.
    pub(crate) fn frames(&self) -> Result<Frames<'_>, StoreError> {
        let bytes = self.file.section(Section::Frames)?;
        Ok(Frames { first: self.first(), begun: self.file.header.begun, bytes })
    }

    /// The frame that holds an event.
    pub(crate) fn frame_of(&self, position: Position) -> Result<FramePlace, StoreError> {
        let frames = self.frames()?;
        let index = frames.partition_point(|frame| frame.first_position <= position);
        let frame = index.checked_sub(1).and_then(|index| frames.get(index));
        frame.ok_or_else(|| self.malformed("the list of frames"))
    }

    /// The positions that events of this run hid.
    pub(crate) fn hidden(&self) -> Result<Vec<u64>, StoreError> {
        let mut bytes = self.file.section(Section::Hidden)?;
        let mut positions = Vec::new();
        let mut last = 0_u64;
        while !bytes.is_empty() {
            let step = take_varint(&mut bytes).ok_or_else(|| self.malformed("the list of hidden events"))?;
            last = last.wrapping_add(step);
            positions.push(last);
        }
        Ok(positions)
    }

    /// The checkpoints as they were at the end of the run, of those consumers that stored one within it.
    pub(crate) fn checkpoints(&self) -> Result<BTreeMap<ConsumerName, Position>, StoreError> {
        let mut bytes = self.file.section(Section::Checkpoints)?;
        let mut checkpoints = BTreeMap::new();
        while let Some((length, rest)) = bytes.split_first() {
            let parsed = rest.split_at_checked(usize::from(*length)).and_then(|(name, mut rest)| {
                let name = ConsumerName::new(std::str::from_utf8(name).ok()?).ok()?;
                let position = Position::new(take_varint(&mut rest)?);
                Some((name, position, rest))
            });
            let (name, position, rest) = parsed.ok_or_else(|| self.malformed("the list of checkpoints"))?;
            checkpoints.insert(name, position);
            bytes = rest;
        }
        Ok(checkpoints)
    }

    /// The segments that have events of the run, as they were when it was made.
    pub(crate) fn segments(&self) -> Result<Vec<SegmentStamp>, StoreError> {
        let rows = self.file.section(Section::Segments)?.as_chunks::<SEGMENT_STAMP_BYTES>().0;
        Ok(rows.iter().map(SegmentStamp::decode).collect())
    }
}
