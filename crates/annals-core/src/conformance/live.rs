//! Subscriptions, and many writers at once.

use std::sync::Arc;

use super::*;
use crate::{
    AppendError, Category, ExpectedVersion, MAX_BATCH_EVENTS, Position, Subscription, SubscriptionMessage,
    subscribe,
};

async fn next_events(subscription: &mut Subscription) -> Vec<u64> {
    match subscription.next().await.unwrap() {
        SubscriptionMessage::Events(events) => positions(&events),
        other => panic!("expected events, found {other:?}"),
    }
}

pub async fn a_subscription_goes_from_history_to_live(fixture: &dyn Fixture) {
    let store = open(fixture).await;
    append(&*store, [event("a-1", "X"), event("b-1", "X"), event("a-1", "X"), event("a-2", "X")]).await;
    let category = Filter::category(Category::new("a").unwrap());
    let mut live = subscribe(Arc::clone(&store), category, Position::new(1));
    assert_eq!(next_events(&mut live).await, [3, 4]);
    assert_eq!(live.next().await.unwrap(), SubscriptionMessage::CaughtUp(Position::new(4)));
    let writer = {
        let store = Arc::clone(&store);
        std::thread::spawn(move || {
            for n in 0..200 {
                block_on(append(&*store, [event(if n % 2 == 0 { "a-1" } else { "b-1" }, "X")]));
            }
        })
    };
    let mut seen = Vec::new();
    while seen.len() < 100 {
        match live.next().await.unwrap() {
            SubscriptionMessage::Events(events) => seen.extend(positions(&events)),
            SubscriptionMessage::CaughtUp(_) | SubscriptionMessage::FellBehind => {}
        }
    }
    writer.join().unwrap();
    assert_eq!(seen, (0..100).map(|n| 5 + 2 * n).collect::<Vec<_>>());
}

pub async fn a_subscription_that_falls_behind_says_so(fixture: &dyn Fixture) {
    let store = open(fixture).await;
    append(&*store, [event("a-1", "X")]).await;
    let mut live = subscribe(Arc::clone(&store), Filter::all(), Position::ZERO);
    assert_eq!(next_events(&mut live).await, [1]);
    assert_eq!(live.next().await.unwrap(), SubscriptionMessage::CaughtUp(Position::new(1)));
    append(&*store, (0..MAX_BATCH_EVENTS + 5).map(|_| event("a-1", "X"))).await;
    assert_eq!(live.next().await.unwrap(), SubscriptionMessage::FellBehind);
    let mut seen = next_events(&mut live).await;
    seen.extend(next_events(&mut live).await);
    assert_eq!(seen, (2..MAX_BATCH_EVENTS as u64 + 7).collect::<Vec<_>>());
    let end = Position::new(MAX_BATCH_EVENTS as u64 + 6);
    assert_eq!(live.next().await.unwrap(), SubscriptionMessage::CaughtUp(end));
}

pub async fn concurrent_appends_are_dense_and_seen_once(fixture: &dyn Fixture) {
    const WRITERS: u64 = 8;
    const EACH: u64 = 40;
    let store = open(fixture).await;
    let mut live = subscribe(Arc::clone(&store), Filter::all(), Position::ZERO);
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let store = Arc::clone(&store);
            std::thread::spawn(move || {
                let own = format!("w-{writer}");
                let mut last = Position::ZERO;
                for n in 1..=EACH {
                    let request = AppendRequest::new([event(&own, "X"), event("shared-1", "Y")])
                        .expect(stream(&own), ExpectedVersion::Exact(crate::Version::new(n - 1)));
                    let receipt = block_on(store.append(request)).unwrap();
                    assert!(receipt.first_position > last, "a later append lies later");
                    assert_eq!(receipt.event_count(), 2);
                    let head = block_on(store.head()).unwrap();
                    assert!(head >= receipt.last_position, "acknowledged is visible");
                    last = receipt.last_position;
                }
            })
        })
        .collect();
    let mut seen = Vec::new();
    while seen.len() < (2 * WRITERS * EACH) as usize {
        if let SubscriptionMessage::Events(events) = live.next().await.unwrap() {
            seen.extend(positions(&events));
        }
    }
    writers.into_iter().for_each(|writer| writer.join().unwrap());
    assert_eq!(
        seen,
        (1..=2 * WRITERS * EACH).collect::<Vec<_>>(),
        "nothing skipped, nothing twice, in order"
    );
    let shared = read(&*store, ReadRequest::stream(stream("shared-1"))).await;
    assert_eq!(versions(&shared), (1..=WRITERS * EACH).collect::<Vec<_>>());
}

pub async fn one_of_many_racing_appends_wins(fixture: &dyn Fixture) {
    let store = open(fixture).await;
    for round in 0..10 {
        let name = format!("race-{round}");
        let racers: Vec<_> = (0..8)
            .map(|_| {
                let (store, name) = (Arc::clone(&store), name.clone());
                std::thread::spawn(move || {
                    let request = AppendRequest::new([event(&name, "Won")])
                        .expect(stream(&name), ExpectedVersion::NoStream);
                    match block_on(store.append(request)) {
                        Ok(_) => 1,
                        Err(AppendError::Conflict(_)) => 0,
                        Err(other) => panic!("{other}"),
                    }
                })
            })
            .collect();
        let wins: u32 = racers.into_iter().map(|racer| racer.join().unwrap()).sum();
        assert_eq!(wins, 1);
        assert_eq!(read(&*store, ReadRequest::stream(stream(&name))).await.len(), 1);
    }
}

pub async fn waiting_for_the_head_ends(fixture: &dyn Fixture) {
    let store = open(fixture).await;
    append(&*store, [event("a-1", "X")]).await;
    assert_eq!(store.wait_past(Position::ZERO).await.unwrap(), Position::new(1));
    let waiter = {
        let store = Arc::clone(&store);
        std::thread::spawn(move || block_on(store.wait_past(Position::new(1))).unwrap())
    };
    append(&*store, [event("a-1", "X"), event("a-1", "X")]).await;
    assert_eq!(waiter.join().unwrap(), Position::new(3));
}
