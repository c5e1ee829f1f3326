//! Appending what may be there already: imports that can be repeated.

use std::collections::{HashMap, HashSet};

use crate::{
    AppendError, AppendRequest, EventId, EventStore, FilterItem, KnownEvent, MAX_FILTER_ITEMS, NewEvent,
    ReadRequest, Reader, RecordedEvent, StoreError, content_digest, encode_body,
};

/// What became of a batch of events.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Imported {
    /// How many were stored now.
    pub appended: u64,
    /// How many were stored before, with the same content.
    pub already_present: u64,
    /// Those whose id was stored before with other content; they were left out.
    pub conflicting: Vec<EventId>,
}

/// Stores those of the events that are not stored yet, in one append and in order.
///
/// However the same events are batched the next time, each is stored once: the batch is offered whole, and what the
/// store knows of it is left out.
///
/// # Errors
/// What [`EventStore::append`] reports, other than that ids are known.
pub async fn append_missing(store: &dyn EventStore, events: Vec<NewEvent>) -> Result<Imported, AppendError> {
    let mut imported = Imported::default();
    let mut left = events;
    while !left.is_empty() {
        let count = left.len() as u64;
        match store.append(AppendRequest::new(left.iter().cloned())).await {
            Ok(receipt) if receipt.duplicate => imported.already_present += count,
            Ok(_) => imported.appended += count,
            Err(AppendError::KnownFromSeveralAppends { .. }) => imported.already_present += count,
            Err(AppendError::PartialDuplicate { known, .. }) => {
                imported.already_present += known.len() as u64;
                leave_out(&mut left, &known);
                continue;
            }
            Err(AppendError::IdReused { id, .. }) => {
                let mut conflicting = conflicting_ids(store, &left).await?;
                conflicting.insert(id);
                left.retain(|event| !conflicting.contains(&event.event_id()));
                imported.conflicting.extend(conflicting);
                continue;
            }
            Err(error) => return Err(error),
        }
        break;
    }
    Ok(imported)
}

/// Those of the events whose id is stored with other content.
///
/// # Errors
/// What [`EventStore::read`] reports.
pub async fn conflicting_ids(
    store: &dyn EventStore,
    events: &[NewEvent],
) -> Result<HashSet<EventId>, StoreError> {
    let mut conflicting = HashSet::new();
    for some in events.chunks(MAX_FILTER_ITEMS) {
        let digests: HashMap<EventId, [u8; 32]> = some
            .iter()
            .map(|event| (event.event_id(), content_digest(&encode_body(event)).unwrap_or_default()))
            .collect();
        let items = digests.keys().map(|id| FilterItem { event_id: Some(*id), ..FilterItem::default() });
        let mut stored = Reader::new(store, ReadRequest::new(items.collect()));
        while let Some(events) = stored.next_batch().await? {
            let others =
                events.iter().filter(|event| digests.get(&event.id()) != Some(&event.content_digest()));
            conflicting.extend(others.map(RecordedEvent::id));
        }
    }
    Ok(conflicting)
}

fn leave_out(events: &mut Vec<NewEvent>, known: &[KnownEvent]) {
    let known: HashSet<EventId> = known.iter().map(|known| known.id).collect();
    events.retain(|event| !known.contains(&event.event_id()));
}

#[cfg(all(test, feature = "conformance"))]
mod tests {
    use super::*;
    use crate::conformance::block_on;
    use crate::{EventType, MemoryStore, StreamName};

    #[test]
    fn events_are_stored_once_however_they_are_batched() {
        let event = |n: u32| {
            NewEvent::new(StreamName::new("a-1").unwrap(), EventType::new("X").unwrap())
                .id(EventId::derived("test", &n.to_string()))
                .json(n.to_string())
        };
        let store = MemoryStore::default();
        let import = |events: Vec<NewEvent>| block_on(append_missing(&store, events)).unwrap();
        let counts = |imported: &Imported| (imported.appended, imported.already_present);
        assert_eq!(counts(&import((0..5).map(event).collect())), (5, 0));
        assert_eq!(counts(&import((0..5).map(event).collect())), (0, 5));
        assert_eq!(counts(&import((3..9).map(event).collect())), (4, 2));
        assert_eq!(counts(&import((0..9).map(event).collect())), (0, 9));
        let imported = import(vec![event(9), event(2).json("other"), event(1)]);
        assert_eq!((counts(&imported), imported.conflicting), ((1, 1), vec![event(2).event_id()]));
        assert_eq!(counts(&import(Vec::new())), (0, 0));
        assert_eq!(block_on(EventStore::head(&store)).unwrap().get(), 10);
    }
}
