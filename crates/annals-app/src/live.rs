//! Live queries: the answer now, and again whenever it changes.

use std::time::Duration;

use annals_core::Position;
use bytes::Bytes;
use futures_util::Stream;
use futures_util::stream;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::projector::Progress;
use crate::query::QueryInput;
use crate::{Answer, Ask, Principal, Query, QueryError, RunningApp};

/// A question is asked again this often at most, however fast its read model changes.
const BETWEEN_ANSWERS: Duration = Duration::from_millis(50);

/// When to ask again, and whether an answer is another than the last one.
struct Repetition {
    /// The changes of the read model; nothing when there is none.
    changes: Option<watch::Receiver<Progress>>,
    asked_at: Option<Instant>,
    last: Option<blake3::Hash>,
}

impl Repetition {
    fn of(app: &RunningApp, query: &str) -> Self {
        Self { changes: app.changes_behind(query), asked_at: None, last: None }
    }

    /// Waits until it is worth asking again; says whether it ever is.
    async fn turn(&mut self) -> bool {
        if let Some(asked_at) = self.asked_at {
            let Some(changes) = &mut self.changes else { return false };
            if changes.changed().await.is_err() {
                return false;
            }
            tokio::time::sleep_until(asked_at + BETWEEN_ANSWERS).await;
        }
        if let Some(changes) = &mut self.changes {
            changes.borrow_and_update();
        }
        self.asked_at = Some(Instant::now());
        true
    }

    /// Whether this is another than the last one; the same problem is told once, too.
    fn is_new<T>(&mut self, answer: &Result<T, QueryError>, json: impl FnOnce(&T) -> Bytes) -> bool {
        let digest = match answer {
            Ok(answer) => blake3::hash(&json(answer)),
            Err(error) => blake3::hash(format!("problem: {error}").as_bytes()),
        };
        self.last.replace(digest) != Some(digest)
    }
}

impl RunningApp {
    /// The answers to a question that came from another process: the one now, and one whenever it has become another. What
    /// keeps it from being answered is told in its place, and the stream goes on when the read model does.
    ///
    /// A slow reader misses answers that were replaced in between, never the newest.
    pub fn live_answers(
        &self,
        name: &str,
        form: String,
        at_least: Position,
        principal: &Principal,
    ) -> impl Stream<Item = Result<Answer, QueryError>> + Send + use<> {
        let repetition = Repetition::of(self, name);
        let question = (self.clone(), name.to_owned(), form, principal.clone());
        stream::unfold((question, repetition), move |(question, mut repetition)| async move {
            while repetition.turn().await {
                let (app, name, form, principal) = &question;
                let answer = app.answer(name, form.clone(), at_least, principal).await;
                if repetition.is_new(&answer, |answer| answer.json.clone()) {
                    return Some((answer, (question, repetition)));
                }
            }
            None
        })
    }
}

impl<Q: Query + Clone> Ask<Q> {
    /// The answers to the question: the one now, and one whenever it has become another.
    ///
    /// ```no_run
    /// # use futures_util::StreamExt;
    /// # async fn example<Q: annals_app::Query + Clone>(app: &annals_app::RunningApp, question: Q) {
    /// let mut answers = std::pin::pin!(app.ask(question).live());
    /// while let Some(answer) = answers.next().await {
    ///     // …
    /// }
    /// # }
    /// ```
    ///
    /// As [`RunningApp::live_answers`], with the types of the question.
    pub fn live(self) -> impl Stream<Item = Result<Q::Output, QueryError>> + Send {
        let repetition = Repetition::of(&self.app, Q::NAME);
        stream::unfold((self, repetition), move |(ask, mut repetition)| async move {
            while repetition.turn().await {
                let input = QueryInput::Typed(Box::new(ask.query.clone()));
                let found = ask.app.answer_any(Q::NAME, input, ask.freshness, &ask.principal).await;
                let answer = found.and_then(|(output, _)| output.typed::<Q>());
                if repetition.is_new(&answer, |answer| serde_json::to_vec(answer).unwrap_or_default().into())
                {
                    return Some((answer, (ask, repetition)));
                }
            }
            None
        })
    }
}
