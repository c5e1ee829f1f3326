//! Streams made from streams.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use annals_app::{
    CommandOptions, DecodeExt, DeriveExt, Derived, DerivedError, RunningApp, derive_from, derive_from_history,
};
use annals_core::{Category, Filter, Position, Timestamp};
use futures_util::StreamExt;

use crate::domain::{Counter, CounterCommand, CounterEvent, World};

const MINUTE: i64 = 60_000_000;

async fn increment(app: &RunningApp, id: &str, by: u64, minute: i64) {
    let occurred_at = Some(Timestamp::from_micros(minute * MINUTE));
    let options = CommandOptions { occurred_at, ..CommandOptions::default() };
    app.execute_with::<Counter>(id, CounterCommand::Increment { by }, options).await.unwrap();
}

fn counters() -> Filter {
    Filter::category(Category::new("counter").unwrap())
}

/// How much each increment was, with whose it was.
fn amount(item: &Derived<(String, CounterEvent)>) -> Option<(String, u64)> {
    match &item.value {
        (id, CounterEvent::Incremented { by, .. }) => Some((id.clone(), *by)),
        _ => None,
    }
}

#[tokio::test]
async fn streams_are_mapped_folded_and_begun_again() {
    let world = World::new();
    let app = world.start().await;
    for n in 1..=4 {
        increment(&app, "a", n, 0).await;
        increment(&app, "b", 10 * n, 0).await;
    }
    app.execute::<Counter>("a", CounterCommand::Reset).await.unwrap();
    let sums = |after: Position| {
        derive_from(Arc::clone(&world.store), counters(), after)
            .decoded::<CounterEvent>()
            .filter_map_values(amount)
            .scan_by(
                |(id, _)| id.clone(),
                |sum: &mut u64, item| {
                    *sum += item.value.1;
                    Some((item.value.0.clone(), *sum))
                },
            )
            .map_values(|(id, sum)| format!("{id}{sum}"))
    };
    let all: Vec<_> = sums(Position::ZERO).take(8).map(Result::unwrap).collect().await;
    let told: Vec<_> = all.iter().map(|item| item.value.as_str()).collect();
    assert_eq!(told, ["a1", "b10", "a3", "b30", "a6", "b60", "a10", "b100"]);
    assert_eq!(all[3].position, Position::new(4));
    let later: Vec<_> = sums(all[5].position).take(2).map(Result::unwrap).collect().await;
    assert_eq!((later[0].value.as_str(), later[0].position), ("a4", Position::new(7)), "a fold begins anew");
    let ended: Vec<_> =
        derive_from_history(Arc::clone(&world.store), counters(), Position::new(3)).collect().await;
    assert_eq!(ended.len(), 6, "history has an end");
    // What comes is told as it comes.
    let mut live = pin!(sums(Position::new(9)));
    increment(&app, "c", 5, 0).await;
    assert_eq!(live.next().await.unwrap().unwrap().value, "c5");
}

#[tokio::test]
async fn windows_go_by_when_things_happened() {
    let world = World::new();
    let app = world.start().await;
    // Minutes 0, 4, 8, 12 for a; one of b; and one of a that is told of late.
    for (id, minute) in [("a", 0), ("a", 4), ("b", 5), ("a", 8), ("a", 12), ("a", 5)] {
        increment(&app, id, 1, minute).await;
    }
    let windows = derive_from(Arc::clone(&world.store), counters(), Position::ZERO)
        .decoded::<CounterEvent>()
        .filter_map_values(amount)
        .windows_by(Duration::from_secs(600), |(id, _)| id.clone());
    let seen: Vec<(String, Vec<u64>)> = windows
        .take(6)
        .map(Result::unwrap)
        .map(|Derived { value, .. }| {
            (value.key, value.items.iter().map(|item| item.position.get()).collect())
        })
        .collect()
        .await;
    let of = |id: &str, positions: &[u64]| (id.to_owned(), positions.to_vec());
    let expected = [
        of("a", &[1]),
        of("a", &[1, 2]),
        of("b", &[3]),
        of("a", &[1, 2, 4]),
        // The first of them happened more than ten minutes before.
        of("a", &[2, 4, 5]),
        // Told of late: of what happened before it, what is still kept.
        of("a", &[2, 6]),
    ];
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn an_event_that_cannot_be_read_is_told() {
    use annals_core::{AppendRequest, EventType, NewEvent, StreamName};
    let world = World::new();
    let event =
        NewEvent::new(StreamName::new("counter-a").unwrap(), EventType::new("CounterIncremented").unwrap());
    world.store.append(AppendRequest::new([event.json("{\"by\":\"many\"}")])).await.unwrap();
    let mut decoded =
        pin!(derive_from(Arc::clone(&world.store), counters(), Position::ZERO).decoded::<CounterEvent>());
    let Err(DerivedError::Unreadable(error)) = decoded.next().await.unwrap() else {
        panic!("expected an error")
    };
    assert_eq!(error.position, Position::new(1));
}
