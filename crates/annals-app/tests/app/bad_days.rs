//! What `docs/bad-days.md` says about events that a projection fails on, far into a long history.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use annals_app::*;
use annals_core::*;
use annals_sqlite::SqliteReadModels;

use crate::domain::Sum;

const EVENTS: u64 = 500_100;
const BAD: u64 = 500_000;
const PATIENCE: Duration = Duration::from_secs(60);

/// Notes how many events it was given, and fails on one of them.
struct Fails;

impl Projection for Fails {
    const NAME: &'static str = "fails";
    const VERSION: u32 = 1;

    fn filter(&self) -> Filter {
        Filter::all()
    }

    async fn prepare(&self, tx: &mut dyn ReadModelTx) -> Result<(), BoxError> {
        tx.execute("CREATE TABLE IF NOT EXISTS seen (events BIGINT, last BIGINT)", &[]).await?;
        Ok(())
    }

    async fn apply(&self, tx: &mut dyn ReadModelTx, events: &[RecordedEvent]) -> Result<(), BoxError> {
        if events.iter().any(|event| event.position().get() == BAD) {
            return Err("half a million is too many".into());
        }
        let last = events.last().map_or(0, |event| event.position().get());
        tx.execute("INSERT INTO seen VALUES ($1, $2)", params![events.len() as i64, last as i64]).await?;
        Ok(())
    }
}

async fn long_history() -> Arc<dyn EventStore> {
    let store = MemoryStore::default();
    let names: Vec<StreamName> = (0..100).map(|n| StreamName::new(format!("thing-{n}")).unwrap()).collect();
    let happened = EventType::new("Happened").unwrap();
    for batch in 0..EVENTS / 1_667 {
        let event = |n: u64| NewEvent::new(names[(n % 100) as usize].clone(), happened.clone());
        store.append(AppendRequest::new((0..1_667).map(|n| event(batch + n)))).await.unwrap();
    }
    assert_eq!(store.head().await.unwrap().get(), EVENTS);
    Arc::new(store)
}

async fn numbers(models: &SqliteReadModels, name: &str, sql: &str) -> (i64, i64) {
    let model = models.open(name, 1).await.unwrap();
    let rows = model.read().await.unwrap().query(sql, &[]).await.unwrap();
    (rows[0].get("events").unwrap(), rows[0].get("last").unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_projection_stops_exactly_at_the_500_000th_event() {
    const SEEN: &str = "SELECT SUM(events) AS events, MAX(last) AS last FROM seen";
    const SUM: &str = "SELECT SUM(events) AS events, 0 AS last FROM sum";
    let (store, models) = (long_history().await, Arc::new(SqliteReadModels::temporary().unwrap()));
    let begun = Instant::now();
    let app = App::new("things").projection(Fails).projection(Sum);
    let app = app.start(store, Arc::clone(&models) as _).await.unwrap();
    let told = app.catch_up_projection("fails", PATIENCE).await.unwrap_err().to_string();
    for part in ["\"fails\" stopped at position 500000, Happened of thing-", "half a million is too many"] {
        assert!(told.contains(part), "{told}");
    }
    assert!(told.contains("`projections skip fails 500000`"), "{told}");
    let before = (BAD as i64 - 1, BAD as i64 - 1);
    assert_eq!(numbers(&models, "fails", SEEN).await, before, "all before it, each once");
    app.catch_up_projection("sum", PATIENCE).await.unwrap();
    assert_eq!(numbers(&models, "sum", SUM).await.0, EVENTS as i64, "the other goes on");

    let status = app.projections().await.unwrap().into_iter().find(|status| status.name == "fails").unwrap();
    assert_eq!(status.position.get(), BAD - 1);
    let json = serde_json::to_value(&status).unwrap();
    assert_eq!((&json["position"], &json["stopped_at"]), (&(BAD - 1).into(), &BAD.into()), "{json}");
    assert_eq!((&json["status"], &json["event"]["type"]), (&"failed".into(), &"Happened".into()));

    app.skip("fails", Position::new(BAD)).await.unwrap();
    app.catch_up(PATIENCE).await.unwrap();
    let all_but_one = (EVENTS as i64 - 1, EVENTS as i64);
    assert_eq!(numbers(&models, "fails", SEEN).await, all_but_one, "the rest follows");
    assert_eq!(app.prove("fails").await.unwrap().verdict, GapVerdict::Complete);
    assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_fresh_answer_names_the_event_that_fails_too() {
    let world = crate::domain::World::new();
    let app = world.start().await;
    app.catch_up(PATIENCE).await.unwrap();
    world.broken.store(true, Ordering::SeqCst);
    for by in [1, 2, 13, 4] {
        let increment = crate::domain::CounterCommand::Increment { by };
        app.execute::<crate::domain::Counter>("a", increment).await.unwrap();
    }
    let question = crate::domain::CountOf { id: "a".to_owned() };
    let told = app.ask(question).fresh().await.unwrap_err().to_string();
    let expected = "stopped at position 3, CounterIncremented of counter-a (id ";
    assert!(told.contains(expected) && told.contains("thirteen"), "{told}");
}

/// Needs much room; there is none while the disk is `full`.
struct Fills {
    full: Arc<AtomicBool>,
}

impl Projection for Fills {
    const NAME: &'static str = "fills";
    const VERSION: u32 = 1;

    fn filter(&self) -> Filter {
        Filter::all()
    }

    async fn prepare(&self, tx: &mut dyn ReadModelTx) -> Result<(), BoxError> {
        tx.execute("CREATE TABLE IF NOT EXISTS fills (room BLOB)", &[]).await?;
        Ok(())
    }

    async fn apply(&self, tx: &mut dyn ReadModelTx, events: &[RecordedEvent]) -> Result<(), BoxError> {
        // SQLite then says what it says on a full disk.
        let most = if self.full.load(Ordering::SeqCst) { 1 } else { 1 << 30 };
        let sqlite = annals_sqlite::connection(tx).ok_or("not on SQLite")?;
        sqlite.query_row(&format!("PRAGMA max_page_count = {most}"), [], |_| Ok(()))?;
        for _ in events {
            tx.execute("INSERT INTO fills VALUES (zeroblob(100000))", &[]).await?;
        }
        Ok(())
    }
}

#[tokio::test]
async fn no_event_is_blamed_for_a_full_disk() {
    let folder = tempfile::tempdir().unwrap();
    let models = Arc::new(SqliteReadModels::in_folder(folder.path()).unwrap());
    let full = Arc::new(AtomicBool::new(true));
    let store = Arc::new(MemoryStore::default());
    let event = || NewEvent::new(StreamName::new("thing-1").unwrap(), EventType::new("Happened").unwrap());
    store.append(AppendRequest::new([event(), event(), event()])).await.unwrap();
    let app = App::new("things").projection(Fills { full: Arc::clone(&full) });
    let app = app.start(store, models as _).await.unwrap();
    let told = app.catch_up(PATIENCE).await.unwrap_err().to_string();
    let path = folder.path().canonicalize().unwrap();
    let disk = format!("if the disk that has {} is full, free some space and try again", path.display());
    assert!(told.contains("is full") && told.contains(&disk), "{told}");
    assert!(!told.contains("skip") && !told.contains("Happened"), "{told}");
    let state = app.projections().await.unwrap().remove(0).state;
    assert!(matches!(state, ProjectionState::Failed { event: None, .. }), "{state:?}");
    assert!(app.skip("fills", Position::new(1)).await.is_err(), "there is no event to be skipped");
    full.store(false, Ordering::SeqCst);
    // Without a word: it is tried again.
    let begun = Instant::now();
    while app.catch_up(PATIENCE).await.is_err() {
        assert!(begun.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let proof = app.prove("fills").await.unwrap();
    assert_eq!((proof.verdict, proof.seen), (GapVerdict::Complete, Some(3)));
}
