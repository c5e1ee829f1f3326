//! Makes one run of several that follow one another.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use annals_core::index::Term;
use annals_core::{Position, StoreError};

use super::build::RunBuilder;
use super::file::{RunFileWriter, RunHeader};
use super::places::{FramePlace, SegmentStamp};
use super::postings::PostingsPacker;
use super::reader::Run;
use super::terms::StreamSpan;
use crate::storage::Storage;

/// What changed since the runs were made.
pub(crate) struct MergeContext<'a> {
    /// The positions whose events are hidden for ever: they leave their ids, but no terms.
    pub(crate) removed: &'a dyn Fn(u64) -> bool,
    /// The segments that were rewritten.
    pub(crate) rewritten: &'a [Rewritten],
}

/// A segment that was rewritten, with the places of its events in the new form.
#[derive(Debug)]
pub(crate) struct Rewritten {
    pub(crate) stamp: SegmentStamp,
    pub(crate) offsets: Vec<u32>,
    pub(crate) frames: Vec<FramePlace>,
}

impl Rewritten {
    pub(crate) fn offset_of(&self, position: Position) -> Option<u32> {
        let index = position.get().checked_sub(self.stamp.first_position.get())?;
        self.offsets.get(usize::try_from(index).ok()?).copied()
    }
}

/// Writes the run that takes the place of `runs`, durably, and returns its path.
pub(crate) fn merge_runs(
    storage: &dyn Storage,
    folder: &Path,
    runs: &[Arc<Run>],
    context: &MergeContext<'_>,
) -> Result<Option<PathBuf>, StoreError> {
    let (Some(first), Some(last)) = (runs.first(), runs.last()) else { return Ok(None) };
    let header = RunHeader::new(
        first.header().store,
        first.first(),
        last.last(),
        first.header().begins,
        last.resume(),
    );
    let builder = RunBuilder::create(storage, folder, header);
    let merged = builder.and_then(|builder| Merge { runs, context }.write(builder));
    merged.map(Some).inspect_err(|_| RunFileWriter::abandon(storage, folder, header.name()))
}

struct Merge<'a> {
    runs: &'a [Arc<Run>],
    context: &'a MergeContext<'a>,
}

/// Takes the next of several sorted lists in order. They are few, so looking at every head is the quickest way.
struct Sorted<T> {
    heads: Vec<Option<T>>,
}

impl<T: Ord + Copy> Sorted<T> {
    fn next(&self) -> Option<(T, usize)> {
        let heads = self.heads.iter().enumerate();
        heads.filter_map(|(index, head)| head.map(|head| (head, index))).min()
    }

    fn replace(&mut self, index: usize, head: Option<T>) {
        if let Some(place) = self.heads.get_mut(index) {
            *place = head;
        }
    }
}

impl Merge<'_> {
    fn base(&self) -> u64 {
        self.runs.first().map_or(0, |run| run.base())
    }

    fn write(&self, mut builder: RunBuilder<'_>) -> Result<PathBuf, StoreError> {
        self.terms(&mut builder)?;
        self.ids(&mut builder)?;
        let mut hidden = BTreeSet::new();
        let mut checkpoints = BTreeMap::new();
        let mut segments: Vec<SegmentStamp> = Vec::new();
        for run in self.runs {
            hidden.extend(run.hidden()?);
            checkpoints.extend(run.checkpoints()?);
            segments.extend(run.segments()?);
        }
        for stamp in &mut segments {
            let mut rewritten = self.context.rewritten.iter().map(|rewritten| rewritten.stamp);
            if let Some(changed) = rewritten.find(|new| new.first_position == stamp.first_position) {
                *stamp = changed;
            }
        }
        // A segment that goes from one run into the next is told by both.
        segments.dedup();
        let mut frames = Vec::new();
        for run in self.runs {
            for position in run.first().get()..=run.last().get() {
                let position = Position::new(position);
                let rewritten =
                    self.rewritten_at(position).and_then(|rewritten| rewritten.offset_of(position));
                builder.add_offset(match rewritten {
                    Some(offset) => offset,
                    None => run.offset_of(position)?,
                })?;
            }
            let of_run = run.frames()?;
            for frame in (0..of_run.len()).filter_map(|index| of_run.get(index)) {
                let rewritten = self.rewritten_at(frame.first_position);
                let place = rewritten.and_then(|rewritten| {
                    let index = rewritten
                        .frames
                        .binary_search_by_key(&frame.first_position, |known| known.first_position);
                    rewritten.frames.get(index.ok()?)
                });
                frames.push(place.copied().unwrap_or(frame));
            }
        }
        builder.add_frames(&frames)?;
        builder.add_rest(hidden.into_iter(), &checkpoints, &segments)?;
        self.runs.iter().try_for_each(|run| run.check_health())?;
        builder.file.finish()
    }

    fn rewritten_at(&self, position: Position) -> Option<&Rewritten> {
        let rewritten = self.context.rewritten;
        let index = rewritten.partition_point(|segment| segment.stamp.first_position <= position);
        let segment = rewritten.get(index.checked_sub(1)?)?;
        segment.offset_of(position).map(|_| segment)
    }

    fn terms(&self, builder: &mut RunBuilder<'_>) -> Result<(), StoreError> {
        let mut next = vec![0_u64; self.runs.len()];
        let mut heads: Vec<Option<Term<'_>>> = Vec::new();
        for run in self.runs {
            heads.push(head(run, 0)?);
        }
        let mut sorted = Sorted { heads };
        let mut positions = PostingsPacker::default();
        let mut current: Option<(Term<'_>, Option<StreamSpan>)> = None;
        while let Some((term, index)) = sorted.next() {
            let run = &self.runs[index];
            if let Some((before, span)) = current.take_if(|(before, _)| *before != term) {
                add_term(builder, before, span, &mut positions)?;
            }
            let record = run.term_at(next[index])?;
            let shift = (run.base() - self.base()) as u32;
            // A stream's version n is the n-th entry of its list, so a stream keeps the positions of what was removed.
            let keeps_all = record.span.is_some();
            record.postings.for_each(|distance| {
                if keeps_all || !(self.context.removed)(run.base() + u64::from(distance)) {
                    positions.push(distance + shift);
                }
            });
            let span = match (current.and_then(|(_, span)| span), record.span) {
                (Some(earlier), Some(later)) => {
                    Some(StreamSpan { version_before: earlier.version_before, after: later.after })
                }
                (earlier, later) => earlier.or(later),
            };
            current = Some((term, span));
            next[index] += 1;
            sorted.replace(index, head(run, next[index])?);
        }
        if let Some((term, span)) = current {
            add_term(builder, term, span, &mut positions)?;
        }
        builder.finish_terms()
    }

    fn ids(&self, builder: &mut RunBuilder<'_>) -> Result<(), StoreError> {
        let mut sources = Vec::new();
        for run in self.runs {
            let shift = run.base() - self.base();
            sources.push(run.ids()?.map(move |(key, distance)| (key, distance + shift)));
        }
        let heads: Vec<Option<(u32, u64)>> = sources.iter_mut().map(Iterator::next).collect();
        let mut sorted = Sorted { heads };
        builder.add_ids(std::iter::from_fn(|| {
            let (head, index) = sorted.next()?;
            let following = sources.get_mut(index).and_then(Iterator::next);
            sorted.replace(index, following);
            Some(head)
        }))
    }
}

/// The name of a run's n-th term, if it has so many.
fn head(run: &Run, number: u64) -> Result<Option<Term<'_>>, StoreError> {
    if number < run.header().terms { run.term_name_at(number).map(Some) } else { Ok(None) }
}

fn add_term(
    builder: &mut RunBuilder<'_>,
    term: Term<'_>,
    span: Option<StreamSpan>,
    positions: &mut PostingsPacker,
) -> Result<(), StoreError> {
    if positions.is_empty() { Ok(()) } else { builder.add_term(term, span, positions) }
}
