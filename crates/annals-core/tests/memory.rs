//! The conformance suite on the in-memory store.

use std::sync::Arc;

use annals_core::conformance::Fixture;
use annals_core::{BoxFuture, Clock, EventStore, MemoryStore};

struct Memory;

impl Fixture for Memory {
    fn open(&self, clock: Arc<dyn Clock>) -> BoxFuture<'_, Arc<dyn EventStore>> {
        Box::pin(async move { Arc::new(MemoryStore::with_clock(clock)) as Arc<dyn EventStore> })
    }

    fn keeps_events(&self) -> bool {
        false
    }
}

annals_core::conformance!(Memory);
