//! An application that runs: commands, questions, states, projections.

use std::collections::BTreeMap;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use annals_core::{EventStore, Position, Version};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::commands::Handlers;
use crate::dispatch::dispatch;
use crate::limits::InFlight;
use crate::mediator::{Action, Commands, Permission};
use crate::process::Timers;
use crate::projector::{Progress, Projector};
use crate::query::{QueryHandler, QueryInput, QueryOutput};
use crate::reaction::Reactor;
use crate::typed::give_typed;
use crate::versions::Versions;
use crate::{
    Aggregate, Answer, At, CommandOptions, CommandOutcome, CommandRequest, Decision, Error, Executed,
    Freshness, Limits, MAX_COMPARED_EVENTS, Principal, ProjectionError, Query, QueryContext, QueryError,
    Rejection, StateDifference, StateView, Unknown,
};

/// How long a question waits for its read model when it asks for a position.
const PATIENCE: Duration = Duration::from_secs(5);

/// An application that runs on a store. Cloning it shares it.
#[derive(Clone)]
pub struct RunningApp {
    shared: Arc<Shared>,
}

/// What the clones of a running application share.
pub(crate) struct Shared {
    pub(crate) name: String,
    pub(crate) store: Arc<dyn EventStore>,
    pub(crate) handlers: Arc<Handlers>,
    pub(crate) projections: BTreeMap<&'static str, Versions>,
    pub(crate) queries: BTreeMap<&'static str, Arc<dyn QueryHandler>>,
    pub(crate) reactors: BTreeMap<&'static str, Arc<Reactor>>,
    pub(crate) permission: Arc<Permission>,
    pub(crate) commands: Commands,
    pub(crate) in_flight: InFlight,
    pub(crate) limits: Limits,
    /// The tasks of projections and reactions.
    pub(crate) tasks: Vec<JoinHandle<()>>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl RunningApp {
    /// Sets projections going, and unless the application is passive its reactions and the timers of its processes.
    pub(crate) fn new(mut shared: Shared, timers: Option<Timers>, is_passive: bool) -> Self {
        for versions in shared.projections.values() {
            let all = versions.all().iter();
            shared.tasks.extend(all.map(|projector| tokio::spawn(Arc::clone(projector).run())));
            shared.tasks.push(tokio::spawn(versions.clone().confirm()));
        }
        if !is_passive {
            let reactors = shared.reactors.values();
            shared.tasks.extend(reactors.map(|reactor| tokio::spawn(Arc::clone(reactor).run())));
            shared.tasks.extend(timers.map(|timers| tokio::spawn(timers.run())));
        }
        Self { shared: Arc::new(shared) }
    }

    /// The name of the application.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// How much it takes on at once, and for how long.
    pub fn limits(&self) -> Limits {
        self.shared.limits
    }

    /// The store of its events.
    pub fn store(&self) -> &Arc<dyn EventStore> {
        &self.shared.store
    }

    /// Gives a command to an entity. A conflict with somebody who was faster is retried.
    ///
    /// # Errors
    /// [`Error::Domain`] when the domain refuses, and the other kinds of [`Error`].
    pub async fn execute<A: Aggregate>(
        &self,
        id: &str,
        command: A::Command,
    ) -> Result<Executed<A, A::Event>, Error<A::Error>> {
        self.execute_with::<A>(id, command, CommandOptions::default()).await
    }

    /// Gives a command to an entity, with a command id, an expected version, a time or a principal.
    ///
    /// # Errors
    /// As [`execute`](Self::execute).
    pub async fn execute_with<A: Aggregate>(
        &self,
        id: &str,
        command: A::Command,
        options: CommandOptions,
    ) -> Result<Executed<A, A::Event>, Error<A::Error>> {
        let _turn = self.shared.in_flight.enter()?;
        give_typed(&self.shared.commands, A::CATEGORY, id, command, options).await
    }

    /// Gives a command to a decision that depends on more than one entity. When others were faster, it is decided again.
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

    /// As [`decide`](Self::decide), with a command id, a time, a principal, or an expected version of the entity that it is given
    /// to.
    ///
    /// # Errors
    /// As [`execute`](Self::execute).
    pub async fn decide_with<D: Decision>(
        &self,
        id: &str,
        command: D::Command,
        options: CommandOptions,
    ) -> Result<Executed<D, D::Event>, Error<D::Error>> {
        let _turn = self.shared.in_flight.enter()?;
        give_typed(&self.shared.commands, D::CATEGORY, id, command, options).await
    }

    /// Gives a command that came from another process.
    ///
    /// # Errors
    /// As [`execute`](Self::execute), and [`Error::Unknown`] when there is no such category or command.
    pub async fn dispatch(&self, request: CommandRequest) -> Result<CommandOutcome, Error<Rejection>> {
        let _turn = self.shared.in_flight.enter()?;
        dispatch(&self.shared.commands, request).await
    }

    /// The state of an entity, now or then.
    ///
    /// # Errors
    /// [`Error::Unknown`] when there is no such category, [`Error::NotFound`] when the entity had no events then, and
    /// what keeps the state from being read.
    pub async fn state(&self, category: &str, id: &str, at: At) -> Result<StateView, Error<Rejection>> {
        let view = self.shared.handlers.states_of(category)?.state(id, at).await?;
        let events = view.version;
        let what = match at {
            At::Version(version) if events < version => {
                format!("version {version} of {category} {id:?}: it has {events} events")
            }
            At::Now if events == Version::ZERO => format!("{category} {id:?}"),
            _ if events == Version::ZERO => format!("{category} {id:?} at that point"),
            _ => return Ok(view),
        };
        Err(Error::NotFound { what })
    }

    /// How the state of an entity went from one version to a later one, event by event; without `to`, to the newest.
    ///
    /// # Errors
    /// [`Error::Unknown`] when there is no such category, [`Error::NotFound`] when the entity has not so many events,
    /// [`Error::Malformed`] for a range that is empty or has more than [`MAX_COMPARED_EVENTS`](crate::MAX_COMPARED_EVENTS).
    pub async fn difference(
        &self,
        category: &str,
        id: &str,
        from: Version,
        to: Option<Version>,
    ) -> Result<StateDifference, Error<Rejection>> {
        let handler = self.shared.handlers.states_of(category)?;
        let last = to.unwrap_or(Version::new(from.get().saturating_add(MAX_COMPARED_EVENTS)));
        let span = last.get().checked_sub(from.get()).filter(|span| *span > 0);
        if span.is_none_or(|span| span > MAX_COMPARED_EVENTS) {
            let reason = format!(
                "from version {from} to version {last}, expected 1 to {MAX_COMPARED_EVENTS} events in between"
            );
            return Err(Error::malformed("the range of versions", reason));
        }
        let found = handler.difference(id, from, last).await?;
        if found.to < to.unwrap_or(from.next()) {
            let (wanted, events) = (to.unwrap_or(from.next()), found.to);
            return Err(Error::NotFound {
                what: format!("version {wanted} of {category} {id:?}: it has {events} events"),
            });
        }
        Ok(found)
    }

    /// Asks a question; await the result, or say `at_least` first.
    ///
    /// ```no_run
    /// # async fn example<Q: annals_app::Query>(app: &annals_app::RunningApp, question: Q, done: annals_core::Position)
    /// # -> Result<(), annals_app::QueryError> {
    /// let answer = app.ask(question).at_least(done).await?; // sees one's own write
    /// # Ok(()) }
    /// ```
    pub fn ask<Q: Query>(&self, query: Q) -> Ask<Q> {
        let freshness = Freshness::AtLeast(Position::ZERO);
        Ask { app: self.clone(), query, freshness, principal: Principal::anonymous() }
    }

    /// Answers a question that came from another process, as `name=value` pairs in percent-encoding.
    ///
    /// # Errors
    /// [`QueryError`].
    pub async fn answer(
        &self,
        name: &str,
        form: String,
        freshness: impl Into<Freshness>,
        principal: &Principal,
    ) -> Result<Answer, QueryError> {
        let input = QueryInput::Form(form);
        let (output, position) = self.answer_any(name, input, freshness.into(), principal).await?;
        match output {
            QueryOutput::Json(json) => Ok(Answer { json, position }),
            QueryOutput::Typed(_) => Err(self.unknown_query(name)),
        }
    }

    fn unknown_query(&self, name: &str) -> QueryError {
        let known = self.shared.queries.keys().map(|name| (*name).to_owned()).collect();
        QueryError::Unknown(Unknown { kind: "query", name: name.to_owned(), known })
    }

    /// Tells of the changes of the read model behind a question.
    pub(crate) fn changes_behind(&self, query: &str) -> Option<watch::Receiver<Progress>> {
        let handler = self.shared.queries.get(query)?;
        Some(self.shared.projections.get(handler.source())?.answering().changes())
    }

    pub(crate) async fn answer_any(
        &self,
        name: &str,
        input: QueryInput,
        freshness: Freshness,
        principal: &Principal,
    ) -> Result<(QueryOutput, Position), QueryError> {
        let (handler, projector) = self.allowed(name, principal)?;
        let (tx, position) = match freshness {
            Freshness::AtLeast(position) => {
                projector.wait_for(position, PATIENCE).await?;
                projector.read().await?
            }
            Freshness::Fresh => projector.read_fresh().await?,
        };
        let context = QueryContext { tx, position, version: projector.version() };
        Ok((handler.answer(input, context).await?, position))
    }

    /// The handler of a question and what it is answered from, for who may ask it.
    pub(crate) fn allowed(
        &self,
        name: &str,
        principal: &Principal,
    ) -> Result<(&Arc<dyn QueryHandler>, &Arc<Projector>), QueryError> {
        let handler = self.shared.queries.get(name).ok_or_else(|| self.unknown_query(name))?;
        self.permit(principal, &Action::Query { name })?;
        Ok((handler, self.versions(handler.source())?.answering()))
    }

    /// Whether somebody may do something, by the application's own rule.
    ///
    /// # Errors
    /// [`QueryError::Denied`] with the reason.
    pub fn permit(&self, principal: &Principal, action: &Action<'_>) -> Result<(), QueryError> {
        (self.shared.permission)(principal, action).map_err(|reason| {
            let (principal, action) = (principal.name.to_string(), action.to_string());
            QueryError::Denied { principal, action, reason }
        })
    }

    pub(crate) fn versions(&self, name: &str) -> Result<&Versions, QueryError> {
        self.shared.projections.get(name).ok_or_else(|| {
            let known = self.shared.projections.keys().map(|name| (*name).to_owned()).collect();
            QueryError::Unknown(Unknown { kind: "projection", name: name.to_owned(), known })
        })
    }

    pub(crate) fn reactors(&self) -> &BTreeMap<&'static str, Arc<Reactor>> {
        &self.shared.reactors
    }

    pub(crate) fn all_versions(&self) -> impl Iterator<Item = &Versions> {
        self.shared.projections.values()
    }

    /// Waits until every projection has taken in what the store holds now.
    ///
    /// # Errors
    /// [`ProjectionError::Stopped`] when one has stopped, [`ProjectionError::Behind`] after `patience`.
    pub async fn catch_up(&self, patience: Duration) -> Result<(), ProjectionError> {
        let head = self.shared.store.head().await?;
        for projector in self.shared.projections.values().flat_map(Versions::all) {
            projector.wait_for(head, patience).await?;
        }
        Ok(())
    }

    /// Waits until the read model behind a question has taken in what the store holds now.
    ///
    /// # Errors
    /// As [`catch_up`](Self::catch_up), and [`QueryError::Unknown`] when there is no such question.
    pub async fn catch_up_for(&self, query: &str, patience: Duration) -> Result<(), QueryError> {
        let handler = self.shared.queries.get(query).ok_or_else(|| self.unknown_query(query))?;
        let head = self.shared.store.head().await.map_err(ProjectionError::from)?;
        Ok(self.versions(handler.source())?.answering().wait_for(head, patience).await?)
    }

    /// The categories, each with the commands and the events it has.
    pub fn catalogue(&self) -> Vec<(&'static str, Vec<&'static str>, Vec<&'static str>)> {
        self.shared.handlers.catalogue()
    }

    /// The categories whose states can be asked for.
    pub fn aggregates(&self) -> Vec<&'static str> {
        self.shared.handlers.aggregates()
    }

    /// The names of the queries.
    pub fn query_names(&self) -> Vec<&'static str> {
        self.shared.queries.keys().copied().collect()
    }
}

/// A question about to be asked; awaiting it asks.
#[must_use = "a question is asked when it is awaited"]
pub struct Ask<Q> {
    pub(crate) app: RunningApp,
    pub(crate) query: Q,
    pub(crate) freshness: Freshness,
    pub(crate) principal: Principal,
}

impl<Q: Query> Ask<Q> {
    /// Waits until the read model has every event up to here: to read one's own write.
    pub fn at_least(mut self, position: Position) -> Self {
        self.freshness = Freshness::AtLeast(position);
        self
    }

    /// Counts every event stored by now: what the read model has not got yet is taken in for this answer alone.
    pub fn fresh(mut self) -> Self {
        self.freshness = Freshness::Fresh;
        self
    }

    /// Asks in somebody's name.
    pub fn as_principal(mut self, principal: Principal) -> Self {
        self.principal = principal;
        self
    }
}

impl<Q: Query> IntoFuture for Ask<Q> {
    type Output = Result<Q::Output, QueryError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let input = QueryInput::Typed(Box::new(self.query));
            let (output, _) = self.app.answer_any(Q::NAME, input, self.freshness, &self.principal).await?;
            output.typed::<Q>()
        })
    }
}
