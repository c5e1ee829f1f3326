//! Loads aggregates by folding their events, and keeps the hot ones folded.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};

use annals_core::{
    BoxError, EventStore, Position, ReadFrom, ReadRequest, Reader, StreamName, SystemEvent, Timestamp,
    Version,
};
use lru::LruCache;

use crate::{Aggregate, At, Error, decode_event};

/// How many folded aggregates of one type are kept in memory.
const CACHED_AGGREGATES: NonZeroUsize = NonZeroUsize::new(10_000).unwrap();

/// An aggregate, folded up to some version.
#[derive(Debug, Clone, Default)]
pub(crate) struct Folded<A> {
    pub(crate) state: A,
    pub(crate) version: Version,
    /// The position of the last event folded.
    pub(crate) position: Position,
    /// When that event was recorded.
    pub(crate) recorded_at: Timestamp,
}

pub(crate) struct Repository<A> {
    store: Arc<dyn EventStore>,
    cache: Mutex<LruCache<StreamName, Arc<Folded<A>>>>,
}

impl<A: Aggregate> Repository<A> {
    pub(crate) fn new(store: Arc<dyn EventStore>) -> Self {
        Self { store, cache: Mutex::new(LruCache::new(CACHED_AGGREGATES)) }
    }

    pub(crate) fn store(&self) -> &Arc<dyn EventStore> {
        &self.store
    }

    fn cache(&self) -> std::sync::MutexGuard<'_, LruCache<StreamName, Arc<Folded<A>>>> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The newest state known here; the append's expected version tells whether it is still the newest.
    pub(crate) async fn newest<E>(&self, stream: &StreamName) -> Result<Arc<Folded<A>>, Error<E>> {
        let cached = self.cache().get(stream).map(Arc::clone);
        match cached {
            Some(folded) => Ok(folded),
            None => self.reload(stream).await,
        }
    }

    /// The newest state, from the store.
    pub(crate) async fn reload<E>(&self, stream: &StreamName) -> Result<Arc<Folded<A>>, Error<E>> {
        let folded = Arc::new(self.fold(stream, At::Now).await?);
        self.keep(stream.clone(), Arc::clone(&folded));
        Ok(folded)
    }

    pub(crate) fn keep(&self, stream: StreamName, folded: Arc<Folded<A>>) {
        self.cache().put(stream, folded);
    }

    pub(crate) fn forget(&self, stream: &StreamName) {
        self.cache().pop(stream);
    }

    /// Folds the events of a stream up to a point.
    pub(crate) async fn fold<E>(&self, stream: &StreamName, at: At) -> Result<Folded<A>, Error<E>> {
        let mut folded = Folded::default();
        let mut request = ReadRequest::stream(stream.clone()).from(ReadFrom::Start);
        if let At::Version(version) = at {
            request = request.limit(version.get());
        }
        let mut reader = Reader::new(&*self.store, request);
        while let Some(events) = reader.next_batch().await? {
            for event in events {
                let beyond = match at {
                    At::Now => false,
                    At::Version(version) => event.version() > version,
                    At::Position(position) => event.position() > position,
                    At::RecordedAt(moment) => event.recorded_at() > moment,
                };
                if beyond {
                    return Ok(folded);
                }
                match event.system_event() {
                    Some(SystemEvent::StreamDeleted | SystemEvent::StreamTombstoned) => {
                        folded.state = A::default()
                    }
                    Some(SystemEvent::StreamTruncated { .. }) => {}
                    None => {
                        if let Some(event) = decode_event::<A::Event>(&event)? {
                            folded.state.apply(&event);
                        }
                    }
                }
                folded.version = event.version();
                folded.position = event.position();
                folded.recorded_at = event.recorded_at();
            }
        }
        Ok(folded)
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
    pub(crate) fn new<A: Aggregate>(stream: StreamName, folded: Folded<A>) -> Result<Self, BoxError> {
        let Folded { state, version, position, recorded_at } = folded;
        Ok(Self { stream, version, position, recorded_at, state: serde_json::to_value(state)? })
    }
}
