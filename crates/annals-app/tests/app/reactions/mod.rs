//! Reactions: at least once, in the order of a key, tried again, given up, never for history that is read again.

mod beginning;
mod failing;
mod limits;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use annals_app::*;
use annals_core::*;
use annals_sqlite::SqliteReadModels;
use tokio::time::Instant;

use crate::domain::{Counter, CounterCommand, World};

const PATIENCE: Duration = Duration::from_secs(3_600);

/// What becomes of an attempt.
pub enum Act {
    Do,
    Fail,
    Panic,
    Hang,
    Take(Duration),
}

/// One attempt: the position of the event, the number of the attempt, when it began.
type Attempt = (u64, u32, Instant);

type Deciding = dyn Fn(&RecordedEvent, u32) -> Act + Send + Sync;

/// Notes its attempts.
#[derive(Clone)]
pub struct Notes<const HISTORY: bool> {
    pub attempts: Arc<Mutex<Vec<Attempt>>>,
    act: Arc<Deciding>,
    policy: RetryPolicy,
}

impl<const HISTORY: bool> Notes<HISTORY> {
    pub fn new(act: impl Fn(&RecordedEvent, u32) -> Act + Send + Sync + 'static) -> Self {
        Self { attempts: Arc::default(), act: Arc::new(act), policy: RetryPolicy::default() }
    }

    pub fn positions(&self) -> Vec<u64> {
        self.attempts.lock().unwrap().iter().map(|(position, ..)| *position).collect()
    }
}

impl<const HISTORY: bool> Reaction for Notes<HISTORY> {
    const NAME: &'static str = "notes";
    const BEGIN: Begin = if HISTORY { Begin::History } else { Begin::Now };

    fn filter(&self) -> Filter {
        Filter::all()
    }

    async fn react(&self, event: &RecordedEvent, context: &ReactionContext) -> Result<(), BoxError> {
        assert_eq!(context.idempotency_key(), event.id().to_string());
        let attempt = (event.position().get(), context.attempt(), Instant::now());
        self.attempts.lock().unwrap().push(attempt);
        match (self.act)(event, context.attempt()) {
            Act::Do => {}
            Act::Fail => return Err("the receiver is away".into()),
            Act::Panic => panic!("on thin ice"),
            Act::Hang => std::future::pending().await,
            Act::Take(time) => tokio::time::sleep(time).await,
        }
        Ok(())
    }

    fn retry(&self) -> RetryPolicy {
        self.policy
    }
}

pub fn app<R: Reaction>(reaction: R) -> App {
    App::new("counters").aggregate::<Counter>().reaction(reaction)
}

pub async fn start(world: &World, app: App) -> RunningApp {
    app.start(Arc::clone(&world.store), Arc::clone(&world.models) as _).await.unwrap()
}

pub async fn increment(app: &RunningApp, id: &str) -> u64 {
    app.execute::<Counter>(id, CounterCommand::Increment { by: 1 }).await.unwrap().position.get()
}

/// Waits by both clocks: the one of the test may run ahead of threads that open a read model.
async fn settle(app: &RunningApp) {
    for _ in 0..2_000 {
        if app.settle(PATIENCE).await.is_ok() {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    panic!("{:?}", app.reactions().await);
}

fn letters(letters: &[DeadLetter]) -> Vec<(u64, u32)> {
    letters.iter().map(|letter| (letter.event.position.get(), letter.attempts)).collect()
}

async fn status(app: &RunningApp) -> ReactionStatus {
    app.reactions().await.unwrap().remove(0)
}
