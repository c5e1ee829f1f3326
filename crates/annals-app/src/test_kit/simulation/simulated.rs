//! An application in a simulation, as its callers see it.

use std::sync::Arc;
use std::time::Duration;

use annals_core::{BoxFuture, CausationId, Position, StoreError};
use futures_util::future::join;
use tokio::time::sleep;

use super::world::World;
use crate::{
    Aggregate, CommandOptions, Decision, DomainError, Error, Executed, Query, QueryError, RunningApp, codec,
};

/// A command is given this often before it is taken for one that never succeeds.
const ATTEMPTS: u32 = 1_000;
/// Between two attempts, its giver waits up to so many milliseconds.
const MOST_MILLIS_BETWEEN: u64 = 20;
/// After so long, it is looked again whether what has failed goes on.
pub(super) const RETRY: Duration = Duration::from_millis(200);

/// Gives a command once.
type Once<'a, S, E, R> =
    dyn Fn(CommandOptions) -> BoxFuture<'a, Result<Executed<S, E>, Error<R>>> + Sync + 'a;

/// An application in a simulation. It may end at any moment, and is started again soon; cloning this shares it, also between
/// tasks.
#[derive(Clone)]
pub struct Simulated {
    pub(super) world: Arc<World>,
}

impl Simulated {
    pub(super) fn new(world: Arc<World>) -> Self {
        Self { world }
    }

    /// Gives a command to an entity, with one command id, until it is answered: as a client does that keeps to the rules.
    /// At times it is given twice, at the same moment or later, which must make no difference.
    ///
    /// # Errors
    /// As [`RunningApp::execute`], but for conflicts and what the store could not do, which are tried again.
    pub async fn execute<A: Aggregate>(
        &self,
        id: &str,
        command: A::Command,
    ) -> Result<Executed<A, A::Event>, Error<A::Error>> {
        self.execute_with::<A>(id, command, CommandOptions::default()).await
    }

    /// As [`execute`](Self::execute), with options. Without a command id it is given one; without a time, it happens at
    /// the simulated one.
    ///
    /// # Errors
    /// As [`execute`](Self::execute).
    pub async fn execute_with<A: Aggregate>(
        &self,
        id: &str,
        command: A::Command,
        options: CommandOptions,
    ) -> Result<Executed<A, A::Event>, Error<A::Error>> {
        let once = |options| -> BoxFuture<'_, _> {
            let copy = copy_of(&command);
            Box::pin(async move { self.execute_once::<A>(id, copy?, options).await })
        };
        self.give(&format!("{}-{id}", A::CATEGORY), options, &once).await
    }

    /// Gives a command to a decision across entities, as [`execute`](Self::execute) gives one to an entity.
    ///
    /// # Errors
    /// As [`execute`](Self::execute).
    pub async fn decide<D: Decision>(
        &self,
        id: &str,
        command: D::Command,
    ) -> Result<Executed<D, D::Event>, Error<D::Error>> {
        self.decide_with::<D>(id, command, CommandOptions::default()).await
    }

    /// As [`decide`](Self::decide), with options: see [`execute_with`](Self::execute_with).
    ///
    /// # Errors
    /// As [`execute`](Self::execute).
    pub async fn decide_with<D: Decision>(
        &self,
        id: &str,
        command: D::Command,
        options: CommandOptions,
    ) -> Result<Executed<D, D::Event>, Error<D::Error>> {
        let once = |options| -> BoxFuture<'_, _> {
            let copy = copy_of(&command);
            Box::pin(async move {
                let copy = copy?;
                self.while_answering(|app| async move { app.decide_with::<D>(id, copy, options).await }).await
            })
        };
        self.give(&format!("{}-{id}", D::CATEGORY), options, &once).await
    }

    /// Gives a command until it is answered, at times twice.
    async fn give<S, E, R>(
        &self,
        to: &str,
        mut options: CommandOptions,
        once: &Once<'_, S, E, R>,
    ) -> Result<Executed<S, E>, Error<R>>
    where
        R: DomainError,
    {
        if options.command_id.is_none() {
            let number = self.world.next_command();
            options.command_id = Some(CausationId::new(format!("simulated-{number}"))?);
        }
        let occasion = format!("commands to {to}");
        if self.world.happens(&format!("{occasion}, twice at once"), 10) {
            self.world.note(true, format!("a command to {to} was given twice at once"));
            let given = || self.until_answered(to, options.clone(), once);
            return match join(given(), given()).await {
                (Ok(one), Ok(other)) => same(one, other),
                (Ok(_), Err(Error::Domain(refused))) | (Err(Error::Domain(refused)), Ok(_)) => {
                    Err(two_answers(format!("it was done, and refused: {refused}")))
                }
                (Err(_), other @ Ok(_)) => other,
                (one, _) => one,
            };
        }
        let first = self.until_answered(to, options.clone(), once).await?;
        if self.world.happens(&format!("{occasion}, again"), 10) {
            self.world.note(true, format!("a command to {to} was given again"));
            sleep(Duration::from_millis(self.world.dice.throw(&occasion, 100))).await;
            return match self.until_answered(to, options, once).await {
                Ok(again) => same(first, again),
                Err(Error::Domain(refused)) => {
                    Err(two_answers(format!("it was done, and refused when it came again: {refused}")))
                }
                Err(error) => Err(error),
            };
        }
        Ok(first)
    }

    async fn until_answered<S, E, R>(
        &self,
        to: &str,
        options: CommandOptions,
        once: &Once<'_, S, E, R>,
    ) -> Result<Executed<S, E>, Error<R>> {
        for _ in 1..ATTEMPTS {
            match once(options.clone()).await {
                Err(Error::Store(_) | Error::Conflict { .. }) => {
                    let occasion = format!("pause before a retry on {to}");
                    let pause = 1 + self.world.dice.throw(&occasion, MOST_MILLIS_BETWEEN);
                    sleep(Duration::from_millis(pause)).await;
                }
                answered => return answered,
            }
        }
        once(options).await
    }

    /// Gives a command to an entity once, and tells what comes of it: as a client that does its own retries sees it. When the
    /// application ends meanwhile, that is [`StoreError::OutcomeUnknown`].
    ///
    /// # Errors
    /// As [`RunningApp::execute`].
    pub async fn execute_once<A: Aggregate>(
        &self,
        id: &str,
        command: A::Command,
        options: CommandOptions,
    ) -> Result<Executed<A, A::Event>, Error<A::Error>> {
        self.while_answering(|app| async move { app.execute_with::<A>(id, command, options).await }).await
    }

    /// Gives a command; nobody knows what came of it when the application ends meanwhile.
    async fn while_answering<T, R, F>(&self, give: impl FnOnce(RunningApp) -> F) -> Result<T, Error<R>>
    where
        F: Future<Output = Result<T, Error<R>>>,
    {
        self.while_it_runs(give).await.unwrap_or_else(|| {
            let reason = "the application ended before it answered".to_owned();
            Err(Error::Store(StoreError::OutcomeUnknown { reason }))
        })
    }

    /// Does something with the application; nothing comes of it when that ends meanwhile.
    pub(super) async fn while_it_runs<F: Future>(
        &self,
        work: impl FnOnce(RunningApp) -> F,
    ) -> Option<F::Output> {
        let mut running = self.world.running.subscribe();
        let app = running.wait_for(Option::is_some).await.ok()?.clone()?;
        tokio::select! {
            biased;
            _ = running.changed() => None,
            done = work(app) => Some(done),
        }
    }

    /// Asks a question; again, when the application ends before it answers or the read model has failed.
    ///
    /// # Errors
    /// [`QueryError`].
    pub async fn ask<Q: Query>(&self, query: Q) -> Result<Q::Output, QueryError> {
        self.ask_at_least(query, Position::ZERO).await
    }

    /// Asks a question of a read model that has every event up to a position: to read one's own write.
    ///
    /// # Errors
    /// [`QueryError`].
    pub async fn ask_at_least<Q: Query>(
        &self,
        query: Q,
        position: Position,
    ) -> Result<Q::Output, QueryError> {
        let malformed =
            |error: serde_json::Error| QueryError::Malformed { query: Q::NAME, reason: error.to_string() };
        let json = serde_json::to_vec(&query).map_err(malformed)?;
        loop {
            let query: Q = serde_json::from_slice(&json).map_err(malformed)?;
            let answer = self.while_it_runs(|app| async move { app.ask(query).at_least(position).await });
            match answer.await {
                Some(Err(QueryError::Projection(_))) if !self.world.is_calm() => sleep(RETRY).await,
                Some(answer) => return answer,
                None => {}
            }
        }
    }
}

/// A command is given as often as it takes, though not every command can be cloned.
fn copy_of<C: crate::Command, E>(command: &C) -> Result<C, Error<E>> {
    let name = command.name();
    let json = codec::encode(command).map_err(|error| Error::malformed(name, error))?;
    let copy = codec::decode(name, &json).map_err(|error| Error::malformed(name, error))?;
    copy.ok_or_else(|| Error::malformed(name, "expected a command that can be read as it is written"))
}

/// Sees to it that a command given twice was done once.
fn same<S, E, R>(one: Executed<S, E>, other: Executed<S, E>) -> Result<Executed<S, E>, Error<R>> {
    let place = |done: &Executed<S, E>| (done.version, done.position, done.events.len());
    if one.events.is_empty() && other.events.is_empty() || place(&one) == place(&other) {
        return Ok(one);
    }
    let text = format!(
        "it was done at version {} with {} events, and at version {} of {} with {}",
        one.version,
        one.events.len(),
        other.version,
        one.stream,
        other.events.len()
    );
    Err(two_answers(text))
}

fn two_answers<R>(text: String) -> Error<R> {
    Error::malformed("the answer to a command that was given twice", text)
}
