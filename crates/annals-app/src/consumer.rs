//! Following the events from a place that is kept in the store of events itself.

use std::sync::Arc;

use annals_core::{
    AppendError, AppendRequest, BoxFuture, ConsumerName, EventStore, Filter, Position, ReadRequest,
    RecordedEvent, StoreError,
};

/// A place that moves on without anything having been done for it is saved after so many positions.
const QUIET_POSITIONS: u64 = 10_000;
/// A store that was made of history for trying things out has a checkpoint of this consumer.
const REPLAY: &str = "annals:what-if";

/// Where one that follows the events begins when it is started for the first time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Begin {
    /// Behind the events that are there: they are none of its business.
    #[default]
    Now,
    /// With the first event that there is.
    History,
}

/// Somebody who follows the events and remembers in the store, under a name, up to where everything is done.
#[derive(Clone)]
pub(crate) struct Consumer {
    store: Arc<dyn EventStore>,
    name: ConsumerName,
}

impl Consumer {
    pub(crate) fn new(store: Arc<dyn EventStore>, name: ConsumerName) -> Self {
        Self { store, name }
    }

    /// Up to where everything is done; nothing for one that was never started.
    pub(crate) async fn place(&self) -> Result<Option<Position>, StoreError> {
        self.store.checkpoint(&self.name).await
    }

    /// Where it goes on. One that was never started begins, and its place is stored before this returns. It is stored again
    /// otherwise, so that a store that takes no writes shows before anything is done that could not be remembered.
    pub(crate) async fn begin(&self, begin: Begin) -> Result<Position, AppendError> {
        let place = match (self.place().await?, begin) {
            (Some(place), _) => place,
            (None, Begin::Now) => self.store.head().await?,
            (None, Begin::History) => Position::ZERO,
        };
        self.clone().save(place).await
    }

    async fn save(self, place: Position) -> Result<Position, AppendError> {
        self.store.append(AppendRequest::default().checkpoint(self.name, place)).await?;
        Ok(place)
    }

    /// The events that match, behind a position.
    pub(crate) fn follow(&self, filter: Filter, after: Position) -> Following {
        Following { store: Arc::clone(&self.store), filter, at: after, is_at_end: false, reading: None }
    }

    /// Keeps its place, which is `saved` now.
    pub(crate) fn saving(&self, saved: Position) -> Saving {
        Saving { consumer: self.clone(), saved, has_done: false, writing: None }
    }
}

/// The next events of one that follows them.
pub(crate) struct Followed {
    /// Every event that matches, up to `upto`.
    pub(crate) events: Vec<RecordedEvent>,
    pub(crate) upto: Position,
    pub(crate) is_at_end: bool,
}

/// Reads history, then what comes. It reads only when it is asked, so one that waits holds no memory.
pub(crate) struct Following {
    store: Arc<dyn EventStore>,
    filter: Filter,
    at: Position,
    is_at_end: bool,
    /// Kept while whoever waits for it does other things first.
    reading: Option<BoxFuture<'static, Result<Followed, StoreError>>>,
}

impl Following {
    /// Whether it has come to the end of the log.
    pub(crate) fn is_at_end(&self) -> bool {
        self.is_at_end
    }

    /// Waits for what comes next: at most `most` events. Dropping the future loses nothing.
    pub(crate) async fn next(&mut self, most: usize) -> Result<Followed, StoreError> {
        let begin = || -> BoxFuture<'static, _> {
            let (store, request) = (Arc::clone(&self.store), ReadRequest::new(self.filter.clone()));
            Box::pin(read_on(store, request, self.at, self.is_at_end, most))
        };
        let read = self.reading.get_or_insert_with(begin).await;
        self.reading = None;
        let followed = read?;
        (self.at, self.is_at_end) = (followed.upto, followed.is_at_end);
        Ok(followed)
    }
}

async fn read_on(
    store: Arc<dyn EventStore>,
    request: ReadRequest,
    after: Position,
    is_at_end: bool,
    most: usize,
) -> Result<Followed, StoreError> {
    if is_at_end {
        store.wait_past(after).await?;
    }
    let batch = store.read(request.after(after).limit(most as u64)).await?;
    let is_full = batch.events.len() >= most;
    let last = batch.events.last().map_or(after, RecordedEvent::position);
    let upto = match batch.next {
        Some(next) => next.previous(),
        None if is_full => last,
        None => batch.head,
    };
    let is_at_end = batch.next.is_none() && !is_full;
    Ok(Followed { events: batch.events, upto: upto.max(last), is_at_end })
}

/// Keeps the place of a consumer: one write at a time, each of the newest place.
pub(crate) struct Saving {
    consumer: Consumer,
    saved: Position,
    /// Whether something was done that the stored place does not show.
    has_done: bool,
    writing: Option<BoxFuture<'static, Result<Position, AppendError>>>,
}

impl Saving {
    /// Notes that something was done, so that the place is saved as soon as it moves.
    pub(crate) fn done(&mut self) {
        self.has_done = true;
    }

    /// Whether there is something to [`save`](Self::save).
    pub(crate) fn is_due(&self, place: Position) -> bool {
        let passed = place.get().saturating_sub(self.saved.get());
        self.writing.is_some() || passed >= QUIET_POSITIONS || (passed > 0 && self.has_done)
    }

    /// Goes on with the write that is under way, or else writes this place. Dropping the future loses nothing.
    pub(crate) async fn save(&mut self, place: Position) -> Result<(), AppendError> {
        let begin = || -> BoxFuture<'static, _> {
            self.has_done = false;
            Box::pin(self.consumer.clone().save(place))
        };
        let written = self.writing.get_or_insert_with(begin).await;
        self.writing = None;
        self.saved = written?;
        Ok(())
    }
}

/// Marks a store as made of history for trying things out: nobody does anything about its events outside of it.
pub(crate) async fn mark_as_replay(store: &dyn EventStore) -> Result<(), AppendError> {
    let Ok(name) = ConsumerName::new(REPLAY) else { return Ok(()) };
    store.append(AppendRequest::default().checkpoint(name, Position::ZERO)).await?;
    Ok(())
}

/// Whether a store was made of history for trying things out.
pub(crate) async fn is_replay(store: &dyn EventStore) -> Result<bool, StoreError> {
    let Ok(name) = ConsumerName::new(REPLAY) else { return Ok(false) };
    Ok(store.checkpoint(&name).await?.is_some())
}
