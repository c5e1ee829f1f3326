//! The write side when it is hard: many at once on one entity, answers that come again, handlers that misbehave.

use std::sync::Arc;
use std::time::Duration;

use annals_app::{
    Aggregate, App, Command, CommandOptions, CommandRequest, Context, DomainError, Error, Event, RunningApp,
    State,
};
use annals_core::{EventStore, Filter, ReadRequest, StreamName, Version};
use annals_sqlite::SqliteReadModels;
use serde::{Deserialize, Serialize};

use crate::stores::stores;

#[derive(Event, Serialize, Deserialize, Debug, Clone, PartialEq)]
#[event(unlocked)]
#[annals(crate = annals_app)]
enum JarEvent {
    Filled { by: u64 },
    Emptied,
    Smashed,
}

#[derive(Command, Serialize, Deserialize, Debug, Clone)]
#[annals(crate = annals_app)]
enum JarCommand {
    Fill { by: u64 },
    FillOften { times: usize },
    Empty,
    Panic,
    Smash,
}

#[derive(Debug, thiserror::Error, DomainError, PartialEq)]
#[annals(crate = annals_app)]
enum JarError {
    #[error("{0} more does not fit, there are {1} in it")]
    Full(u64, u64),
}

#[derive(Default, Clone, Serialize, Deserialize, State, Debug, PartialEq)]
#[annals(crate = annals_app)]
struct Jar {
    content: u64,
}

impl Aggregate for Jar {
    const CATEGORY: &'static str = "jar";
    type Command = JarCommand;
    type Event = JarEvent;
    type Error = JarError;

    fn handle(&self, command: &JarCommand, _: &Context) -> Result<Vec<JarEvent>, JarError> {
        Ok(match command {
            JarCommand::Fill { by } if self.content + by > 1_000 => {
                return Err(JarError::Full(*by, self.content));
            }
            JarCommand::Fill { by } => vec![JarEvent::Filled { by: *by }],
            JarCommand::FillOften { times } => vec![JarEvent::Filled { by: 0 }; *times],
            JarCommand::Empty if self.content == 0 => Vec::new(),
            JarCommand::Empty => vec![JarEvent::Emptied],
            JarCommand::Panic => panic!("the handler panics on purpose"),
            JarCommand::Smash => vec![JarEvent::Smashed],
        })
    }

    fn apply(&mut self, event: &JarEvent) {
        match event {
            JarEvent::Filled { by } => self.content += by,
            JarEvent::Emptied => self.content = 0,
            JarEvent::Smashed => {
                self.content = 77;
                panic!("applying panics on purpose");
            }
        }
    }
}

async fn start_on(store: &Arc<dyn EventStore>) -> RunningApp {
    let models = Arc::new(SqliteReadModels::temporary().unwrap());
    App::new("jars").aggregate::<Jar>().start(Arc::clone(store), models).await.unwrap()
}

fn with_id(id: &str) -> CommandOptions {
    CommandOptions { command_id: Some(id.parse().unwrap()), ..CommandOptions::default() }
}

async fn count(store: &Arc<dyn EventStore>) -> usize {
    store.reader(ReadRequest::default()).collect().await.unwrap().len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_on_one_entity_are_decided_in_turn_and_none_is_lost() {
    for on in stores() {
        let store = Arc::clone(&on.events);
        // Two applications on one store: groups meet conflicts and are decided again.
        let apps = [start_on(&store).await, start_on(&store).await];
        let tasks: Vec<_> = (0..64_u64)
            .map(|n| {
                let app = apps[usize::from(n % 8 == 0)].clone();
                tokio::spawn(async move {
                    let (mut done, mut refused) = (0, 0);
                    while done + refused < 20 {
                        match app.execute::<Jar>("a", JarCommand::Fill { by: 1 }).await {
                            Ok(executed) => {
                                assert_eq!(executed.version.get(), executed.state.content);
                                assert_eq!(executed.events, [JarEvent::Filled { by: 1 }]);
                                done += 1;
                            }
                            Err(Error::Domain(JarError::Full(1, 1_000))) => refused += 1,
                            // The application with fewer commands may lose every time, where a store takes long.
                            Err(Error::Conflict { .. }) => {}
                            Err(other) => panic!("{other}"),
                        }
                    }
                    (done, refused)
                })
            })
            .collect();
        let mut sums = (0, 0);
        for task in tasks {
            let (done, refused) = task.await.unwrap();
            sums = (sums.0 + done, sums.1 + refused);
        }
        assert_eq!(sums, (1_000, 280));
        let stream = StreamName::new("jar-a").unwrap();
        assert_eq!(store.stream_state(&stream).await.unwrap().version, Version::new(1_000));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_command_given_many_times_at_once_is_done_once() {
    for on in stores() {
        let store = Arc::clone(&on.events);
        let apps = [start_on(&store).await, start_on(&store).await];
        let tasks: Vec<_> = (0..64)
            .map(|n| {
                let app = apps[n % 2].clone();
                let (id, by) = (format!("same-{}", n % 4), (n % 4) as u64 * 400);
                tokio::spawn(async move {
                    let done = app.execute_with::<Jar>("a", JarCommand::Fill { by }, with_id(&id)).await;
                    (n % 4, done.map(|done| done.version).map_err(|error| error.to_string()))
                })
            })
            .collect();
        let mut answers = std::collections::BTreeMap::new();
        for task in tasks {
            let (n, answer) = task.await.unwrap();
            let first = answers.entry(n).or_insert_with(|| answer.clone());
            assert_eq!(*first, answer, "each of the same commands has the same answer");
        }
        assert_eq!(count(&store).await, 4, "one event for each of them, be it a refusal");
    }
}

#[tokio::test]
async fn a_refusal_is_remembered_by_the_id_of_its_command() {
    for on in stores() {
        let store = Arc::clone(&on.events);
        let app = start_on(&store).await;
        app.execute::<Jar>("a", JarCommand::Fill { by: 900 }).await.unwrap();
        let refused = app.execute_with::<Jar>("a", JarCommand::Fill { by: 200 }, with_id("r")).await;
        assert!(matches!(refused, Err(Error::Domain(JarError::Full(200, 900)))), "{refused:?}");
        let nothing = app.execute_with::<Jar>("b", JarCommand::Empty, with_id("n")).await.unwrap();
        assert_eq!((nothing.version, nothing.events.len(), nothing.duplicate), (Version::ZERO, 0, false));
        app.execute::<Jar>("a", JarCommand::Empty).await.unwrap();
        app.execute::<Jar>("b", JarCommand::Fill { by: 5 }).await.unwrap();

        // It would fit now, and there would be something to do; what was answered stays.
        let app = start_on(&store).await;
        let events = count(&store).await;
        let refused = app.execute_with::<Jar>("a", JarCommand::Fill { by: 200 }, with_id("r")).await;
        assert!(matches!(refused, Err(Error::Domain(JarError::Full(200, 900)))), "{refused:?}");
        let json = CommandRequest::json("jar", "a", "Fill", r#"{"by":200}"#, with_id("r"));
        let Some(Error::Domain(why)) = app.dispatch(json).await.err() else { panic!("expected the refusal") };
        assert_eq!((&*why.code, &*why.message), ("full", "200 more does not fit, there are 900 in it"));
        let nothing = app.execute_with::<Jar>("b", JarCommand::Empty, with_id("n")).await.unwrap();
        assert_eq!((nothing.version, nothing.events.len(), nothing.duplicate), (Version::ZERO, 0, true));
        for (command, id) in [(JarCommand::Fill { by: 1 }, "r"), (JarCommand::Empty, "r")] {
            let reused = app.execute_with::<Jar>("a", command, with_id(id)).await;
            assert!(matches!(reused, Err(Error::CommandIdReused { .. })), "another body: {reused:?}");
        }
        assert_eq!(count(&store).await, events, "nothing of this was written");
        // An id is one entity's: the same for another entity is another command.
        app.execute_with::<Jar>("c", JarCommand::Fill { by: 200 }, with_id("r")).await.unwrap();
    }
}

#[tokio::test]
async fn a_handler_that_panics_harms_nobody_else() {
    for on in stores() {
        let store = Arc::clone(&on.events);
        let app = start_on(&store).await;
        app.execute::<Jar>("a", JarCommand::Fill { by: 3 }).await.unwrap();
        let panicked = app.execute::<Jar>("a", JarCommand::Panic).await.unwrap_err();
        let expected = "Panic panicked: the handler panics on purpose; nothing was written: the application has to be mended";
        assert_eq!(panicked.to_string(), expected);
        let commands = [
            JarCommand::Fill { by: 1 },
            JarCommand::Smash,
            JarCommand::Fill { by: 2 },
            JarCommand::Panic,
            JarCommand::Fill { by: 4 },
        ];
        // Given at once, the last four are decided as a group.
        let all = commands.map(|command| app.execute::<Jar>("a", command));
        let answers = futures_util::future::join_all(all).await;
        let done: Vec<_> =
            answers.iter().map(|answer| answer.as_ref().map(|done| done.state.content).ok()).collect();
        assert_eq!(done, [Some(4), None, Some(6), None, Some(10)]);
        assert_eq!(app.execute::<Jar>("a", JarCommand::Fill { by: 0 }).await.unwrap().state.content, 10);
        assert_eq!(count(&store).await, 5, "events that cannot be applied are not stored");
    }
}

#[tokio::test]
async fn a_million_events_at_once_are_refused_and_change_nothing() {
    for on in stores() {
        let store = Arc::clone(&on.events);
        let app = start_on(&store).await;
        let refused = app.execute::<Jar>("a", JarCommand::FillOften { times: 1_000_000 }).await.unwrap_err();
        let said = refused.to_string();
        assert!(said.contains("1000000 events, expected at most 10000: give several commands"), "{said}");
        assert_eq!(count(&store).await, 0);
        let most = app.execute::<Jar>("a", JarCommand::FillOften { times: 10_000 }).await.unwrap();
        assert_eq!(most.version, Version::new(10_000));
    }
}

#[tokio::test]
async fn who_waits_is_served_although_the_one_before_is_gone() {
    for on in stores() {
        let store = Arc::clone(&on.events);
        let app = start_on(&store).await;
        let mut tasks = Vec::new();
        for n in 0..200_u64 {
            let app = app.clone();
            let task =
                tokio::spawn(
                    async move { app.execute::<Jar>("a", JarCommand::Fill { by: 1 }).await.unwrap() },
                );
            tokio::task::yield_now().await;
            if n % 3 == 0 {
                task.abort();
            } else {
                tasks.push(task);
            }
        }
        for task in tasks {
            tokio::time::timeout(Duration::from_secs(20), task)
                .await
                .expect("nobody waits for ever")
                .unwrap();
        }
        let done = app.execute::<Jar>("a", JarCommand::Fill { by: 0 }).await.unwrap();
        let events = store.reader(ReadRequest::new(Filter::stream(done.stream))).collect().await.unwrap();
        assert_eq!(events.len() as u64, done.state.content + 1);
    }
}
