//! The test kit fails when it should, and says what differs.

mod decisions;
mod processes;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use annals_app::{
    Aggregate, Command, Context, DomainError, Event, State, StoredForm, Upcaster, given, given_projection,
    given_stored,
};
use annals_core::{ReadModelStore, Value};
use annals_sqlite::SqliteReadModels;
use serde::{Deserialize, Serialize};

use crate::domain::{CountOf, Counter, CounterCommand, CounterEvent, Counts, Sum, count_of, incremented};
use crate::simulation::{ForgetfulSum, SumOfAll, sum_of_all};

/// What a test says when it fails; nothing when it passes.
pub(crate) fn failure(test: impl FnOnce()) -> Option<String> {
    let payload = std::panic::catch_unwind(std::panic::AssertUnwindSafe(test)).err()?;
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

fn models() -> Arc<dyn ReadModelStore> {
    Arc::new(SqliteReadModels::temporary().unwrap())
}

fn events() -> [(&'static str, CounterEvent); 4] {
    let reset = CounterEvent::Reset;
    [
        ("counter-a", incremented(2)),
        ("counter-b", incremented(5)),
        ("counter-a", incremented(3)),
        ("counter-b", reset),
    ]
}

/// What a test says that waits.
fn async_failure(test: impl Future<Output = ()>) -> Option<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    failure(|| runtime.block_on(test))
}

#[tokio::test]
async fn a_right_projection_answers_the_same_in_every_way() {
    let counts = || given_projection(models(), Counts { broken: Arc::default() }).events(events());
    counts().then(count_of, CountOf { id: "a".to_owned() }, (5, 2)).await;
    let rows = counts().rows("SELECT id, events FROM counts ORDER BY id").await;
    let rows: Vec<_> = rows.iter().map(|row| row.values().to_vec()).collect();
    let text = |text: &str| Value::Text(text.to_owned());
    assert_eq!(rows, [[text("a"), Value::Integer(2)], [text("b"), Value::Integer(2)]]);
}

#[test]
fn an_answer_that_is_wrong_in_every_way_is_shown_once() {
    let said = async_failure(async {
        let counts = given_projection(models(), Counts { broken: Arc::default() }).events(events());
        counts.then(count_of, CountOf { id: "a".to_owned() }, (6, 2)).await;
    });
    let said = said.unwrap();
    let (first, difference) = said.split_once(":\n").unwrap();
    assert!(
        first.starts_with(
            "the answer to CountOf is not as expected when all events come in one batch, nor when"
        )
    );
    assert!(first.contains(", nor after a rebuild (crates/annals-app/tests/app/test_kit/mod.rs:"), "{first}");
    assert_eq!(difference, "- expected\n+ found\n  (\n-     6,\n+     5,\n      2,\n  )");
}

#[test]
fn a_projection_that_counts_batches_is_found() {
    let said = async_failure(async {
        given_projection(models(), Sum).events(events()).rows("SELECT events FROM sum").await;
    });
    let said = said.unwrap();
    let expected = "what \"SELECT events FROM sum\" finds is not as expected when each event comes in a batch of its own, nor \
                    when the application is started again before each event, nor when every batch comes again with all that \
                    follow (";
    assert!(said.starts_with(expected), "{said}");
    assert!(said.contains("\n-             4,\n+             1,\n"), "{said}");
}

#[test]
fn a_projection_that_keeps_its_sum_in_itself_is_found() {
    let said = async_failure(async {
        let sums =
            given_projection(models(), ForgetfulSum::default()).events([("counter-a", incremented(2))]);
        sums.then(sum_of_all, SumOfAll {}, 2).await;
    });
    let said = said.unwrap();
    assert!(said.contains("not as expected when each event comes in a batch of its own, nor"), "{said}");
    assert!(said.contains("nor after a rebuild (") && said.ends_with("\n- 2\n+ 4"), "{said}");
}

#[test]
fn a_projection_that_fails_says_why() {
    let said = async_failure(async {
        let broken = Arc::new(AtomicBool::new(true));
        let counts = given_projection(models(), Counts { broken }).events([("counter-a", incremented(13))]);
        counts.then(count_of, CountOf { id: "a".to_owned() }, (13, 1)).await;
    });
    let said = said.unwrap();
    let expected = "\"counts\" cannot be asked when all events come in one batch: the projection \"counts\" stopped at \
                    position 1, CounterIncremented of counter-a";
    assert!(said.starts_with(expected) && said.contains("thirteen brings bad luck"), "{said}");
    let said = failure(|| drop(given_projection(models(), Sum).events([("", incremented(1))]))).unwrap();
    assert!(
        said.starts_with("event 1 of the given ones, CounterIncremented on : stream name is empty"),
        "{said}"
    );
}
