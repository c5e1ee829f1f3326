//! What an application is made of, and starting it.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;

use annals_core::{Category, EventStore, ReadModelStore, RecordedEvent};
use futures_util::future::join_all;
use tower::{Layer, Service};

use crate::commands::{AggregateHandler, DecisionHandler, Handlers, Turns};
use crate::consumer::is_replay;
use crate::limits::InFlight;
use crate::mediator::{Action, CommandService, Mediator, Permission};
use crate::opening::{Placed, StartError, open_projections, open_reactions};
use crate::query::{FnHandler, QueryHandler};
use crate::reaction::AnyReaction;
use crate::running::Shared;
use crate::{
    Aggregate, CommandOutcome, CommandRequest, Decision, Error, Limits, Principal, Projection,
    ProjectionError, Query, QueryContext, QueryError, Reaction, Reissues, Rejection, RunningApp,
};

/// Adds the handlers of an aggregate or of a decision.
type AddHandlers = Box<dyn Fn(&Ground, &mut Handlers) -> Result<(), StartError> + Send + Sync>;

/// What handlers are made on.
struct Ground {
    store: Arc<dyn EventStore>,
    models: Arc<dyn ReadModelStore>,
    turns: Arc<Turns>,
}

type Wrap = Box<dyn FnOnce(CommandService) -> CommandService + Send + Sync>;

/// What an application is made of: its aggregates, projections and queries.
///
/// ```
/// # use annals_app::*;
/// # use annals_core::*;
/// # use serde::{Deserialize, Serialize};
/// # #[derive(Event, Serialize, Deserialize)] #[annals(crate = annals_app)] enum Ticked { Ticked }
/// # #[derive(Command, Serialize, Deserialize)] #[annals(crate = annals_app)] enum Tick { Tick }
/// # #[derive(Debug, thiserror::Error, DomainError)] #[annals(crate = annals_app)] enum Never {}
/// # #[derive(Default, Clone, Serialize, Deserialize, State)] #[annals(crate = annals_app)] struct Clock { ticks: u64 }
/// # impl Aggregate for Clock {
/// #     const CATEGORY: &'static str = "clock";
/// #     type Command = Tick; type Event = Ticked; type Error = Never;
/// #     fn handle(&self, _: &Tick, _: &Context) -> Result<Vec<Ticked>, Never> { Ok(vec![Ticked::Ticked]) }
/// #     fn apply(&mut self, _: &Ticked) { self.ticks += 1; }
/// # }
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// let app = App::new("clocks").aggregate::<Clock>();
/// let events = std::sync::Arc::new(MemoryStore::default());
/// let models = std::sync::Arc::new(annals_sqlite::SqliteReadModels::temporary()?);
/// let app = app.start(events, models).await?;
/// let done = app.execute::<Clock>("kitchen", Tick::Tick).await?;
/// assert_eq!(done.state.ticks, 1);
/// # Ok::<(), BoxError>(()) })?;
/// # Ok::<(), annals_core::BoxError>(())
/// ```
pub struct App {
    name: String,
    handlers: Vec<AddHandlers>,
    projections: Vec<Placed>,
    queries: Vec<Arc<dyn QueryHandler>>,
    reactions: Vec<Arc<dyn AnyReaction>>,
    is_passive: bool,
    permission: Arc<Permission>,
    layers: Vec<Wrap>,
    limits: Limits,
    reissues: Reissues,
}

impl App {
    /// An application without content.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            handlers: Vec::new(),
            projections: Vec::new(),
            queries: Vec::new(),
            reactions: Vec::new(),
            is_passive: false,
            permission: Arc::new(|_, _| Ok(())),
            layers: Vec::new(),
            limits: Limits::default(),
            reissues: Reissues::default(),
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Adds a type of aggregate, and with it its commands.
    #[must_use]
    pub fn aggregate<A: Aggregate>(mut self) -> Self {
        self.handlers.push(Box::new(|ground, handlers| {
            let (store, models) = (Arc::clone(&ground.store), Arc::clone(&ground.models));
            let handler = Arc::new(AggregateHandler::<A>::new(store, models, Category::new(A::CATEGORY)?));
            handlers.add_states(A::CATEGORY, Arc::clone(&handler) as _)?;
            handlers.add(A::CATEGORY, handler)
        }));
        self
    }

    /// Adds a rule across entities, and with it its commands.
    #[must_use]
    pub fn decision<D: Decision>(mut self) -> Self {
        self.handlers.push(Box::new(|ground, handlers| {
            let (store, turns) = (Arc::clone(&ground.store), Arc::clone(&ground.turns));
            let handler = DecisionHandler::<D>::new(store, Category::new(D::CATEGORY)?, turns);
            handlers.add(D::CATEGORY, Arc::new(handler))
        }));
        self
    }

    /// Adds a projection, which keeps a read model.
    ///
    /// Several versions of one, with the same name, are kept side by side: a new one is built while the one before answers, and
    /// answers itself when it is whole and was verified. Handlers of queries see from which one they are to answer by
    /// [`QueryContext::version`].
    #[must_use]
    pub fn projection<P: Projection>(mut self, projection: P) -> Self {
        self.projections.push((None, Arc::new(projection)));
        self
    }

    /// Adds a projection that keeps its read model in a store of its own, instead of beside the events.
    #[must_use]
    pub fn projection_in<P: Projection>(mut self, models: Arc<dyn ReadModelStore>, projection: P) -> Self {
        self.projections.push((Some(models), Arc::new(projection)));
        self
    }

    /// Adds the handler of a query: an `async fn` from the question and its context to the answer.
    #[must_use]
    pub fn query<Q, F, Fut>(mut self, handler: F) -> Self
    where
        Q: Query,
        F: Fn(Q, QueryContext) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Q::Output, QueryError>> + Send + 'static,
    {
        self.queries.push(Arc::new(FnHandler::<Q, F>::new(handler)));
        self
    }

    /// Adds a reaction: something that is done about events outside of the store, at least once for each.
    #[must_use]
    pub fn reaction<R: Reaction>(mut self, reaction: R) -> Self {
        self.reactions.push(Arc::new(reaction));
        self
    }

    /// Starts it without its reactions: to look at a store, to repair it, or to try something out on a copy. Commands and
    /// questions are as usual; what is stored meanwhile is for the reactions of the process that runs them.
    #[must_use]
    pub fn passive(mut self) -> Self {
        self.is_passive = true;
        self
    }

    /// Sets who may do what; without it, everybody may do everything. The error is the reason why not.
    ///
    /// It is asked before anything else is done about a command, even for one that the application does not have, and for one that
    /// was answered before.
    #[must_use]
    pub fn permission<F>(mut self, permission: F) -> Self
    where
        F: Fn(&Principal, &Action<'_>) -> Result<(), String> + Send + Sync + 'static,
    {
        self.permission = Arc::new(permission);
        self
    }

    /// Sets how much it takes on at once, and for how long.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Puts `tower` middleware around the handling of every command; the last one added is the outermost. All of it is outside of
    /// the permission, so it may change who asks, and sees commands that are denied then.
    ///
    /// A layer whose errors are boxed is fitted by `map_err(Error::from)`, and one whose service cannot be cloned by a buffer:
    /// `docs/middleware.md` shows both.
    #[must_use]
    pub fn layer<L>(mut self, layer: L) -> Self
    where
        L: Layer<CommandService> + Send + Sync + 'static,
        L::Service: Service<CommandRequest, Response = CommandOutcome, Error = Error<Rejection>>
            + Clone
            + Send
            + Sync
            + 'static,
        <L::Service as Service<CommandRequest>>::Future: Send + 'static,
    {
        self.layers.push(Box::new(move |inner| CommandService::new(layer.layer(inner))));
        self
    }

    /// Says which command an event becomes when history is given to another service again (`replay`); `None` for one that is
    /// passed by. Only the domain can know: an event says what happened, not what was asked.
    ///
    /// Besides the event there is its record, whose metadata names the command that caused it. Where one command gives rise to
    /// several events, let one of them become it, or each of them a smaller command. Said again for an aggregate, the last word
    /// counts.
    #[must_use]
    pub fn reissue<A: Aggregate>(
        mut self,
        command: impl Fn(&A::Event, &RecordedEvent) -> Option<A::Command> + Send + Sync + 'static,
    ) -> Self {
        self.reissues.add::<A>(command);
        self
    }

    /// Which commands its events become, as [`reissue`](Self::reissue) says.
    pub fn reissues(&self) -> Reissues {
        self.reissues.clone()
    }

    /// Starts it on a store of events and one of read models; projections begin to catch up at once.
    ///
    /// # Errors
    /// [`StartError`] when names clash or a read model cannot be opened.
    pub async fn start(
        self,
        store: Arc<dyn EventStore>,
        models: Arc<dyn ReadModelStore>,
    ) -> Result<RunningApp, StartError> {
        let mut handlers = Handlers::default();
        let ground = Ground { store, models, turns: Arc::default() };
        self.handlers.iter().try_for_each(|add| add(&ground, &mut handlers))?;
        let Ground { store, models, .. } = ground;
        let projections = open_projections(&store, &models, self.projections).await?;
        let mut queries: BTreeMap<&'static str, Arc<dyn QueryHandler>> = BTreeMap::new();
        for query in self.queries {
            let (name, projection) = (query.name(), query.source());
            if !projections.contains_key(projection) {
                return Err(StartError::MissingProjection { query: name, projection });
            }
            if queries.insert(name, query).is_some() {
                return Err(StartError::DuplicateName { kind: "queries", name: name.to_owned() });
            }
        }
        let handlers = Arc::new(handlers);
        let innermost = Mediator::new(Arc::clone(&handlers), Arc::clone(&self.permission));
        let commands =
            self.layers.into_iter().fold(CommandService::new(innermost), |inner, wrap| wrap(inner));
        let is_passive = self.is_passive || is_replay(&*store).await.map_err(ProjectionError::from)?;
        let reactors = open_reactions(&store, &models, &commands, self.reactions)?;
        if !is_passive {
            join_all(reactors.values().map(|reactor| reactor.begin())).await;
        }
        let shared = Shared {
            name: self.name,
            store,
            handlers,
            projections,
            queries,
            reactors,
            permission: self.permission,
            commands,
            in_flight: InFlight::new(self.limits.commands_in_flight),
            limits: self.limits,
            tasks: Vec::new(),
        };
        Ok(RunningApp::new(shared, is_passive))
    }
}
