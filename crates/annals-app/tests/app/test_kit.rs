//! The test kit fails when it should, and says what differs.

use annals_app::{
    Aggregate, Command, Context, DomainError, Event, State, StoredForm, Upcaster, given, given_stored,
};
use serde::{Deserialize, Serialize};

use crate::domain::{Counter, CounterCommand, CounterEvent, incremented};

/// What a test says when it fails; nothing when it passes.
pub(crate) fn failure(test: impl FnOnce() + std::panic::UnwindSafe) -> Option<String> {
    let payload = std::panic::catch_unwind(test).err()?;
    let text = payload.downcast_ref::<String>().cloned();
    text.or(payload.downcast_ref::<&str>().map(|text| (*text).to_owned()))
}

#[test]
fn what_is_as_expected_passes() {
    given::<Counter>([incremented(2)]).when(CounterCommand::Reset).then([CounterEvent::Reset]);
    given::<Counter>([]).when(CounterCommand::Reset).then_refused("reset-of-nothing");
    given::<Counter>([]).when(CounterCommand::Increment { by: 0 }).then_nothing();
}

#[test]
fn other_events_are_shown_line_by_line() {
    let text = failure(|| {
        given::<Counter>([])
            .when(CounterCommand::IncrementTwice { by: 4 })
            .then([incremented(4), incremented(5)]);
    });
    let expected = r#"other events follow than expected: event 2 differs (expected 2, found 2):
- expected
+ found
  … 3 lines are the same
          colour: "red",
      },
      Incremented {
-         by: 5,
+         by: 4,
          colour: "red",
      },
  ]"#;
    assert_eq!(text.as_deref(), Some(expected));
}

#[test]
fn events_that_are_missing_or_too_many_are_named() {
    let missing = failure(|| {
        given::<Counter>([incremented(1)])
            .when(CounterCommand::Reset)
            .then([CounterEvent::Reset, incremented(1)]);
    });
    let expected = r#"other events follow than expected: event 2 is missing (expected 2, found 1):
- expected
+ found
  [
      Reset,
-     Incremented {
-         by: 1,
-         colour: "red",
-     },
  ]"#;
    assert_eq!(missing.as_deref(), Some(expected));
    let unexpected = failure(|| {
        given::<Counter>([incremented(1)]).when(CounterCommand::Reset).then_nothing();
    });
    let expected = "other events follow than expected: event 1 was not expected (expected 0, found 1):\n- expected\n\
                    + found\n- []\n+ [\n+     Reset,\n+ ]";
    assert_eq!(unexpected.as_deref(), Some(expected));
}

#[test]
fn refusals_are_told_with_code_and_text() {
    let refused = failure(|| {
        given::<Counter>([]).when(CounterCommand::Reset).then([CounterEvent::Reset]);
    });
    let expected = "the command was refused with code \"reset-of-nothing\": nothing to reset\n\
                    these events were expected: [\n    Reset,\n]";
    assert_eq!(refused.as_deref(), Some(expected));
    let another = failure(|| {
        given::<Counter>([]).when(CounterCommand::Reset).then_refused("too-much");
    });
    let expected =
        "expected a refusal with code \"too-much\", found code \"reset-of-nothing\": nothing to reset";
    assert_eq!(another.as_deref(), Some(expected));
    let done = failure(|| {
        given::<Counter>([incremented(1)]).when(CounterCommand::Reset).then_refused("too-much");
    });
    let expected = "expected a refusal with code \"too-much\", but the command was done: [\n    Reset,\n]";
    assert_eq!(done.as_deref(), Some(expected));
}

/// Once, a step was a metre.
const UPCASTERS: &[Upcaster] = &[Upcaster {
    from: "Stepped",
    upcast: |form| {
        let steps = form.payload["steps"].as_u64().ok_or("expected a number of steps")?;
        let metre = StoredForm { event_type: "Walked".to_owned(), payload: serde_json::json!({"metres": 1}) };
        Ok(vec![metre; steps as usize])
    },
}];

#[derive(Event, Serialize, Deserialize, Debug, PartialEq)]
#[event(upcasters = UPCASTERS, unlocked)]
#[annals(crate = annals_app)]
enum WalkerEvent {
    Walked { metres: u64 },
}

#[derive(Command, Serialize, Deserialize)]
#[annals(crate = annals_app)]
enum WalkerCommand {
    Walk,
}

#[derive(Debug, thiserror::Error, DomainError)]
#[annals(crate = annals_app)]
enum Never {}

#[derive(Default, Clone, Serialize, Deserialize, State, Debug, PartialEq)]
#[annals(crate = annals_app)]
struct Walker {
    metres: u64,
}

impl Aggregate for Walker {
    const CATEGORY: &'static str = "walker";
    type Command = WalkerCommand;
    type Event = WalkerEvent;
    type Error = Never;

    fn handle(&self, _: &WalkerCommand, context: &Context) -> Result<Vec<WalkerEvent>, Never> {
        Ok(vec![WalkerEvent::Walked { metres: context.version.get() }])
    }

    fn apply(&mut self, WalkerEvent::Walked { metres }: &WalkerEvent) {
        self.metres += metres;
    }
}

#[test]
fn stored_events_are_read_as_an_application_reads_them() {
    let stored =
        [("Stepped", r#"{"steps":3}"#), ("Sang", "la la"), ("Walked", r#"{"metres":4,"later":"field"}"#)];
    assert_eq!(given_stored::<Walker>(stored).state(), Walker { metres: 7 });
    let after =
        given_stored::<Walker>(stored).when(WalkerCommand::Walk).then([WalkerEvent::Walked { metres: 3 }]);
    assert_eq!(after.metres, 10, "the version counts what is stored");
    assert_eq!(given_stored::<Walker>([]).state(), Walker::default());
}

#[test]
fn a_stored_event_that_cannot_be_read_is_named() {
    let wrong = failure(|| {
        given_stored::<Walker>([("Walked", r#"{"metres":1}"#), ("Walked", r#"{"metres":"one"}"#)]);
    });
    let expected = "event 2 of the given ones, Walked, cannot be read: invalid type: string \"one\", expected u64 at \
                    line 1 column 15; it is {\"metres\":\"one\"}";
    assert_eq!(wrong.as_deref(), Some(expected));
    let older = failure(|| {
        given_stored::<Walker>([("Stepped", "{}")]);
    });
    let expected = "event 1 of the given ones, Stepped, cannot be read: expected a number of steps; it is {}";
    assert_eq!(older.as_deref(), Some(expected));
}
