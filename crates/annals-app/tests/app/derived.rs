//! Streams made from streams.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use annals_app::{
    CommandOptions, DecodeExt, DeriveExt, Derived, DerivedError, RunningApp, derive_from,
    derive_from_history, merge_derived, merge_derived_in_order,
};
use annals_core::{Category, Filter, Position, Timestamp};
use futures_util::stream::{self, Stream, StreamExt};

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
async fn items_of_windows_need_not_be_clone() {
    struct Once(u64);
    let items = [1, 2].map(|n| Ok(at(n, Once(n))));
    let windows = stream::iter(items).windows_by(Duration::from_secs(1), |_| ());
    let last = pin!(windows).skip(1).next().await.unwrap().unwrap();
    let again = last.value.clone();
    assert_eq!(again.items.iter().map(|item| item.value.0).collect::<Vec<_>>(), [1, 2]);
}

fn at<T>(position: u64, value: T) -> Derived<T> {
    Derived { position: Position::new(position), occurred_at: Timestamp::from_micros(0), value }
}

type Told = Result<Derived<char>, DerivedError>;

/// Items of these positions that tell whose they are, and then an error.
fn told(name: char, positions: &[u64], fails: bool) -> impl Stream<Item = Told> + Send + Unpin + use<> {
    let items: Vec<Told> = positions.iter().map(|n| Ok(at(*n, name))).collect();
    let failure = || Err(annals_core::StoreError::Closed.into());
    stream::iter(items).chain(stream::iter(fails.then(failure)))
}

fn text(items: &[Told]) -> String {
    let one =
        |item: &Told| item.as_ref().map_or("!".to_owned(), |item| format!("{}{}", item.value, item.position));
    items.iter().map(one).collect::<Vec<_>>().join(" ")
}

#[tokio::test]
async fn histories_are_merged_in_order() {
    let merged = merge_derived_in_order([
        told('a', &[1, 4, 4, 9], false),
        told('b', &[2, 4], false),
        told('c', &[], false),
    ]);
    assert_eq!(text(&merged.collect::<Vec<_>>().await), "a1 b2 a4 a4 b4 a9");
    // What came before the error is told, what may have come behind it is not.
    let failing = merge_derived_in_order([told('a', &[1, 3], true), told('b', &[2, 3, 4], false)]);
    assert_eq!(text(&failing.collect::<Vec<_>>().await), "a1 b2 a3 b3 !");
    let world = World::new();
    let app = world.start().await;
    for n in 1..=3 {
        increment(&app, "a", n, 0).await;
    }
    let history = |name: char| {
        derive_from_history(Arc::clone(&world.store), counters(), Position::ZERO)
            .map_values(move |_| name)
            .boxed()
    };
    let both = merge_derived_in_order([history('a'), history('b')]);
    assert_eq!(text(&both.collect::<Vec<_>>().await), "a1 b1 a2 b2 a3 b3");
}

#[tokio::test]
async fn live_streams_are_merged_as_they_come() {
    let world = World::new();
    let app = world.start().await;
    let of = |category: &str| {
        let filter = Filter::category(Category::new(category).unwrap());
        derive_from(Arc::clone(&world.store), filter, Position::ZERO).map_values(|_| 'x').boxed()
    };
    let mut merged = pin!(merge_derived([of("silent"), of("counter")]));
    for n in 1..=3 {
        increment(&app, "a", n, 0).await;
        assert_eq!(text(&[merged.next().await.unwrap()]), format!("x{n}"), "nobody waits for the silent one");
    }
}

#[tokio::test]
async fn merged_streams_have_their_turns() {
    let many: Vec<u64> = (1..=100).collect();
    let items: Vec<_> = merge_derived([told('a', &many, false), told('b', &many, false)]).collect().await;
    assert_eq!(items.len(), 200);
    let begin = text(&items[..20]);
    assert!(begin.contains("a5") && begin.contains("b5"), "{begin}");
    let failing: Vec<_> = merge_derived([told('a', &[1], true), told('b', &many, false)]).collect().await;
    assert!(failing.len() < 10 && failing.last().unwrap().is_err(), "{}", text(&failing));
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
