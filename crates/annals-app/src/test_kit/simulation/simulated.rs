//! An application in a simulation, as its callers see it.

use std::sync::Arc;
use std::time::Duration;

use annals_core::{CausationId, Position, StoreError};
use futures_util::future::join;
use tokio::time::{Instant, sleep};

use super::world::World;
use crate::{
    Aggregate, CommandOptions, Error, Executed, ProjectionError, Query, QueryError, RunningApp, codec,
};

/// A command is given this often before it is taken for one that never succeeds.
const ATTEMPTS: u32 = 1_000;
/// Between two attempts, its giver waits up to so many milliseconds.
const MOST_MILLIS_BETWEEN: u64 = 20;
/// Projections have so long, in simulated time, to take in what is stored.
const PATIENCE: Duration = Duration::from_secs(120);
/// After so long, it is looked again whether a projection that has stopped goes on.
const RETRY: Duration = Duration::from_millis(200);

/// An application in a simulation. It may end at any moment, and is started again soon; cloning this shares it, also between
/// tasks.
#[derive(Clone)]
pub struct Simulated {
    world: Arc<World>,
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
        mut options: CommandOptions,
    ) -> Result<Executed<A, A::Event>, Error<A::Error>> {
        if options.command_id.is_none() {
            let number = self.world.next_command();
            options.command_id = Some(CausationId::new(format!("simulated-{number}"))?);
        }
        let occasion = format!("commands to {}-{id}", A::CATEGORY);
        let command = &command;
        if self.world.happens(&format!("{occasion}, twice at once"), 10) {
            self.world.note(true, format!("a command to {}-{id} was given twice at once", A::CATEGORY));
            let given = || self.until_answered::<A>(id, command, options.clone());
            return match join(given(), given()).await {
                (Ok(one), Ok(other)) => same(one, other),
                (Ok(_), Err(Error::Domain(refused))) | (Err(Error::Domain(refused)), Ok(_)) => {
                    Err(two_answers(format!("it was done, and refused: {refused}")))
                }
                (Err(_), other @ Ok(_)) => other,
                (one, _) => one,
            };
        }
        let first = self.until_answered::<A>(id, command, options.clone()).await?;
        if self.world.happens(&format!("{occasion}, again"), 10) {
            self.world.note(true, format!("a command to {}-{id} was given again", A::CATEGORY));
            sleep(Duration::from_millis(self.world.dice.throw(&occasion, 100))).await;
            return match self.until_answered::<A>(id, command, options).await {
                Ok(again) => same(first, again),
                Err(Error::Domain(refused)) => {
                    Err(two_answers(format!("it was done, and refused when it came again: {refused}")))
                }
                Err(error) => Err(error),
            };
        }
        Ok(first)
    }

    async fn until_answered<A: Aggregate>(
        &self,
        id: &str,
        command: &A::Command,
        options: CommandOptions,
    ) -> Result<Executed<A, A::Event>, Error<A::Error>> {
        for _ in 1..ATTEMPTS {
            match self.execute_once::<A>(id, copy_of(command)?, options.clone()).await {
                Err(Error::Store(_) | Error::Conflict { .. }) => {
                    let occasion = format!("pause before a retry on {}-{id}", A::CATEGORY);
                    let pause = 1 + self.world.dice.throw(&occasion, MOST_MILLIS_BETWEEN);
                    sleep(Duration::from_millis(pause)).await;
                }
                answered => return answered,
            }
        }
        self.execute_once::<A>(id, copy_of(command)?, options).await
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
        mut options: CommandOptions,
    ) -> Result<Executed<A, A::Event>, Error<A::Error>> {
        options.occurred_at.get_or_insert(self.world.now());
        let done = self.while_it_runs(async |app| app.execute_with::<A>(id, command, options).await);
        done.await.unwrap_or_else(|| {
            let reason = "the application ended before it answered".to_owned();
            Err(Error::Store(StoreError::OutcomeUnknown { reason }))
        })
    }

    /// Does something with the application; nothing comes of it when that ends meanwhile.
    async fn while_it_runs<T>(&self, work: impl AsyncFnOnce(RunningApp) -> T) -> Option<T> {
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
            let answer = self.while_it_runs(async |app| app.ask(query).at_least(position).await);
            match answer.await {
                Some(Err(QueryError::Projection(_))) if !self.world.is_calm() => sleep(RETRY).await,
                Some(answer) => return answer,
                None => {}
            }
        }
    }

    /// Ends what is bad: from here on nothing fails, is late or comes twice. Waits until every projection has taken in what
    /// is stored, and hands out the application as it runs, for whatever else is to be looked at.
    ///
    /// # Errors
    /// [`ProjectionError`] when one does not get there.
    pub async fn settle(&self) -> Result<RunningApp, ProjectionError> {
        self.world.be_calm();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let settled = self.while_it_runs(async |app| app.catch_up(PATIENCE).await.map(|()| app));
            match settled.await {
                // It is tried again by itself.
                Some(Err(ProjectionError::Stopped { .. })) if Instant::now() < deadline => sleep(RETRY).await,
                Some(settled) => return settled,
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
