//! The contract that every store of events meets.

use std::future::Future;
use std::pin::Pin;

use serde::Serialize;

use crate::{
    AppendError, AppendReceipt, AppendRequest, ConsumerName, DeleteMode, EventBatch, ExpectedVersion, Filter,
    NewEvent, Position, ReadRequest, Reader, StoreError, StreamName, StreamState, StreamSummary,
    Subscription, SystemEvent, TransactionalStore, Version,
};

/// A boxed future that may move between threads.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What an acknowledged append survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// The end of the process and the loss of power: it is on disk.
    Disk,
    /// Nothing: it is in memory, and gone with the process.
    Memory,
}

/// An append-only store of events.
///
/// Its promises, which the conformance suite (feature `conformance`) checks:
/// - An append is atomic. Acknowledged means durable (but see [`durability`](Self::durability)), visible, ordered.
/// - Positions are dense and commit-ordered: who has seen position *n* never later meets a smaller new one.
/// - An event id is stored once. Appending a former append's ids and content again returns its receipt.
///
/// ```
/// use std::sync::Arc;
/// use annals_core::{AppendRequest, EventStore, EventType, MemoryStore, NewEvent, ReadRequest, StreamName};
/// # annals_core::block_on(async {
/// let store: Arc<dyn EventStore> = Arc::new(MemoryStore::default());
/// let stream = StreamName::new("account-42")?;
/// let opened = NewEvent::new(stream.clone(), EventType::new("AccountOpened")?).json(r#"{"owner":"ann"}"#);
/// let receipt = store.append(AppendRequest::new([opened])).await?;
/// let events = store.reader(ReadRequest::stream(stream)).collect().await?;
/// assert_eq!(events[0].position(), receipt.last_position);
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
pub trait EventStore: Send + Sync + 'static {
    /// Stores events, all or none.
    fn append(&self, request: AppendRequest) -> BoxFuture<'_, Result<AppendReceipt, AppendError>>;

    /// Reads the next batch of events: at most [`MAX_BATCH_EVENTS`](crate::MAX_BATCH_EVENTS).
    fn read(&self, request: ReadRequest) -> BoxFuture<'_, Result<EventBatch, StoreError>>;

    /// The position of the last visible event.
    fn head(&self) -> BoxFuture<'_, Result<Position, StoreError>>;

    /// Waits until the head is behind `after`, and returns it.
    fn wait_past(&self, after: Position) -> BoxFuture<'_, Result<Position, StoreError>>;

    /// What is known of a stream; a stream never written has version 0.
    fn stream_state(&self, stream: &StreamName) -> BoxFuture<'_, Result<StreamState, StoreError>>;

    /// Streams by name, from the one after `after`, at most `limit`.
    fn streams(
        &self,
        after: Option<StreamName>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<StreamSummary>, StoreError>>;

    /// The checkpoint that a consumer stored with [`AppendRequest::checkpoint`].
    fn checkpoint(&self, consumer: &ConsumerName) -> BoxFuture<'_, Result<Option<Position>, StoreError>>;

    /// Reads and checks everything that is stored.
    fn verify(&self, progress: VerifyProgress) -> BoxFuture<'_, Result<VerifyReport, StoreError>>;

    /// Gives back the space of events that are hidden for ever. What is left of such an event: its position, version,
    /// id, stream and hashes. Appends and reads go on meanwhile.
    fn compact(&self, _progress: VerifyProgress) -> BoxFuture<'_, Result<CompactReport, StoreError>> {
        let store = self.description();
        Box::pin(async move { Err(StoreError::Unsupported { what: "compacting", store }) })
    }

    /// What an acknowledged append survives.
    fn durability(&self) -> Durability;

    /// What tells this store from every other, for as long as it exists: read models remember it.
    fn store_id(&self) -> String;

    /// A line for people: what kind of store this is and where.
    fn description(&self) -> String;

    /// What a person should know of how the store was found when it was opened, such as a tail that was set aside.
    fn notices(&self) -> Vec<String> {
        Vec::new()
    }

    /// Tells other processes that find the store in use where it is served, as far as the store can.
    fn announce(&self, _address: &str) {}

    /// The store as one that can write read-model rows in the append's own transaction, if it can.
    fn transactional(&self) -> Option<&dyn TransactionalStore> {
        None
    }

    /// Ends a stream: its events are hidden. Recorded as an event of the stream.
    fn delete(
        &self,
        stream: StreamName,
        expected: ExpectedVersion,
        mode: DeleteMode,
    ) -> BoxFuture<'_, Result<AppendReceipt, AppendError>> {
        let event = NewEvent::system(stream.clone(), mode.into());
        self.append(AppendRequest::new([event]).expect(stream, expected))
    }

    /// Hides the events of a stream with versions before `before`. Recorded as an event of the stream.
    fn truncate(
        &self,
        stream: StreamName,
        before: Version,
    ) -> BoxFuture<'_, Result<AppendReceipt, AppendError>> {
        self.append(AppendRequest::new([NewEvent::system(stream, SystemEvent::StreamTruncated { before })]))
    }
}

impl dyn EventStore {
    /// Reads batch by batch to the end.
    pub fn reader(&self, request: ReadRequest) -> Reader<'_> {
        Reader::new(self, request)
    }
}

/// Subscribes to a shared store: see [`Subscription`].
pub fn subscribe(store: std::sync::Arc<dyn EventStore>, filter: Filter, after: Position) -> Subscription {
    Subscription::new(store, filter, after)
}

/// Is told how far a verification has come: bytes or events done, and of how many.
pub type VerifyProgress = Box<dyn Fn(u64, u64) + Send + Sync>;

/// What compacting a store changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct CompactReport {
    /// How many segments were rewritten.
    pub segments: u64,
    /// How many events lost their content.
    pub events_removed: u64,
    /// How many bytes the rewritten segments had before.
    pub bytes_before: u64,
    /// How many they have now.
    pub bytes_after: u64,
}

/// What a verification looked at and what it found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct VerifyReport {
    /// How many events were read.
    pub events: u64,
    /// What was checked, each with how many of it.
    pub checked: Vec<(String, u64)>,
    /// What is wrong; empty when all is well.
    pub problems: Vec<String>,
    /// The last position that can be read, counting from the first without a gap.
    pub readable_to: Position,
    /// The chain's hash at the end, where the store has one, as text.
    pub chain: Option<String>,
}

impl VerifyReport {
    /// Whether nothing is wrong.
    pub fn is_sound(&self) -> bool {
        self.problems.is_empty()
    }
}
