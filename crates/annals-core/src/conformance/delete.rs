//! Deleting and truncating streams.

use super::*;
use crate::{
    AppendError, DeleteMode, ExpectedVersion, FailedCheck, NewEvent, Position, ReadFrom, SystemEvent, Version,
};

pub async fn a_soft_deleted_stream_counts_on(fixture: &dyn Fixture) {
    let mut store = open(fixture).await;
    append(&*store, [event("a-1", "X"), event("a-1", "X"), event("b-1", "X")]).await;
    let wrong = store
        .delete(stream("a-1"), ExpectedVersion::Exact(Version::new(9)), DeleteMode::Soft)
        .await
        .unwrap_err();
    assert!(matches!(wrong, AppendError::Conflict(_)));
    let receipt = store.delete(stream("a-1"), ExpectedVersion::Exists, DeleteMode::Soft).await.unwrap();
    assert_eq!((receipt.last_position, receipt.version_of("a-1")), (Position::new(4), Some(Version::new(3))));
    if fixture.keeps_events() {
        drop(store);
        store = open(fixture).await;
    }
    let state = store.stream_state(&stream("a-1")).await.unwrap();
    assert_eq!((state.version, state.exists, state.tombstoned), (Version::new(3), false, false));
    let left = read_all(&*store).await;
    assert_eq!(positions(&left), [3, 4], "the events are hidden, the deletion is recorded");
    assert_eq!(left[1].event_type(), "$StreamDeleted");

    let exists = AppendRequest::new([event("a-1", "Y")]).expect(stream("a-1"), ExpectedVersion::Exists);
    assert!(store.append(exists).await.is_err());
    let again = AppendRequest::new([event("a-1", "Y")]).expect(stream("a-1"), ExpectedVersion::NoStream);
    assert_eq!(store.append(again).await.unwrap().version_of("a-1"), Some(Version::new(4)));
    assert!(store.stream_state(&stream("a-1")).await.unwrap().exists);
    assert_eq!(versions(&read(&*store, ReadRequest::stream(stream("a-1"))).await), [3, 4]);
}

pub async fn a_tombstoned_stream_takes_no_more(fixture: &dyn Fixture) {
    let mut store = open(fixture).await;
    append(&*store, [event("a-1", "X")]).await;
    store.delete(stream("a-1"), ExpectedVersion::Any, DeleteMode::Tombstone).await.unwrap();
    if fixture.keeps_events() {
        drop(store);
        store = open(fixture).await;
    }
    for expected in [ExpectedVersion::Any, ExpectedVersion::Exact(Version::new(2))] {
        let request =
            AppendRequest::new([event("b-1", "X"), event("a-1", "X")]).expect(stream("a-1"), expected);
        let Err(AppendError::Conflict(conflict)) = store.append(request).await else { panic!("took more") };
        let ended = FailedCheck::Tombstoned { stream: stream("a-1"), version: Version::new(2) };
        assert!(conflict.failed.contains(&ended), "{conflict}");
    }
    assert_eq!(store.head().await.unwrap(), Position::new(2));
    let left = read(&*store, ReadRequest::stream(stream("a-1"))).await;
    assert_eq!((versions(&left), left[0].event_type()), (vec![2], "$StreamTombstoned"));
}

pub async fn a_stream_ended_within_an_append_takes_no_more_in_it(fixture: &dyn Fixture) {
    let store = open(fixture).await;
    append(&*store, [event("a-1", "X")]).await;
    let end = || NewEvent::system(stream("a-1"), SystemEvent::StreamTombstoned);
    let request = AppendRequest::new([event("b-1", "X"), end(), event("b-1", "X"), event("a-1", "X")]);
    let Err(AppendError::Conflict(conflict)) = store.append(request).await else { panic!("took more") };
    let ended = FailedCheck::Tombstoned { stream: stream("a-1"), version: Version::new(2) };
    assert_eq!(conflict.failed, [ended]);
    assert_eq!(store.head().await.unwrap(), Position::new(1));
    append(&*store, [event("b-1", "X"), end(), event("b-1", "X")]).await;
    assert!(store.stream_state(&stream("a-1")).await.unwrap().tombstoned);
}

pub async fn truncation_hides_old_versions(fixture: &dyn Fixture) {
    let mut store = open(fixture).await;
    append(&*store, (0..5).map(|_| event("a-1", "X").tag(tag("t:1")))).await;
    append(&*store, [event("b-1", "X")]).await;
    store.truncate(stream("a-1"), Version::new(4)).await.unwrap();
    store.truncate(stream("a-1"), Version::new(2)).await.unwrap();
    if fixture.keeps_events() {
        drop(store);
        store = open(fixture).await;
    }
    assert_eq!(versions(&read(&*store, ReadRequest::stream(stream("a-1"))).await), [4, 5, 6, 7]);
    assert_eq!(positions(&read(&*store, ReadRequest::new(Filter::tags([tag("t:1")]))).await), [4, 5]);
    assert_eq!(positions(&read_all(&*store).await), [4, 5, 6, 7, 8]);
    let by_version = ReadRequest::stream(stream("a-1")).from(ReadFrom::Version(Version::new(2))).limit(1);
    assert_eq!(versions(&read(&*store, by_version).await), [4], "the next visible version");
    let state = store.stream_state(&stream("a-1")).await.unwrap();
    assert_eq!((state.version, state.visible_from, state.exists), (Version::new(7), Version::new(4), true));
    let next = AppendRequest::new([event("a-1", "X")])
        .expect(stream("a-1"), ExpectedVersion::Exact(Version::new(7)));
    assert!(store.append(next).await.is_ok());
}

pub async fn conditions_do_not_see_hidden_events(fixture: &dyn Fixture) {
    let store = open(fixture).await;
    append(&*store, [event("a-1", "Claimed").tag(tag("name:ann"))]).await;
    let claim = || {
        AppendRequest::new([event("a-2", "Claimed").tag(tag("name:ann"))])
            .condition(Filter::tags([tag("name:ann")]), Position::ZERO)
    };
    assert!(store.append(claim()).await.is_err());
    store.delete(stream("a-1"), ExpectedVersion::Exists, DeleteMode::Soft).await.unwrap();
    assert!(store.append(claim()).await.is_ok(), "what is hidden may be gone, so it cannot count");
    assert!(store.append(claim()).await.is_err());
}
