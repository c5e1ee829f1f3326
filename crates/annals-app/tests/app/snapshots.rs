//! Saved states: they save reading, and nothing depends on them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use annals_app::{At, RunningApp};
use annals_core::{
    AppendError, AppendReceipt, AppendRequest, BoxFuture, ConsumerName, Durability, EventBatch, EventStore,
    MemoryStore, Position, ReadModelStore, ReadRequest, StoreError, StreamName, StreamState, StreamSummary,
    VerifyProgress, VerifyReport, Version, params,
};
use annals_sqlite::SqliteReadModels;

use crate::domain::{Counter, CounterCommand, World};

/// A store that counts the events that are read from it.
struct Counted(MemoryStore, AtomicU64);

impl EventStore for Counted {
    fn append(&self, request: AppendRequest) -> BoxFuture<'_, Result<AppendReceipt, AppendError>> {
        self.0.append(request)
    }
    fn read(&self, request: ReadRequest) -> BoxFuture<'_, Result<EventBatch, StoreError>> {
        Box::pin(async move {
            let batch = self.0.read(request).await?;
            self.1.fetch_add(batch.events.len() as u64, Ordering::Relaxed);
            Ok(batch)
        })
    }
    fn head(&self) -> BoxFuture<'_, Result<Position, StoreError>> {
        self.0.head()
    }
    fn wait_past(&self, after: Position) -> BoxFuture<'_, Result<Position, StoreError>> {
        self.0.wait_past(after)
    }
    fn stream_state(&self, stream: &StreamName) -> BoxFuture<'_, Result<StreamState, StoreError>> {
        self.0.stream_state(stream)
    }
    fn streams(
        &self,
        after: Option<StreamName>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<StreamSummary>, StoreError>> {
        self.0.streams(after, limit)
    }
    fn checkpoint(&self, consumer: &ConsumerName) -> BoxFuture<'_, Result<Option<Position>, StoreError>> {
        self.0.checkpoint(consumer)
    }
    fn verify(&self, progress: VerifyProgress) -> BoxFuture<'_, Result<VerifyReport, StoreError>> {
        self.0.verify(progress)
    }
    fn durability(&self) -> Durability {
        self.0.durability()
    }
    fn store_id(&self) -> String {
        self.0.store_id()
    }
    fn description(&self) -> String {
        self.0.description()
    }
}

/// A store of counters without projections, which would read events too.
struct Counters {
    store: Arc<Counted>,
    models: Arc<SqliteReadModels>,
}

impl Counters {
    fn new() -> Self {
        let models = Arc::new(SqliteReadModels::temporary().unwrap());
        Self { store: Arc::new(Counted(MemoryStore::default(), AtomicU64::new(0))), models }
    }

    /// The application as it is after a start, with nothing in memory.
    async fn start(&self) -> RunningApp {
        let app = annals_app::App::new("counters").aggregate::<Counter>();
        app.start(Arc::clone(&self.store) as _, Arc::clone(&self.models) as _).await.unwrap()
    }

    async fn increment(&self, app: &RunningApp, times: u64) {
        for _ in 0..times {
            app.execute::<Counter>("a", CounterCommand::Increment { by: 1 }).await.unwrap();
        }
    }

    /// How many events are read to tell the count at some point, and the count.
    async fn count(&self, app: &RunningApp, at: At) -> (u64, u64) {
        let before = self.store.1.load(Ordering::Relaxed);
        let view = app.state("counter", "a", at).await.unwrap();
        (self.store.1.load(Ordering::Relaxed) - before, view.state["count"].as_u64().unwrap())
    }

    /// The version of the one snapshot, once it is at least this.
    async fn saved(&self, least: u64) -> u64 {
        let model = self.models.open("snapshots-counter", 1).await.unwrap();
        for _ in 0..500 {
            let mut tx = model.read().await.unwrap();
            let rows = tx.query("SELECT version FROM snapshots", &[]).await.unwrap_or_default();
            if let Some(version) = rows.first().map(|row| row.get::<u64>("version").unwrap())
                && version >= least
            {
                return version;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("no snapshot of version {least} came");
    }

    async fn change(&self, statement: &'static str) {
        let model = self.models.open("snapshots-counter", 1).await.unwrap();
        let work: annals_core::TxWork = Box::new(move |tx| {
            Box::pin(async move {
                assert_eq!(tx.execute(statement, params![]).await?, 1);
                Ok(())
            })
        });
        model.write(Position::ZERO, Position::ZERO, work).await.unwrap();
    }
}

#[tokio::test]
async fn a_state_is_saved_by_itself_and_spares_reading() {
    let counters = Counters::new();
    let app = counters.start().await;
    counters.increment(&app, 450).await;
    let saved = counters.saved(400).await;
    assert_eq!(saved, 400);
    let app = counters.start().await;
    assert_eq!(counters.count(&app, At::Now).await, (51, 450));
    assert_eq!(counters.count(&app, At::Version(Version::new(420))).await, (21, 420));
    assert_eq!(counters.count(&app, At::Version(Version::new(300))).await, (300, 300));
    assert_eq!(counters.count(&app, At::Position(Position::new(410))).await.1, 410);
    // The next command goes on from it.
    let done = app.execute::<Counter>("a", CounterCommand::Increment { by: 1 }).await.unwrap();
    assert_eq!((done.version.get(), done.state.count), (451, 451));
}

#[tokio::test]
async fn a_snapshot_that_does_not_fit_is_not_used() {
    let counters = Counters::new();
    let app = counters.start().await;
    counters.increment(&app, 250).await;
    counters.saved(200).await;
    for spoil in [
        "UPDATE snapshots SET shape = 'of another struct'",
        "UPDATE snapshots SET state = X'7b7d'",
        "UPDATE snapshots SET event_id = 'another event'",
        "UPDATE snapshots SET version = 900",
        "UPDATE snapshots SET visible_from = 7",
        "DELETE FROM snapshots",
    ] {
        counters.change(spoil).await;
        assert_eq!(counters.count(&counters.start().await, At::Now).await.1, 250, "{spoil}");
        // What was folded anew is saved anew.
        let app = counters.start().await;
        counters.increment(&app, 1).await;
        app.execute::<Counter>("a", CounterCommand::Reset).await.unwrap();
        counters.increment(&app, 250).await;
        let head = counters.count(&app, At::Now).await.1;
        assert_eq!(head, 250);
        let version =
            counters.store.stream_state(&StreamName::new("counter-a").unwrap()).await.unwrap().version;
        counters.saved(version.get() - 200).await;
    }
}

#[tokio::test]
async fn a_snapshot_of_no_version_is_not_used() {
    let counters = Counters::new();
    let app = counters.start().await;
    counters.increment(&app, 250).await;
    counters.saved(200).await;
    counters.change("UPDATE snapshots SET version = 0").await;
    assert_eq!(counters.count(&app, At::Version(Version::new(100))).await.1, 100);
}

#[tokio::test]
async fn a_truncation_makes_a_snapshot_useless() {
    let counters = Counters::new();
    let app = counters.start().await;
    counters.increment(&app, 250).await;
    counters.saved(200).await;
    let stream = StreamName::new("counter-a").unwrap();
    counters.store.truncate(stream, Version::new(241)).await.unwrap();
    let app = counters.start().await;
    assert_eq!(counters.count(&app, At::Now).await.1, 10);
}

#[tokio::test]
async fn without_a_place_for_snapshots_all_goes_on() {
    struct Nowhere(Arc<SqliteReadModels>);
    impl ReadModelStore for Nowhere {
        fn open(
            &self,
            name: &str,
            version: u32,
        ) -> BoxFuture<'_, Result<Arc<dyn annals_core::ReadModel>, annals_core::ReadModelError>> {
            if !name.starts_with("snapshots-") {
                return self.0.open(name, version);
            }
            let name = name.to_owned();
            Box::pin(async move {
                let source = "the disk is full".into();
                Err(annals_core::ReadModelError::Database { operation: "open", name, source })
            })
        }
        fn scratch(
            &self,
            name: &str,
        ) -> BoxFuture<'_, Result<Arc<dyn annals_core::ReadModel>, annals_core::ReadModelError>> {
            self.0.scratch(name)
        }
    }
    let world = World::new();
    let models = Arc::new(Nowhere(Arc::clone(&world.models)));
    let app = world.app().start(Arc::clone(&world.store), models).await.unwrap();
    for _ in 0..250 {
        app.execute::<Counter>("a", CounterCommand::Increment { by: 1 }).await.unwrap();
    }
    assert_eq!(app.state("counter", "a", At::Now).await.unwrap().state["count"], 250);
}

/// The counter of the next version of the program: its state has another shape, the events are the same.
mod reshaped {
    use annals_app::{Aggregate, Context, State};
    use serde::{Deserialize, Serialize};

    use crate::domain::{CounterCommand, CounterError, CounterEvent};

    #[derive(Default, Clone, Serialize, Deserialize, State, Debug, PartialEq)]
    #[annals(crate = annals_app)]
    pub struct Counter {
        /// What was `count` before; and `count` is now of something else. An old state would fit, and be wrong.
        pub sum: u64,
        #[serde(default)]
        pub count: u64,
    }

    impl Aggregate for Counter {
        const CATEGORY: &'static str = "counter";
        type Command = CounterCommand;
        type Event = CounterEvent;
        type Error = CounterError;

        fn handle(&self, _: &CounterCommand, _: &Context) -> Result<Vec<CounterEvent>, CounterError> {
            Ok(vec![crate::domain::incremented(1)])
        }

        fn apply(&mut self, event: &CounterEvent) {
            if let CounterEvent::Incremented { by, .. } = event {
                self.sum += by;
                self.count += 1;
            }
        }
    }
}

#[tokio::test]
async fn a_state_of_another_shape_is_folded_anew_and_both_programs_are_right() {
    let counters = Counters::new();
    let app = counters.start().await;
    for _ in 0..250 {
        app.execute::<Counter>("a", CounterCommand::Increment { by: 2 }).await.unwrap();
    }
    counters.saved(200).await;
    drop(app);
    let next = annals_app::App::new("counters").aggregate::<reshaped::Counter>();
    let next = next.start(Arc::clone(&counters.store) as _, Arc::clone(&counters.models) as _).await.unwrap();
    let before = counters.store.1.load(Ordering::Relaxed);
    let view = next.state("counter", "a", At::Now).await.unwrap();
    assert_eq!(
        view.state,
        serde_json::json!({"sum": 500, "count": 250}),
        "nothing of the old state is in it"
    );
    let read = counters.store.1.load(Ordering::Relaxed) - before;
    assert_eq!(read, 250, "it is made from the events");
    let done = next.execute::<reshaped::Counter>("a", CounterCommand::Increment { by: 1 }).await.unwrap();
    assert_eq!(*done.state, reshaped::Counter { sum: 501, count: 251 });
    drop(next);
    // And back again, when the next version was none.
    assert_eq!(counters.count(&counters.start().await, At::Now).await.1, 501);
}
