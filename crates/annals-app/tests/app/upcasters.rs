//! Events of older forms are read as those of today, wherever events are read.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use annals_app::{
    Aggregate, App, At, Command, Context, DomainError, Event, GapVerdict, Projection, ProjectionState, State,
    StoredForm, Upcaster, decode_events,
};
use annals_core::{
    AppendRequest, BoxError, Category, EventStore, EventType, Filter, MemoryStore, NewEvent, ReadModelStore,
    ReadModelTx, RecordedEvent, StreamName, params,
};
use annals_sqlite::SqliteReadModels;
use serde::{Deserialize, Serialize};
use serde_json::json;

/// Whether the program is the next one, whose upcaster of `Limped` was mended.
static IS_MENDED: AtomicBool = AtomicBool::new(false);

/// Steps were counted once; later a step and a turn were one event; and steps in place were recorded.
const UPCASTERS: &[Upcaster] = &[
    Upcaster {
        from: "Stepped",
        upcast: |form| {
            let steps = form.payload["steps"].as_u64().ok_or("expected a number of steps")?;
            Ok(vec![StoredForm { event_type: "Walked.2".to_owned(), payload: json!({"metres": steps}) }])
        },
    },
    Upcaster {
        from: "SteppedAndTurned",
        upcast: |form| {
            let turned = StoredForm { event_type: "Turned".to_owned(), payload: json!({}) };
            Ok(vec![StoredForm { event_type: "Stepped".to_owned(), ..form }, turned])
        },
    },
    Upcaster { from: "SteppedInPlace", upcast: |_| Ok(Vec::new()) },
    Upcaster {
        from: "Limped",
        upcast: |form| {
            let steps = form.payload["steps"].as_u64();
            // One who limps did not say how many steps at first: thought of in the mended form only.
            let steps = steps.or(IS_MENDED.load(Ordering::SeqCst).then_some(0));
            let payload = json!({"metres": steps.ok_or("expected a number of steps")?});
            Ok(vec![StoredForm { event_type: "Walked.2".to_owned(), payload }])
        },
    },
];

#[derive(Event, Serialize, Deserialize, Debug, PartialEq)]
#[event(upcasters = UPCASTERS, unlocked)]
#[annals(crate = annals_app)]
enum WalkerEvent {
    #[event(name = "Walked.2")]
    Walked {
        metres: u64,
    },
    Turned,
}

#[derive(Command, Serialize, Deserialize)]
#[annals(crate = annals_app)]
enum WalkerCommand {
    Walk { metres: u64 },
}

#[derive(Debug, thiserror::Error, DomainError)]
#[annals(crate = annals_app)]
enum Never {}

#[derive(Default, Clone, Serialize, Deserialize, State, Debug, PartialEq)]
#[annals(crate = annals_app)]
struct Walker {
    metres: u64,
    turns: u64,
}

impl Aggregate for Walker {
    const CATEGORY: &'static str = "walker";
    type Command = WalkerCommand;
    type Event = WalkerEvent;
    type Error = Never;

    fn handle(
        &self,
        WalkerCommand::Walk { metres }: &WalkerCommand,
        _: &Context,
    ) -> Result<Vec<WalkerEvent>, Never> {
        Ok(vec![WalkerEvent::Walked { metres: *metres }])
    }

    fn apply(&mut self, event: &WalkerEvent) {
        match event {
            WalkerEvent::Walked { metres } => self.metres += metres,
            WalkerEvent::Turned => self.turns += 1,
        }
    }
}

struct Walks;

impl Projection for Walks {
    const NAME: &'static str = "walks";
    const VERSION: u32 = 1;

    fn filter(&self) -> Filter {
        Filter::types(WalkerEvent::stored_types())
    }

    async fn prepare(&self, tx: &mut dyn ReadModelTx) -> Result<(), BoxError> {
        tx.execute("CREATE TABLE IF NOT EXISTS walks (walker TEXT, event TEXT)", &[]).await?;
        Ok(())
    }

    async fn apply(&self, tx: &mut dyn ReadModelTx, events: &[RecordedEvent]) -> Result<(), BoxError> {
        for decoded in decode_events::<WalkerEvent>(events) {
            let (recorded, event) = decoded?;
            let row = params![recorded.entity_id(), format!("{event:?}")];
            tx.execute("INSERT INTO walks VALUES ($1, $2)", row).await?;
        }
        Ok(())
    }
}

async fn append(store: &MemoryStore, walker: &str, event_type: &str, payload: serde_json::Value) {
    let stream = StreamName::from_parts(&Category::new("walker").unwrap(), walker).unwrap();
    let event = NewEvent::new(stream, EventType::new(event_type).unwrap()).json(payload.to_string());
    store.append(AppendRequest::new([event])).await.unwrap();
}

async fn rows(models: &SqliteReadModels) -> Vec<String> {
    let model = models.open("walks", 1).await.unwrap();
    let rows =
        model.read().await.unwrap().query("SELECT event FROM walks ORDER BY rowid", &[]).await.unwrap();
    rows.iter().map(|row| row.get("event").unwrap()).collect()
}

#[tokio::test]
async fn older_forms_are_read_on_every_path() {
    let (store, models) =
        (Arc::new(MemoryStore::default()), Arc::new(SqliteReadModels::temporary().unwrap()));
    append(&store, "ann", "Stepped", json!({"steps": 3})).await;
    append(&store, "ann", "SteppedAndTurned", json!({"steps": 4})).await;
    append(&store, "ann", "SteppedInPlace", json!({})).await;
    append(&store, "ann", "Whistled", json!({"tune": "of long ago"})).await;
    let app = App::new("walks").aggregate::<Walker>().projection(Walks);
    let app = app.start(Arc::clone(&store) as _, Arc::clone(&models) as _).await.unwrap();

    let done = app.execute::<Walker>("ann", WalkerCommand::Walk { metres: 10 }).await.unwrap();
    assert_eq!((done.state.as_ref().clone(), done.version.get()), (Walker { metres: 17, turns: 1 }, 5));
    let then = app.state("walker", "ann", At::Version(2.into())).await.unwrap();
    assert_eq!(then.state, json!({"metres": 7, "turns": 1}));
    let changed = app.difference("walker", "ann", 1.into(), Some(2.into())).await.unwrap();
    assert_eq!((changed.events[0].event_type.as_str(), changed.changed.len()), ("SteppedAndTurned", 2));
    app.catch_up(Duration::from_secs(5)).await.unwrap();
    let walked = |metres: u64| format!("Walked {{ metres: {metres} }}");
    assert_eq!(rows(&models).await, [walked(3), walked(4), "Turned".to_owned(), walked(10)]);
    // What is stored is as it was.
    let stored = store.read(annals_core::ReadRequest::new(Filter::all())).await.unwrap().events;
    let types: Vec<_> = stored.iter().map(RecordedEvent::event_type).collect();
    assert_eq!(types, ["Stepped", "SteppedAndTurned", "SteppedInPlace", "Whistled", "Walked.2"]);
}

#[tokio::test]
async fn an_upcaster_that_fails_is_told_with_its_event() {
    let (store, models) =
        (Arc::new(MemoryStore::default()), Arc::new(SqliteReadModels::temporary().unwrap()));
    append(&store, "ann", "Stepped", json!({"steps": 3})).await;
    append(&store, "ann", "Stepped", json!({"steps": "many"})).await;
    let app = App::new("walks").aggregate::<Walker>().projection(Walks);
    let app = app.start(Arc::clone(&store) as _, Arc::clone(&models) as _).await.unwrap();
    let failed =
        app.execute::<Walker>("ann", WalkerCommand::Walk { metres: 1 }).await.unwrap_err().to_string();
    assert!(
        failed.contains("Stepped at position 2") && failed.contains("expected a number of steps"),
        "{failed}"
    );
    assert!(app.catch_up(Duration::from_secs(5)).await.is_err());
    let status = app.projections().await.unwrap().remove(0);
    let ProjectionState::Failed { .. } = &status.state else { panic!("{status:?}") };
    let told = format!("{status:?}");
    assert!(told.contains("expected a number of steps"), "{told}");
    // The event before it counts.
    assert_eq!(rows(&models).await, ["Walked { metres: 3 }"]);
}

#[tokio::test]
async fn after_an_upcaster_is_mended_all_goes_on_by_itself() {
    let (store, models) =
        (Arc::new(MemoryStore::default()), Arc::new(SqliteReadModels::temporary().unwrap()));
    append(&store, "ann", "Limped", json!({"steps": 3})).await;
    append(&store, "ann", "Limped", json!({})).await;
    append(&store, "ann", "Limped", json!({"steps": 5})).await;
    let start = async || {
        let app = App::new("walks").aggregate::<Walker>().projection(Walks);
        app.start(Arc::clone(&store) as _, Arc::clone(&models) as _).await.unwrap()
    };
    let app = start().await;
    let told = app.catch_up(Duration::from_secs(5)).await.unwrap_err().to_string();
    let id = store.read(annals_core::ReadRequest::new(Filter::all())).await.unwrap().events[1].id();
    let named = format!("\"walks\" stopped at position 2, Limped of walker-ann (id {id})");
    assert!(told.contains(&named) && told.contains("expected a number of steps"), "{told}");
    let refused = app.execute::<Walker>("ann", WalkerCommand::Walk { metres: 1 }).await.unwrap_err();
    let told = refused.to_string();
    assert!(told.contains("the event Limped at position 2, of walker-ann, cannot be read"), "{told}");
    assert_eq!(store.head().await.unwrap().get(), 3, "nothing was written");
    let other = app.execute::<Walker>("ben", WalkerCommand::Walk { metres: 1 }).await;
    other.expect("the other entities are as before");
    drop(app);

    IS_MENDED.store(true, Ordering::SeqCst);
    let app = start().await;
    app.catch_up(Duration::from_secs(5)).await.unwrap();
    let walked = [3, 0, 5, 1].map(|metres: u64| format!("Walked {{ metres: {metres} }}"));
    assert_eq!(rows(&models).await, walked, "every event, once, in order");
    assert_eq!(app.prove("walks").await.unwrap().verdict, GapVerdict::Complete);
    let done = app.execute::<Walker>("ann", WalkerCommand::Walk { metres: 1 }).await.unwrap();
    assert_eq!(done.state.metres, 9);
}
