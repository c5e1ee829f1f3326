//! What would have been: history with events left out, added or changed, in a copy that cannot touch the store.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use annals_core::{
    AppendError, AppendRequest, Clock, EventStore, Filter, MemoryStore, NewEvent, Position, ReadRequest,
    Reader, RecordedEvent, StoreError, Timestamp,
};

use crate::consumer::mark_as_replay;

/// What becomes of an event in a copy of history.
#[derive(Debug, Clone)]
pub enum Edit {
    /// It is as it was, with its id.
    Keep,
    /// It did not happen.
    LeaveOut,
    /// These happened in its place; none of them has its id.
    Replace(Vec<NewEvent>),
    /// It is as it was, and these happened right after it.
    AddAfter(Vec<NewEvent>),
}

/// Why a copy of history cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WhatIfError {
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The edited history is one that no store takes.
    #[error("the edit at position {position} makes a history that is not possible: {source}")]
    Impossible {
        /// Where, in the store that was copied.
        position: Position,
        /// Why.
        source: AppendError,
    },
}

/// A clock that tells when the event that is copied was recorded.
struct HistoryClock(AtomicI64);

impl Clock for HistoryClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(Ordering::Relaxed))
    }
}

/// Copies the events that match into memory, each as `edit` says. An application with today's code, or with other code, is
/// then started on the copy, to see what its states and read models would be; the store itself is only read. Nothing is done
/// about the events of a copy outside of it: no [`Reaction`](crate::Reaction) runs there.
///
/// Recorded times, times of occurrence and ids are as they were; positions and versions follow from what is there. The copy
/// is in memory as a whole: choose the events by the filter.
///
/// ```
/// use annals_app::{Edit, what_if};
/// use annals_core::{AppendRequest, EventStore, EventType, Filter, MemoryStore, NewEvent, StreamName};
/// # annals_core::block_on(async {
/// let store = MemoryStore::default();
/// for n in 1..=3 {
///     let event = NewEvent::new(StreamName::new("lamp-1")?, EventType::new("LampSwitched")?);
///     store.append(AppendRequest::new([event.json(format!("{{\"n\":{n}}}"))])).await?;
/// }
/// let without = what_if(&store, Filter::all(), |event| match event.position().get() {
///     2 => Edit::LeaveOut,
///     _ => Edit::Keep,
/// });
/// assert_eq!(without.await?.head().await?.get(), 2);
/// assert_eq!(store.head().await?.get(), 3);
/// # Ok::<(), annals_core::BoxError>(()) }).unwrap();
/// ```
///
/// # Errors
/// [`WhatIfError`].
pub async fn what_if(
    store: &dyn EventStore,
    filter: Filter,
    mut edit: impl FnMut(&RecordedEvent) -> Edit,
) -> Result<Arc<MemoryStore>, WhatIfError> {
    let clock = Arc::new(HistoryClock(AtomicI64::new(0)));
    let copy = Arc::new(MemoryStore::with_clock(Arc::clone(&clock) as _));
    let head = store.head().await?;
    let mut reader = Reader::new(store, ReadRequest::new(filter));
    while let Some(events) = reader.next_batch().await? {
        for event in events.iter().filter(|event| event.position() <= head) {
            clock.0.store(event.recorded_at().as_micros(), Ordering::Relaxed);
            let told = match edit(event) {
                Edit::Keep => vec![event.to_new_event()],
                Edit::LeaveOut => continue,
                Edit::Replace(events) => events,
                Edit::AddAfter(added) => std::iter::once(event.to_new_event()).chain(added).collect(),
            };
            for new in told {
                let position = event.position();
                let appended = copy.append(AppendRequest::new([new])).await;
                appended.map_err(|source| WhatIfError::Impossible { position, source })?;
            }
        }
    }
    let marked = mark_as_replay(&*copy).await;
    marked.map_err(|source| WhatIfError::Impossible { position: head, source })?;
    Ok(copy)
}
