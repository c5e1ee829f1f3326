//! Writes a run: from the index in memory, or piece by piece for a merge.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use annals_core::index::{RecentIndex, RecentTerm, Term};
use annals_core::{ConsumerName, Position, StoreError};

use super::directory::{DirectoryBuilder, DirectoryShape, sort_key};
use super::file::{Resume, RunFileWriter, RunHeader, Section};
use super::places::{FramePlace, OffsetPacker, SegmentStamp, encode_frames};
use super::postings::PostingsPacker;
use super::terms::{StreamSpan, encode_term};
use crate::format::StoreId;
use crate::storage::Storage;
use crate::varint::put_varint;

/// What goes into a run that is made from memory.
pub(crate) struct RunContent<'a> {
    pub(crate) store: StoreId,
    pub(crate) index: &'a RecentIndex,
    /// Where each event's record begins in its segment.
    pub(crate) offsets: &'a [u32],
    pub(crate) frames: &'a [FramePlace],
    /// The positions that events of this run hid.
    pub(crate) hidden: &'a BTreeSet<u64>,
    pub(crate) checkpoints: &'a BTreeMap<ConsumerName, Position>,
    /// The segments that begin within the run.
    pub(crate) segments: &'a [SegmentStamp],
    /// Where its first frame stands.
    pub(crate) begins: (Position, u64),
    pub(crate) resume: Resume,
}

/// The seed of the hashes in runs and in memory: that of the store, so that nobody can choose names that collide.
pub(crate) fn hash_seed(store: StoreId) -> u64 {
    let mut half = [0; 8];
    half.copy_from_slice(&store.0[..8]);
    u64::from_le_bytes(half)
}

/// Writes a run, durably, and returns its path.
pub(crate) fn write_run(
    storage: &dyn Storage,
    folder: &Path,
    content: &RunContent<'_>,
) -> Result<PathBuf, StoreError> {
    let index = content.index;
    let header =
        RunHeader::new(content.store, index.base().next(), index.last(), content.begins, content.resume);
    let name = header.name();
    let written = RunBuilder::create(storage, folder, header).and_then(|builder| builder.build(content));
    written.inspect_err(|_| RunFileWriter::abandon(storage, folder, name))
}

/// Takes the parts of a run in their order.
pub(crate) struct RunBuilder<'a> {
    pub(crate) file: RunFileWriter<'a>,
    seed: u64,
    term_offsets: Vec<u8>,
    term_keys: Vec<u64>,
    scratch: Vec<u8>,
    offsets: Option<OffsetPacker>,
}

impl<'a> RunBuilder<'a> {
    pub(crate) fn create(
        storage: &'a dyn Storage,
        folder: &'a Path,
        header: RunHeader,
    ) -> Result<Self, StoreError> {
        let mut file = RunFileWriter::create(storage, folder, header)?;
        file.begin(Section::TermData);
        let seed = hash_seed(header.store);
        Ok(Self {
            file,
            seed,
            term_offsets: Vec::new(),
            term_keys: Vec::new(),
            scratch: Vec::new(),
            offsets: None,
        })
    }

    /// Adds the next term, in order of kind and name. Distances are from the position before the run.
    pub(crate) fn add_term(
        &mut self,
        term: Term<'_>,
        span: Option<StreamSpan>,
        positions: &mut PostingsPacker,
    ) -> Result<(), StoreError> {
        let offset = u32::try_from(self.file.length_of(Section::TermData));
        let offset = offset.map_err(|_| StoreError::backend("cannot write a run", TooLarge))?;
        let number = self.term_keys.len() as u64;
        self.term_offsets.extend_from_slice(&offset.to_le_bytes());
        self.term_keys.push(u64::from(sort_key(term.hash(self.seed))) << 32 | number);
        self.scratch.clear();
        encode_term(&mut self.scratch, term, span, positions);
        self.file.write(&self.scratch)
    }

    pub(crate) fn finish_terms(&mut self) -> Result<(), StoreError> {
        self.file.finish_section(Section::TermData)?;
        self.file.section(Section::TermOffsets, &self.term_offsets)?;
        let count = self.term_keys.len() as u64;
        self.term_keys.sort_unstable();
        let keys = std::mem::take(&mut self.term_keys).into_iter();
        let keys = keys.map(|key| ((key >> 32) as u32, key & u64::from(u32::MAX)));
        self.file.header.terms = count;
        self.file.header.term_directory = self.directory(
            DirectoryShape::new(count, count),
            keys,
            [Section::TermStarts, Section::TermEntries],
        )?;
        Ok(())
    }

    /// Adds the ids: the sort key of each, ascending, and the distance of its position.
    pub(crate) fn add_ids(&mut self, ids: impl Iterator<Item = (u32, u64)>) -> Result<(), StoreError> {
        let events = self.file.header.events();
        self.file.header.id_directory = self.directory(
            DirectoryShape::new(events, events),
            ids,
            [Section::IdStarts, Section::IdEntries],
        )?;
        Ok(())
    }

    fn directory(
        &mut self,
        shape: DirectoryShape,
        sorted: impl Iterator<Item = (u32, u64)>,
        [starts, entries]: [Section; 2],
    ) -> Result<DirectoryShape, StoreError> {
        let mut builder = DirectoryBuilder::new(shape);
        self.file.begin(entries);
        for (key, number) in sorted {
            builder.add(key, number);
            if builder.entries.ready() >= 4096 {
                self.file.write(&builder.entries.drain())?;
            }
        }
        let (shape, packed_starts, rest) = builder.finish();
        self.file.write(&rest)?;
        self.file.finish_section(entries)?;
        self.file.section(starts, &packed_starts)?;
        Ok(shape)
    }

    /// Adds the place of the next event in its segment.
    pub(crate) fn add_offset(&mut self, offset: u32) -> Result<(), StoreError> {
        self.begin_offsets();
        match self.offsets.as_mut().and_then(|packer| packer.add(offset)) {
            Some(packed) => self.file.write(&packed),
            None => Ok(()),
        }
    }

    fn begin_offsets(&mut self) {
        if self.offsets.is_none() {
            self.file.begin(Section::Offsets);
            self.offsets = Some(OffsetPacker::default());
        }
    }

    /// Adds the frames, after the places of all events.
    pub(crate) fn add_frames(&mut self, frames: &[FramePlace]) -> Result<(), StoreError> {
        self.begin_offsets();
        let rest = self.offsets.take().map(OffsetPacker::finish).unwrap_or_default();
        self.file.write(&rest)?;
        self.file.finish_section(Section::Offsets)?;
        let begun = frames.first().map_or(self.file.header.resume.recorded_at, |frame| frame.recorded_at);
        self.file.header.begun = begun;
        let mut bytes = Vec::new();
        encode_frames(&mut bytes, self.file.header.first, begun, frames);
        self.file.section(Section::Frames, &bytes)
    }

    pub(crate) fn add_rest(
        &mut self,
        hidden: impl Iterator<Item = u64>,
        checkpoints: &BTreeMap<ConsumerName, Position>,
        segments: &[SegmentStamp],
    ) -> Result<(), StoreError> {
        let mut bytes = Vec::new();
        let mut last = 0;
        for position in hidden {
            put_varint(&mut bytes, position - last);
            last = position;
        }
        self.file.section(Section::Hidden, &bytes)?;
        bytes.clear();
        for (consumer, position) in checkpoints {
            let name = consumer.as_str().as_bytes();
            bytes.push(name.len() as u8);
            bytes.extend_from_slice(name);
            put_varint(&mut bytes, position.get());
        }
        self.file.section(Section::Checkpoints, &bytes)?;
        bytes.clear();
        segments.iter().for_each(|segment| segment.encode(&mut bytes));
        self.file.section(Section::Segments, &bytes)
    }

    fn build(mut self, content: &RunContent<'_>) -> Result<PathBuf, StoreError> {
        let mut terms: Vec<RecentTerm<'_>> = content.index.terms().collect();
        terms.sort_unstable_by_key(|term| term.term);
        let mut positions = PostingsPacker::default();
        for RecentTerm { term, distances, states } in terms {
            distances.iter().for_each(|distance| positions.push(*distance));
            let span = states.map(|(before, after)| StreamSpan { version_before: before.version, after });
            self.add_term(term, span, &mut positions)?;
        }
        self.finish_terms()?;
        let ids = (1_u64..).zip(content.index.ids());
        let mut keys: Vec<u64> = ids
            .map(|(distance, id)| u64::from(sort_key(id.hash_seeded(self.seed))) << 32 | distance)
            .collect();
        keys.sort_unstable();
        self.add_ids(keys.into_iter().map(|key| ((key >> 32) as u32, key & u64::from(u32::MAX))))?;
        content.offsets.iter().try_for_each(|offset| self.add_offset(*offset))?;
        self.add_frames(content.frames)?;
        self.add_rest(content.hidden.iter().copied(), content.checkpoints, content.segments)?;
        self.file.finish()
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the terms of one run take more than 4 GiB")]
struct TooLarge;
