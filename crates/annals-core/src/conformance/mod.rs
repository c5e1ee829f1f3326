//! The conformance suite: every promise of [`EventStore`], as tests that any store can run.
//!
//! A store's test file needs a [`Fixture`] and one line:
//!
//! ```
//! use std::sync::Arc;
//! use annals_core::conformance::Fixture;
//! use annals_core::{BoxFuture, Clock, EventStore, MemoryStore};
//!
//! struct Memory;
//! impl Fixture for Memory {
//!     fn open(&self, clock: Arc<dyn Clock>) -> BoxFuture<'_, Arc<dyn EventStore>> {
//!         Box::pin(async move { Arc::new(MemoryStore::with_clock(clock)) as Arc<dyn EventStore> })
//!     }
//!     fn keeps_events(&self) -> bool { false }
//! }
//! annals_core::conformance!(Memory);
//! # fn main() {}
//! ```
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod append;
mod delete;
mod idempotency;
mod live;
mod model;
mod read;
mod read_models;
mod transaction;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

pub use crate::block_on;
pub use append::*;
pub use delete::*;
pub use idempotency::*;
pub use live::*;
pub use model::*;
pub use read::*;
pub use read_models::*;
pub use transaction::*;

use crate::{
    AppendReceipt, AppendRequest, BoxFuture, Clock, EventStore, EventType, Filter, NewEvent, ReadRequest,
    RecordedEvent, StreamName, Tag, Timestamp,
};

/// A place where a store lives, for the length of a test.
pub trait Fixture: Send + Sync {
    /// Opens the store, new the first time. It is not open when this is called.
    fn open(&self, clock: Arc<dyn Clock>) -> BoxFuture<'_, Arc<dyn EventStore>>;

    /// Whether events survive that the store is closed and opened again.
    fn keeps_events(&self) -> bool;
}

/// Makes a `#[test]` of every case of the suite; the argument is an expression that makes a fresh [`Fixture`].
#[macro_export]
macro_rules! conformance {
    ($fixture:expr) => {
        $crate::conformance!(@cases $fixture;
            an_append_is_visible_dense_and_in_order
            an_append_may_write_many_streams
            a_failed_append_writes_nothing
            every_failed_check_is_reported_with_what_was_found
            expected_versions_mean_what_they_say
            conditions_see_types_tags_and_items
            a_checkpoint_is_stored_with_the_append
            requests_beyond_the_limits_are_refused
            all_bytes_and_fields_come_back
            recorded_time_never_goes_backwards
            everything_is_there_after_reopening
            a_repeated_append_returns_the_first_receipt
            an_id_with_other_content_is_refused
            partly_known_ids_write_nothing
            ids_stay_known_after_deletion_and_reopening
            a_soft_deleted_stream_counts_on
            a_tombstoned_stream_takes_no_more
            a_stream_ended_within_an_append_takes_no_more_in_it
            truncation_hides_old_versions
            conditions_do_not_see_hidden_events
            reads_by_every_term
            reads_from_everywhere_in_both_directions
            long_reads_go_on_batch_by_batch
            streams_are_listed_by_name
            a_subscription_goes_from_history_to_live
            a_subscription_that_falls_behind_says_so
            concurrent_appends_are_dense_and_seen_once
            one_of_many_racing_appends_wins
            waiting_for_the_head_ends
            verification_finds_nothing_wrong
            rows_are_written_with_the_append_or_not_at_all
            random_work_agrees_with_the_model
        );
    };
    (@cases $fixture:expr; $($case:ident)*) => {$(
        #[test]
        fn $case() {
            let fixture = $fixture;
            $crate::conformance::block_on($crate::conformance::$case(&fixture));
        }
    )*};
}

/// A clock that the test moves.
#[derive(Debug, Default)]
pub struct TestClock(AtomicI64);

impl TestClock {
    pub fn at(micros: i64) -> Arc<Self> {
        Arc::new(Self(AtomicI64::new(micros)))
    }

    pub fn set(&self, micros: i64) {
        self.0.store(micros, Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(Ordering::SeqCst))
    }
}

async fn open(fixture: &dyn Fixture) -> Arc<dyn EventStore> {
    fixture.open(Arc::new(crate::SystemClock)).await
}

fn stream(name: &str) -> StreamName {
    StreamName::new(name).unwrap()
}

fn event(stream_name: &str, event_type: &str) -> NewEvent {
    NewEvent::new(stream(stream_name), EventType::new(event_type).unwrap()).json("{}")
}

fn tag(text: &str) -> Tag {
    Tag::new(text).unwrap()
}

async fn append(store: &dyn EventStore, events: impl IntoIterator<Item = NewEvent>) -> AppendReceipt {
    store.append(AppendRequest::new(events)).await.unwrap()
}

async fn read(store: &dyn EventStore, request: ReadRequest) -> Vec<RecordedEvent> {
    store.reader(request).collect().await.unwrap()
}

async fn read_all(store: &dyn EventStore) -> Vec<RecordedEvent> {
    read(store, ReadRequest::new(Filter::all())).await
}

fn positions(events: &[RecordedEvent]) -> Vec<u64> {
    events.iter().map(|event| event.position().get()).collect()
}

fn versions(events: &[RecordedEvent]) -> Vec<u64> {
    events.iter().map(|event| event.version().get()).collect()
}
