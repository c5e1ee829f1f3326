//! Process managers: what goes on across entities, ended at any point, with timers, and stuck.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use annals_app::{
    Action, Aggregate, App, At, Command, Context, DomainError, Event, Happened, OpenProcesses,
    ProcessManager, ReactionState, RunningApp, State, Steps,
};
use annals_core::{
    Clock, EventStore, EventType, Filter, Position, ReadModelStore, ReadRequest, RecordedEvent, StreamName,
    Timestamp,
};
use annals_sqlite::SqliteReadModels;
use serde::{Deserialize, Serialize};

use crate::stores::stores;

#[derive(Event, Serialize, Deserialize, Debug, Clone, PartialEq)]
#[event(unlocked)]
#[annals(crate = annals_app)]
pub(crate) enum PurseEvent {
    Put { amount: i64 },
    Taken { amount: i64 },
    GiftWished { gift: String, to: String, amount: i64 },
}

#[derive(Command, Serialize, Deserialize, Debug, Clone, PartialEq)]
#[annals(crate = annals_app)]
pub(crate) enum PurseCommand {
    Put { amount: i64 },
    Take { amount: i64 },
    WishGift { gift: String, to: String, amount: i64 },
}

#[derive(Debug, thiserror::Error, DomainError, PartialEq)]
#[annals(crate = annals_app)]
pub(crate) enum PurseError {
    #[error("there is not so much in it")]
    TooLittle,
    #[error("it is sewn up")]
    SewnUp,
}

#[derive(Default, Clone, Serialize, Deserialize, State, Debug, PartialEq)]
#[annals(crate = annals_app)]
pub(crate) struct Purse {
    content: i64,
}

impl Aggregate for Purse {
    const CATEGORY: &'static str = "purse";
    type Command = PurseCommand;
    type Event = PurseEvent;
    type Error = PurseError;

    fn handle(&self, command: &PurseCommand, context: &Context) -> Result<Vec<PurseEvent>, PurseError> {
        Ok(vec![match command.clone() {
            PurseCommand::Put { .. } if context.id.starts_with("sewn") => return Err(PurseError::SewnUp),
            PurseCommand::Put { amount } => PurseEvent::Put { amount },
            PurseCommand::Take { amount } if amount > self.content => return Err(PurseError::TooLittle),
            PurseCommand::Take { amount } => PurseEvent::Taken { amount },
            PurseCommand::WishGift { gift, to, amount } => PurseEvent::GiftWished { gift, to, amount },
        }])
    }

    fn apply(&mut self, event: &PurseEvent) {
        match event {
            PurseEvent::Put { amount } => self.content += amount,
            PurseEvent::Taken { amount } => self.content -= amount,
            PurseEvent::GiftWished { .. } => {}
        }
    }
}

/// What the process has to know: a type of its own, with what it needs.
#[derive(Event, Serialize, Deserialize, Debug, Clone, PartialEq)]
#[event(unlocked)]
#[annals(crate = annals_app)]
pub(crate) enum Wish {
    GiftWished { gift: String, to: String, amount: i64 },
}

/// Takes a gift out of one purse and puts it into another; what cannot be put goes back. Waits for money for a minute.
#[derive(Default, Clone, Serialize, Deserialize, State, Debug, PartialEq)]
#[annals(crate = annals_app)]
pub(crate) struct Gift {
    from: String,
    to: String,
    amount: i64,
    pub(crate) ended: Option<String>,
}

impl ProcessManager for Gift {
    const NAME: &'static str = "gift";
    type Event = Wish;

    fn key(Wish::GiftWished { gift, .. }: &Wish, _: &RecordedEvent) -> Option<String> {
        (gift != "ignored").then(|| gift.clone())
    }

    fn apply(&mut self, happened: &Happened<Wish>) {
        match happened {
            Happened::Event(Wish::GiftWished { to, amount, .. }) => {
                // The purse is named after the gift, so that the test needs no more fields.
                (self.from, self.to, self.amount) = ("rich".to_owned(), to.clone(), *amount);
            }
            Happened::Done { label, .. } if label == "put" => self.ended = Some("given".to_owned()),
            Happened::Done { label, .. } if label == "back" => self.ended = Some("returned".to_owned()),
            Happened::TimerFired { timer } if timer == "patience" => self.ended = Some("given up".to_owned()),
            _ => {}
        }
    }

    fn react(&self, happened: &Happened<Wish>, _: &Context) -> Steps {
        let amount = self.amount;
        let take = |steps: Steps| steps.give::<Purse>("take", &self.from, PurseCommand::Take { amount });
        match happened {
            Happened::Event(_) => take(Steps::none().timer("patience", Duration::from_secs(60))),
            Happened::Done { label, .. } if label == "take" => {
                Steps::none().cancel("patience").give::<Purse>("put", &self.to, PurseCommand::Put { amount })
            }
            Happened::Refused { label, .. } if label == "take" => {
                Steps::none().timer("again", Duration::from_secs(10))
            }
            Happened::TimerFired { timer } if timer == "again" => take(Steps::none()),
            Happened::Refused { label, .. } if label == "put" => {
                Steps::none().give::<Purse>("back", &self.from, PurseCommand::Put { amount })
            }
            Happened::Done { .. } | Happened::TimerFired { .. } => Steps::none().end(),
            Happened::Refused { .. } => Steps::none(),
        }
    }
}

/// A clock that is turned by hand.
struct HandClock(AtomicI64);

impl Clock for HandClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(Ordering::SeqCst))
    }
}

impl HandClock {
    fn turn(&self, seconds: i64) {
        self.0.fetch_add(seconds * 1_000_000, Ordering::SeqCst);
    }
}

struct World {
    store: Arc<dyn EventStore>,
    models: Arc<SqliteReadModels>,
    clock: Arc<HandClock>,
    denied: Arc<AtomicBool>,
}

impl World {
    fn on(store: &Arc<dyn EventStore>) -> Self {
        Self {
            store: Arc::clone(store),
            models: Arc::new(SqliteReadModels::temporary().unwrap()),
            clock: Arc::new(HandClock(AtomicI64::new(1_000_000_000))),
            denied: Arc::default(),
        }
    }

    async fn start(&self) -> RunningApp {
        self.start_on(Arc::clone(&self.models) as _).await
    }

    async fn start_on(&self, models: Arc<dyn ReadModelStore>) -> RunningApp {
        let denied = Arc::clone(&self.denied);
        let app = App::new("gifts").aggregate::<Purse>().process_manager::<Gift>();
        let app = app.clock(Arc::clone(&self.clock) as _).permission(move |principal, action| {
            let is_put = matches!(action, Action::Command { name: "Put", .. });
            if is_put && principal.name == "process:gift" && denied.load(Ordering::SeqCst) {
                return Err("no gifts today".to_owned());
            }
            Ok(())
        });
        app.start(Arc::clone(&self.store), models).await.unwrap()
    }
}

async fn put(app: &RunningApp, id: &str, amount: i64) {
    app.execute::<Purse>(id, PurseCommand::Put { amount }).await.unwrap();
}

async fn wish(app: &RunningApp, gift: &str, to: &str, amount: i64) {
    let command = PurseCommand::WishGift { gift: gift.to_owned(), to: to.to_owned(), amount };
    app.execute::<Purse>("rich", command).await.unwrap();
}

/// Waits until nothing moves any more.
async fn settle(app: &RunningApp) {
    loop {
        let head = app.store().head().await.unwrap();
        app.settle(Duration::from_secs(20)).await.unwrap();
        app.catch_up(Duration::from_secs(20)).await.unwrap();
        if app.store().head().await.unwrap() == head {
            return;
        }
    }
}

async fn content(app: &RunningApp, purse: &str) -> i64 {
    let state = app.state("purse", purse, At::Now).await;
    state.map_or(0, |view| view.state["content"].as_i64().unwrap())
}

async fn ended(app: &RunningApp, gift: &str) -> serde_json::Value {
    app.state("gift", gift, At::Now).await.unwrap().state["state"]["ended"].clone()
}

#[tokio::test]
async fn a_process_goes_from_step_to_step() {
    for on in stores() {
        let world = World::on(&on.events);
        let app = world.start().await;
        put(&app, "rich", 10).await;
        wish(&app, "g1", "poor", 7).await;
        wish(&app, "ignored", "poor", 1).await;
        settle(&app).await;
        assert_eq!((content(&app, "rich").await, content(&app, "poor").await), (3, 7));
        assert_eq!(ended(&app, "g1").await, "given");

        // All that came of the wish has its id for a correlation. A command's events name the command, whose id names the step that
        // gave it, and a step names the event that it is the answer to.
        let events = world.store.reader(ReadRequest::default()).collect().await.unwrap();
        let wished = events.iter().find(|event| event.event_type() == "GiftWished").unwrap();
        let of_wish: Vec<_> =
            events.iter().filter(|event| event.correlation_id() == Some(&wished.id().to_string())).collect();
        let told: Vec<_> = of_wish
            .iter()
            .map(|event| (event.event_type(), event.causation_id().unwrap().to_owned()))
            .collect();
        let expected = [
            ("StepTaken", wished.id().to_string()),
            ("Taken", "gift-g1@1.0".to_owned()),
            ("StepTaken", of_wish[0].id().to_string()),
            ("Put", "gift-g1@2.0".to_owned()),
            ("StepTaken", of_wish[2].id().to_string()),
        ];
        assert_eq!(told, expected);
        let metadata = String::from_utf8_lossy(of_wish[1].metadata().unwrap()).into_owned();
        assert!(metadata.contains(r#""principal":"process:gift""#), "{metadata}");
        assert!(app.ask(OpenProcesses::default()).fresh().await.unwrap().is_empty(), "it is over");
    }
}

#[tokio::test]
async fn what_is_refused_is_undone() {
    for on in stores() {
        let world = World::on(&on.events);
        let app = world.start().await;
        put(&app, "rich", 10).await;
        wish(&app, "g1", "sewn-1", 7).await;
        settle(&app).await;
        assert_eq!((content(&app, "rich").await, content(&app, "sewn-1").await), (10, 0));
        assert_eq!(ended(&app, "g1").await, "returned");
    }
}

#[tokio::test]
async fn timers_are_due_by_the_clock_and_fire_once_also_after_a_restart() {
    for on in stores() {
        let world = World::on(&on.events);
        let app = world.start().await;
        for gift in ["late", "never", "cancelled"] {
            wish(&app, gift, "poor", 5).await;
        }
        settle(&app).await;
        let open =
            app.ask(OpenProcesses { id: Some("late".into()), ..OpenProcesses::default() }).await.unwrap();
        let timers: Vec<_> = open[0].timers.iter().map(|timer| timer.timer.as_str()).collect();
        assert_eq!((open.len(), open[0].steps, timers), (1, 2, vec!["again", "patience"]));
        let all = app.ask(OpenProcesses::default()).await.unwrap();
        app.rebuild("processes", &|_| {}).await.unwrap();
        assert_eq!(app.ask(OpenProcesses::default()).await.unwrap(), all, "one by one, or all at once");

        // Down while they are due: they fire with the next start, one after the other.
        drop(app);
        world.clock.turn(11);
        let app = world.start().await;
        put(&app, "rich", 10).await;
        let steps = async |app: &RunningApp| {
            settle(app).await;
            let of_gifts = Filter::category(annals_core::Category::new("gift").unwrap());
            world.store.reader(ReadRequest::new(of_gifts)).collect().await.unwrap().len()
        };
        wait_until(async || ended(&app, "late").await == "given" || ended(&app, "never").await == "given")
            .await;
        // A clock that jumps back keeps those from firing that are not due any more; nothing fires twice.
        world.clock.turn(-3_600);
        wait_until(async || {
            let before = steps(&app).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
            steps(&app).await == before
        })
        .await;
        let before = steps(&app).await;
        tokio::time::sleep(Duration::from_millis(1_200)).await;
        assert_eq!(steps(&app).await, before);
        world.clock.turn(3_600 + 120);
        wait_until(async || app.ask(OpenProcesses::default()).fresh().await.unwrap().is_empty()).await;
        settle(&app).await;
        let mut ends = Vec::new();
        for gift in ["late", "never", "cancelled"] {
            ends.push(ended(&app, gift).await.as_str().unwrap().to_owned());
        }
        ends.sort();
        assert_eq!(ends, ["given", "given", "given up"], "ten were enough for two of three");
        assert_eq!((content(&app, "rich").await, content(&app, "poor").await), (0, 10));
        let before = steps(&app).await;
        world.clock.turn(10_000);
        tokio::time::sleep(Duration::from_millis(1_200)).await;
        assert_eq!(steps(&app).await, before, "what is over has no timers");
        // What a timer gives rise to belongs to what set it.
        let wishes =
            world.store.reader(ReadRequest::new(Filter::types([EventType::new("GiftWished").unwrap()])));
        let wishes = wishes.collect().await.unwrap();
        for (wished, gift) in wishes.iter().zip(["late", "never", "cancelled"]) {
            let stream = Filter::stream(StreamName::new(format!("gift-{gift}")).unwrap());
            let taken = world.store.reader(ReadRequest::new(stream)).collect().await.unwrap();
            let wished = wished.id().to_string();
            assert!(taken.len() > 3 && taken.iter().all(|step| step.correlation_id() == Some(&wished)));
            assert!(taken.iter().all(|step| step.causation_id().is_some()));
        }
    }
}

async fn wait_until(mut is_so: impl AsyncFnMut() -> bool) {
    for _ in 0..600 {
        if is_so().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("it does not come about");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ended_at_any_point_and_followed_by_two_no_money_is_made_or_lost() {
    for on in stores() {
        let world = World::on(&on.events);
        let app = world.start().await;
        put(&app, "rich", 2_000).await;
        for n in 0..60 {
            let to = if n % 3 == 0 { "sewn-1".to_owned() } else { format!("poor-{}", n % 5) };
            wish(&app, &format!("g{n}"), &to, n).await;
        }
        drop(app);
        // Dropped after a moment, again and again; from time to time two at once that know nothing of each other's locks.
        for round in 0..40_u64 {
            let app = world.start().await;
            let other = if round % 4 == 0 {
                let own = Arc::new(SqliteReadModels::temporary().unwrap());
                Some(world.start_on(own).await)
            } else {
                None
            };
            tokio::time::sleep(Duration::from_micros(round * 137 % 4_000)).await;
            drop((app, other));
        }
        let app = world.start().await;
        settle(&app).await;
        let mut sum = content(&app, "rich").await + content(&app, "sewn-1").await;
        for n in 0..5 {
            sum += content(&app, &format!("poor-{n}")).await;
        }
        let given: i64 = (0..60).filter(|n| n % 3 != 0).sum();
        assert_eq!((sum, content(&app, "rich").await), (2_000, 2_000 - given));
        for n in 0..60 {
            let expected = if n % 3 == 0 { "returned" } else { "given" };
            assert_eq!(ended(&app, &format!("g{n}")).await, expected, "g{n}");
        }
    }
}

#[tokio::test]
async fn a_stuck_process_is_visible_with_its_reason_and_goes_on_when_it_can() {
    for on in stores() {
        let world = World::on(&on.events);
        let app = world.start().await;
        put(&app, "rich", 10).await;
        world.denied.store(true, Ordering::SeqCst);
        wish(&app, "g1", "poor", 7).await;
        wait_until(async || {
            matches!(app.reactions().await.unwrap()[0].state, ReactionState::Retrying { .. })
        })
        .await;
        let ReactionState::Retrying { error, .. } = app.reactions().await.unwrap()[0].state.clone() else {
            panic!("expected it to wait")
        };
        let expected = "its command \"put\", Put to purse \"poor\": process:gift may not Put on purse \"poor\": no gifts today";
        assert_eq!(error, expected);
        let open = app.ask(OpenProcesses::default()).fresh().await.unwrap();
        let (command, entity) = (open[0].commands[0].command.as_str(), open[0].commands[0].entity.as_str());
        assert_eq!((open.len(), command, entity), (1, "Put", "poor"));
        assert_eq!((content(&app, "rich").await, content(&app, "poor").await), (3, 0));
        world.denied.store(false, Ordering::SeqCst);
        wait_until(async || ended(&app, "g1").await == "given").await;
        assert_eq!(content(&app, "poor").await, 7);
    }
}

#[tokio::test]
async fn steps_are_not_for_others_to_take() {
    for on in stores() {
        let world = World::on(&on.events);
        let app = world.start().await;
        put(&app, "rich", 10).await;
        wish(&app, "g1", "poor", 7).await;
        settle(&app).await;
        let json = r#"{"timer":"again","step":1}"#;
        let request = annals_app::CommandRequest::json("gift", "g1", "TakeTimer", json, Default::default());
        let refused = app.dispatch(request).await.err().unwrap();
        assert!(refused.to_string().contains("there is no command \"TakeTimer\""), "{refused}");
        let then = app.state("gift", "g1", At::Version(annals_core::Version::new(1))).await.unwrap();
        assert_eq!(then.state["waiting"]["gift-g1@1.0"], "take", "its past can be asked for");
        assert!(then.position > Position::ZERO);
    }
}
