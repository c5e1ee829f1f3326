//! What an application is made of, and starting it.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;

use annals_core::{Category, Clock, EventStore, ReadModelStore, RecordedEvent, SystemClock};
use futures_util::future::join_all;
use tower::{Layer, Service};

use crate::commands::{AggregateHandler, DecisionHandler, Ground, Handlers};
use crate::consumer::is_replay;
use crate::limits::InFlight;
use crate::mediator::{Action, CommandService, Commands, Mediator, Permission};
use crate::opening::{MakeProcess, Placed, StartError, open_processes, open_projections, open_reactions};
use crate::process::{OpenProcesses, Process, Timers, Work, answer_open_processes};
use crate::projection::AnyProjection;
use crate::query::{FnHandler, QueryHandler};
use crate::reaction::AnyReaction;
use crate::running::Shared;
use crate::{
    Aggregate, CommandOutcome, CommandRequest, Decision, Error, Limits, Principal, ProcessManager,
    Projection, ProjectionError, Query, QueryContext, QueryError, Reaction, Reissues, Rejection, RunningApp,
};

/// Adds the handlers of an aggregate or of a decision.
type AddHandlers = Box<dyn Fn(&Ground, &mut Handlers) -> Result<(), StartError> + Send + Sync>;

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
    /// The Rust types of the aggregates, by category.
    aggregate_types: BTreeMap<&'static str, &'static str>,
    projections: Vec<Placed>,
    queries: Vec<Arc<dyn QueryHandler>>,
    reactions: Vec<Arc<dyn AnyReaction>>,
    processes: Vec<MakeProcess>,
    clock: Arc<dyn Clock>,
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
            aggregate_types: BTreeMap::new(),
            projections: Vec::new(),
            queries: Vec::new(),
            reactions: Vec::new(),
            processes: Vec::new(),
            clock: Arc::new(SystemClock),
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
        self.aggregate_types.insert(A::CATEGORY, std::any::type_name::<A>());
        self.handlers.push(Box::new(|ground, handlers| {
            let handler = Arc::new(AggregateHandler::<A>::new(ground, Category::new(A::CATEGORY)?));
            handlers.add_states(A::CATEGORY, Arc::clone(&handler) as _)?;
            handlers.add(A::CATEGORY, handler)
        }));
        self
    }

    /// Adds a rule across entities, and with it its commands.
    #[must_use]
    pub fn decision<D: Decision>(mut self) -> Self {
        self.handlers.push(Box::new(|ground, handlers| {
            let handler = DecisionHandler::<D>::new(ground, Category::new(D::CATEGORY)?);
            handlers.add(D::CATEGORY, Arc::new(handler))
        }));
        self
    }

    /// Adds a process manager. With the first comes the question [`OpenProcesses`](crate::OpenProcesses), and the read model
    /// `processes` that it is answered from.
    #[must_use]
    pub fn process_manager<P: ProcessManager>(mut self) -> Self {
        self.processes.push(Box::new(|ground| Ok(Arc::new(Process::<P>::new(ground)?))));
        self
    }

    /// Sets the clock by which commands happen and timers are due; without it, it is that of the machine.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// The path of the Rust type that is the aggregate of a category, for people and for code that is printed.
    pub fn aggregate_type(&self, category: &str) -> Option<&'static str> {
        self.aggregate_types.get(category).copied()
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

    /// Adds a projection that others have too, its type forgotten.
    pub(crate) fn shared_projection(mut self, projection: Arc<dyn AnyProjection>) -> Self {
        self.projections.push((None, projection));
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
        self.reissues.add(A::CATEGORY, std::any::type_name::<A>(), command);
        self
    }

    /// As [`reissue`](Self::reissue), for events that become commands of a decision.
    #[must_use]
    pub fn reissue_decision<D: Decision>(
        mut self,
        command: impl Fn(&D::Event, &RecordedEvent) -> Option<D::Command> + Send + Sync + 'static,
    ) -> Self {
        self.reissues.add(D::CATEGORY, std::any::type_name::<D>(), command);
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
        mut self,
        store: Arc<dyn EventStore>,
        models: Arc<dyn ReadModelStore>,
    ) -> Result<RunningApp, StartError> {
        let mut handlers = Handlers::default();
        let ground = Ground { store, models, turns: Arc::default(), clock: self.clock };
        self.handlers.iter().try_for_each(|add| add(&ground, &mut handlers))?;
        let processes = open_processes(&ground, self.processes, &mut handlers)?;
        if !processes.is_empty() {
            self.projections.push((None, Arc::new(Work::of(&processes)?)));
            self.queries.push(Arc::new(FnHandler::<OpenProcesses, _>::new(answer_open_processes)));
            self.reactions.extend(processes.values().map(|process| Arc::clone(process) as _));
        }
        let Ground { store, models, clock, .. } = ground;
        let projections = open_projections(&store, &models, self.projections).await?;
        let work = projections.get(Work::NAME).filter(|_| !processes.is_empty()).cloned();
        let timers = work.map(|work| Timers { processes, work, clock });
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
        let mediator = Mediator::new(Arc::clone(&handlers), Arc::clone(&self.permission));
        let commands = if self.layers.is_empty() {
            Commands::Plain(mediator)
        } else {
            let innermost = CommandService::new(mediator);
            Commands::Layered(self.layers.into_iter().fold(innermost, |inner, wrap| wrap(inner)))
        };
        let is_passive = self.is_passive || is_replay(&*store).await.map_err(ProjectionError::from)?;
        let reactors = open_reactions(&store, &models, &commands, self.reactions)?;
        if !is_passive {
            let begun = reactors.values().map(|reactor| async move {
                let name = reactor.name();
                reactor.begin().await.map_err(|source| StartError::NotBegun { name, source })
            });
            join_all(begun).await.into_iter().collect::<Result<(), _>>()?;
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
        Ok(RunningApp::new(shared, timers, is_passive))
    }
}
