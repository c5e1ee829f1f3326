//! A store that counts its reads, may pass over an event when it is read forwards, and may take no writes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use annals_core::*;

/// What it does to reads.
pub struct OddStore {
    pub inner: Arc<MemoryStore>,
    pub reads: AtomicU64,
    /// The event at this position is not handed over when reading forwards; 0 for none.
    pub passes_over: AtomicU64,
    pub is_read_only: AtomicBool,
}

impl OddStore {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            inner: Arc::default(),
            reads: AtomicU64::new(0),
            passes_over: AtomicU64::new(0),
            is_read_only: AtomicBool::new(false),
        })
    }
}

impl EventStore for OddStore {
    fn append(&self, request: AppendRequest) -> BoxFuture<'_, Result<AppendReceipt, AppendError>> {
        if self.is_read_only.load(Ordering::SeqCst) {
            let refused = StoreError::ReadOnly { reason: "for a test".to_owned() };
            return Box::pin(std::future::ready(Err(refused.into())));
        }
        self.inner.append(request)
    }

    fn read(&self, request: ReadRequest) -> BoxFuture<'_, Result<EventBatch, StoreError>> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        let passes_over = match request.direction {
            Direction::Forwards => Position::new(self.passes_over.load(Ordering::SeqCst)),
            Direction::Backwards => Position::ZERO,
        };
        Box::pin(async move {
            let mut batch = self.inner.read(request).await?;
            batch.events.retain(|event| event.position() != passes_over);
            Ok(batch)
        })
    }

    fn head(&self) -> BoxFuture<'_, Result<Position, StoreError>> {
        self.inner.head()
    }

    fn wait_past(&self, after: Position) -> BoxFuture<'_, Result<Position, StoreError>> {
        self.inner.wait_past(after)
    }

    fn stream_state(&self, stream: &StreamName) -> BoxFuture<'_, Result<StreamState, StoreError>> {
        self.inner.stream_state(stream)
    }

    fn streams(
        &self,
        after: Option<StreamName>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<StreamSummary>, StoreError>> {
        self.inner.streams(after, limit)
    }

    fn checkpoint(&self, consumer: &ConsumerName) -> BoxFuture<'_, Result<Option<Position>, StoreError>> {
        self.inner.checkpoint(consumer)
    }

    fn verify(&self, progress: VerifyProgress) -> BoxFuture<'_, Result<VerifyReport, StoreError>> {
        self.inner.verify(progress)
    }

    fn durability(&self) -> Durability {
        self.inner.durability()
    }

    fn store_id(&self) -> String {
        self.inner.store_id()
    }

    fn description(&self) -> String {
        self.inner.description()
    }
}
