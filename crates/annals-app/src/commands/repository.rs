//! Loads aggregates by folding their events.

use std::convert::Infallible;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::{Duration, Instant};

use annals_core::{
    BoxError, EventStore, Position, ReadFrom, ReadModelStore, ReadRequest, Reader, RecordedEvent, StreamName,
    StreamState, SystemEvent, Timestamp, Version,
};

use crate::changes::changes;
use crate::panics::catch_panic;
use crate::snapshots::{FEWEST_EVENTS, Snapshot, Snapshots, is_worth_saving};
use crate::{Aggregate, At, ChangingEvent, Error, StateDifference, decode_event};

/// An aggregate, folded up to some version.
#[derive(Debug, Clone, Default)]
pub(crate) struct Folded<A> {
    pub(crate) state: Arc<A>,
    pub(crate) version: Version,
    /// The position of the last event folded.
    pub(crate) position: Position,
    /// When that event was recorded.
    pub(crate) recorded_at: Timestamp,
    /// The version that was saved last.
    pub(crate) saved: Version,
    /// The first version that was not hidden by a truncation.
    pub(crate) visible_from: Version,
}

pub(crate) struct Repository<A> {
    store: Arc<dyn EventStore>,
    snapshots: Arc<Snapshots>,
    of: PhantomData<fn() -> A>,
}

impl<A: Aggregate> Repository<A> {
    pub(crate) fn new(store: Arc<dyn EventStore>, models: Arc<dyn ReadModelStore>) -> Self {
        let snapshots = Arc::new(Snapshots::new::<A>(Arc::clone(&store), models));
        Self { store, snapshots, of: PhantomData }
    }

    pub(crate) fn store(&self) -> &Arc<dyn EventStore> {
        &self.store
    }

    /// The newest state, from the store.
    pub(super) async fn load(&self, stream: &StreamName) -> Result<Folded<A>, Error<Infallible>> {
        let begun = Instant::now();
        let mut folded = self.fold(stream, At::Now).await?;
        self.save_when_due(stream, &mut folded, begun.elapsed());
        Ok(folded)
    }

    /// Saves a state when it cost enough to get there.
    pub(super) fn save_when_due(&self, stream: &StreamName, folded: &mut Folded<A>, took: Duration) {
        if is_worth_saving(folded, took) {
            folded.saved = folded.version;
            self.snapshots.save_beside(stream.clone(), folded.clone());
        }
    }

    /// Folds the events of a stream up to a point.
    pub(crate) async fn fold<E>(&self, stream: &StreamName, at: At) -> Result<Folded<A>, Error<E>> {
        let now = self.store.stream_state(stream).await?;
        if now.version == Version::ZERO {
            // The first command to an entity is not held up by a read that finds nothing.
            return Ok(Folded { visible_from: first_visible(&now), ..Folded::default() });
        }
        let mut folded = None;
        if let Some(snapshot) = self.snapshot(stream, at, &now).await {
            let version = snapshot.folded.version;
            folded = self.fold_on(stream, at, Some(snapshot)).await?;
            if folded.is_none() {
                self.snapshots.remove_beside(stream.clone(), version);
            }
        }
        if folded.is_none() {
            folded = self.fold_on(stream, at, None).await?;
        }
        Ok(Folded { visible_from: first_visible(&now), ..folded.unwrap_or_default() })
    }

    /// A saved state on the way to a point, where looking for one is worth it.
    async fn snapshot(&self, stream: &StreamName, at: At, now: &StreamState) -> Option<Snapshot<A>> {
        let events = match at {
            At::OccurredAt(_) => Version::ZERO,
            At::Version(version) => version.min(now.version),
            At::Now | At::Position(_) | At::RecordedAt(_) => now.version,
        };
        if events.get() < FEWEST_EVENTS {
            return None;
        }
        let Snapshot { folded, event_id } = self.snapshots.load::<A>(stream).await?;
        let before = match at {
            At::Now => true,
            At::Version(version) => folded.version <= version,
            At::Position(position) => folded.position <= position,
            At::RecordedAt(moment) => folded.recorded_at <= moment,
            At::OccurredAt(_) => false,
        };
        // A truncation hides what it was folded from.
        (before && folded.visible_from == first_visible(now)).then_some(Snapshot { folded, event_id })
    }

    /// Folds on from a saved state, or from nothing; `None` when the saved state is not of this stream as it is now.
    async fn fold_on<E>(
        &self,
        stream: &StreamName,
        at: At,
        snapshot: Option<Snapshot<A>>,
    ) -> Result<Option<Folded<A>>, Error<E>> {
        let mut request = ReadRequest::stream(stream.clone());
        // The event that the saved state ends with is read too, to see that it is still there.
        if let Some(Snapshot { folded, .. }) = &snapshot {
            request = request.from(ReadFrom::Position(folded.position));
        }
        if let At::Version(version) = at {
            // A ruined row may tell of version 0.
            let before =
                snapshot.as_ref().map_or(0, |snapshot| snapshot.folded.version.get().saturating_sub(1));
            request = request.limit(version.get() - before);
        }
        let mut to_check = snapshot.as_ref();
        let mut folded = None;
        let mut reader = Reader::new(&*self.store, request);
        while let Some(events) = reader.next_batch().await? {
            for event in events {
                if let Some(snapshot) = to_check.take() {
                    if !snapshot.ends_with(&event) {
                        return Ok(None);
                    }
                    folded = Some(snapshot.folded.clone());
                    continue;
                }
                match part_of(at, &event) {
                    Part::Beyond => return Ok(folded),
                    Part::Left => {}
                    Part::Taken => folded.get_or_insert_default().take(&event)?,
                }
            }
        }
        Ok(folded)
    }

    /// What each event behind `from`, up to `to`, changed.
    pub(crate) async fn difference<E>(
        &self,
        stream: &StreamName,
        from: Version,
        to: Version,
    ) -> Result<StateDifference, Error<E>> {
        let json =
            |state: &A| serde_json::to_value(state).map_err(|error| Error::malformed("the state", error));
        let mut folded = self.fold(stream, At::Version(from)).await?;
        let first = json(&folded.state)?;
        let (mut before, mut events) = (first.clone(), Vec::new());
        let request = ReadRequest::stream(stream.clone()).from(ReadFrom::Version(from.next()));
        let mut reader = Reader::new(&*self.store, request.limit(to.get() - from.get()));
        while let Some(batch) = reader.next_batch().await? {
            for event in batch.iter().filter(|event| event.version() <= to) {
                folded.take(event)?;
                let after = json(&folded.state)?;
                events.push(ChangingEvent::new(event, changes(&before, &after)));
                before = after;
            }
        }
        Ok(StateDifference { from, to: folded.version, changed: changes(&first, &before), events })
    }
}

/// The first version of a stream that no truncation hides.
pub(crate) fn first_visible(stream: &StreamState) -> Version {
    stream.visible_from.max(Version::new(1))
}

/// What becomes of an event when a state of the past is folded.
enum Part {
    Taken,
    Left,
    /// It, and all that follow it, are left.
    Beyond,
}

fn part_of(at: At, event: &RecordedEvent) -> Part {
    let taken = match at {
        At::Now => true,
        At::Version(version) => event.version() <= version,
        At::Position(position) => event.position() <= position,
        At::RecordedAt(moment) => event.recorded_at() <= moment,
        At::OccurredAt(moment) => event.occurred_at() <= moment,
    };
    match at {
        _ if taken => Part::Taken,
        // What happened earlier may have been recorded later.
        At::OccurredAt(_) => Part::Left,
        _ => Part::Beyond,
    }
}

impl<A: Aggregate> Folded<A> {
    /// Takes the next event into the state.
    fn take<E>(&mut self, event: &RecordedEvent) -> Result<(), Error<E>> {
        match event.system_event() {
            Some(SystemEvent::StreamDeleted | SystemEvent::StreamTombstoned) => self.state = Arc::default(),
            Some(SystemEvent::StreamTruncated { .. }) => {}
            None => {
                let events = decode_event::<A::Event>(event)?;
                let state = Arc::make_mut(&mut self.state);
                catch_panic(|| events.for_each(|event| state.apply(&event)))
                    .map_err(|message| Error::panicked(event.event_type(), message))?;
            }
        }
        self.version = event.version();
        self.position = event.position();
        self.recorded_at = event.recorded_at();
        Ok(())
    }
}

/// An entity's state as JSON, with where it stands.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct StateView {
    /// The stream of the entity.
    pub stream: StreamName,
    /// How many events the state is made of.
    pub version: Version,
    /// The position of the last of them.
    pub position: Position,
    /// When the last of them was recorded.
    pub recorded_at: Timestamp,
    /// The state.
    pub state: serde_json::Value,
}

impl StateView {
    pub(crate) fn new<A: Aggregate>(stream: StreamName, folded: &Folded<A>) -> Result<Self, BoxError> {
        let Folded { version, position, recorded_at, .. } = *folded;
        Ok(Self { stream, version, position, recorded_at, state: serde_json::to_value(&*folded.state)? })
    }
}
