//! Tests of processes go through their steps, fail when they should, and say what differs.

use std::time::Duration;

use annals_app::{Context, Event, GivenProcess, Happened, ProcessManager, State, Steps, given_process};
use annals_core::{Filter, RecordedEvent, StreamName, Timestamp};
use serde::{Deserialize, Serialize};

use super::failure;
use crate::decisions::{Subscription, subscribe};
use crate::processes::{Gift, Purse, PurseCommand, PurseEvent, Wish};

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn wished() -> GivenProcess<Gift> {
    given_process::<Gift>().when(wish("g1"))
}

fn wish(gift: &str) -> Wish {
    Wish::GiftWished { gift: gift.to_owned(), to: "poor".to_owned(), amount: 7 }
}

const TAKE: PurseCommand = PurseCommand::Take { amount: 7 };
const PUT: PurseCommand = PurseCommand::Put { amount: 7 };

#[test]
fn a_process_is_led_from_step_to_step() {
    let ended = wished()
        .then(Steps::none().timer("patience", seconds(60)).give::<Purse>("take", "rich", TAKE))
        .then_waits_for(["take"])
        .refused("take", "too-little")
        .then(Steps::none().timer("again", seconds(10)))
        .turn_clock(seconds(10))
        .then_fires(["again"])
        .then(Steps::none().give::<Purse>("take", "rich", TAKE))
        .answered_with("take", [PurseEvent::Taken { amount: 7 }])
        .then_cancels("patience")
        .then_gives::<Purse>("put", "poor", PUT)
        .turn_clock(seconds(100))
        .then_fires([])
        .then_nothing()
        .restarted()
        .refused("put", "sewn-up")
        .then_gives::<Purse>("back", "rich", PUT)
        .answered("back")
        .then_ends()
        .then_waits_for([]);
    assert_eq!(ended.state().ended.as_deref(), Some("returned"));
    // It is over: nothing more comes of anything.
    ended.when(wish("g1")).then_nothing().turn_clock(seconds(1_000)).then_nothing();
}

#[test]
fn timers_fire_in_the_order_in_which_they_are_due() {
    let given_up = wished().refused("take", "too-little").turn_clock(seconds(3_600));
    let given_up = given_up.then_fires(["again", "patience"]).then_gives::<Purse>("take", "rich", TAKE);
    given_up.then(Steps::none().give::<Purse>("take", "rich", TAKE).end());
    let said = failure(|| drop(wished().turn_clock(seconds(60)).then_fires([])));
    let expected = "other timers fire than expected: timer 1 was not expected (expected 0, found 1):\n\
                    - expected\n+ found\n- []\n+ [\n+     \"patience\",\n+ ]";
    assert_eq!(said.as_deref(), Some(expected));
    drop(wished().turn_clock(seconds(59)).then_fires([]).turn_clock(seconds(1)).then_fires(["patience"]));
}

#[test]
fn an_event_of_an_aggregate_reaches_the_process_as_one_of_its_own() {
    let event = || PurseEvent::GiftWished { gift: "g1".to_owned(), to: "poor".to_owned(), amount: 7 };
    let given = given_process::<Gift>().when_recorded("purse-rich", PurseEvent::Put { amount: 1 });
    let wished = given.then_nothing().when_recorded("purse-rich", event());
    let wished = wished.then_gives::<Purse>("take", "rich", TAKE);
    // Another wish is another process.
    let both = wished.when(wish("g2")).then_nothing().then_waits_for(["take"]);
    let said = failure(|| drop(both.when(wish("g3")).then_ends()));
    let expected = "expected: end\nnothing is decided\nwhat happened last was passed by: it belongs to the process \"g3\", and \
                    this one is \"g1\"";
    assert_eq!(said.as_deref(), Some(expected));
    let said = failure(|| {
        let ignored = given_process::<Gift>().when_recorded("purse-rich", PurseEvent::Put { amount: 1 });
        drop(ignored.then_gives::<Purse>("take", "rich", TAKE));
    });
    let expected = "expected: give \"take\" to purse \"rich\": Take {\n  \"amount\": 7\n}\nnothing is decided\nwhat happened last \
                    was passed by: Put on purse-rich is not in the filter of \"gift\", or has no key for it";
    assert_eq!(said.as_deref(), Some(expected));
}

#[test]
fn what_differs_is_shown_line_by_line() {
    let said =
        failure(|| drop(wished().then_gives::<Purse>("take", "rich", PurseCommand::Take { amount: 8 })));
    let expected = r#"something else is decided than expected:
- expected
+ found
  give "take" to purse "rich": Take {
-   "amount": 8
+   "amount": 7
  }"#;
    assert_eq!(said.as_deref(), Some(expected));
    let said = failure(|| drop(wished().then(Steps::none().give::<Purse>("take", "rich", TAKE))));
    let expected = r#"something else is decided than expected: part 2 was not expected (expected 1, found 2):
- expected
+ found
  … 1 line is the same
      give "take" to purse "rich": Take {
        "amount": 7
      },
+     set timer "patience", due after 60s,
  ]"#;
    assert_eq!(said.as_deref(), Some(expected));
    let said = failure(|| drop(wished().then_sets("patience", seconds(61)))).unwrap();
    assert!(
        said.ends_with("- set timer \"patience\", due after 61s\n+ set timer \"patience\", due after 60s"),
        "{said}"
    );
    let said = failure(|| drop(wished().then_cancels("patience"))).unwrap();
    assert!(
        said.starts_with("expected: cancel timer \"patience\"\nthis is decided: [\n    give \"take\""),
        "{said}"
    );
    let said = failure(|| drop(wished().then_waits_for(["put"]))).unwrap();
    assert!(said.starts_with("it waits for other answers than expected: answer 1 differs"), "{said}");
}

#[test]
fn only_what_is_waited_for_can_be_answered() {
    let said = failure(|| drop(wished().answered("put")));
    assert_eq!(said.as_deref(), Some("the process waits for no answer to \"put\": it waits for \"take\""));
    let said = failure(|| drop(wished().answered("take").answered("take")));
    assert_eq!(said.as_deref(), Some("the process waits for no answer to \"take\": it waits for \"put\""));
    let said = failure(|| drop(given_process::<Gift>().refused("take", "too-little")));
    assert_eq!(said.as_deref(), Some("the process waits for no answer to \"take\": it waits for none"));
    let said = failure(|| drop(wished().turn_clock(seconds(60)).answered("take")));
    assert_eq!(said.as_deref(), Some("the process waits for no answer to \"take\": it is over"));
}

#[derive(Event, Serialize, Deserialize, Debug, Clone)]
#[event(unlocked)]
#[annals(crate = annals_app)]
enum Beat {
    Began {},
    Ended {},
}

/// Gives commands by the dozen, counts in what is not saved, and rings.
#[derive(Default, Clone, Serialize, Deserialize, State, Debug, PartialEq)]
#[annals(crate = annals_app)]
struct Metronome {
    #[serde(skip)]
    unsaved: u32,
    answers: Vec<String>,
}

impl ProcessManager for Metronome {
    const NAME: &'static str = "metronome";
    type Event = Beat;

    fn filter() -> Filter {
        Filter::stream(StreamName::new("music-hall").unwrap())
    }

    fn key(_: &Beat, event: &RecordedEvent) -> Option<String> {
        Some(event.entity_id().to_owned())
    }

    fn apply(&mut self, happened: &Happened<Beat>) {
        self.unsaved += 1;
        if let Happened::Done { events, .. } = happened {
            self.answers.extend(events.iter().map(|event| format!("{} {}", event.event_type, event.data)));
        }
    }

    fn react(&self, happened: &Happened<Beat>, context: &Context) -> Steps {
        match happened {
            Happened::Event(Beat::Began {}) => (0..12).fold(Steps::none(), |steps, n| {
                let steps = steps.timer_at("then", Timestamp::from_micros(5_000_000));
                steps.decide::<Subscription>(
                    if n == 0 { "first" } else { "same" },
                    &n.to_string(),
                    subscribe("ann"),
                )
            }),
            Happened::TimerFired { timer } if timer == "then" => {
                Steps::none().timer("at once", Duration::ZERO)
            }
            Happened::TimerFired { timer } => {
                assert_eq!(context.principal.name, "process:metronome");
                Steps::none().timer(timer, Duration::ZERO)
            }
            _ => Steps::none().timer("unsaved", seconds(u64::from(self.unsaved))),
        }
    }
}

fn began() -> GivenProcess<Metronome> {
    given_process::<Metronome>().when_recorded("music-hall", Beat::Began {})
}

#[test]
fn answers_go_to_the_commands_in_the_order_in_which_they_were_given() {
    let began = began().then_decides::<Subscription>("same", "7", subscribe("ann"));
    let after = began.answered("same").answered_with("first", [Beat::Began {}, Beat::Ended {}]);
    let after = after.then_waits_for(vec!["same"; 10]);
    assert_eq!(after.state().answers, ["Began {}", "Ended {}"]);
    given_process::<Metronome>().when(Beat::Began {}).then_nothing().then_waits_for([]);
}

#[test]
fn what_is_not_saved_shows_after_a_restart() {
    drop(began().answered("first").then_sets("unsaved", seconds(2)));
    drop(began().restarted().then_nothing().answered("first").then_sets("unsaved", seconds(1)));
}

#[test]
fn timers_without_time_between_them_are_named() {
    let set = began().at(Timestamp::from_micros(2_000_000)).turn_clock(seconds(2)).then_fires([]);
    let said = failure(|| drop(set.turn_clock(seconds(1))));
    let expected = "10000 timers have fired, and more are due: does a timer set one that is due at once?";
    assert_eq!(said.as_deref(), Some(expected));
    drop(began().then_sets("then", seconds(5)));
}
