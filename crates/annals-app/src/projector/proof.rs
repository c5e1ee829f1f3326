//! Shows that a read model has seen every event that it needs.

use annals_core::{Position, ReadFrom, ReadRequest};

use super::{GapProof, GapVerdict, ProjectionError, Projector};
use crate::ledger::Ledger;
use crate::seen::Seen;

/// So many differing ranges are told.
const TOLD_DIFFERENCES: usize = 100;

impl Projector {
    /// Compares what the read model has seen with what the store has.
    pub(crate) async fn prove(&self) -> Result<GapProof, ProjectionError> {
        let bookmark = self.model.bookmark().await?;
        let ledger = Ledger::of(self.name(), &bookmark)?;
        let stored = self.stored(bookmark.position).await?;
        let mut differences = ledger.seen.as_ref().map(|seen| seen.differences(&stored)).unwrap_or_default();
        let has_gap = differences.iter().any(|range| range.seen <= range.stored);
        let verdict = match &ledger.seen {
            None => GapVerdict::Unknown,
            Some(_) if differences.is_empty() => GapVerdict::Complete,
            Some(_) if has_gap => GapVerdict::Gaps,
            Some(_) => GapVerdict::MoreThanStored,
        };
        differences.truncate(TOLD_DIFFERENCES);
        Ok(GapProof {
            projection: self.name(),
            version: self.version(),
            position: bookmark.position,
            seen: ledger.seen.as_ref().map(Seen::events),
            stored: stored.events(),
            verdict,
            differences,
            skipped: ledger.skipped.len(),
            waiting: ledger.parked.iter().map(|parked| parked.waiting).sum(),
        })
    }

    /// The positions of the events that it needs, up to one: read from the newest to the oldest, which is another way than
    /// the one by which events reach a projection.
    pub(super) async fn stored(&self, upto: Position) -> Result<Seen, ProjectionError> {
        let mut stored = Seen::default();
        let backwards = ReadRequest::new(self.projection.filter()).backwards();
        let mut next = (upto > Position::ZERO).then_some(upto);
        while let Some(from) = next {
            let batch = self.store.read(backwards.clone().from(ReadFrom::Position(from))).await?;
            batch.events.iter().for_each(|event| stored.add(event.position()));
            next = batch.next;
        }
        Ok(stored)
    }
}
