//! Looking after read models: skipped and parked events, gap proofs, builds and versions that are taken back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use annals_app::*;
use annals_core::*;
use annals_sqlite::SqliteReadModels;

use crate::domain::{CountOf, Counter, CounterCommand, Counts, World, count_of};
use crate::odd_store::OddStore;

const PATIENCE: Duration = Duration::from_secs(20);

async fn increment(app: &RunningApp, id: &str, by: u64) -> Position {
    app.execute::<Counter>(id, CounterCommand::Increment { by }).await.unwrap().position
}

fn of(id: &str) -> CountOf {
    CountOf { id: id.to_owned() }
}

async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !is_so().await {
        assert!(begun.elapsed() < PATIENCE, "waited for: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn counts(app: &RunningApp) -> ProjectionStatus {
    app.projections().await.unwrap().into_iter().find(|status| status.name == "counts").unwrap()
}

async fn stopped(app: &RunningApp) -> u64 {
    let begun = Instant::now();
    loop {
        if let ProjectionState::Failed { position, .. } = counts(app).await.state {
            return position.get();
        }
        assert!(begun.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_skipped_event_is_remembered_also_by_the_next_build() {
    let world = World::new();
    world.broken.store(true, Ordering::SeqCst);
    let app = world.start().await;
    for (id, by) in [("a", 1), ("b", 13), ("a", 2)] {
        increment(&app, id, by).await;
    }
    assert_eq!(stopped(&app).await, 2);
    let ProjectionState::Failed { event: Some(event), error, .. } = counts(&app).await.state else {
        panic!()
    };
    assert_eq!((event.stream.as_str(), event.event_type.as_str()), ("counter-b", "CounterIncremented"));
    assert_eq!(error, "thirteen brings bad luck");

    let elsewhere = app.skip("counts", Position::new(3)).await.unwrap_err().to_string();
    assert!(
        elsewhere.contains("stopped at position 2, expected it to have stopped at position 3"),
        "{elsewhere}"
    );
    app.skip("counts", Position::new(2)).await.unwrap();
    app.catch_up(PATIENCE).await.unwrap();
    assert_eq!(app.ask(of("a")).await.unwrap(), (3, 2));
    assert!(app.ask(of("b")).await.is_err());
    let again = app.skip("counts", Position::new(2)).await.unwrap_err().to_string();
    assert!(again.contains("has not stopped"), "{again}");
    let status = counts(&app).await;
    assert_eq!((status.skipped.len(), status.events), (1, Some(3)));
    assert_eq!(status.skipped[0].event, *event);
    let proof = app.prove("counts").await.unwrap();
    assert_eq!((proof.verdict, proof.skipped, proof.seen), (GapVerdict::Complete, 1, Some(3)));

    // It is remembered over a restart; a rebuild tries it again.
    drop(app);
    let app = world.start().await;
    app.catch_up(PATIENCE).await.unwrap();
    assert_eq!(counts(&app).await.skipped.len(), 1);
    let rebuilt = app.rebuild("counts", &|_| {}).await.unwrap();
    assert_eq!((rebuilt.events, rebuilt.verified_against), (3, VerifiedAgainst::TheOneBefore));
    assert_eq!(counts(&app).await.skipped.len(), 1);
    world.broken.store(false, Ordering::SeqCst);
    app.rebuild("counts", &|_| {}).await.unwrap();
    assert_eq!((counts(&app).await.skipped.len(), app.ask(of("b")).await.unwrap()), (0, (13, 1)));
}

#[tokio::test]
async fn a_parked_key_waits_and_the_others_go_on() {
    let world = World::new();
    world.broken.store(true, Ordering::SeqCst);
    let app = world.start().await;
    for (id, by) in [("a", 1), ("b", 1), ("b", 13), ("a", 2), ("b", 3)] {
        increment(&app, id, by).await;
    }
    assert_eq!(stopped(&app).await, 3);
    app.park("counts", Position::new(3)).await.unwrap();
    app.catch_up(PATIENCE).await.unwrap();
    assert_eq!((app.ask(of("a")).await.unwrap(), app.ask(of("b")).await.unwrap()), ((3, 2), (1, 1)));
    let parked = counts(&app).await.parked;
    assert_eq!((parked.len(), parked[0].key.as_str(), parked[0].waiting), (1, "counter-b", 2));
    let last = increment(&app, "b", 4).await;
    let after = increment(&app, "a", 1).await;
    assert_eq!(app.ask(of("a")).at_least(after).await.unwrap(), (4, 3));
    assert_eq!(app.ask(of("b")).at_least(last).await.unwrap(), (1, 1));
    assert_eq!(app.prove("counts").await.unwrap().waiting, 3);

    let other = app.release("counts", "counter-x").await.unwrap_err().to_string();
    assert!(other.contains("has parked counter-b, expected a parked key \"counter-x\""), "{other}");
    let still = app.release("counts", "counter-b").await.unwrap_err().to_string();
    assert!(still.contains("stays parked, from position 3") && still.contains("thirteen"), "{still}");
    assert_eq!(app.ask(of("b")).await.unwrap(), (1, 1));

    // A rebuild parks it again; after a restart it is still parked.
    app.rebuild("counts", &|_| {}).await.unwrap();
    drop(app);
    let app = world.start().await;
    app.catch_up(PATIENCE).await.unwrap();
    assert_eq!(counts(&app).await.parked[0].waiting, 3);
    world.broken.store(false, Ordering::SeqCst);
    app.release("counts", "counter-b").await.unwrap();
    assert_eq!(app.ask(of("b")).await.unwrap(), (21, 4));
    assert!(counts(&app).await.parked.is_empty());
    let next = increment(&app, "b", 1).await;
    assert_eq!(app.ask(of("b")).at_least(next).await.unwrap(), (22, 5));
}

#[tokio::test]
async fn a_parked_event_can_be_skipped_and_the_rest_of_its_key_taken_in() {
    let world = World::new();
    world.broken.store(true, Ordering::SeqCst);
    let app = world.start().await;
    for by in [1, 13, 2, 13, 4] {
        increment(&app, "a", by).await;
    }
    assert_eq!(stopped(&app).await, 2);
    app.park("counts", Position::new(2)).await.unwrap();
    app.catch_up(PATIENCE).await.unwrap();
    let next = app.skip("counts", Position::new(2)).await.unwrap_err().to_string();
    assert!(next.contains("position 4"), "{next}");
    assert_eq!(app.ask(of("a")).await.unwrap(), (3, 2), "what comes between is there");
    app.skip("counts", Position::new(4)).await.unwrap();
    assert_eq!(app.ask(of("a")).await.unwrap(), (7, 3));
    let status = counts(&app).await;
    assert_eq!((status.skipped.len(), status.parked.len()), (2, 0));
}

#[tokio::test]
async fn a_projection_is_tried_again_on_request() {
    let world = World::new();
    world.broken.store(true, Ordering::SeqCst);
    let app = world.start().await;
    increment(&app, "a", 13).await;
    assert_eq!(stopped(&app).await, 1);
    world.broken.store(false, Ordering::SeqCst);
    until("it to go on", async || {
        app.retry("counts").unwrap();
        counts(&app).await.state == ProjectionState::Live
    })
    .await;
    assert_eq!(app.ask(of("a")).await.unwrap(), (13, 1));
    assert!(app.retry("count").unwrap_err().to_string().contains("there are: counts, sum"));
}

#[tokio::test]
async fn a_missed_event_shows_and_a_rebuild_mends_it() {
    let (store, models) = (OddStore::new(), Arc::new(SqliteReadModels::temporary().unwrap()));
    let world = World { store: store.clone(), models, broken: Arc::default() };
    let app = world.start().await;
    store.passes_over.store(7, Ordering::SeqCst);
    for _ in 0..10 {
        increment(&app, "a", 1).await;
    }
    until("nine events", async || counts(&app).await.events == Some(9)).await;
    let proof = app.prove("counts").await.unwrap();
    assert_eq!((proof.verdict, proof.seen, proof.stored), (GapVerdict::Gaps, Some(9), 10));
    let range = &proof.differences[0];
    assert!(range.first.get() <= 7 && range.last.get() >= 7 && (range.seen, range.stored) == (9, 10));
    // A build that misses it too agrees with the one before: the store is what tells.
    store.passes_over.store(3, Ordering::SeqCst);
    let refused = app.rebuild("counts", &|_| {}).await.unwrap_err().to_string();
    assert!(
        refused.contains("was not taken") && refused.contains("9 events, and the store has 10"),
        "{refused}"
    );
    store.passes_over.store(0, Ordering::SeqCst);
    let rebuilt = app.rebuild("counts", &|_| {}).await.unwrap();
    assert_eq!((rebuilt.events, rebuilt.verified_against), (10, VerifiedAgainst::TheStore));
    assert_eq!(app.prove("counts").await.unwrap().verdict, GapVerdict::Complete);
    app.store()
        .delete(StreamName::new("counter-a").unwrap(), ExpectedVersion::Any, DeleteMode::Soft)
        .await
        .unwrap();
    app.catch_up(PATIENCE).await.unwrap();
    let proof = app.prove("counts").await.unwrap();
    assert_eq!(proof.verdict, GapVerdict::MoreThanStored, "{proof:?}");
}

#[tokio::test]
async fn several_are_rebuilt_in_one_pass() {
    let (store, models) = (OddStore::new(), Arc::new(SqliteReadModels::temporary().unwrap()));
    let world = World { store: store.clone(), models, broken: Arc::default() };
    let app = world.start().await;
    let stream = StreamName::new("counter-a").unwrap();
    let event = |n: u64| {
        let json = format!("{{\"by\":{n},\"colour\":\"red\"}}");
        NewEvent::new(stream.clone(), EventType::new("CounterIncremented").unwrap()).json(json)
    };
    for _ in 0..100 {
        store.append(AppendRequest::new((0..1_000).map(event))).await.unwrap();
    }
    app.catch_up(PATIENCE).await.unwrap();
    let before = store.reads.load(Ordering::SeqCst);
    let progress = std::sync::Mutex::new(Vec::new());
    let rebuilt =
        app.rebuild_several(&["counts", "sum"], &|now| progress.lock().unwrap().push(now)).await.unwrap();
    assert!(rebuilt.iter().all(|rebuilt| rebuilt.as_ref().is_ok_and(|rebuilt| rebuilt.events == 100_000)));
    let reads = store.reads.load(Ordering::SeqCst) - before;
    assert!(reads < 25 + 15, "{reads} reads for two projections; one pass takes 25");
    let progress = progress.into_inner().unwrap();
    for name in ["counts", "sum"] {
        let own: Vec<_> = progress.iter().filter(|now| now.projection == name).collect();
        assert!(own.len() >= 2 && own.windows(2).all(|pair| pair[0].done <= pair[1].done));
        assert!(own.iter().all(|now| now.total == 100_000) && own[0].per_second > 0 && own[0].left.is_some());
    }
    // One that fails keeps the other from nothing.
    world.broken.store(true, Ordering::SeqCst);
    let rebuilt = app.rebuild_several(&["counts", "sum"], &|_| {}).await.unwrap();
    let told = rebuilt[0].as_ref().unwrap_err().to_string();
    let said = "the rebuild of \"counts\" failed, and the one before goes on answering: the projection \"counts\" stopped";
    assert!(told.starts_with(said) && rebuilt[1].is_ok(), "{told}");
    assert!(app.rebuild_several(&["sum", "sums"], &|_| {}).await.is_err());
}

#[tokio::test]
async fn the_build_before_can_be_put_back() {
    let world = World::new();
    let app = world.start().await;
    increment(&app, "a", 1).await;
    app.catch_up(PATIENCE).await.unwrap();
    let none = app.roll_back("counts").await.unwrap_err().to_string();
    assert!(none.contains("no earlier version or build"), "{none}");
    app.rebuild("counts", &|_| {}).await.unwrap();
    for _ in 0..5 {
        let done = increment(&app, "a", 1).await;
        app.ask(of("a")).at_least(done).await.unwrap();
    }
    app.roll_back("counts").await.unwrap();
    app.catch_up(PATIENCE).await.unwrap();
    assert_eq!(app.ask(of("a")).await.unwrap(), (6, 6), "it has taken in what it missed");
    let done = increment(&app, "a", 1).await;
    assert_eq!(app.ask(of("a")).at_least(done).await.unwrap(), (7, 7));
    assert_eq!(app.prove("counts").await.unwrap().verdict, GapVerdict::Complete);
}

/// The second version of the counts: each counts twice, and its check can be made to fail.
struct CountsTwice {
    broken: Arc<AtomicBool>,
    is_refused: Arc<AtomicBool>,
}

impl Projection for CountsTwice {
    const NAME: &'static str = "counts";
    const VERSION: u32 = 2;

    fn filter(&self) -> Filter {
        Filter::category(Category::new("counter").unwrap())
    }

    async fn prepare(&self, tx: &mut dyn ReadModelTx) -> Result<(), BoxError> {
        Counts { broken: Arc::default() }.prepare(tx).await
    }

    async fn apply(&self, tx: &mut dyn ReadModelTx, events: &[RecordedEvent]) -> Result<(), BoxError> {
        if self.broken.load(Ordering::SeqCst) {
            return Err("not yet".into());
        }
        let counts = Counts { broken: Arc::default() };
        counts.apply(tx, events).await?;
        counts.apply(tx, events).await
    }

    async fn check(&self, before: &mut dyn ReadModelTx, built: &mut dyn ReadModelTx) -> Result<(), BoxError> {
        let sql = "SELECT sum(count) AS total FROM counts";
        let (before, built) = (before.query(sql, &[]).await?, built.query(sql, &[]).await?);
        let (before, built): (Option<i64>, Option<i64>) = (before[0].get("total")?, built[0].get("total")?);
        if self.is_refused.load(Ordering::SeqCst) || built != before.map(|before| 2 * before) {
            return Err(format!("expected twice {before:?}, found {built:?}").into());
        }
        Ok(())
    }
}

#[tokio::test]
async fn a_new_version_is_built_beside_the_one_that_answers() {
    let world = World::new();
    let app = world.start().await;
    increment(&app, "a", 3).await;
    app.catch_up(PATIENCE).await.unwrap();
    drop(app);
    let (broken, is_refused) = (Arc::new(AtomicBool::new(true)), Arc::<AtomicBool>::default());
    let start = async || {
        let twice = CountsTwice { broken: Arc::clone(&broken), is_refused: Arc::clone(&is_refused) };
        let app = App::new("counters").aggregate::<Counter>().projection(twice);
        let app = app.projection(Counts { broken: Arc::default() }).query(count_of);
        app.start(Arc::clone(&world.store), Arc::clone(&world.models) as _).await.unwrap()
    };
    let app = start().await;
    let done = increment(&app, "a", 1).await;
    assert_eq!(app.ask(of("a")).at_least(done).await.unwrap(), (4, 2), "the first version answers");
    until("it to stop", async || {
        matches!(app.projections().await.unwrap()[1].state, ProjectionState::Failed { .. })
    })
    .await;
    assert_eq!(app.ask(of("a")).await.unwrap(), (4, 2));
    drop(app);

    broken.store(false, Ordering::SeqCst);
    is_refused.store(true, Ordering::SeqCst);
    let app = start().await;
    let status = async |version: u32| {
        let all = app.projections().await.unwrap();
        all.into_iter().find(|status| status.version == version).unwrap()
    };
    until("a reason", async || status(2).await.withdrawn.is_some_and(|why| why.contains("expected twice")))
        .await;
    assert!(status(1).await.answers && !status(2).await.answers);
    assert_eq!(app.ask(of("a")).await.unwrap(), (4, 2));
    app.roll_forward("counts").await.unwrap();
    assert_eq!(app.ask(of("a")).await.unwrap(), (8, 4), "somebody has decided");
    let done = increment(&app, "a", 1).await;
    assert_eq!(app.ask(of("a")).at_least(done).await.unwrap(), (10, 6));
    app.roll_back("counts").await.unwrap();
    assert_eq!(app.ask(of("a")).at_least(done).await.unwrap(), (5, 3), "the first one went on meanwhile");
    app.rebuild("counts@1", &|_| {}).await.unwrap();
    assert!(app.rebuild("counts@3", &|_| {}).await.unwrap_err().to_string().contains("counts@1, counts@2"));
    drop(app);
    let app = start().await;
    assert_eq!(app.ask(of("a")).await.unwrap(), (5, 3), "it stays taken back");
}

#[tokio::test]
async fn a_new_version_takes_over_by_itself_when_it_is_whole() {
    let world = World::new();
    let app = world.start().await;
    increment(&app, "a", 3).await;
    app.catch_up(PATIENCE).await.unwrap();
    drop(app);
    let twice = CountsTwice { broken: Arc::default(), is_refused: Arc::default() };
    let app = world.app().projection(twice);
    let app = app.start(Arc::clone(&world.store), Arc::clone(&world.models) as _).await.unwrap();
    until("twice", async || app.ask(of("a")).await.unwrap() == (6, 2)).await;
}
