//! What somebody decides about an event that a projection fails on.

use std::sync::Arc;

use annals_core::{Position, ReadFrom, ReadModelError, ReadRequest, RecordedEvent};

use super::{ProjectionError, ProjectionState, Projector, Written, write};
use crate::ledger::{FailedEvent, Ledger};
use crate::projection::apply_work;

impl Projector {
    /// Tries again at once.
    pub(crate) fn retry(&self) {
        self.mended.notify_one();
    }

    /// Goes on without the event at which the projection stopped. Where a key is parked from this event on, its other events
    /// are taken in.
    pub(crate) async fn skip(&self, position: Position) -> Result<(), ProjectionError> {
        self.need_lead().await?;
        let mut written = self.written.lock().await;
        if let Some(parked) = written.ledger.parked.iter().find(|parked| parked.event.position == position) {
            let (key, reason, event) = (parked.key.clone(), parked.reason.clone(), parked.event.clone());
            let mut ledger = written.ledger.clone();
            ledger.skip(self.name(), event, &reason)?;
            self.remember(&mut written, ledger).await?;
            return self.release_key(&mut written, &key).await;
        }
        self.pass_by(&mut written, position, |ledger, _, event, reason| {
            ledger.skip(self.name(), event, reason)
        })
        .await
    }

    /// Goes on without the events of the key of the event at which the projection stopped: they wait.
    pub(crate) async fn park(&self, position: Position) -> Result<(), ProjectionError> {
        self.need_lead().await?;
        let mut written = self.written.lock().await;
        self.pass_by(&mut written, position, |ledger, key, event, reason| {
            ledger.park(self.name(), key, event, reason)
        })
        .await
    }

    async fn pass_by(
        &self,
        written: &mut Written,
        position: Position,
        note: impl FnOnce(&mut Ledger, String, FailedEvent, &str) -> Result<(), ProjectionError>,
    ) -> Result<(), ProjectionError> {
        let state = self.progress.borrow().state.clone();
        let (name, expected) = (self.name(), format!("it to have stopped at position {position}"));
        let nothing =
            |found: String| ProjectionError::NothingToMend { name, expected: expected.clone(), found };
        let (event, reason) = match state {
            ProjectionState::Failed { position: at, event: Some(event), error } if at == position => {
                (*event, error)
            }
            ProjectionState::Failed { position: at, .. } => {
                return Err(nothing(format!("stopped at position {at}")));
            }
            _ => return Err(nothing("has not stopped".to_owned())),
        };
        let request = ReadRequest::new(self.projection.filter()).from(ReadFrom::Position(position)).limit(1);
        let found = self.store.read(request).await?.events.into_iter().next();
        let found = found.filter(|found| found.position() == position && found.id().to_string() == event.id);
        let found = found.ok_or_else(|| nothing("does not find that event any more".to_owned()))?;
        let mut ledger = Ledger { failure: None, ..written.ledger.clone() };
        ledger.see(std::slice::from_ref(&found));
        note(&mut ledger, self.projection.key(&found), event, &reason)?;
        let target = self.target(&*self.model, &ledger);
        target.commit(written, position, ledger.clone(), write::nothing()).await?;
        self.show(written, Some(ProjectionState::CatchingUp));
        self.mended.notify_one();
        Ok(())
    }

    /// Takes in the events of a key that wait, in order, and then those that come.
    pub(crate) async fn release(&self, key: &str) -> Result<(), ProjectionError> {
        self.need_lead().await?;
        let mut written = self.written.lock().await;
        self.release_key(&mut written, key).await
    }

    async fn release_key(&self, written: &mut Written, key: &str) -> Result<(), ProjectionError> {
        let Some(parked) = written.ledger.parked.iter().find(|parked| parked.key == key).cloned() else {
            let keys: Vec<_> = written.ledger.parked.iter().map(|parked| parked.key.as_str()).collect();
            let found = format!(
                "has parked {}",
                if keys.is_empty() { "nothing".to_owned() } else { keys.join(", ") }
            );
            let expected = format!("a parked key {key:?}");
            return Err(ProjectionError::NothingToMend { name: self.name(), expected, found });
        };
        let request = ReadRequest::new(self.projection.filter());
        let mut reader =
            annals_core::Reader::new(&*self.store, request.from(ReadFrom::Position(parked.event.position)));
        let upto = written.position;
        while let Some(events) = reader.next_batch().await? {
            let is_over = events.last().is_some_and(|event| event.position() > upto);
            let waits = |event: &&RecordedEvent| {
                event.position() <= upto
                    && self.projection.key(event) == key
                    && !written.ledger.has_skipped(event.position())
            };
            let waiting: Vec<RecordedEvent> = events.iter().filter(waits).cloned().collect();
            for event in waiting {
                self.take_parked(written, key, event).await?;
            }
            if is_over {
                break;
            }
        }
        let mut ledger = written.ledger.clone();
        ledger.parked.retain(|parked| parked.key != key);
        self.remember(written, ledger).await
    }

    /// One by one: should the next fail, those before it are not applied twice.
    async fn take_parked(
        &self,
        written: &mut Written,
        key: &str,
        event: RecordedEvent,
    ) -> Result<(), ProjectionError> {
        let (facts, position) = (FailedEvent::of(&event), event.position());
        let mut ledger = written.ledger.clone();
        if let Some(parked) = ledger.parked_mut(key) {
            // It goes on behind this one.
            parked.event = FailedEvent { position: position.next(), ..facts.clone() };
            parked.waiting = parked.waiting.saturating_sub(1);
        }
        let at = written.position;
        let work = apply_work(Arc::clone(&self.projection), Arc::new([event]));
        let target = self.target(&*self.model, &ledger);
        match target.commit(written, at, ledger.clone(), work).await {
            Err(ProjectionError::ReadModel(ReadModelError::Work(error))) => {
                let (name, reason) = (self.name(), error.to_string());
                let mut ledger = written.ledger.clone();
                if let Some(parked) = ledger.parked_mut(key) {
                    parked.event = facts.clone();
                    parked.reason = crate::ledger::short(&reason);
                }
                self.remember(written, ledger).await?;
                let (key, event) = (key.to_owned(), Box::new(facts));
                Err(ProjectionError::StaysParked { name, key, event, reason })
            }
            other => other,
        }
    }

    /// Replaces what the read model remembers.
    async fn remember(&self, written: &mut Written, ledger: Ledger) -> Result<(), ProjectionError> {
        let at = written.position;
        let target = self.target(&*self.model, &ledger);
        target.commit(written, at, ledger.clone(), write::nothing()).await?;
        self.show(written, None);
        Ok(())
    }

    /// Lets an earlier version answer in this one's place, or this one again.
    pub(crate) async fn withdraw(&self, reason: Option<String>) -> Result<(), ProjectionError> {
        self.need_lead().await?;
        let mut written = self.written.lock().await;
        let ledger = Ledger { withdrawn: reason, ..written.ledger.clone() };
        self.remember(&mut written, ledger).await
    }
}
