//! Opening what an application is made of, and why it may not start.

use std::collections::BTreeMap;
use std::sync::Arc;

use annals_core::{EventStore, ModelKind, NameError, ReadModelStore};

use crate::ProjectionError;
use crate::commands::{Ground, Handlers};
use crate::feed::Feed;
use crate::mediator::Commands;
use crate::process::AnyProcess;
use crate::projection::AnyProjection;
use crate::projector::Projector;
use crate::reaction::{AnyReaction, Reactor};
use crate::versions::Versions;

/// A projection, and the store of its read model where it has one of its own.
pub(crate) type Placed = (Option<Arc<dyn ReadModelStore>>, Arc<dyn AnyProjection>);

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
    /// The name of a reaction breaks a rule of names.
    #[error("the name of the reaction {name:?}: {source}")]
    Reaction {
        /// The name.
        name: &'static str,
        /// The rule.
        source: NameError,
    },
    /// The store did not take where a new reaction or process manager begins.
    #[error("{name:?} cannot begin, so events would be missed: {source}; start again when that is mended")]
    NotBegun {
        /// Its name.
        name: &'static str,
        /// What the store said.
        source: annals_core::AppendError,
    },
    /// A projection cannot be opened.
    #[error(transparent)]
    Projection(#[from] ProjectionError),
}

/// Makes a process manager on the ground that commands are decided on.
pub(crate) type MakeProcess = Box<dyn Fn(&Ground) -> Result<Arc<dyn AnyProcess>, NameError> + Send + Sync>;

pub(crate) fn open_processes(
    ground: &Ground,
    processes: Vec<MakeProcess>,
    handlers: &mut Handlers,
) -> Result<BTreeMap<&'static str, Arc<dyn AnyProcess>>, StartError> {
    let mut opened = BTreeMap::new();
    for make in processes {
        let process = make(ground)?;
        handlers.add_states(process.name(), process.states())?;
        opened.insert(process.name(), process);
    }
    Ok(opened)
}

pub(crate) fn open_reactions(
    store: &Arc<dyn EventStore>,
    models: &Arc<dyn ReadModelStore>,
    commands: &Commands,
    reactions: Vec<Arc<dyn AnyReaction>>,
) -> Result<BTreeMap<&'static str, Arc<Reactor>>, StartError> {
    let mut opened = BTreeMap::new();
    for reaction in reactions {
        let name = reaction.name();
        let reactor = Reactor::new(reaction, Arc::clone(store), Arc::clone(models), commands.clone());
        let reactor = reactor.map_err(|source| StartError::Reaction { name, source })?;
        if opened.insert(name, Arc::new(reactor)).is_some() {
            return Err(StartError::DuplicateName { kind: "reactions", name: name.to_owned() });
        }
    }
    Ok(opened)
}

pub(crate) async fn open_projections(
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
