//! Commands: decided, retried, known again, allowed, wrapped.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use annals_app::{At, CommandOptions, CommandRequest, Error, Principal, StartError};
use annals_core::{
    AppendRequest, EventType, ExpectedVersion, Filter, NewEvent, Position, ReadRequest, StreamName, Tag,
    Timestamp, Version,
};

use crate::domain::{Counter, CounterCommand, CounterError, World, incremented};

fn with_id(id: &str) -> CommandOptions {
    CommandOptions { command_id: Some(id.parse().unwrap()), ..CommandOptions::default() }
}

#[tokio::test]
async fn a_command_gives_version_position_events_and_state() {
    let app = World::new().start().await;
    let done = app.execute::<Counter>("a", CounterCommand::IncrementTwice { by: 3 }).await.unwrap();
    assert_eq!((done.version, done.position, done.state.count), (Version::new(2), Position::new(2), 6));
    assert_eq!((done.events, done.duplicate), (vec![incremented(3), incremented(3)], false));
    let nothing = app.execute::<Counter>("a", CounterCommand::Increment { by: 0 }).await.unwrap();
    assert_eq!((nothing.version, nothing.events.len(), nothing.state.count), (Version::new(2), 0, 6));
    let refused = app.execute::<Counter>("a", CounterCommand::Increment { by: 101 }).await;
    assert!(matches!(refused, Err(Error::Domain(CounterError::TooMuch(101)))), "{refused:?}");
    let stored =
        app.store().read(ReadRequest::new(Filter::tags([Tag::new("colour:red").unwrap()]))).await.unwrap();
    assert_eq!(stored.events.len(), 2, "tags come from the derive");
    assert_eq!(stored.events[0].event_type(), "CounterIncremented", "names too");
    assert_eq!(stored.events[0].payload(), br#"{"by":3,"colour":"red"}"#);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conflicts_with_others_are_retried() {
    let world = World::new();
    let (one, other) = (world.start().await, world.start().await);
    let work = |app: annals_app::RunningApp| {
        tokio::spawn(async move {
            for _ in 0..100 {
                app.execute::<Counter>("a", CounterCommand::Increment { by: 1 }).await.unwrap();
            }
        })
    };
    let (first, second) = (work(one.clone()), work(other));
    first.await.unwrap();
    second.await.unwrap();
    // Each of the two keeps its own folded state, which the other makes outdated all the time.
    assert_eq!(one.state("counter", "a", At::Now).await.unwrap().state["count"], 200);
}

#[tokio::test]
async fn a_refusal_is_not_decided_on_an_outdated_state() {
    let world = World::new();
    let (one, other) = (world.start().await, world.start().await);
    one.execute::<Counter>("a", CounterCommand::Increment { by: 1 }).await.unwrap();
    one.execute::<Counter>("a", CounterCommand::Reset).await.unwrap();
    other.execute::<Counter>("a", CounterCommand::Increment { by: 1 }).await.unwrap();
    one.execute::<Counter>("a", CounterCommand::Reset).await.unwrap();
}

#[tokio::test]
async fn a_command_with_an_id_is_done_once_and_answered_as_before() {
    let world = World::new();
    let app = world.start().await;
    let twice = || CounterCommand::IncrementTwice { by: 4 };
    let first = app.execute_with::<Counter>("a", twice(), with_id("k1")).await.unwrap();
    app.execute::<Counter>("a", CounterCommand::Increment { by: 7 }).await.unwrap();
    for app in [&app, &world.start().await] {
        let again = app.execute_with::<Counter>("a", twice(), with_id("k1")).await.unwrap();
        assert!(again.duplicate);
        assert_eq!((again.version, again.position, again.state.count), (first.version, first.position, 8));
        assert_eq!(again.events, first.events);
    }
    let other = app.execute_with::<Counter>("a", CounterCommand::Increment { by: 4 }, with_id("k1")).await;
    assert!(matches!(other, Err(Error::CommandIdReused { .. })), "{other:?}");
    let elsewhere = app.execute_with::<Counter>("b", twice(), with_id("k1")).await.unwrap();
    assert!(!elsewhere.duplicate, "an id is for one entity");
    assert_eq!(app.store().head().await.unwrap(), Position::new(5));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_command_at_the_same_time_is_done_once() {
    let world = World::new();
    let apps = [world.start().await, world.start().await];
    for round in 0..50 {
        let id = format!("round-{round}");
        let racers: Vec<_> = (0..6)
            .map(|racer| {
                let (app, id) = (apps[racer % 2].clone(), id.clone());
                let command = CounterCommand::Increment { by: 1 };
                tokio::spawn(
                    async move { app.execute_with::<Counter>("a", command, with_id(&id)).await.unwrap() },
                )
            })
            .collect();
        for racer in racers {
            assert_eq!(racer.await.unwrap().version, Version::new(round + 1));
        }
    }
}

#[tokio::test]
async fn an_expected_version_must_be_met() {
    let app = World::new().start().await;
    app.execute::<Counter>("a", CounterCommand::Increment { by: 1 }).await.unwrap();
    let at = |version| CommandOptions {
        expected_version: Some(Version::new(version)),
        ..CommandOptions::default()
    };
    let stale = app.execute_with::<Counter>("a", CounterCommand::Reset, at(0)).await;
    let Err(Error::VersionMismatch { expected, actual, .. }) = stale else { panic!("{stale:?}") };
    assert_eq!((expected, actual), (Version::ZERO, Version::new(1)));
    app.execute_with::<Counter>("a", CounterCommand::Reset, at(1)).await.unwrap();
}

#[tokio::test]
async fn the_past_can_be_asked_for() {
    let app = World::new().start().await;
    for by in 1..=4 {
        app.execute::<Counter>("a", CounterCommand::Increment { by }).await.unwrap();
        app.execute::<Counter>("b", CounterCommand::Increment { by: 50 }).await.unwrap();
    }
    let count =
        async |at| app.state("counter", "a", at).await.map(|view| view.state["count"].as_u64().unwrap());
    assert_eq!(count(At::Now).await.unwrap(), 10);
    assert_eq!(count(At::Version(Version::new(2))).await.unwrap(), 3);
    assert_eq!(count(At::Position(Position::new(6))).await.unwrap(), 6);
    assert_eq!(count(At::RecordedAt(Timestamp::now())).await.unwrap(), 10);
    assert!(matches!(count(At::RecordedAt(Timestamp::from_micros(0))).await, Err(Error::NotFound { .. })));
    let message = count(At::Version(Version::new(9))).await.unwrap_err().to_string();
    assert_eq!(message, "there is no version 9 of counter \"a\": it has 4 events");
    assert!(matches!(app.state("counter", "z", At::Now).await, Err(Error::NotFound { .. })));
    assert!(matches!(app.state("clock", "a", At::Now).await, Err(Error::Unknown(_))));
}

#[tokio::test]
async fn what_was_true_then_is_told_apart_from_what_was_known_then() {
    let app = World::new().start().await;
    let day = |day: i64| Timestamp::from_micros(day * 86_400_000_000);
    // The third day is told of before the second.
    for (by, occurred_at) in [(1, day(1)), (4, day(3)), (2, day(2))] {
        let options = CommandOptions { occurred_at: Some(occurred_at), ..CommandOptions::default() };
        app.execute_with::<Counter>("a", CounterCommand::Increment { by }, options).await.unwrap();
    }
    let count = async |at| {
        app.state("counter", "a", at)
            .await
            .map(|view| (view.state["count"].as_u64().unwrap(), view.version.get()))
    };
    assert_eq!(count(At::OccurredAt(day(1))).await.unwrap(), (1, 1));
    assert_eq!(count(At::OccurredAt(day(2))).await.unwrap(), (3, 3));
    assert_eq!(count(At::OccurredAt(day(3))).await.unwrap(), (7, 3));
    assert!(matches!(count(At::OccurredAt(day(0))).await, Err(Error::NotFound { .. })));
    assert_eq!(count(At::RecordedAt(Timestamp::now())).await.unwrap(), (7, 3));
}

#[tokio::test]
async fn what_each_event_changed_can_be_asked_for() {
    let app = World::new().start().await;
    for by in 1..=4 {
        app.execute::<Counter>("a", CounterCommand::Increment { by }).await.unwrap();
    }
    let difference = async |from, to: Option<u64>| {
        app.difference("counter", "a", Version::new(from), to.map(Version::new)).await
    };
    let found = difference(1, Some(3)).await.unwrap();
    assert_eq!((found.from.get(), found.to.get()), (1, 3));
    let whole = serde_json::to_value(&found.changed).unwrap();
    let count = whole.as_array().unwrap().iter().find(|change| change["path"] == "/count").unwrap();
    assert_eq!((&count["before"], &count["after"]), (&1.into(), &6.into()));
    let steps: Vec<_> =
        found.events.iter().map(|event| (event.version.get(), event.event_type.as_str())).collect();
    assert_eq!(steps, [(2, "CounterIncremented"), (3, "CounterIncremented")]);
    let step = serde_json::to_value(&found.events[1].changed).unwrap();
    assert_eq!((&step[0]["before"], &step[0]["after"]), (&3.into(), &6.into()));
    assert_eq!(difference(0, None).await.unwrap().events.len(), 4);
    let message = difference(2, Some(9)).await.unwrap_err().to_string();
    assert_eq!(message, "there is no version 9 of counter \"a\": it has 4 events");
    assert!(matches!(difference(4, None).await, Err(Error::NotFound { .. })));
    assert!(matches!(difference(3, Some(3)).await, Err(Error::Malformed { .. })));
    assert!(matches!(difference(0, Some(20_000)).await, Err(Error::Malformed { .. })));
}

#[tokio::test]
async fn json_commands_say_what_does_not_fit() {
    let app = World::new().start().await;
    let give = async |category: &str, id: &str, name: &str, json: &'static str| {
        let request = CommandRequest::json(category, id, name, json, CommandOptions::default());
        app.dispatch(request).await.map(|done| done.version.get()).map_err(|error| error.to_string())
    };
    assert_eq!(give("counter", "a", "Increment", r#"{"by":1}"#).await, Ok(1));
    assert_eq!(give("counter", "a", "Reset", "").await, Ok(2));
    let error = give("counter", "a", "Increment", r#"{"by":-1}"#).await.unwrap_err();
    assert!(
        error.contains("the body of Increment does not fit") && error.contains("expected u64"),
        "{error}"
    );
    assert!(give("counter", "a", "Increment", "{}").await.unwrap_err().contains("missing field `by`"));
    assert!(give("counter", "a", "Increment", "{").await.unwrap_err().contains("EOF"));
    let error = give("counter", "a", "Explode", "{}").await.unwrap_err();
    assert_eq!(error, "there is no command \"Explode\"; there are: Increment, IncrementTwice, Reset");
    let error = give("clock", "a", "Increment", "{}").await.unwrap_err();
    assert_eq!(error, "there is no category \"clock\"; there are: counter");
    for id in ["", "a\u{0}b", &"x".repeat(300)] {
        assert!(give("counter", id, "Increment", r#"{"by":1}"#).await.is_err(), "{id:?}");
    }
    assert_eq!(
        give("counter", "..", "Increment", r#"{"by":1}"#).await,
        Ok(1),
        "a name is a name, not a path"
    );
}

#[tokio::test]
async fn permission_and_middleware_stand_before_the_aggregate() {
    #[derive(Clone)]
    struct Counting<S>(S, Arc<AtomicU32>);
    impl<S: tower::Service<CommandRequest>> tower::Service<CommandRequest> for Counting<S> {
        type Response = S::Response;
        type Error = S::Error;
        type Future = S::Future;
        fn poll_ready(&mut self, cx: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), S::Error>> {
            self.0.poll_ready(cx)
        }
        fn call(&mut self, request: CommandRequest) -> S::Future {
            assert_eq!(request.category, "counter");
            self.1.fetch_add(1, Ordering::SeqCst);
            self.0.call(request)
        }
    }
    let world = World::new();
    let seen = Arc::new(AtomicU32::new(0));
    let counter = Arc::clone(&seen);
    let app = world
        .app()
        .permission(|principal, action| match (&*principal.name, action) {
            ("ann", _) => Ok(()),
            (_, annals_app::Action::Command { name: "Reset", .. }) => Err("only ann may".to_owned()),
            _ => Ok(()),
        })
        .layer(tower::layer::layer_fn(move |inner| Counting(inner, Arc::clone(&counter))));
    let app = app.start(Arc::clone(&world.store), Arc::clone(&world.models) as _).await.unwrap();
    app.execute::<Counter>("a", CounterCommand::Increment { by: 1 }).await.unwrap();
    let denied = app.execute::<Counter>("a", CounterCommand::Reset).await.unwrap_err();
    assert_eq!(denied.to_string(), "anonymous may not Reset on counter \"a\": only ann may");
    let ann = CommandOptions { principal: Principal::named("ann"), ..CommandOptions::default() };
    app.execute_with::<Counter>("a", CounterCommand::Reset, ann).await.unwrap();
    assert_eq!(seen.load(Ordering::SeqCst), 3);
    let last = app.store().read(ReadRequest::last(Filter::all())).await.unwrap();
    let metadata = String::from_utf8_lossy(last.events[0].metadata().unwrap()).into_owned();
    assert!(metadata.contains(r#""principal":"ann""#), "who did it is recorded: {metadata}");
}

#[tokio::test]
async fn unknown_events_are_passed_by_and_unreadable_ones_named() {
    let world = World::new();
    let app = world.start().await;
    let stream = StreamName::new("counter-a").unwrap();
    let append = async |event_type: &str, json: &'static str| {
        let event = NewEvent::new(stream.clone(), EventType::new(event_type).unwrap()).json(json);
        world.store.append(AppendRequest::new([event])).await.unwrap();
    };
    append("CounterIncremented", r#"{"by":2,"colour":"red"}"#).await;
    append("CounterPainted", "not even JSON").await;
    append("CounterIncremented", r#"{"by":3,"colour":"red","later":"field"}"#).await;
    let done = app.execute::<Counter>("a", CounterCommand::Increment { by: 1 }).await.unwrap();
    assert_eq!((done.state.count, done.version), (6, Version::new(4)));
    append("CounterIncremented", r#"{"by":"many"}"#).await;
    let error = app.state("counter", "a", At::Now).await.unwrap_err().to_string();
    assert!(error.contains("CounterIncremented at position 5, of counter-a, cannot be read"), "{error}");
}

#[tokio::test]
async fn a_deleted_entity_begins_anew() {
    let world = World::new();
    let app = world.start().await;
    app.execute::<Counter>("a", CounterCommand::Increment { by: 5 }).await.unwrap();
    let stream = StreamName::new("counter-a").unwrap();
    world.store.delete(stream, ExpectedVersion::Exists, annals_core::DeleteMode::Soft).await.unwrap();
    let done = app.execute::<Counter>("a", CounterCommand::Increment { by: 1 }).await.unwrap();
    assert_eq!((done.state.count, done.version), (1, Version::new(3)));
}

#[tokio::test]
async fn names_that_clash_are_refused_at_the_start() {
    let world = World::new();
    let start = async |app: annals_app::App| {
        app.start(Arc::clone(&world.store), Arc::clone(&world.models) as _).await.err().unwrap()
    };
    let twice = start(world.app().aggregate::<Counter>()).await;
    assert!(matches!(twice, StartError::DuplicateName { kind: "aggregates", .. }), "{twice}");
    let twice = start(world.app().query(crate::domain::count_of)).await;
    assert!(matches!(twice, StartError::DuplicateName { kind: "queries", .. }), "{twice}");
    let missing = start(annals_app::App::new("x").query(crate::domain::count_of)).await;
    assert!(matches!(missing, StartError::MissingProjection { .. }), "{missing}");
}
