//! A read model with the events that it has not got yet, for one answer.

use annals_core::{Position, ReadModelTx, ReadRequest, Reader, RecordedEvent};

use crate::ledger::FailedEvent;

use super::{ProjectionError, Projector, is_of_another_store};

/// The most events that are taken in for one answer, so that nobody who writes waits long for it.
pub const MOST_FRESH_EVENTS: u64 = 50_000;

impl Projector {
    /// Begins to read a state that has every event stored by now: what is saved, and on top of it, for the reader alone, the
    /// events since.
    pub(crate) async fn read_fresh(&self) -> Result<(Box<dyn ReadModelTx>, Position), ProjectionError> {
        let head = self.store.head().await?;
        if self.progress.borrow().position >= head && self.is_usable() {
            return self.read().await;
        }
        if is_of_another_store(&self.progress.borrow().state) {
            let (name, position) = (self.name(), self.progress.borrow().position);
            return Err(ProjectionError::NotOfThisStore { name, position, head });
        }
        match self.fork(head, usize::MAX).await {
            // Which of them it was shows when they are taken one by one.
            Err(ProjectionError::Stopped { .. }) => self.fork(head, 1).await,
            done => done,
        }
    }

    /// What is saved with the events since, up to a position, of which so many are applied at once.
    async fn fork(
        &self,
        head: Position,
        at_once: usize,
    ) -> Result<(Box<dyn ReadModelTx>, Position), ProjectionError> {
        let (bookmark, mut fork) = self.model.fork().await?;
        let ledger = crate::ledger::Ledger::of(self.name(), &bookmark)?;
        let request = ReadRequest::new(self.projection.filter()).after(bookmark.position);
        let mut reader = Reader::new(&*self.store, request.limit(MOST_FRESH_EVENTS + 1));
        let mut taken = 0;
        while let Some(mut events) = reader.next_batch().await? {
            events.retain(|event| {
                let key = || self.projection.key(event);
                event.position() <= head
                    && (ledger.parked.is_empty() || ledger.parked.iter().all(|parked| parked.key != key()))
            });
            taken += events.len() as u64;
            if taken > MOST_FRESH_EVENTS {
                let (name, position) = (self.name(), bookmark.position);
                return Err(ProjectionError::Behind { name, position, at_least: head });
            }
            for events in events.chunks(at_once) {
                self.apply_to(&mut *fork, events).await?;
            }
        }
        Ok((fork, head))
    }

    async fn apply_to(
        &self,
        tx: &mut dyn ReadModelTx,
        events: &[RecordedEvent],
    ) -> Result<(), ProjectionError> {
        let Some(first) = events.first() else { return Ok(()) };
        self.projection.apply(tx, events).await.map_err(|error| ProjectionError::Stopped {
            name: self.name(),
            position: first.position(),
            event: Some(Box::new(FailedEvent::of(first))),
            reason: error.to_string(),
        })
    }
}
