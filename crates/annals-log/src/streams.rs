//! Streams by name.

use std::collections::BTreeMap;

use annals_core::index::{Term, TermKind};
use annals_core::{Position, StoreError, StreamName, StreamSummary};

use crate::run::Run;
use crate::view::View;

impl View<'_> {
    /// Streams by name, from the one after `after`, at most `limit`.
    pub(crate) fn streams(
        &self,
        after: Option<&StreamName>,
        limit: usize,
    ) -> Result<Vec<StreamSummary>, StoreError> {
        let mut last_positions: BTreeMap<String, u64> = BTreeMap::new();
        let mut add = |name: &str, position: u64| {
            let is_more = last_positions.len() >= limit
                && last_positions.last_key_value().is_none_or(|(last, _)| name > last.as_str());
            if is_more || after.is_some_and(|after| name <= after.as_str()) {
                return false;
            }
            let last = last_positions.entry(name.to_owned()).or_default();
            *last = position.max(*last);
            if last_positions.len() > limit {
                last_positions.pop_last();
            }
            true
        };
        for run in &self.older.runs {
            add_streams_of(run, after, &mut add)?;
        }
        for recent in [self.older.frozen.as_deref(), Some(self.recent)].into_iter().flatten() {
            let base = recent.index.base().get();
            let upto = self.upto.get().saturating_sub(base);
            for term in recent.index.terms().filter(|term| term.term.kind == TermKind::Stream) {
                let shown = term.distances.partition_point(|distance| u64::from(*distance) <= upto);
                if let Some(last) = shown.checked_sub(1).and_then(|index| term.distances.get(index)) {
                    add(term.term.name, base + u64::from(*last));
                }
            }
        }
        let summaries = last_positions.into_iter().map(|(name, last)| {
            let state = self.stream_state(&name)?;
            let stream =
                StreamName::new(&name).map_err(|error| StoreError::backend("cannot list streams", error))?;
            Ok(StreamSummary { stream, state, last_position: Position::new(last) })
        });
        summaries.collect()
    }
}

/// Adds the streams of a run in order, until one more is not wanted.
fn add_streams_of(
    run: &Run,
    after: Option<&StreamName>,
    add: &mut impl FnMut(&str, u64) -> bool,
) -> Result<(), StoreError> {
    let from = after.map_or("", StreamName::as_str);
    let mut number = run.term_number_at(Term::stream(from))?;
    while number < run.header().terms {
        let record = run.term_at(number)?;
        if record.term.kind != TermKind::Stream {
            break;
        }
        let last = record.postings.last().map_or(0, |distance| run.base() + u64::from(distance));
        let wanted = add(record.term.name, last);
        if !wanted && record.term.name != from {
            break;
        }
        number += 1;
    }
    Ok(())
}
