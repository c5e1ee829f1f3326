//! An event id is stored once per store.

use super::*;
use crate::{AppendError, DeleteMode, EventId, ExpectedVersion, Position, Version};

pub async fn a_repeated_append_returns_the_first_receipt(fixture: &dyn Fixture) {
    let store = open(fixture).await;
    append(&*store, [event("z-1", "X")]).await;
    let request =
        AppendRequest::new([event("a-1", "X"), event("b-1", "Y").tag(tag("t:1")), event("a-1", "Z")])
            .expect(stream("a-1"), ExpectedVersion::NoStream);
    let first = store.append(request.clone()).await.unwrap();
    append(&*store, [event("a-1", "Later")]).await;

    let again = store.append(request.clone()).await.unwrap();
    assert!(again.duplicate && !first.duplicate);
    let same = AppendReceipt { duplicate: false, ..again };
    assert_eq!(same, first, "the receipt of that time, chain hash included");

    let mut changed = request.clone();
    changed.events =
        changed.events.into_iter().map(|event| event.occurred_at(Timestamp::from_micros(1))).collect();
    changed.expected = vec![(stream("a-1"), ExpectedVersion::Exact(Version::new(99)))];
    let again = store.append(changed.condition(Filter::all(), Position::ZERO)).await.unwrap();
    assert!(again.duplicate, "under any condition, and whatever the times");

    let part = AppendRequest::new([request.events[2].clone()]);
    let again = store.append(part).await.unwrap();
    assert_eq!((again.first_position, again.last_position), (first.first_position, first.last_position));
    assert_eq!(store.head().await.unwrap(), Position::new(5));
}

pub async fn an_id_with_other_content_is_refused(fixture: &dyn Fixture) {
    let store = open(fixture).await;
    let id = EventId::fresh();
    let original = event("a-1", "X").id(id).json("1").tag(tag("t:1"));
    append(&*store, [original.clone()]).await;
    let others = [
        event("a-2", "X").id(id).json("1").tag(tag("t:1")),
        event("a-1", "Y").id(id).json("1").tag(tag("t:1")),
        original.clone().json("2"),
        original.clone().metadata("m"),
        original.clone().tag(tag("t:2")),
    ];
    for other in others {
        let result = store.append(AppendRequest::new([other.clone()])).await;
        let Err(AppendError::IdReused { id: named, position }) = result else {
            panic!("{other:?}: {result:?}")
        };
        assert_eq!((named, position), (id, Position::new(1)));
    }
    assert_eq!(store.head().await.unwrap(), Position::new(1));
}

pub async fn partly_known_ids_write_nothing(fixture: &dyn Fixture) {
    let store = open(fixture).await;
    let (one, two, three) = (event("a-1", "X"), event("a-1", "Y"), event("a-1", "Z"));
    append(&*store, [one.clone()]).await;
    append(&*store, [two.clone()]).await;
    let result = store.append(AppendRequest::new([one.clone(), three.clone()])).await;
    let Err(AppendError::PartialDuplicate { known, total: 2 }) = result else { panic!("{result:?}") };
    assert_eq!((known.len(), known[0].id, known[0].position), (1, one.event_id(), Position::new(1)));
    let result = store.append(AppendRequest::new([one, two])).await;
    assert!(matches!(result, Err(AppendError::KnownFromSeveralAppends { known }) if known.len() == 2));
    assert_eq!(store.head().await.unwrap(), Position::new(2));
    append(&*store, [three]).await;
}

pub async fn ids_stay_known_after_deletion_and_reopening(fixture: &dyn Fixture) {
    let mut store = open(fixture).await;
    let (kept, cut, gone) = (event("a-1", "X"), event("b-1", "X"), event("c-1", "X"));
    for event in [&kept, &cut, &gone] {
        append(&*store, [event.clone()]).await;
    }
    store.truncate(stream("b-1"), Version::new(9)).await.unwrap();
    store.delete(stream("c-1"), ExpectedVersion::Exists, DeleteMode::Tombstone).await.unwrap();
    if fixture.keeps_events() {
        drop(store);
        store = open(fixture).await;
    }
    for (event, position) in [(kept, 1), (cut, 2), (gone, 3)] {
        let again = store.append(AppendRequest::new([event])).await.unwrap();
        assert_eq!((again.duplicate, again.first_position), (true, Position::new(position)));
    }
    assert_eq!(store.head().await.unwrap(), Position::new(5));
}
