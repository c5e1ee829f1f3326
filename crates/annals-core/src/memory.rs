//! A store in memory, for tests and for trying things out.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use crate::catalog::{Catalog, EventSource, PreparedAppend, Staged, Staging};
use crate::{
    AppendError, AppendReceipt, AppendRequest, BoxFuture, Clock, ConsumerName, Durability, EventBatch,
    EventStore, Head, MAX_BATCH_BYTES, MAX_BATCH_EVENTS, Position, ReadRequest, RecordedEvent, StoreError,
    StreamName, StreamState, StreamSummary, SystemClock, VerifyProgress, VerifyReport,
};

/// A store in memory: the whole contract, except that nothing survives the process.
pub struct MemoryStore {
    clock: Arc<dyn Clock>,
    state: RwLock<State>,
    head: Head,
    id: crate::EventId,
}

#[derive(Default)]
struct State {
    catalog: Catalog,
    events: Vec<RecordedEvent>,
}

struct Events<'a>(&'a [RecordedEvent]);

impl EventSource for Events<'_> {
    fn event_at(&self, position: Position) -> Result<RecordedEvent, StoreError> {
        let index = position.get().checked_sub(1).and_then(|index| self.0.get(index as usize));
        index.cloned().ok_or(StoreError::Closed)
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::with_clock(Arc::new(SystemClock))
    }
}

impl MemoryStore {
    /// An empty store that takes the time from `clock`.
    pub fn with_clock(clock: Arc<dyn Clock>) -> Self {
        Self { clock, state: RwLock::default(), head: Head::default(), id: crate::EventId::fresh() }
    }

    fn state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn append_now(&self, request: AppendRequest) -> Result<AppendReceipt, AppendError> {
        let prepared = PreparedAppend::new(request)?;
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let source = Events(&state.events);
        let mut staging = Staging::new(&state.catalog, &source, self.clock.now());
        if let Staged::Duplicate(receipt) = staging.stage(prepared)? {
            return Ok(receipt);
        }
        let mut receipt = None;
        for append in staging.into_appends() {
            state.catalog.insert(&append.events);
            if let Some(checkpoint) = &append.checkpoint {
                state.catalog.set_checkpoint(checkpoint);
            }
            state.events.extend(append.events);
            receipt = Some(append.receipt);
        }
        self.head.advance(state.catalog.head());
        receipt.ok_or(AppendError::Store(StoreError::Closed))
    }

    fn read_now(&self, request: &ReadRequest) -> Result<EventBatch, StoreError> {
        let state = self.state();
        let source = Events(&state.events);
        collect_batch(&state.catalog, &source, request)
    }
}

/// Reads the events that a request selects, up to the size of one batch.
///
/// # Errors
/// [`StoreError::Invalid`] for a request that breaks a rule, and what the source reports.
pub fn collect_batch(
    catalog: &Catalog,
    source: &impl EventSource,
    request: &ReadRequest,
) -> Result<EventBatch, StoreError> {
    let mut batch = EventBatch { head: catalog.head(), ..EventBatch::default() };
    let mut bytes = 0;
    for position in catalog.select(request)? {
        if batch.events.len() >= MAX_BATCH_EVENTS || bytes >= MAX_BATCH_BYTES {
            batch.next = Some(position);
            break;
        }
        let event = source.event_at(position)?;
        bytes += event.body().len();
        batch.events.push(event);
    }
    Ok(batch)
}

impl EventStore for MemoryStore {
    fn append(&self, request: AppendRequest) -> BoxFuture<'_, Result<AppendReceipt, AppendError>> {
        Box::pin(async move { self.append_now(request) })
    }

    fn read(&self, request: ReadRequest) -> BoxFuture<'_, Result<EventBatch, StoreError>> {
        Box::pin(async move { self.read_now(&request) })
    }

    fn head(&self) -> BoxFuture<'_, Result<Position, StoreError>> {
        Box::pin(async { Ok(self.head.get()) })
    }

    fn wait_past(&self, after: Position) -> BoxFuture<'_, Result<Position, StoreError>> {
        Box::pin(self.head.wait_past(after))
    }

    fn stream_state(&self, stream: &StreamName) -> BoxFuture<'_, Result<StreamState, StoreError>> {
        let state = self.state().catalog.stream_state(stream.as_str());
        Box::pin(async move { Ok(state) })
    }

    fn streams(
        &self,
        after: Option<StreamName>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<StreamSummary>, StoreError>> {
        Box::pin(async move { Ok(self.state().catalog.streams(after.as_ref(), limit)) })
    }

    fn checkpoint(&self, consumer: &ConsumerName) -> BoxFuture<'_, Result<Option<Position>, StoreError>> {
        let position = self.state().catalog.checkpoint(consumer);
        Box::pin(async move { Ok(position) })
    }

    fn verify(&self, progress: VerifyProgress) -> BoxFuture<'_, Result<VerifyReport, StoreError>> {
        Box::pin(async move {
            let state = self.state();
            let events = state.events.len() as u64;
            progress(events, events);
            Ok(VerifyReport {
                events,
                checked: vec![("index entries".to_owned(), events)],
                problems: state.catalog.inconsistencies(),
                readable_to: state.catalog.head(),
                chain: None,
            })
        })
    }

    fn durability(&self) -> Durability {
        Durability::Memory
    }

    fn store_id(&self) -> String {
        self.id.to_string()
    }

    fn description(&self) -> String {
        "events in memory, gone when the program ends".to_owned()
    }
}
