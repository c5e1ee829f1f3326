//! Reading: terms, places, directions, batches, lists.

use std::sync::Arc;

use super::*;
use crate::{Category, CorrelationId, FilterItem, MAX_BATCH_EVENTS, Position, ReadFrom, Version};

pub async fn reads_by_every_term(fixture: &dyn Fixture) {
    let mut store = open(fixture).await;
    let request = CorrelationId::new("request-1").unwrap();
    let events = [
        event("account-1", "Opened").tag(tag("branch:7")),
        event("account-2", "Opened").tags([tag("branch:7"), tag("vip:yes")]),
        event("account-1", "Closed").correlation_id(request.clone()),
        event("accounts-1", "Opened"),
        event("account", "Opened"),
    ];
    let id = events[3].event_id();
    append(&*store, events).await;
    if fixture.keeps_events() {
        drop(store);
        store = open(fixture).await;
    }
    let category = |name: &str| Category::new(name).unwrap();
    let event_type = |name: &str| EventType::new(name).unwrap();
    let correlated = FilterItem { correlation_id: Some(request), ..FilterItem::default() };
    let opened_in_account = FilterItem { category: Some(category("account")), ..FilterItem::default() };
    let opened_in_account = opened_in_account.event_type(event_type("Opened"));
    let cases: [(Filter, &[u64]); 12] = [
        (Filter::all(), &[1, 2, 3, 4, 5]),
        (Filter::stream(stream("account-1")), &[1, 3]),
        (Filter::stream(stream("account-9")), &[]),
        (Filter::category(category("account")), &[1, 2, 3, 5]),
        (Filter::types([event_type("Closed"), event_type("Absent")]), &[3]),
        (Filter::types([event_type("Closed"), event_type("Opened")]), &[1, 2, 3, 4, 5]),
        (Filter::tags([tag("branch:7")]), &[1, 2]),
        (Filter::tags([tag("branch:7"), tag("vip:yes")]), &[2]),
        (correlated.clone().into(), &[3]),
        (Filter::event_id(id), &[4]),
        (opened_in_account.into(), &[1, 2, 5]),
        (Filter::tags([tag("vip:yes")]).or(correlated), &[2, 3]),
    ];
    for (filter, expected) in cases {
        let forwards = read(&*store, ReadRequest::new(filter.clone())).await;
        assert_eq!(positions(&forwards), expected, "{filter:?}");
        assert!(forwards.iter().all(|event| filter.matches(event)), "{filter:?}");
        let backwards = read(&*store, ReadRequest::new(filter.clone()).backwards()).await;
        assert_eq!(positions(&backwards), expected.iter().rev().copied().collect::<Vec<_>>(), "{filter:?}");
        let last = read(&*store, ReadRequest::last(filter.clone())).await;
        assert_eq!(positions(&last), expected.last().copied().into_iter().collect::<Vec<_>>(), "{filter:?}");
    }
}

pub async fn reads_from_everywhere_in_both_directions(fixture: &dyn Fixture) {
    let clock = TestClock::at(0);
    let store = fixture.open(Arc::clone(&clock) as Arc<dyn Clock>).await;
    for n in 1..=6_i64 {
        clock.set(n * 10);
        append(&*store, [event(if n % 2 == 0 { "even-1" } else { "odd-1" }, "X")]).await;
    }
    let position = |n| ReadFrom::Position(Position::new(n));
    let version = |n| ReadFrom::Version(Version::new(n));
    let time = |micros| ReadFrom::RecordedAt(Timestamp::from_micros(micros));
    let all = || ReadRequest::new(Filter::all());
    let even = || ReadRequest::stream(stream("even-1"));
    let cases: [(ReadRequest, &[u64]); 20] = [
        (all().from(position(0)), &[1, 2, 3, 4, 5, 6]),
        (all().from(position(3)), &[3, 4, 5, 6]),
        (all().from(position(7)), &[]),
        (all().after(Position::new(3)).limit(2), &[4, 5]),
        (all().limit(0), &[]),
        (all().backwards().from(position(3)), &[3, 2, 1]),
        (all().backwards().from(position(99)).limit(2), &[6, 5]),
        (all().backwards().from(position(0)), &[]),
        (all().from(time(25)), &[3, 4, 5, 6]),
        (all().from(time(30)).limit(1), &[3]),
        (all().from(time(99)), &[]),
        (all().backwards().from(time(35)), &[3, 2, 1]),
        (all().backwards().from(time(9)), &[]),
        (even().from(version(2)), &[4, 6]),
        (even().from(version(0)), &[2, 4, 6]),
        (even().from(version(4)), &[]),
        (even().backwards().from(version(2)), &[4, 2]),
        (even().backwards().from(version(99)), &[6, 4, 2]),
        (even().from(time(30)), &[4, 6]),
        (even().from(position(3)).limit(1), &[4]),
    ];
    for (request, expected) in cases {
        assert_eq!(positions(&read(&*store, request.clone()).await), expected, "{request:?}");
    }
}

pub async fn long_reads_go_on_batch_by_batch(fixture: &dyn Fixture) {
    let store = open(fixture).await;
    let total = 2 * MAX_BATCH_EVENTS + 10;
    for start in (0..total).step_by(3_000) {
        let some = (start..total.min(start + 3_000)).map(|n| event(&format!("s-{}", n % 2), "X"));
        append(&*store, some).await;
    }
    let batch = store.read(ReadRequest::new(Filter::all())).await.unwrap();
    assert!(batch.events.len() <= MAX_BATCH_EVENTS && batch.next.is_some());
    assert_eq!(batch.head, Position::new(total as u64));
    let expected: Vec<u64> = (1..=total as u64).collect();
    assert_eq!(positions(&read_all(&*store).await), expected);
    let limited = read(&*store, ReadRequest::new(Filter::all()).limit(total as u64 - 1)).await;
    assert_eq!(positions(&limited), expected[..total - 1]);
    let odd = read(&*store, ReadRequest::stream(stream("s-1")).backwards()).await;
    assert_eq!(odd.len(), total / 2);
    assert!(odd.is_sorted_by(|a, b| a.position() > b.position() && a.version() > b.version()));
}

pub async fn streams_are_listed_by_name(fixture: &dyn Fixture) {
    let store = open(fixture).await;
    append(&*store, [event("b-1", "X"), event("a-2", "X"), event("a-1", "X"), event("b-1", "X")]).await;
    let all = store.streams(None, 10).await.unwrap();
    assert_eq!(all.iter().map(|s| s.stream.as_str()).collect::<Vec<_>>(), ["a-1", "a-2", "b-1"]);
    assert_eq!((all[2].state.version, all[2].last_position), (Version::new(2), Position::new(4)));
    let page = store.streams(Some(stream("a-1")), 1).await.unwrap();
    assert_eq!(page.iter().map(|s| s.stream.as_str()).collect::<Vec<_>>(), ["a-2"]);
}

pub async fn verification_finds_nothing_wrong(fixture: &dyn Fixture) {
    let store = open(fixture).await;
    for n in 0..50 {
        append(&*store, [event(&format!("s-{}", n % 7), "X"), event("a-1", "Y").tag(tag("t:1"))]).await;
    }
    store.delete(stream("s-1"), crate::ExpectedVersion::Any, crate::DeleteMode::Soft).await.unwrap();
    let report = store.verify(Box::new(|_, _| {})).await.unwrap();
    assert!(report.is_sound(), "{:?}", report.problems);
    assert_eq!((report.events, report.readable_to), (101, Position::new(101)));
}
