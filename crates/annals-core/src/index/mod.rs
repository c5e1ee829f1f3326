//! Term → positions: the index behind every filter, condition and stream, as pieces that know no files.
//!
//! A *term* is a stream, category, type, tag or correlation id. Each has the ascending list of the positions of its
//! events; a stream's version n is the n-th entry of its list. [`RecentIndex`] keeps the lists of the latest events in
//! memory; a store may keep those of older events elsewhere and answer for them as another [`TermSource`]. [`Search`]
//! evaluates a filter on any of them.

mod position_list;
mod recent;
mod recent_streams;
mod search;
mod term;

pub use position_list::{PositionList, SliceCursor};
pub use recent::{RecentIndex, RecentTerm, infallible};
pub use search::{Search, TermSource};
pub use term::{EventTerms, Term, TermKind};
