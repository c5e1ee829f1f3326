//! Takes events into a read model: many at once, or, when that fails, fewer, down to the bad one.

use std::sync::Arc;

use annals_core::{Position, ReadModel, ReadModelError, RecordedEvent, TxWork};

use crate::ProjectionError;
use crate::ledger::{FailedEvent, Ledger};
use crate::projection::{AnyProjection, apply_work, prepare_work};

/// A read model with the projection that keeps it.
#[derive(Clone, Copy)]
pub(super) struct Target<'a> {
    pub(super) model: &'a dyn ReadModel,
    pub(super) projection: &'a Arc<dyn AnyProjection>,
    /// What may be passed by again, because it was before.
    pub(super) forgiven: &'a Ledger,
}

/// Up to where a read model was written, and what it remembers.
#[derive(Debug, Clone, Default)]
pub(super) struct Written {
    pub(super) position: Position,
    pub(super) ledger: Ledger,
}

pub(super) fn nothing() -> TxWork {
    Box::new(|_| Box::pin(async { Ok(()) }))
}

impl Target<'_> {
    /// Makes the tables. The read model is elsewhere then when another process got on with it, or when what was in it turned
    /// out to be of another form.
    pub(super) async fn prepare(&self, at: Position) -> Result<(), ProjectionError> {
        let prepared = self.model.write(at, at, prepare_work(Arc::clone(self.projection))).await;
        let Err(ReadModelError::Superseded { found }) = prepared else { return Ok(prepared?) };
        match self.model.write(found, found, prepare_work(Arc::clone(self.projection))).await {
            Err(ReadModelError::Superseded { .. }) => Ok(()),
            other => Ok(other?),
        }
    }

    /// Writes a batch in one transaction. When that fails, its halves are written, and so on, so that the good events before
    /// the bad one count and the bad one can be named.
    pub(super) async fn write(
        &self,
        written: &mut Written,
        events: &Arc<[RecordedEvent]>,
        upto: Position,
    ) -> Result<(), ProjectionError> {
        // What is left to be written, the next part last.
        let mut parts = Vec::new();
        parts.push(0..events.len());
        while let Some(part) = parts.pop() {
            if let [event] = &events[part.clone()] {
                self.write_one(written, event).await?;
                continue;
            }
            let is_last = part.end == events.len();
            let whole =
                if part.len() == events.len() { Arc::clone(events) } else { events[part.clone()].into() };
            let part_upto = whole.last().filter(|_| !is_last).map_or(upto, RecordedEvent::position);
            match self.write_once(written, &whole, part_upto).await {
                Err(ProjectionError::ReadModel(ReadModelError::Work(_))) => {
                    let middle = part.start + part.len() / 2;
                    parts.push(middle..part.end);
                    parts.push(part.start..middle);
                }
                other => other?,
            }
        }
        self.note(written, upto).await
    }

    async fn write_once(
        &self,
        written: &mut Written,
        events: &Arc<[RecordedEvent]>,
        upto: Position,
    ) -> Result<(), ProjectionError> {
        let mut ledger = Ledger { failure: None, ..written.ledger.clone() };
        ledger.see(events);
        let events = self.without_parked(&mut ledger, events);
        let work =
            if events.is_empty() { nothing() } else { apply_work(Arc::clone(self.projection), events) };
        self.commit(written, upto, ledger, work).await
    }

    async fn write_one(&self, written: &mut Written, event: &RecordedEvent) -> Result<(), ProjectionError> {
        let (position, name) = (event.position(), self.projection.name());
        let alone: Arc<[RecordedEvent]> = Arc::new([event.clone()]);
        let reason = match self.write_once(written, &alone, position).await {
            Err(ProjectionError::ReadModel(ReadModelError::Work(error))) => error.to_string(),
            other => return other,
        };
        let (key, facts) = (self.projection.key(event), FailedEvent::of(event));
        let mut ledger = written.ledger.clone();
        ledger.see(std::slice::from_ref(event));
        if self.forgiven.has_skipped(position) {
            ledger.skip(name, facts, &reason)?;
        } else if self.forgiven.parked.iter().any(|parked| parked.key == key) {
            ledger.park(name, key, facts, &reason)?;
        } else {
            return Err(ProjectionError::Stopped { name, position, event: Some(Box::new(facts)), reason });
        }
        self.commit(written, position, ledger, nothing()).await
    }

    /// The events whose keys do not wait; those that do are counted.
    fn without_parked(&self, ledger: &mut Ledger, events: &Arc<[RecordedEvent]>) -> Arc<[RecordedEvent]> {
        if ledger.parked.is_empty() {
            return Arc::clone(events);
        }
        let mut goes_on = |event: &&RecordedEvent| match ledger.parked_mut(&self.projection.key(event)) {
            Some(parked) => {
                parked.waiting += 1;
                false
            }
            None => true,
        };
        events.iter().filter(|event| goes_on(event)).cloned().collect()
    }

    /// Moves the checkpoint on without an event.
    pub(super) async fn note(&self, written: &mut Written, upto: Position) -> Result<(), ProjectionError> {
        if written.position >= upto {
            return Ok(());
        }
        self.commit(written, upto, written.ledger.clone(), nothing()).await
    }

    /// Does work, moves the checkpoint and replaces the ledger, all of it or nothing.
    pub(super) async fn commit(
        &self,
        written: &mut Written,
        upto: Position,
        ledger: Ledger,
        work: TxWork,
    ) -> Result<(), ProjectionError> {
        let notes = Some(ledger.to_notes());
        self.model.write_with_notes(written.position, upto, notes, work).await?;
        *written = Written { position: upto, ledger };
        Ok(())
    }
}
