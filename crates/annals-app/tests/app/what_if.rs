//! What would have been.

use std::sync::Arc;

use annals_app::{At, Edit, WhatIfError, what_if};
use annals_core::{Category, Filter, NewEvent, RecordedEvent, StreamName};
use annals_sqlite::SqliteReadModels;

use crate::domain::{CountOf, Counter, CounterCommand, World};

#[tokio::test]
async fn history_is_told_anew_without_touching_the_store() {
    let world = World::new();
    let app = world.start().await;
    for by in [1, 2, 40] {
        app.execute::<Counter>("a", CounterCommand::Increment { by }).await.unwrap();
        app.execute::<Counter>("b", CounterCommand::Increment { by }).await.unwrap();
    }
    let counters = || Filter::category(Category::new("counter").unwrap());
    let more = |event: &RecordedEvent| {
        let stream = StreamName::new(event.stream()).unwrap();
        let event_type = annals_core::EventType::new("CounterIncremented").unwrap();
        NewEvent::new(stream, event_type).json("{\"by\":100,\"colour\":\"red\"}")
    };
    let copy = what_if(&*world.store, counters(), |event| match (event.entity_id(), event.version().get()) {
        ("a", 3) => Edit::LeaveOut,
        ("b", 1) => Edit::AddAfter(vec![more(event)]),
        ("b", 3) => Edit::Replace(vec![more(event), more(event)]),
        _ => Edit::Keep,
    });
    let copy = copy.await.unwrap();
    let models = Arc::new(SqliteReadModels::temporary().unwrap());
    let other = world.app().start(copy, models).await.unwrap();
    let state = other.state("counter", "a", At::Now).await.unwrap();
    assert_eq!(state.state["count"], 3);
    let first = app.state("counter", "a", At::Version(2.into())).await.unwrap();
    assert_eq!(state.recorded_at, first.recorded_at, "times are as they were");
    let count = other.ask(CountOf { id: "b".to_owned() }).at_least(other.store().head().await.unwrap());
    assert_eq!(count.await.unwrap(), (303, 5));
    other.execute::<Counter>("a", CounterCommand::Reset).await.unwrap();
    // Nothing of this is in the store.
    assert_eq!(app.state("counter", "a", At::Now).await.unwrap().state["count"], 43);
    assert_eq!(app.store().head().await.unwrap().get(), 6);
}

#[tokio::test]
async fn an_impossible_history_is_told() {
    let world = World::new();
    let app = world.start().await;
    app.execute::<Counter>("a", CounterCommand::Increment { by: 1 }).await.unwrap();
    app.execute::<Counter>("a", CounterCommand::Increment { by: 2 }).await.unwrap();
    let mut first = None;
    let twice = what_if(&*world.store, Filter::all(), |event| {
        let first = first.get_or_insert_with(|| event.id());
        Edit::Replace(vec![event.to_new_event().id(*first)])
    });
    let Err(WhatIfError::Impossible { position, .. }) = twice.await else { panic!("expected an error") };
    assert_eq!(position.get(), 2);
}
