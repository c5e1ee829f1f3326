//! What reactions never do, and what bounds them.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Semaphore;

use super::*;
use crate::domain::{CountOf, CounterEvent};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn history_that_is_read_again_does_not_concern_it() {
    let (world, reaction) = (World::new(), Notes::<true>::new(|_, _| Act::Do));
    let running = start(&world, world.app().reaction(reaction.clone())).await;
    let last = increment(&running, "a").await;
    settle(&running).await;
    running.rebuild("counts", &|_| {}).await.unwrap();
    let form = "id=a".to_owned();
    let anybody = Principal::anonymous();
    running.answer_as_of("CountOf", form, At::Position(1.into()), &anybody, &|_| {}).await.unwrap();
    running.ask(CountOf { id: "a".to_owned() }).fresh().await.unwrap();
    let copy = what_if(&*world.store, Filter::all(), |_| Edit::Keep).await.unwrap();
    let models = Arc::new(SqliteReadModels::temporary().unwrap());
    let tried = world.app().reaction(reaction.clone()).start(copy, models).await.unwrap();
    increment(&tried, "a").await;
    tried.catch_up(PATIENCE).await.unwrap();
    assert_eq!(status(&tried).await.state, ReactionState::Passive);
    settle(&running).await;
    assert_eq!(reaction.positions(), [last]);
}

/// Appends so many events to streams of their own.
async fn append_many(store: &dyn EventStore, count: usize) {
    let event_type = EventType::new("Reset").unwrap();
    for first in (0..count).step_by(1_000) {
        let new = |n| NewEvent::new(StreamName::new(format!("counter-{n}")).unwrap(), event_type.clone());
        store.append(AppendRequest::new((first..first + 1_000).map(new))).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_history_is_handled_with_bounded_memory_and_bounded_repeats() {
    const EVENTS: usize = 100_000;
    let world = World::new();
    append_many(&*world.store, EVENTS).await;
    let held = Arc::new(Semaphore::new(0));
    let reaction = Held { held: Arc::clone(&held), handled: Arc::default() };
    let running = start(&world, app(reaction.clone())).await;
    // While the first event is not settled, the others go on up to the bound.
    let (mut before, mut most) = (0, 0);
    loop {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let found = status(&running).await;
        assert_eq!(found.position, Some(Position::ZERO));
        most = most.max(found.in_hand);
        let now = reaction.handled.load(Ordering::SeqCst);
        if now == before && now >= 10_000 {
            break;
        }
        before = now;
    }
    assert!(before <= 10_000 + 1_024, "{before} would be repeated after a crash");
    held.add_permits(1);
    while let Err(ReactionError::Behind { .. }) = running.settle(Duration::from_millis(20)).await {
        most = most.max(status(&running).await.in_hand);
    }
    assert_eq!(reaction.handled.load(Ordering::SeqCst), EVENTS as u64);
    assert!(most <= 1_024, "{most} in hand");
}

/// Holds the first event until it is let go, and counts.
#[derive(Clone)]
struct Held {
    held: Arc<Semaphore>,
    handled: Arc<AtomicU64>,
}

impl Reaction for Held {
    const NAME: &'static str = "held";
    const BEGIN: Begin = Begin::History;

    fn filter(&self) -> Filter {
        Filter::all()
    }

    async fn react(&self, event: &RecordedEvent, _: &ReactionContext) -> Result<(), BoxError> {
        if event.position().get() == 1 {
            self.held.acquire().await?.forget();
        }
        self.handled.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

/// Mirrors the increments of counter `a` in counter `b`, and fails after the first time that it has.
pub struct Mirror;

impl Reaction for Mirror {
    const NAME: &'static str = "mirror";

    fn filter(&self) -> Filter {
        Filter::stream(StreamName::new("counter-a").unwrap())
    }

    async fn react(&self, event: &RecordedEvent, context: &ReactionContext) -> Result<(), BoxError> {
        for event in decode_event::<CounterEvent>(event)? {
            if let CounterEvent::Incremented { by, .. } = event {
                context.execute::<Counter>("b", CounterCommand::Increment { by }, "mirror").await?;
            }
        }
        if context.attempt() == 1 { Err("after the command".into()) } else { Ok(()) }
    }
}

#[tokio::test(start_paused = true)]
async fn a_command_of_a_reaction_is_given_once_and_tells_why() {
    let world = World::new();
    let seen: Arc<Mutex<Vec<String>>> = Arc::default();
    let named = Arc::clone(&seen);
    let app = app(Mirror).permission(move |principal, _| {
        named.lock().unwrap().push(principal.name.to_string());
        Ok(())
    });
    let running = start(&world, app).await;
    increment(&running, "a").await;
    let correlation_id = Some(CorrelationId::new("errand 7").unwrap());
    let options = CommandOptions { correlation_id, ..CommandOptions::default() };
    let command = CounterCommand::Increment { by: 10 };
    running.execute_with::<Counter>("a", command, options).await.unwrap();
    settle(&running).await;
    let of = |id: &str| ReadRequest::stream(StreamName::new(id).unwrap());
    let causes = world.store.reader(of("counter-a")).collect().await.unwrap();
    let mirrored = world.store.reader(of("counter-b")).collect().await.unwrap();
    let correlations: Vec<_> = mirrored.iter().map(|event| event.correlation_id().unwrap()).collect();
    assert_eq!(correlations, [causes[0].id().to_string().as_str(), "errand 7"], "each once");
    let asked = seen.lock().unwrap().clone();
    assert_eq!(
        asked,
        ["anonymous", "anonymous"].into_iter().chain(["reaction:mirror"; 4]).collect::<Vec<_>>()
    );
    assert_eq!(running.dead_letters("mirror").await.unwrap(), []);
}
