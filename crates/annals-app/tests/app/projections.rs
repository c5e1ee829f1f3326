//! Projections and queries: caught up, live, stopped, rebuilt.

use std::sync::atomic::Ordering;
use std::time::Duration;

use annals_app::{At, Principal, ProjectionError, ProjectionState, QueryError};
use annals_core::Position;

use futures_util::StreamExt;

use crate::domain::{CountOf, Counter, CounterCommand, World};

const PATIENCE: Duration = Duration::from_secs(20);

fn increment(by: u64) -> CounterCommand {
    CounterCommand::Increment { by }
}

fn of(id: &str) -> CountOf {
    CountOf { id: id.to_owned() }
}

#[tokio::test]
async fn one_reads_ones_own_write() {
    let app = World::new().start().await;
    for n in 1..=200 {
        let done = app.execute::<Counter>("a", increment(2)).await.unwrap();
        assert_eq!(app.ask(of("a")).at_least(done.position).await.unwrap(), (2 * n, n));
    }
    let missing = app.ask(of("z")).await.unwrap_err();
    assert_eq!(missing.to_string(), "there is no counter \"z\"");
}

#[tokio::test]
async fn a_live_query_answers_whenever_its_answer_changes() {
    let app = World::new().start().await;
    let mut answers = std::pin::pin!(app.ask(of("a")).live());
    let mut next =
        async || tokio::time::timeout(Duration::from_secs(5), answers.next()).await.unwrap().unwrap();
    assert!(matches!(next().await, Err(QueryError::NotFound { .. })));
    app.execute::<Counter>("a", increment(2)).await.unwrap();
    assert_eq!(next().await.unwrap(), (2, 1));
    // What changes no answer is not told.
    app.execute::<Counter>("b", increment(1)).await.unwrap();
    for _ in 0..20 {
        app.execute::<Counter>("a", increment(1)).await.unwrap();
    }
    // Answers in between may be passed by, the newest is not.
    let mut last = next().await.unwrap();
    while last != (22, 21) {
        assert!(last.1 < 21, "{last:?}");
        last = next().await.unwrap();
    }
    // A rebuild leaves the answer as it was, so nothing is told until it changes.
    app.rebuild("counts", &|_| {}).await.unwrap();
    app.execute::<Counter>("a", increment(1)).await.unwrap();
    assert_eq!(next().await.unwrap(), (23, 22));
}

#[tokio::test]
async fn a_read_model_can_be_asked_as_it_was() {
    let app = World::new().start().await;
    for _ in 0..5 {
        app.execute::<Counter>("a", increment(2)).await.unwrap();
        app.execute::<Counter>("b", increment(1)).await.unwrap();
    }
    let ask = async |at: At| {
        app.answer_as_of("CountOf", "id=a".to_owned(), at, &Principal::anonymous(), &|_| {}).await
    };
    let answer = ask(At::Position(Position::new(4))).await.unwrap();
    assert_eq!((&answer.json[..], answer.position.get()), (&b"[4,2]"[..], 4));
    assert_eq!(&ask(At::Now).await.unwrap().json[..], b"[10,5]");
    assert_eq!(&ask(At::Position(Position::new(900))).await.unwrap().json[..], b"[10,5]");
    let then = app.state("counter", "a", At::Version(3.into())).await.unwrap().recorded_at;
    let known = ask(At::RecordedAt(then)).await.unwrap();
    assert!(known.position >= Position::new(5), "{known:?}");
    let before = ask(At::RecordedAt(annals_core::Timestamp::from_micros(0))).await;
    assert!(matches!(before, Err(QueryError::NotFound { .. })));
    assert!(matches!(ask(At::Version(1.into())).await, Err(QueryError::Malformed { .. })));
    // The live one is as it was.
    assert_eq!(app.ask(of("a")).await.unwrap(), (10, 5));
}

#[tokio::test]
async fn queries_come_as_text_too() {
    let app = World::new().start().await;
    let done = app.execute::<Counter>("a b&c", increment(2)).await.unwrap();
    let ask = async |name: &str, form: &str| {
        app.answer(name, form.to_owned(), done.position, &Principal::anonymous()).await
    };
    let answer = ask("CountOf", "id=a+b%26c").await.unwrap();
    assert_eq!((&answer.json[..], answer.position), (&b"[2,1]"[..], done.position));
    assert!(ask("CountOf", "").await.unwrap_err().to_string().contains("missing field `id`"));
    assert!(
        ask("CountOf", "id=a&colour=red").await.unwrap_err().to_string().contains("unknown field `colour`")
    );
    assert!(ask("Count", "").await.unwrap_err().to_string().contains("there are: CountOf"));
}

#[tokio::test]
async fn a_read_model_goes_on_where_it_stopped() {
    let world = World::new();
    for round in 1..=3 {
        let app = world.start().await;
        for _ in 0..50 {
            app.execute::<Counter>("a", increment(1)).await.unwrap();
        }
        // Ended at any moment: the rows and the position they were made from are kept together.
        if round < 3 {
            drop(app);
            continue;
        }
        app.catch_up(PATIENCE).await.unwrap();
        assert_eq!(app.ask(of("a")).await.unwrap(), (150, 150));
        let all = app.projections().await.unwrap();
        assert!(
            all.iter().all(|status| status.position == Position::new(150) && status.head == status.position)
        );
    }
}

#[tokio::test]
async fn a_failing_event_stops_its_projection_only() {
    let world = World::new();
    world.broken.store(true, Ordering::SeqCst);
    let app = world.start().await;
    for by in [1, 2, 13, 4] {
        app.execute::<Counter>("a", increment(by)).await.unwrap();
    }
    let error = app.catch_up(PATIENCE).await.unwrap_err();
    let ProjectionError::Stopped { name: "counts", position, reason, .. } = &error else { panic!("{error}") };
    assert_eq!((position.get(), reason.as_str()), (3, "thirteen brings bad luck"));
    assert_eq!(app.ask(of("a")).await.unwrap(), (3, 2), "what came before it counts and can be asked");
    let late = app.ask(of("a")).at_least(Position::new(4)).await.unwrap_err();
    assert!(matches!(late, QueryError::Projection(ProjectionError::Stopped { .. })), "{late}");
    // The failure is told at once; the other projection may still be on its way.
    let begun = std::time::Instant::now();
    let mut all = app.projections().await.unwrap();
    while all[1].position < Position::new(4) && begun.elapsed() < PATIENCE {
        tokio::time::sleep(Duration::from_millis(5)).await;
        all = app.projections().await.unwrap();
    }
    assert!(matches!(all[0].state, ProjectionState::Failed { .. }) && all[1].name == "sum");
    assert_eq!(
        (&all[1].state, all[1].position),
        (&ProjectionState::Live, Position::new(4)),
        "the other went on"
    );

    let status = app.projections().await.unwrap();
    assert!(matches!(status[0].state, ProjectionState::Failed { position, .. } if position.get() == 3));
    let still = app.rebuild("counts", &|_| {}).await.unwrap_err();
    assert!(still.to_string().contains("stopped at position 3"), "{still}");
    assert_eq!(app.ask(of("a")).await.unwrap(), (3, 2), "a failed rebuild leaves the old one in place");

    world.broken.store(false, Ordering::SeqCst);
    app.rebuild("counts", &|_| {}).await.unwrap();
    app.catch_up(PATIENCE).await.unwrap();
    assert_eq!(app.ask(of("a")).await.unwrap(), (20, 4));
    let done = app.execute::<Counter>("a", increment(1)).await.unwrap();
    assert_eq!(app.ask(of("a")).at_least(done.position).await.unwrap(), (21, 5), "it is live again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rebuild_answers_and_takes_in_what_comes_meanwhile() {
    let world = World::new();
    let app = world.start().await;
    for _ in 0..2_000 {
        app.execute::<Counter>("a", increment(1)).await.unwrap();
    }
    app.catch_up(PATIENCE).await.unwrap();
    let writer = {
        let app = app.clone();
        tokio::spawn(async move {
            for n in 2_001..=3_000_u64 {
                let done = app.execute::<Counter>("a", increment(1)).await.unwrap();
                assert_eq!(app.ask(of("a")).at_least(done.position).await.unwrap(), (n, n));
            }
        })
    };
    let progress = std::sync::Mutex::new(Vec::new());
    for _ in 0..10 {
        app.rebuild("counts", &|now| progress.lock().unwrap().push(now)).await.unwrap();
    }
    writer.await.unwrap();
    assert_eq!(app.ask(of("a")).await.unwrap(), (3_000, 3_000));
    let progress = progress.into_inner().unwrap();
    assert!(progress.len() >= 20 && progress.iter().all(|now| now.done <= now.total));
}

#[tokio::test]
async fn a_read_model_of_another_store_is_not_answered_from() {
    let world = World::new();
    let app = world.start().await;
    let done = app.execute::<Counter>("a", CounterCommand::IncrementTwice { by: 1 }).await.unwrap();
    app.ask(of("a")).at_least(done.position).await.unwrap();
    drop(app);
    let other = World { models: std::sync::Arc::clone(&world.models), ..World::new() };
    let app = other.start().await;
    let error = app.ask(of("a")).await.unwrap_err().to_string();
    assert!(error.contains("was not made from this store"), "{error}");
    app.rebuild("counts", &|_| {}).await.unwrap();
    assert!(matches!(app.ask(of("a")).await, Err(QueryError::NotFound { .. })));
}

#[tokio::test]
async fn waiting_for_what_never_comes_ends() {
    let app = World::new().start().await;
    let error = app.ask(of("a")).at_least(Position::new(5)).await.unwrap_err();
    assert!(matches!(error, QueryError::Projection(ProjectionError::Behind { .. })), "{error}");
}

#[tokio::test]
async fn a_stopped_projection_goes_on_by_itself_when_the_cause_is_gone() {
    let world = World::new();
    world.broken.store(true, Ordering::SeqCst);
    let app = world.start().await;
    let done = app.execute::<Counter>("a", increment(13)).await.unwrap();
    assert!(app.catch_up(PATIENCE).await.is_err());
    world.broken.store(false, Ordering::SeqCst);
    let begun = std::time::Instant::now();
    while app.ask(of("a")).at_least(done.position).await.is_err() {
        assert!(begun.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn a_rebuilt_projection_is_live_as_before() {
    let app = World::new().start().await;
    app.execute::<Counter>("a", increment(1)).await.unwrap();
    app.catch_up(PATIENCE).await.unwrap();
    for _ in 0..3 {
        app.rebuild("counts", &|_| {}).await.unwrap();
        let all = app.projections().await.unwrap();
        assert!(all.iter().all(|status| status.state == ProjectionState::Live), "{all:?}");
    }
}

#[tokio::test]
async fn a_read_model_answers_nothing_before_it_was_built_once() {
    let world = World::new();
    let app = world.start().await;
    app.execute::<Counter>("a", increment(13)).await.unwrap();
    app.catch_up(PATIENCE).await.unwrap();
    drop(app);
    // The same events, and a read model that cannot be built from them.
    let fresh = World { models: World::new().models, ..world };
    fresh.broken.store(true, Ordering::SeqCst);
    let error = fresh.start().await.ask(of("a")).await.unwrap_err();
    assert!(matches!(error, QueryError::Projection(ProjectionError::Stopped { .. })), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_applications_on_one_read_model_apply_each_event_once() {
    let world = World::new();
    let folder = std::env::temp_dir().join(format!("annals-shared-models-{}", std::process::id()));
    let models = || std::sync::Arc::new(annals_sqlite::SqliteReadModels::in_folder(&folder).unwrap());
    let store = world.store.clone();
    let one = World { models: models(), store: store.clone(), broken: world.broken.clone() };
    let other = World { models: models(), ..world };
    let (one, other) = (one.start().await, other.start().await);
    let mut last = Position::ZERO;
    for n in 0..300 {
        let app = if n % 2 == 0 { &one } else { &other };
        last = app.execute::<Counter>("a", increment(1)).await.unwrap().position;
        // Events that the projection does not ask for move it on without a write.
        let stream = annals_core::StreamName::new("elsewhere-1").unwrap();
        let event = annals_core::NewEvent::new(stream, annals_core::EventType::new("Happened").unwrap());
        store.append(annals_core::AppendRequest::new([event])).await.unwrap();
    }
    for app in [&one, &other] {
        app.catch_up(PATIENCE).await.unwrap();
    }
    for app in [one, other] {
        assert_eq!(app.ask(of("a")).at_least(last).await.unwrap(), (300, 300));
    }
    std::fs::remove_dir_all(folder).unwrap();
}
