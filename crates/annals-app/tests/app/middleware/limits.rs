//! How many commands at once, and for how long; a handler that never returns.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use annals_app::*;
use serde::{Deserialize, Serialize};

use super::start;
use crate::domain::{Counter, CounterCommand, World};

/// A time that is over soon, and one that is not over before the test is.
const SOON: Duration = Duration::from_millis(50);
const LONG: Duration = Duration::from_secs(300);

/// Commands to jars that stick do not return before this is set.
static LOOSE: AtomicBool = AtomicBool::new(false);
/// As that, for the test of limits in number.
static FREE: AtomicBool = AtomicBool::new(false);
/// How many of those have begun.
static HELD: AtomicUsize = AtomicUsize::new(0);

#[derive(Event, Serialize, Deserialize, Debug)]
#[event(unlocked)]
#[annals(crate = annals_app)]
struct Opened {}

#[derive(Command, Serialize, Deserialize)]
#[annals(crate = annals_app)]
struct Open {}

#[derive(Debug, thiserror::Error, DomainError)]
#[annals(crate = annals_app)]
enum Never {}

#[derive(Default, Clone, Serialize, Deserialize, State, Debug)]
#[annals(crate = annals_app)]
struct Jar {}

impl Aggregate for Jar {
    const CATEGORY: &'static str = "jar";
    type Command = Open;
    type Event = Opened;
    type Error = Never;

    fn handle(&self, _: &Open, context: &Context) -> Result<Vec<Opened>, Never> {
        let until = match context.id.as_str() {
            id if id.starts_with("sticky") => &LOOSE,
            id if id.starts_with("held") => {
                HELD.fetch_add(1, Ordering::SeqCst);
                &FREE
            }
            _ => return Ok(vec![Opened {}]),
        };
        while !until.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(vec![Opened {}])
    }

    fn apply(&mut self, _: &Opened) {}
}

fn open(id: &str) -> CommandRequest {
    CommandRequest::json("jar", id, "Open", "{}", CommandOptions::default())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handlers_that_never_return_keep_their_entities_and_nothing_else() {
    let world = World::new();
    let app = start(&world, App::new("jars").aggregate::<Jar>().aggregate::<Counter>()).await;
    // More of them than the runtime has threads, each with others who wait for the same entity.
    let mut waiting = tokio::task::JoinSet::new();
    for n in 0..12 {
        let app = app.clone();
        waiting.spawn(async move { app.dispatch_within(open(&format!("sticky-{}", n % 3)), SOON).await });
    }
    for answer in waiting.join_all().await {
        let Err(Error::TimedOut { command, limit }) = answer else { panic!("answered") };
        assert_eq!((command.as_str(), limit), ("Open", SOON));
    }
    for n in 0..50 {
        app.dispatch_within(open(&format!("other-{n}")), LONG).await.unwrap();
        app.execute::<Counter>("a", CounterCommand::Increment { by: 1 }).await.unwrap();
    }
    LOOSE.store(true, Ordering::SeqCst);
    // Who led is finished although nobody waited; whoever comes then is done behind them.
    for n in 0..3 {
        let done = app.dispatch_within(open(&format!("sticky-{n}")), LONG).await.unwrap();
        assert!((2..=5).contains(&done.version.get()), "{}", done.version);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_commands_than_there_may_be_are_not_taken_on() {
    let world = World::new();
    let limits = Limits { commands_in_flight: 2, ..Limits::default() };
    let app = start(&world, App::new("jars").aggregate::<Jar>().limits(limits)).await;
    let held: Vec<_> = (0..2)
        .map(|n| {
            let app = app.clone();
            tokio::spawn(async move { app.dispatch_within(open(&format!("held-{n}")), LONG).await })
        })
        .collect();
    while HELD.load(Ordering::SeqCst) < 2 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let over = app.dispatch_within(open("other"), LONG).await;
    assert!(matches!(over, Err(Error::Overloaded { limit: 2 })));
    let refused = app.execute::<Jar>("other", Open {}).await.unwrap_err();
    assert!(matches!(refused, Error::Overloaded { limit: 2 }), "{refused}");
    FREE.store(true, Ordering::SeqCst);
    for answer in held {
        answer.await.unwrap().unwrap();
    }
    app.execute::<Jar>("other", Open {}).await.unwrap();
}

#[tokio::test]
async fn a_command_that_is_answered_in_time_is_answered_as_without_a_limit() {
    let world = World::new();
    let app = start(&world, App::new("jars").aggregate::<Jar>()).await;
    assert_eq!(app.dispatch_within(open("a"), LONG).await.unwrap().version.get(), 1);
    let unknown = CommandRequest::json("jar", "a", "Close", "{}", CommandOptions::default());
    assert!(matches!(app.dispatch_within(unknown, LONG).await, Err(Error::Unknown(_))));
}
