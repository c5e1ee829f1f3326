//! Appending: order, atomicity, conditions, limits, time.

use std::sync::Arc;

use super::*;
use crate::{
    AppendError, CausationId, ConsumerName, ContentType, CorrelationId, Durability, ExpectedVersion,
    FailedCheck, FilterItem, InvalidRequest, MAX_APPEND_EVENTS, MAX_METADATA_BYTES, MAX_PAYLOAD_BYTES,
    MAX_TAGS, Position, Version,
};

pub async fn an_append_is_visible_dense_and_in_order(fixture: &dyn Fixture) {
    let store = open(fixture).await;
    assert_eq!(store.head().await.unwrap(), Position::ZERO);
    let receipt = append(&*store, [event("a-1", "X"), event("b-1", "Y"), event("a-1", "Z")]).await;
    assert_eq!((receipt.first_position, receipt.last_position), (Position::new(1), Position::new(3)));
    assert_eq!(receipt.streams, [(stream("a-1"), Version::new(2)), (stream("b-1"), Version::new(1))]);
    assert!(!receipt.duplicate);
    assert_eq!(store.head().await.unwrap(), Position::new(3));
    let events = read_all(&*store).await;
    assert_eq!(positions(&events), [1, 2, 3]);
    assert_eq!(versions(&events), [1, 1, 2]);
    assert_eq!(events.iter().map(RecordedEvent::event_type).collect::<Vec<_>>(), ["X", "Y", "Z"]);
    let next = append(&*store, [event("a-1", "X")]).await;
    assert_eq!((next.first_position, next.version_of("a-1")), (Position::new(4), Some(Version::new(3))));
    let expected = if fixture.keeps_events() { Durability::Disk } else { Durability::Memory };
    assert_eq!(store.durability(), expected);
}

pub async fn an_append_may_write_many_streams(fixture: &dyn Fixture) {
    let store = open(fixture).await;
    append(&*store, [event("s-7", "X"), event("s-29", "X")]).await;
    let name = |n: u64| format!("s-{n}");
    // Each of them twice, and not one after the other.
    let written = (0..30).chain((0..30).rev()).map(|n| event(&name(n), "Y"));
    let before = |n: u64| Version::new(u64::from(n == 7 || n == 29));
    let request = AppendRequest::new(written);
    let request = (0..30)
        .fold(request, |request, n| request.expect(stream(&name(n)), ExpectedVersion::Exact(before(n))));
    let receipt = store.append(request.clone()).await.unwrap();
    let after = |n: u64| Version::new(before(n).get() + 2);
    let expected: Vec<_> = (0..30).map(|n| (stream(&name(n)), after(n))).collect();
    assert_eq!(receipt.streams, expected);
    for n in [0, 7, 8, 9, 29] {
        let events = read(&*store, ReadRequest::stream(stream(&name(n)))).await;
        assert_eq!(versions(&events), (1..=after(n).get()).collect::<Vec<_>>(), "s-{n}");
    }
    let fresh = AppendRequest { events: vec![event("s-0", "Z")], ..request };
    let Err(AppendError::Conflict(conflict)) = store.append(fresh).await else {
        panic!("expected a conflict")
    };
    assert_eq!(conflict.failed.len(), 30, "{conflict}");
}

pub async fn a_failed_append_writes_nothing(fixture: &dyn Fixture) {
    let store = open(fixture).await;
    append(&*store, [event("a-1", "X")]).await;
    let consumer = ConsumerName::new("c").unwrap();
    let request = AppendRequest::new([event("b-1", "Y"), event("a-1", "Y")])
        .expect(stream("a-1"), ExpectedVersion::NoStream)
        .checkpoint(consumer.clone(), Position::new(1));
    assert!(matches!(store.append(request).await, Err(AppendError::Conflict(_))));
    assert_eq!(positions(&read_all(&*store).await), [1]);
    assert_eq!(store.stream_state(&stream("b-1")).await.unwrap().version, Version::ZERO);
    assert_eq!(store.checkpoint(&consumer).await.unwrap(), None);
    let next = append(&*store, [event("b-1", "Y")]).await;
    assert_eq!(next.first_position, Position::new(2), "a failed append takes no position");
}

pub async fn every_failed_check_is_reported_with_what_was_found(fixture: &dyn Fixture) {
    let store = open(fixture).await;
    append(&*store, [event("a-1", "X"), event("a-1", "X"), event("b-1", "X").tag(tag("t:1"))]).await;
    let request = AppendRequest::new([event("c-1", "X")])
        .expect(stream("a-1"), ExpectedVersion::Exact(Version::new(1)))
        .expect(stream("b-1"), ExpectedVersion::Exists)
        .expect(stream("b-1"), ExpectedVersion::NoStream)
        .expect(stream("d-1"), ExpectedVersion::Exists)
        .condition(Filter::tags([tag("t:1")]), Position::new(1));
    let Err(AppendError::Conflict(conflict)) = store.append(request).await else {
        panic!("expected a conflict")
    };
    assert_eq!(conflict.failed.len(), 4, "{conflict}");
    let text = conflict.to_string();
    assert!(text.contains(r#"stream "a-1" is at version 2, expected 1"#), "{text}");
    assert!(text.contains(r#"stream "b-1" is at version 1, expected no stream"#), "{text}");
    assert!(text.contains(r#"stream "d-1" is at version 0, expected an existing stream"#), "{text}");
    let found = Position::new(3);
    assert!(conflict.failed.contains(&FailedCheck::Condition { found, after: Position::new(1) }), "{text}");
}

pub async fn expected_versions_mean_what_they_say(fixture: &dyn Fixture) {
    use ExpectedVersion::{Any, Exact, Exists, NoStream};
    let store = open(fixture).await;
    append(&*store, [event("old-1", "X"), event("old-1", "X")]).await;
    let cases = [
        ("new-1", Exists, false),
        ("new-1", Exact(Version::new(1)), false),
        ("old-1", NoStream, false),
        ("old-1", Exact(Version::new(1)), false),
        ("old-1", Exact(Version::new(3)), false),
        ("old-1", Exact(Version::ZERO), false),
        ("old-1", Any, true),
        ("old-1", Exists, true),
        ("old-1", Exact(Version::new(4)), true),
        ("new-1", NoStream, true),
        ("new-2", Exact(Version::ZERO), true),
        ("new-3", Any, true),
    ];
    for (name, expected, passes) in cases {
        let request = AppendRequest::new([event(name, "X")]).expect(stream(name), expected);
        assert_eq!(store.append(request).await.is_ok(), passes, "{name} {expected}");
    }
    let unwritten = AppendRequest::new([event("x-1", "X")]).expect(stream("old-1"), Exact(Version::new(5)));
    assert!(store.append(unwritten).await.is_ok(), "a condition may name a stream that is not written");
}

pub async fn conditions_see_types_tags_and_items(fixture: &dyn Fixture) {
    let store = open(fixture).await;
    let events = [
        event("a-1", "Opened").tag(tag("user:1")),
        event("a-2", "Opened").tags([tag("user:1"), tag("course:9")]),
        event("a-3", "Closed").tag(tag("course:9")),
    ];
    append(&*store, events).await;
    let item = |types: &[&str], tags: &[&str]| FilterItem {
        types: types.iter().map(|name| EventType::new(name).unwrap()).collect(),
        tags: tags.iter().map(|text| tag(text)).collect(),
        ..FilterItem::default()
    };
    let cases = [
        (Filter::all(), 2, Some(3)),
        (Filter::all(), 3, None),
        (item(&["Opened"], &[]).into(), 0, Some(1)),
        (item(&["Opened"], &[]).into(), 1, Some(2)),
        (item(&["Opened"], &[]).into(), 2, None),
        (item(&["Absent", "Closed"], &[]).into(), 0, Some(3)),
        (item(&[], &["user:1", "course:9"]).into(), 0, Some(2)),
        (item(&["Closed"], &["user:1"]).into(), 0, None),
        (Filter::from(item(&["Closed"], &["user:1"])).or(item(&[], &["course:9"])), 2, Some(3)),
        (Filter::stream(stream("a-2")), 0, Some(2)),
        (item(&["Absent"], &[]).into(), 0, None),
    ];
    for (query, after, found) in cases {
        let request = AppendRequest::new([event("probe-1", "Probed")])
            .condition(query.clone(), Position::new(after))
            .expect(stream("probe-0"), ExpectedVersion::Exists);
        let Err(AppendError::Conflict(conflict)) = store.append(request).await else {
            panic!("expected a conflict")
        };
        let seen = conflict.failed.iter().find_map(|check| match check {
            FailedCheck::Condition { found, .. } => Some(found.get()),
            _ => None,
        });
        assert_eq!(seen, found, "{query:?} after {after}");
    }
    let free =
        AppendRequest::new([event("a-4", "Opened")]).condition(item(&["Absent"], &[]).into(), Position::ZERO);
    assert!(store.append(free).await.is_ok());
}

pub async fn a_checkpoint_is_stored_with_the_append(fixture: &dyn Fixture) {
    let consumer = ConsumerName::new("mailer").unwrap();
    let store = open(fixture).await;
    assert_eq!(store.checkpoint(&consumer).await.unwrap(), None);
    let request = AppendRequest::new([event("a-1", "X")]).checkpoint(consumer.clone(), Position::new(7));
    store.append(request).await.unwrap();
    assert_eq!(store.checkpoint(&consumer).await.unwrap(), Some(Position::new(7)));
    let alone = AppendRequest::default().checkpoint(consumer.clone(), Position::new(9));
    let receipt = store.append(alone).await.unwrap();
    assert_eq!((receipt.event_count(), receipt.last_position), (0, Position::new(1)));
    assert_eq!(store.checkpoint(&consumer).await.unwrap(), Some(Position::new(9)));
    append(&*store, [event("a-1", "X")]).await;
    if fixture.keeps_events() {
        let id = store.store_id();
        drop(store);
        let store = open(fixture).await;
        assert_eq!(store.store_id(), id, "a store stays the same store");
        assert_eq!(store.checkpoint(&consumer).await.unwrap(), Some(Position::new(9)));
        assert_eq!(store.head().await.unwrap(), Position::new(2));
    }
}

pub async fn requests_beyond_the_limits_are_refused(fixture: &dyn Fixture) {
    let store = open(fixture).await;
    let twice = event("a-1", "X");
    let many_tags = (0..=MAX_TAGS).map(|n| tag(&format!("t:{n}")));
    let refused = [
        AppendRequest::default(),
        AppendRequest::new([twice.clone(), twice]),
        AppendRequest::new((0..=MAX_APPEND_EVENTS).map(|_| event("a-1", "X"))),
        AppendRequest::new([event("a-1", "X").json(vec![b' '; MAX_PAYLOAD_BYTES + 1])]),
        AppendRequest::new([event("a-1", "X").metadata(vec![b' '; MAX_METADATA_BYTES + 1])]),
        AppendRequest::new([event("a-1", "X").tags(many_tags)]),
    ];
    for (index, request) in refused.into_iter().enumerate() {
        let result = store.append(request).await;
        assert!(matches!(result, Err(AppendError::Invalid(_))), "request {index}: {result:?}");
    }
    let version = ReadRequest::new(Filter::all()).from(crate::ReadFrom::Version(Version::new(1)));
    let result = store.read(version).await;
    assert!(matches!(result, Err(crate::StoreError::Invalid(InvalidRequest::VersionNeedsStream))));
    assert_eq!(store.head().await.unwrap(), Position::ZERO);
    let largest = event("a-1", "X").json(vec![b' '; MAX_PAYLOAD_BYTES]);
    append(&*store, [largest]).await;
    assert_eq!(read_all(&*store).await[0].payload().len(), MAX_PAYLOAD_BYTES);
}

pub async fn all_bytes_and_fields_come_back(fixture: &dyn Fixture) {
    let store = open(fixture).await;
    let long = "ü".repeat(127);
    let bytes: Vec<u8> = (0..=255).collect();
    let full = NewEvent::new(stream(&format!("c-{}", &long[..200])), EventType::new(&long).unwrap())
        .payload(ContentType::new("application/octet-stream").unwrap(), bytes.clone())
        .metadata(bytes.clone())
        .tags([tag("z:last"), tag("a:first"), tag("a:first"), tag(&format!(":{}", &long[..250]))])
        .occurred_at(Timestamp::from_micros(-5))
        .correlation_id(CorrelationId::new("../\"quoted\"").unwrap())
        .causation_id(CausationId::new("ünïcode").unwrap());
    let bare = NewEvent::new(stream("clock"), EventType::new("T").unwrap());
    append(&*store, [full.clone(), bare.clone()]).await;
    let check = |events: Vec<RecordedEvent>| {
        assert_eq!(events[0].to_new_event(), full);
        assert_eq!(events[0].occurred_at(), Timestamp::from_micros(-5));
        assert_eq!((events[1].category(), events[1].entity_id()), ("clock", ""));
        assert_eq!(events[1].to_new_event(), bare.clone().occurred_at(events[1].recorded_at()));
    };
    check(read_all(&*store).await);
    if fixture.keeps_events() {
        drop(store);
        check(read_all(&*open(fixture).await).await);
    }
}

pub async fn recorded_time_never_goes_backwards(fixture: &dyn Fixture) {
    let clock = TestClock::at(1_000);
    let mut store = fixture.open(Arc::clone(&clock) as Arc<dyn Clock>).await;
    append(&*store, [event("a-1", "X"), event("a-1", "X").occurred_at(Timestamp::from_micros(3))]).await;
    clock.set(500);
    append(&*store, [event("a-1", "X")]).await;
    if fixture.keeps_events() {
        drop(store);
        store = fixture.open(Arc::clone(&clock) as Arc<dyn Clock>).await;
    }
    append(&*store, [event("a-1", "X")]).await;
    clock.set(2_000);
    append(&*store, [event("a-1", "X")]).await;
    let events = read_all(&*store).await;
    let recorded: Vec<_> = events.iter().map(|event| event.recorded_at().as_micros()).collect();
    assert_eq!(recorded, [1_000, 1_000, 1_000, 1_000, 2_000]);
    let occurred: Vec<_> = events.iter().map(|event| event.occurred_at().as_micros()).collect();
    assert_eq!(occurred, [1_000, 3, 1_000, 1_000, 2_000]);
}

pub async fn everything_is_there_after_reopening(fixture: &dyn Fixture) {
    if !fixture.keeps_events() {
        return;
    }
    let mut before = Vec::new();
    for round in 0..4 {
        let store = open(fixture).await;
        assert_eq!(read_all(&*store).await, before, "round {round}");
        append(&*store, [event("a-1", "X").tag(tag("t:1")), event(&format!("b-{round}"), "Y")]).await;
        append(&*store, [event("a-1", "X").json(vec![b'1'; 100_000])]).await;
        before = read_all(&*store).await;
        assert_eq!(before.len(), (round + 1) * 3);
    }
    let store = open(fixture).await;
    assert_eq!(store.stream_state(&stream("a-1")).await.unwrap().version, Version::new(8));
    let tagged = read(&*store, ReadRequest::new(Filter::tags([tag("t:1")]))).await;
    assert_eq!(positions(&tagged), [1, 4, 7, 10]);
}
