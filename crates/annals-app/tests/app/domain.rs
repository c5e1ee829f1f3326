//! A small domain for the tests: counters.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use annals_app::{
    Aggregate, App, Command, Context, DomainError, Event, Projection, Query, QueryContext, QueryError,
    RunningApp, State, decode_event,
};
use annals_core::{BoxError, Category, EventStore, Filter, MemoryStore, ReadModelTx, RecordedEvent, params};
use annals_sqlite::SqliteReadModels;
use serde::{Deserialize, Serialize};

#[derive(Event, Serialize, Deserialize, Debug, Clone, PartialEq)]
#[event(unlocked)]
#[annals(crate = annals_app)]
pub enum CounterEvent {
    #[event(name = "CounterIncremented")]
    Incremented {
        by: u64,
        #[event(tag = "colour")]
        colour: String,
    },
    Reset,
}

#[derive(Command, Serialize, Deserialize, Debug, Clone, PartialEq)]
#[annals(crate = annals_app)]
pub enum CounterCommand {
    Increment { by: u64 },
    IncrementTwice { by: u64 },
    Reset,
}

#[derive(Debug, thiserror::Error, DomainError, PartialEq)]
#[annals(crate = annals_app)]
pub enum CounterError {
    #[error("{0} is too much")]
    TooMuch(u64),
    #[error("nothing to reset")]
    #[code("reset-of-nothing")]
    NothingToReset,
}

#[derive(Default, Clone, Serialize, Deserialize, State, Debug, PartialEq)]
#[annals(crate = annals_app)]
pub struct Counter {
    pub count: u64,
}

pub fn incremented(by: u64) -> CounterEvent {
    CounterEvent::Incremented { by, colour: "red".to_owned() }
}

impl Aggregate for Counter {
    const CATEGORY: &'static str = "counter";
    type Command = CounterCommand;
    type Event = CounterEvent;
    type Error = CounterError;

    fn handle(&self, command: &CounterCommand, _: &Context) -> Result<Vec<CounterEvent>, CounterError> {
        match command {
            CounterCommand::Increment { by } if *by > 100 => Err(CounterError::TooMuch(*by)),
            CounterCommand::Increment { by: 0 } => Ok(vec![]),
            CounterCommand::Increment { by } => Ok(vec![incremented(*by)]),
            CounterCommand::IncrementTwice { by } => Ok(vec![incremented(*by), incremented(*by)]),
            CounterCommand::Reset if self.count == 0 => Err(CounterError::NothingToReset),
            CounterCommand::Reset => Ok(vec![CounterEvent::Reset]),
        }
    }

    fn apply(&mut self, event: &CounterEvent) {
        match event {
            CounterEvent::Incremented { by, .. } => self.count += by,
            CounterEvent::Reset => self.count = 0,
        }
    }
}

/// Counts, in a table; fails on an increment by 13 while `broken` is set.
pub struct Counts {
    pub broken: Arc<AtomicBool>,
}

impl Projection for Counts {
    const NAME: &'static str = "counts";
    const VERSION: u32 = 1;

    fn filter(&self) -> Filter {
        Filter::category(Category::new("counter").unwrap())
    }

    async fn prepare(&self, tx: &mut dyn ReadModelTx) -> Result<(), BoxError> {
        tx.execute(
            "CREATE TABLE IF NOT EXISTS counts (id TEXT PRIMARY KEY, count BIGINT, events BIGINT)",
            &[],
        )
        .await?;
        Ok(())
    }

    async fn apply(&self, tx: &mut dyn ReadModelTx, events: &[RecordedEvent]) -> Result<(), BoxError> {
        for recorded in events {
            let change = match decode_event::<CounterEvent>(recorded)?.next() {
                Some(CounterEvent::Incremented { by: 13, .. }) if self.broken.load(Ordering::SeqCst) => {
                    return Err("thirteen brings bad luck".into());
                }
                Some(CounterEvent::Incremented { by, .. }) => by as i64,
                Some(CounterEvent::Reset) | None => 0,
            };
            let sql = "INSERT INTO counts VALUES ($1, $2, 1)
                       ON CONFLICT (id) DO UPDATE SET count = counts.count + $2, events = counts.events + 1";
            tx.execute(sql, params![recorded.entity_id(), change]).await?;
        }
        Ok(())
    }
}

/// How many increments were seen in all; never fails.
pub struct Sum;

impl Projection for Sum {
    const NAME: &'static str = "sum";
    const VERSION: u32 = 1;

    fn filter(&self) -> Filter {
        Filter::all()
    }

    async fn prepare(&self, tx: &mut dyn ReadModelTx) -> Result<(), BoxError> {
        tx.execute("CREATE TABLE IF NOT EXISTS sum (events BIGINT)", &[]).await?;
        Ok(())
    }

    async fn apply(&self, tx: &mut dyn ReadModelTx, events: &[RecordedEvent]) -> Result<(), BoxError> {
        tx.execute("INSERT INTO sum VALUES ($1)", params![events.len() as i64]).await?;
        Ok(())
    }
}

#[derive(Query, Serialize, Deserialize, Clone)]
#[annals(crate = annals_app)]
#[query(output = (u64, u64), from = Counts)]
#[serde(deny_unknown_fields)]
pub struct CountOf {
    pub id: String,
}

/// The count and the number of events.
pub async fn count_of(query: CountOf, mut context: QueryContext) -> Result<(u64, u64), QueryError> {
    let row = context.row("SELECT * FROM counts WHERE id = $1", params![query.id.as_str()]).await?;
    let row = row.ok_or_else(|| QueryError::not_found(format!("counter {:?}", query.id)))?;
    Ok((row.get("count")?, row.get("events")?))
}

pub struct World {
    pub store: Arc<dyn EventStore>,
    pub models: Arc<SqliteReadModels>,
    pub broken: Arc<AtomicBool>,
}

impl World {
    pub fn new() -> Self {
        let models = Arc::new(SqliteReadModels::temporary().unwrap());
        Self { store: Arc::new(MemoryStore::default()), models, broken: Arc::default() }
    }

    pub fn app(&self) -> App {
        let counts = Counts { broken: Arc::clone(&self.broken) };
        App::new("counters").aggregate::<Counter>().projection(counts).projection(Sum).query(count_of)
    }

    pub async fn start(&self) -> RunningApp {
        self.app().start(Arc::clone(&self.store), Arc::clone(&self.models) as _).await.unwrap()
    }
}
