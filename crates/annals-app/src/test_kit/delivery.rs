//! The ways in which events come to a projection, none of which may make a difference.

use std::sync::Arc;
use std::time::Duration;

use annals_core::{
    AppendError, AppendReceipt, AppendRequest, BoxError, BoxFuture, ConsumerName, Direction, Durability,
    EventBatch, EventStore, MemoryStore, ModelKind, NewEvent, Position, ReadFrom, ReadModel, ReadModelError,
    ReadModelStore, ReadRequest, StoreError, StreamName, StreamState, StreamSummary, VerifyProgress,
    VerifyReport,
};

use crate::{App, RunningApp};

/// A projection has so long to take in the events of a test.
const PATIENCE: Duration = Duration::from_secs(30);

/// A way in which events come to a projection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Delivery {
    OneBatch,
    OneByOne,
    Restarts,
    Twice,
    Rebuilt,
}

impl Delivery {
    pub(super) const ALL: [Self; 5] =
        [Self::OneBatch, Self::OneByOne, Self::Restarts, Self::Twice, Self::Rebuilt];

    pub(super) fn text(self) -> &'static str {
        match self {
            Self::OneBatch => "when all events come in one batch",
            Self::OneByOne => "when each event comes in a batch of its own",
            Self::Restarts => "when the application is started again before each event",
            Self::Twice => "when every batch comes again with all that follow",
            Self::Rebuilt => "after a rebuild",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::OneBatch => "one-batch",
            Self::OneByOne => "one-by-one",
            Self::Restarts => "restarts",
            Self::Twice => "twice",
            Self::Rebuilt => "rebuilt",
        }
    }

    /// An application that has taken in the events in this way, with read models of its own in `models`.
    pub(super) async fn deliver(
        self,
        app: &(dyn Fn() -> App + Sync),
        projection: &str,
        events: &[NewEvent],
        models: &Arc<dyn ReadModelStore>,
    ) -> Result<RunningApp, BoxError> {
        let repeats = self == Self::Twice;
        let store: Arc<dyn EventStore> = Arc::new(RepeatingStore { inner: MemoryStore::default(), repeats });
        let models: Arc<dyn ReadModelStore> =
            Arc::new(OwnModels { inner: Arc::clone(models), suffix: self.name() });
        let start = || app().start(Arc::clone(&store), Arc::clone(&models));
        if matches!(self, Self::OneBatch | Self::Rebuilt) {
            for event in events {
                store.append(AppendRequest::new([event.clone()])).await?;
            }
        }
        let mut running = start().await?;
        running.catch_up(PATIENCE).await?;
        match self {
            Self::OneBatch => {}
            Self::Rebuilt => {
                running.rebuild(projection, &|_| {}).await?;
            }
            Self::OneByOne | Self::Twice | Self::Restarts => {
                for event in events {
                    store.append(AppendRequest::new([event.clone()])).await?;
                    if self == Self::Restarts {
                        drop(running);
                        running = start().await?;
                    }
                    running.catch_up(PATIENCE).await?;
                }
            }
        }
        Ok(running)
    }
}

/// Read models that go by names of their own in a store that others use too.
struct OwnModels {
    inner: Arc<dyn ReadModelStore>,
    suffix: &'static str,
}

impl ReadModelStore for OwnModels {
    fn open(&self, name: &str, version: u32) -> BoxFuture<'_, Result<Arc<dyn ReadModel>, ReadModelError>> {
        let name = format!("{name}-{}", self.suffix);
        Box::pin(async move { self.inner.open(&name, version).await })
    }

    fn of_kind(&self, kind: ModelKind) -> Option<Arc<dyn ReadModelStore>> {
        let inner = self.inner.of_kind(kind)?;
        Some(Arc::new(Self { inner, suffix: self.suffix }))
    }

    fn scratch(&self, name: &str) -> BoxFuture<'_, Result<Arc<dyn ReadModel>, ReadModelError>> {
        self.inner.scratch(name)
    }
}

/// A store in memory that, when it repeats, hands over all that was before what is asked for as well.
struct RepeatingStore {
    inner: MemoryStore,
    repeats: bool,
}

impl EventStore for RepeatingStore {
    fn append(&self, request: AppendRequest) -> BoxFuture<'_, Result<AppendReceipt, AppendError>> {
        self.inner.append(request)
    }

    fn read(&self, mut request: ReadRequest) -> BoxFuture<'_, Result<EventBatch, StoreError>> {
        if self.repeats && request.direction == Direction::Forwards {
            request.from = ReadFrom::Start;
        }
        self.inner.read(request)
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
