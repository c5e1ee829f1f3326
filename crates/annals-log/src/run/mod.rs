//! A run: the index of a range of positions, in one file that is never changed.
//!
//! Runs are derived from the segments. A run holds the terms of its events with their positions, the ids, the place of each
//! record in its segment, and where the log goes on behind it. Several runs that follow one another are merged into one.
//! The bytes are described in `docs/internals/index-format.md`.

mod bits;
mod build;
mod directory;
mod file;
mod merge;
mod places;
mod postings;
mod reader;
mod terms;

pub(crate) use build::{RunContent, hash_seed, write_run};
#[cfg(feature = "internals")]
pub(crate) use file::repair_run;
pub(crate) use file::{Resume, RunName};
pub(crate) use merge::{MergeContext, Rewritten, merge_runs};
pub(crate) use places::{FramePlace, SegmentStamp};
pub(crate) use postings::PostingsCursor;
pub(crate) use reader::Run;
