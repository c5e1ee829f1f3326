//! What an application is made of, and starting it.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;

use annals_core::{Category, EventStore, ModelKind, NameError, ReadModelStore, RecordedEvent};
use tower::{Layer, Service};

use crate::feed::Feed;
use crate::handler::{AggregateHandler, CommandHandler};
use crate::mediator::{Action, CommandService, Mediator, Permission};
use crate::projection::AnyProjection;
use crate::projector::Projector;
use crate::query::{FnHandler, QueryHandler};
use crate::running::Shared;
use crate::versions::Versions;
use crate::{
    Aggregate, CommandOutcome, CommandRequest, Error, Principal, Projection, ProjectionError, Query,
    QueryContext, QueryError, Reissues, Rejection, RunningApp,
};

type MakeHandler = Box<
    dyn Fn(Arc<dyn EventStore>, Arc<dyn ReadModelStore>, Category) -> Arc<dyn CommandHandler> + Send + Sync,
>;
/// A projection, and the store of its read model where it has one of its own.
type Placed = (Option<Arc<dyn ReadModelStore>>, Arc<dyn AnyProjection>);
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
    handlers: Vec<(&'static str, MakeHandler)>,
    /// The Rust types of the aggregates, by category.
    aggregate_types: BTreeMap<&'static str, &'static str>,
    projections: Vec<Placed>,
    queries: Vec<Arc<dyn QueryHandler>>,
    permission: Arc<Permission>,
    layers: Vec<Wrap>,
    reissues: Reissues,
}

/// Why an application cannot be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A category breaks a rule of names.
    #[error("the category of an aggregate: {0}")]
    Category(#[from] NameError),
    /// Two things have one name.
    #[error("two {kind} are named {name:?}: give each a name of its own")]
    DuplicateName {
        /// What kind of thing.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// A query names a projection that the application does not have.
    #[error(
        "the query {query:?} is answered from the projection {projection:?}, which the application does not have"
    )]
    MissingProjection {
        /// The query.
        query: &'static str,
        /// The projection.
        projection: &'static str,
    },
    /// There is no store for what a projection's read model is made of.
    #[error(
        "the read model of {projection:?} is made of {kind}, and no store of such read models is there: turn on the feature \
         of the crate annals for it, or give it one with App::projection_in"
    )]
    NoSuchKind {
        /// The projection.
        projection: &'static str,
        /// What its read model is made of.
        kind: ModelKind,
    },
    /// A projection cannot be opened.
    #[error(transparent)]
    Projection(#[from] ProjectionError),
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
            permission: Arc::new(|_, _| Ok(())),
            layers: Vec::new(),
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
        let make: MakeHandler =
            Box::new(|store, models, category| Arc::new(AggregateHandler::<A>::new(store, models, category)));
        self.handlers.push((A::CATEGORY, make));
        self.aggregate_types.insert(A::CATEGORY, std::any::type_name::<A>());
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

    /// Sets who may do what; without it, everybody may do everything. The error is the reason why not.
    #[must_use]
    pub fn permission<F>(mut self, permission: F) -> Self
    where
        F: Fn(&Principal, &Action<'_>) -> Result<(), String> + Send + Sync + 'static,
    {
        self.permission = Arc::new(permission);
        self
    }

    /// Puts `tower` middleware around the handling of every command; the last one added is the outermost.
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
        let mut handlers: BTreeMap<&'static str, Arc<dyn CommandHandler>> = BTreeMap::new();
        for (name, make) in self.handlers {
            let handler = make(Arc::clone(&store), Arc::clone(&models), Category::new(name)?);
            if handlers.insert(name, handler).is_some() {
                return Err(StartError::DuplicateName { kind: "aggregates", name: name.to_owned() });
            }
        }
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
        Ok(RunningApp::new(Shared {
            name: self.name,
            store,
            handlers,
            projections,
            queries,
            permission: self.permission,
            commands,
            tasks: Vec::new(),
        }))
    }
}

async fn open_projections(
    store: &Arc<dyn EventStore>,
    models: &Arc<dyn ReadModelStore>,
    mut projections: Vec<Placed>,
) -> Result<BTreeMap<&'static str, Versions>, StartError> {
    let filters = projections.iter().map(|(_, projection)| projection.filter());
    let feed = Feed::new(Arc::clone(store), filters, None);
    projections.sort_by_key(|(_, projection)| (projection.name(), projection.version()));
    let mut opened: BTreeMap<&'static str, Versions> = BTreeMap::new();
    for (own, projection) in projections {
        let (name, kind) = (projection.name(), projection.kind());
        let of_kind = || match kind {
            ModelKind::Rows => Some(Arc::clone(models)),
            other => models.of_kind(other),
        };
        let models = own.or_else(of_kind).ok_or(StartError::NoSuchKind { projection: name, kind })?;
        let (store, feed) = (Arc::clone(store), Arc::clone(&feed));
        let has_older = opened.contains_key(name);
        let projector = Arc::new(Projector::open(store, models, projection, feed, has_older).await?);
        let is_new = match opened.get_mut(name) {
            Some(versions) => versions.add(projector),
            None => opened.insert(name, Versions::new(projector)).is_none(),
        };
        if !is_new {
            return Err(StartError::DuplicateName { kind: "projections", name: name.to_owned() });
        }
    }
    Ok(opened)
}
