//! Several processes on one read model: one keeps it, the others stand by; and read models that are removed.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use annals_app::*;
use annals_core::*;
use annals_sqlite::SqliteReadModels;

use crate::domain::{CountOf, Counter, CounterCommand, World};

const PATIENCE: Duration = Duration::from_secs(20);

fn of(id: &str) -> CountOf {
    CountOf { id: id.to_owned() }
}

/// As another process would have the same read models.
fn beside(world: &World, folder: &std::path::Path) -> World {
    let models = Arc::new(SqliteReadModels::in_folder(folder).unwrap());
    World { models, store: world.store.clone(), broken: world.broken.clone() }
}

async fn state_of(app: &RunningApp) -> ProjectionState {
    app.projections().await.unwrap().remove(0).state
}

async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !is_so().await {
        assert!(begun.elapsed() < PATIENCE, "waited for: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_stands_by_and_takes_over() {
    let (world, folder) = (World::new(), tempfile::tempdir().unwrap());
    let one = beside(&world, folder.path()).start().await;
    let done = one.execute::<Counter>("a", CounterCommand::Increment { by: 1 }).await.unwrap();
    assert_eq!(one.ask(of("a")).at_least(done.position).await.unwrap(), (1, 1));
    let other = beside(&world, folder.path()).start().await;
    until("standing by", async || state_of(&other).await == ProjectionState::StandingBy).await;
    for n in 2..=20 {
        let done = other.execute::<Counter>("a", CounterCommand::Increment { by: 1 }).await.unwrap();
        assert_eq!(other.ask(of("a")).at_least(done.position).await.unwrap(), (n, n), "kept by the one");
    }
    let refused = other.rebuild("counts", &|_| {}).await.unwrap_err().to_string();
    assert!(refused.contains("another process keeps the read model \"counts\""), "{refused}");
    one.rebuild("counts", &|_| {}).await.unwrap();
    assert_eq!(other.ask(of("a")).await.unwrap(), (20, 20), "it notices the new build");

    // What the one that keeps it stops at is told by the other, too.
    world.broken.store(true, Ordering::SeqCst);
    other.execute::<Counter>("a", CounterCommand::Increment { by: 13 }).await.unwrap();
    let failed = |state: &ProjectionState| matches!(state, ProjectionState::Failed { event: Some(_), .. });
    until("the failure", async || failed(&state_of(&other).await)).await;
    world.broken.store(false, Ordering::SeqCst);
    drop(one);
    until("taking over", async || state_of(&other).await == ProjectionState::Live).await;
    let done = other.execute::<Counter>("a", CounterCommand::Increment { by: 1 }).await.unwrap();
    assert_eq!(other.ask(of("a")).at_least(done.position).await.unwrap(), (34, 22));
    other.rebuild("counts", &|_| {}).await.unwrap();
}

#[tokio::test]
async fn events_of_no_interest_hold_nobody_up() {
    let (world, folder) = (World::new(), tempfile::tempdir().unwrap());
    let one = beside(&world, folder.path()).start().await;
    one.execute::<Counter>("a", CounterCommand::Increment { by: 1 }).await.unwrap();
    one.catch_up(PATIENCE).await.unwrap();
    let other = beside(&world, folder.path()).start().await;
    let stream = StreamName::new("elsewhere-1").unwrap();
    let event = NewEvent::new(stream, EventType::new("Happened").unwrap());
    let receipt = world.store.append(AppendRequest::new([event])).await.unwrap();
    assert_eq!(other.ask(of("a")).at_least(receipt.last_position).await.unwrap(), (1, 1));
}

#[tokio::test]
async fn a_removed_read_model_is_built_anew() {
    let (world, folder) = (World::new(), tempfile::tempdir().unwrap());
    let app = beside(&world, folder.path()).start().await;
    for _ in 0..50 {
        app.execute::<Counter>("a", CounterCommand::Increment { by: 1 }).await.unwrap();
    }
    app.catch_up(PATIENCE).await.unwrap();
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().unwrap().to_str().unwrap().starts_with("counts-v1.sqlite") {
            std::fs::remove_file(path).unwrap();
        }
    }
    let done = app.execute::<Counter>("a", CounterCommand::Increment { by: 1 }).await.unwrap();
    assert_eq!(app.ask(of("a")).at_least(done.position).await.unwrap(), (51, 51));
    std::fs::remove_dir_all(folder.path()).unwrap();
    let done = app.execute::<Counter>("a", CounterCommand::Increment { by: 1 }).await.unwrap();
    assert_eq!(app.ask(of("a")).at_least(done.position).await.unwrap(), (52, 52));
    assert_eq!(app.prove("counts").await.unwrap().verdict, GapVerdict::Complete);
}

#[tokio::test]
async fn a_lagging_read_model_can_be_asked_to_be_fresh() {
    let world = World::new();
    world.broken.store(true, Ordering::SeqCst);
    let app = world.start().await;
    for by in [1, 2, 13, 4] {
        app.execute::<Counter>("a", CounterCommand::Increment { by }).await.unwrap();
    }
    until("it to stop", async || matches!(state_of(&app).await, ProjectionState::Failed { .. })).await;
    let stopped = app.ask(of("a")).fresh().await.unwrap_err().to_string();
    assert!(stopped.contains("thirteen"), "{stopped}");
    assert_eq!(app.ask(of("a")).await.unwrap(), (3, 2));
    world.broken.store(false, Ordering::SeqCst);
    // The next try is seconds away; the answer is not.
    assert_eq!(app.ask(of("a")).fresh().await.unwrap(), (20, 4));
    let principal = Principal::anonymous();
    let answer = app.answer("CountOf", "id=a".to_owned(), Freshness::Fresh, &principal).await.unwrap();
    assert_eq!((&answer.json[..], answer.position.get()), (&b"[20,4]"[..], 4));
    app.catch_up(PATIENCE).await.unwrap_or_default();
    app.retry("counts").unwrap();
    until("it to go on", async || app.ask(of("a")).await.unwrap() == (20, 4)).await;
    assert_eq!(app.ask(of("a")).fresh().await.unwrap(), (20, 4));
}
