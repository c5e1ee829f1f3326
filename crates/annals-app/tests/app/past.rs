//! Questions about what was true at a time, whenever it was recorded.

use annals_app::{Answer, At, CommandOptions, Principal, QueryError, RunningApp};
use annals_core::Timestamp;

use crate::domain::{Counter, CounterCommand, World};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(seconds * 1_000_000)
}

async fn increment(app: &RunningApp, by: u64, occurred_at: Option<i64>) {
    let options = CommandOptions { occurred_at: occurred_at.map(at), ..CommandOptions::default() };
    app.execute_with::<Counter>("a", CounterCommand::Increment { by }, options).await.unwrap();
}

async fn then(app: &RunningApp, moment: Timestamp) -> Result<Answer, QueryError> {
    let asked = At::OccurredAt(moment);
    app.answer_as_of("CountOf", "id=a".to_owned(), asked, &Principal::anonymous(), &|_| {}).await
}

#[tokio::test]
async fn a_time_of_occurrence_counts_what_had_happened_by_then() {
    let app = World::new().start().await;
    increment(&app, 1, Some(100)).await;
    increment(&app, 10, Some(300)).await;
    // Learnt of last, happened before the one above.
    increment(&app, 5, Some(200)).await;
    increment(&app, 7, None).await;
    for (seconds, expected) in
        [(100, "[1,1]"), (199, "[1,1]"), (200, "[6,2]"), (299, "[6,2]"), (300, "[16,3]")]
    {
        let answer = then(&app, at(seconds)).await.unwrap();
        assert_eq!(String::from_utf8_lossy(&answer.json), expected, "{seconds}");
        assert_eq!(answer.position.get(), 4, "everything that is known counts");
    }
    assert_eq!(&then(&app, Timestamp::now()).await.unwrap().json[..], b"[23,4]");
    assert!(matches!(then(&app, at(99)).await, Err(QueryError::NotFound { .. })));
}

#[tokio::test]
async fn batches_of_which_nothing_is_taken_are_passed_by() {
    let app = World::new().start().await;
    increment(&app, 1, Some(100)).await;
    // More than a batch that happened later, and then something that happened before.
    for _ in 0..annals_core::MAX_BATCH_EVENTS + 10 {
        increment(&app, 1, Some(500)).await;
    }
    increment(&app, 30, Some(50)).await;
    let told = std::sync::Mutex::new(Vec::new());
    let (form, who) = ("id=a".to_owned(), Principal::anonymous());
    let report = |now: annals_app::RebuildProgress| told.lock().unwrap().push(now.done);
    let answer = app.answer_as_of("CountOf", form, At::OccurredAt(at(100)), &who, &report).await.unwrap();
    assert_eq!(&answer.json[..], b"[31,2]");
    assert!(told.into_inner().unwrap().is_sorted());
}

#[tokio::test]
async fn a_question_that_does_not_fit_is_refused_before_anything_is_built() {
    let app = World::new().start().await;
    increment(&app, 1, None).await;
    let who = Principal::anonymous();
    let nothing_is_built = |_: annals_app::RebuildProgress| panic!("a read model is built");
    for (name, form) in [("CountOf", "colour=red"), ("CountOf", ""), ("Count", "id=a")] {
        let answer = app.answer_as_of(name, form.to_owned(), At::Now, &who, &nothing_is_built).await;
        assert!(matches!(answer, Err(QueryError::Malformed { .. } | QueryError::Unknown(_))), "{answer:?}");
    }
}
