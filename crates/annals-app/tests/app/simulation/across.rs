//! Processes and decisions in simulations: what goes across entities keeps its rules under every seed.

use std::time::Duration;

use annals_app::{
    App, At, Begin, Context, Error, Happened, OpenProcesses, ProcessManager, Simulated, Simulation, State,
    Steps, simulate,
};
use annals_core::{BoxError, RecordedEvent};
use serde::{Deserialize, Serialize};

use super::{SEEDS, first_failure, models};
use crate::decisions::{CourseCommand, CourseError, CreateInvoice, NextInvoice, Subscription, subscribe};
use crate::processes::{Gift, Purse, PurseCommand, Wish};

/// All that there is, in one purse.
const MONEY: i64 = 20;

fn gifts() -> App {
    App::new("gifts").aggregate::<Purse>().process_manager::<Gift>()
}

async fn wish(app: &Simulated, gift: &str, to: &str, amount: i64) -> Result<(), BoxError> {
    let command = PurseCommand::WishGift { gift: gift.to_owned(), to: to.to_owned(), amount };
    app.execute::<Purse>("rich", command).await?;
    Ok(())
}

/// Two gifts that fit, one that goes back, and one for which there is too little, however long it waits.
async fn give(app: Simulated) -> Result<(), BoxError> {
    app.execute::<Purse>("rich", PurseCommand::Put { amount: MONEY }).await?;
    let wishes = tokio::join!(
        wish(&app, "one", "poor", 7),
        wish(&app, "two", "poor", 8),
        wish(&app, "back", "sewn", 5),
        wish(&app, "never", "poor", MONEY + 1),
    );
    wishes.0.and(wishes.1).and(wishes.2).and(wishes.3)?;
    app.settle().await?;
    // Who found too little looks again after ten seconds, and gives up after a minute.
    app.pass(Duration::from_secs(61)).await;
    let running = app.settle().await?;
    let mut all = 0;
    for purse in ["rich", "poor", "sewn"] {
        let state = running.state("purse", purse, At::Now).await;
        all += state.map_or(0, |view| view.state["content"].as_i64().unwrap());
    }
    assert_eq!(all, MONEY, "money was made or lost");
    assert_eq!(running.ask(OpenProcesses::default()).await?, []);
    for (gift, end) in [("one", "given"), ("two", "given"), ("back", "returned"), ("never", "given up")] {
        assert_eq!(running.state("gift", gift, At::Now).await?.state["state"]["ended"], end, "{gift}");
    }
    Ok(())
}

#[test]
fn a_process_makes_and_loses_no_money_under_any_seed() {
    let mut told = Vec::new();
    for seed in 0..SEEDS {
        let report = Simulation::new(seed).run(&models, &gifts, give);
        assert_eq!(report.failure, None, "{report}");
        told.extend(report.happenings.into_iter().filter(|what| what.is_fault).map(|what| what.what));
    }
    for fault in [
        "append of StepTaken to gift-one: a conflict was told",
        "append of Taken to purse-rich: it was stored, and the answer was an error",
        "append of StepTaken to gift-back: it failed, and was not stored",
        "append of Put to purse-poor: the application ended when it was stored",
    ] {
        assert!(told.iter().any(|what| what.contains(fault)), "never: {fault}");
    }
}

#[test]
fn a_process_is_the_same_again_for_the_same_seed() {
    let run = |seed| Simulation::new(seed).run(&models, &gifts, give);
    for seed in 0..5 {
        assert_eq!(run(seed), run(seed));
    }
}

/// As a gift, but what was put and is not answered soon is given back, although nobody knows whether it was put.
#[derive(Default, Clone, Serialize, Deserialize, State)]
#[annals(crate = annals_app)]
struct HastyGift {
    gift: Gift,
}

impl ProcessManager for HastyGift {
    const NAME: &'static str = Gift::NAME;
    const BEGIN: Begin = Gift::BEGIN;
    type Event = Wish;

    fn key(event: &Wish, recorded: &RecordedEvent) -> Option<String> {
        Gift::key(event, recorded)
    }

    fn apply(&mut self, happened: &Happened<Wish>) {
        self.gift.apply(happened);
    }

    fn react(&self, happened: &Happened<Wish>, context: &Context) -> Steps {
        let steps = |happened: &Happened<Wish>| self.gift.react(happened, context);
        match happened {
            Happened::Done { label, .. } if label == "take" => {
                steps(happened).timer("answer", Duration::from_millis(200))
            }
            Happened::TimerFired { timer } if timer == "answer" => {
                let (label, code) = ("put".to_owned(), "late".to_owned());
                steps(&Happened::Refused { label, message: code.clone(), code })
            }
            Happened::Refused { label, .. } if label == "put" => steps(happened).cancel("answer"),
            _ => steps(happened),
        }
    }
}

#[test]
fn a_process_that_gives_back_what_is_not_answered_yet_is_found() {
    let app = || App::new("gifts").aggregate::<Purse>().process_manager::<HastyGift>();
    let report = first_failure(app, async |app| {
        app.execute::<Purse>("rich", PurseCommand::Put { amount: MONEY }).await?;
        for gift in ["one", "two", "three"] {
            wish(&app, gift, "poor", 5).await?;
        }
        let running = app.settle().await?;
        let mut all = 0;
        for purse in ["rich", "poor"] {
            all += running.state("purse", purse, At::Now).await?.state["content"].as_i64().unwrap();
        }
        assert_eq!(all, MONEY, "money was made or lost");
        Ok(())
    });
    let text = report.to_string();
    assert!(text.contains("money was made or lost"), "{text}");
}

async fn try_to_subscribe(app: &Simulated, student: &str) -> Result<bool, BoxError> {
    match app.decide::<Subscription>("c1", subscribe(student)).await {
        Ok(_) => Ok(true),
        Err(Error::Domain(CourseError::CourseFull)) => Ok(false),
        Err(other) => Err(other.into()),
    }
}

#[test]
fn no_place_is_given_twice_under_any_seed() {
    let app = || App::new("school").decision::<Subscription>();
    simulate(0..SEEDS, models, app, async |app| {
        app.decide::<Subscription>("c1", CourseCommand::DefineCourse { places: 2 }).await?;
        let asked = tokio::join!(
            try_to_subscribe(&app, "ann"),
            try_to_subscribe(&app, "bob"),
            try_to_subscribe(&app, "eve"),
            try_to_subscribe(&app, "joe"),
        );
        let given = [asked.0?, asked.1?, asked.2?, asked.3?].into_iter().filter(|given| *given).count();
        assert_eq!(given, 2);
        let running = app.settle().await?;
        let nothing = running.decide::<Subscription>("c1", subscribe("ann")).await;
        assert_eq!(nothing.map_or(2, |done| done.state.students.len()), 2);
        Ok(())
    });
}

async fn number(app: &Simulated, invoice: &str) -> Result<u64, BoxError> {
    Ok(app.decide::<NextInvoice>(invoice, CreateInvoice {}).await?.events[0].number)
}

#[test]
fn a_decision_is_the_same_again_for_the_same_seed() {
    let app = || App::new("invoices").decision::<NextInvoice>();
    let check = async |app: Simulated| {
        let (a, b, c) = tokio::join!(number(&app, "a"), number(&app, "b"), number(&app, "c"));
        let mut numbers = [a?, b?, c?];
        numbers.sort_unstable();
        assert_eq!(numbers, [1, 2, 3]);
        Ok(())
    };
    let run = |seed| Simulation::new(seed).run(&models, &app, check);
    let mut told = Vec::new();
    for seed in 0..20 {
        let report = run(seed);
        assert_eq!(report, run(seed));
        assert_eq!(report.failure, None, "{report}");
        told.extend(report.happenings.into_iter().map(|what| what.what));
    }
    let conflict = "a conflict was told";
    assert!(told.iter().any(|what| what.contains(conflict)), "never: {conflict}");
}

#[test]
fn a_simulation_may_let_more_time_pass_than_it_may_take() {
    simulate([1, 2], models, gifts, async |app| {
        wish(&app, "one", "poor", 5).await?;
        app.pass(Duration::from_secs(1_000)).await;
        let running = app.settle().await?;
        assert_eq!(running.state("gift", "one", At::Now).await?.state["state"]["ended"], "given up");
        Ok(())
    });
}

/// The futures of a simulated application can be given to tasks of their own.
#[test]
fn commands_can_be_given_from_tasks() {
    simulate([1], models, gifts, async |app| {
        let tasks: Vec<_> = (0..3)
            .map(|_| {
                let app = app.clone();
                tokio::spawn(async move {
                    app.execute::<Purse>("rich", PurseCommand::Put { amount: 1 }).await.map(drop)
                })
            })
            .collect();
        for task in tasks {
            task.await??;
        }
        app.settle().await?;
        Ok(())
    });
}
