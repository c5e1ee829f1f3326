//! What to read, and what comes back.

use crate::{Filter, Position, RecordedEvent, StreamName, Timestamp, Version};

/// The most events that a store hands over at once.
pub const MAX_BATCH_EVENTS: usize = 4_096;
/// A store ends a batch early once its events have this many bytes.
pub const MAX_BATCH_BYTES: usize = 4 << 20;

/// Which way to read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Direction {
    /// From old to new.
    #[default]
    Forwards,
    /// From new to old.
    Backwards,
}

/// Where to begin; the place itself is included, in both directions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ReadFrom {
    /// The first event forwards, the last backwards.
    #[default]
    Start,
    /// This position.
    Position(Position),
    /// This version, for reads of exactly one stream.
    Version(Version),
    /// The first event recorded at or after this moment; backwards, the last at or before it.
    RecordedAt(Timestamp),
}

/// A read of visible events.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReadRequest {
    /// Which events.
    pub filter: Filter,
    /// Which way.
    pub direction: Direction,
    /// Where to begin.
    pub from: ReadFrom,
    /// How many at most; without it, all.
    pub limit: Option<u64>,
}

impl ReadRequest {
    /// Reads the matching events from the first to the last.
    pub fn new(filter: Filter) -> Self {
        Self { filter, ..Self::default() }
    }

    /// Reads one stream from its first visible event.
    pub fn stream(stream: StreamName) -> Self {
        Self::new(Filter::stream(stream))
    }

    /// Reads only the last matching event.
    pub fn last(filter: Filter) -> Self {
        Self::new(filter).backwards().limit(1)
    }

    /// Reads from new to old.
    #[must_use]
    pub fn backwards(mut self) -> Self {
        self.direction = Direction::Backwards;
        self
    }

    /// Begins at `from`.
    #[must_use]
    pub fn from(mut self, from: ReadFrom) -> Self {
        self.from = from;
        self
    }

    /// Begins right after `position`.
    #[must_use]
    pub fn after(self, position: Position) -> Self {
        self.from(ReadFrom::Position(position.next()))
    }

    /// Reads at most `limit` events.
    #[must_use]
    pub fn limit(mut self, limit: u64) -> Self {
        self.limit = Some(limit);
        self
    }
}

/// Some events of a read, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventBatch {
    /// The events; empty when nothing more matches.
    pub events: Vec<RecordedEvent>,
    /// Where the same read goes on; `None` when it is at its end, by its limit or by the log's.
    pub next: Option<Position>,
    /// The end of the log as this batch saw it: every matching event up to here was seen once `next` is `None`.
    pub head: Position,
}

/// A read that goes on batch by batch.
///
/// Nothing is held between batches but the place where the next begins.
pub struct Reader<'a> {
    store: &'a dyn crate::EventStore,
    request: Option<ReadRequest>,
}

impl<'a> Reader<'a> {
    /// Begins to read.
    pub fn new(store: &'a dyn crate::EventStore, request: ReadRequest) -> Self {
        Self { store, request: Some(request) }
    }

    /// The next events; `None` at the end.
    ///
    /// # Errors
    /// What the store's `read` reports.
    pub async fn next_batch(&mut self) -> Result<Option<Vec<RecordedEvent>>, crate::StoreError> {
        let Some(mut request) = self.request.take() else { return Ok(None) };
        let batch = self.store.read(request.clone()).await?;
        if let Some(next) = batch.next {
            request.from = ReadFrom::Position(next);
            request.limit = request.limit.map(|limit| limit.saturating_sub(batch.events.len() as u64));
            self.request = Some(request);
        }
        Ok(Some(batch.events).filter(|events| !events.is_empty() || self.request.is_some()))
    }

    /// All the events that are left, in memory: for reads known to be small.
    ///
    /// # Errors
    /// What the store's `read` reports.
    pub async fn collect(mut self) -> Result<Vec<RecordedEvent>, crate::StoreError> {
        let mut all = Vec::new();
        while let Some(events) = self.next_batch().await? {
            all.extend(events);
        }
        Ok(all)
    }
}
