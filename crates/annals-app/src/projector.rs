//! Runs projections: from where each stopped, to the end of the log, then live; and rebuilds them beside themselves.

use std::sync::Arc;
use std::time::Duration;

use annals_core::{
    EventStore, Position, ReadModel, ReadModelError, ReadModelStore, ReadModelTx, ReadRequest, Reader,
    RecordedEvent, StoreError, Subscription, SubscriptionMessage, TxWork,
};
use serde::Serialize;
use tokio::sync::{Mutex, Notify, watch};

use crate::projection::{AnyProjection, apply_work, prepare_work};

/// How a projection is doing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "status", rename_all = "lowercase")]
pub enum ProjectionState {
    /// It takes in history.
    CatchingUp,
    /// It has taken in all there is, and takes in what comes.
    Live,
    /// It stopped at an event; the others go on.
    Failed {
        /// The event.
        position: Position,
        /// What the projection said.
        error: String,
    },
}

/// Where a projection stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ProjectionStatus {
    /// Its name.
    pub name: &'static str,
    /// Its version.
    pub version: u32,
    /// Every event up to here is in the read model.
    pub position: Position,
    /// The end of the log.
    pub head: Position,
    /// How it is doing.
    #[serde(flatten)]
    pub state: ProjectionState,
}

/// How far a rebuild has come, in positions of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct RebuildProgress {
    /// Positions passed.
    pub done: u64,
    /// Positions to pass.
    pub total: u64,
}

/// Why a projection, or a wait for one, did not get on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProjectionError {
    /// It stopped at an event.
    #[error(
        "the projection {name:?} stopped at position {position}: {reason}; mend the projection, then rebuild {name:?} \
         or start again"
    )]
    Stopped {
        /// The projection.
        name: &'static str,
        /// The event.
        position: Position,
        /// What it said.
        reason: String,
    },
    /// It did not come as far as was asked within the time given.
    #[error(
        "the read model {name:?} is at position {position}, asked for at least {at_least}: try again in a moment"
    )]
    Behind {
        /// The projection.
        name: &'static str,
        /// Where it is.
        position: Position,
        /// Where it was to be.
        at_least: Position,
    },
    /// It has seen events that the store does not have.
    #[error(
        "the read model {name:?} is at position {position}, but the store ends at {head}: it belongs to another store; \
         rebuild {name:?}"
    )]
    AheadOfStore {
        /// The projection.
        name: &'static str,
        /// Where it is.
        position: Position,
        /// The end of the store.
        head: Position,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The read model failed.
    #[error(transparent)]
    ReadModel(#[from] ReadModelError),
}

#[derive(Debug, Clone)]
struct Progress {
    position: Position,
    state: ProjectionState,
}

/// A projection, its read model and where it stands.
pub(crate) struct Projector {
    store: Arc<dyn EventStore>,
    projection: Arc<dyn AnyProjection>,
    model: Arc<dyn ReadModel>,
    /// The position up to which the read model was made; held while it is written or swapped.
    written: Mutex<Position>,
    progress: watch::Sender<Progress>,
    /// Wakes a stopped projection after a rebuild.
    mended: Notify,
}

impl Projector {
    pub(crate) async fn open(
        store: Arc<dyn EventStore>,
        models: &dyn ReadModelStore,
        projection: Arc<dyn AnyProjection>,
    ) -> Result<Self, ProjectionError> {
        let model = models.open(projection.name(), projection.version()).await?;
        let checkpoint = model.checkpoint().await?;
        model.write(checkpoint, prepare_work(Arc::clone(&projection))).await?;
        let head = store.head().await?;
        let state = if checkpoint > head {
            let (name, position) = (projection.name(), checkpoint);
            let error = ProjectionError::AheadOfStore { name, position, head }.to_string();
            // What it holds is not of this store, so it answers nothing.
            ProjectionState::Failed { position: Position::ZERO, error }
        } else {
            ProjectionState::CatchingUp
        };
        let progress = watch::Sender::new(Progress { position: checkpoint, state });
        let mended = Notify::new();
        Ok(Self { store, projection, model, written: Mutex::new(checkpoint), progress, mended })
    }

    pub(crate) fn name(&self) -> &'static str {
        self.projection.name()
    }

    pub(crate) async fn status(&self) -> Result<ProjectionStatus, StoreError> {
        let head = self.store.head().await?;
        let Progress { position, state } = self.progress.borrow().clone();
        Ok(ProjectionStatus {
            name: self.name(),
            version: self.projection.version(),
            position: position.min(head),
            head,
            state,
        })
    }

    /// Runs until the store is closed or the task is ended.
    pub(crate) async fn run(self: Arc<Self>) {
        loop {
            let failed = matches!(self.progress.borrow().state, ProjectionState::Failed { .. });
            if !failed && let Err(error) = self.follow().await {
                match error {
                    ProjectionError::Store(StoreError::Closed) => return,
                    error => self.stop_at(error),
                }
            }
            self.mended.notified().await;
        }
    }

    fn stop_at(&self, error: ProjectionError) {
        let position = self.progress.borrow().position.next();
        let (position, error) = match error {
            ProjectionError::Stopped { position, reason, .. } => (position, reason),
            other => (position, other.to_string()),
        };
        tracing::error!(projection = self.name(), position = position.get(), error, "projection stopped");
        self.progress.send_modify(|progress| progress.state = ProjectionState::Failed { position, error });
    }

    async fn follow(&self) -> Result<(), ProjectionError> {
        let after = *self.written.lock().await;
        let mut events = Subscription::new(Arc::clone(&self.store), self.projection.filter(), after);
        loop {
            match events.next().await? {
                SubscriptionMessage::Events(batch) => {
                    let upto = events.position();
                    self.write(batch, upto).await?;
                    self.progress.send_modify(|progress| progress.position = progress.position.max(upto));
                }
                SubscriptionMessage::CaughtUp(position) => self.progress.send_modify(|progress| {
                    progress.position = progress.position.max(position);
                    progress.state = ProjectionState::Live;
                }),
                SubscriptionMessage::FellBehind => {
                    self.progress.send_modify(|progress| progress.state = ProjectionState::CatchingUp);
                }
            }
        }
    }

    async fn write(&self, mut events: Vec<RecordedEvent>, upto: Position) -> Result<(), ProjectionError> {
        let mut written = self.written.lock().await;
        // A rebuild may have put a read model in place that has these events already.
        events.retain(|event| event.position() > *written);
        if !events.is_empty() {
            write_all_or_name_the_bad_one(&*self.model, &self.projection, events, upto).await?;
        }
        *written = (*written).max(upto);
        Ok(())
    }

    /// Waits until the read model has every event up to `position`.
    pub(crate) async fn wait_for(
        &self,
        at_least: Position,
        patience: Duration,
    ) -> Result<(), ProjectionError> {
        let mut progress = self.progress.subscribe();
        let reached = |progress: &Progress| {
            progress.position >= at_least || matches!(progress.state, ProjectionState::Failed { .. })
        };
        // Whether it was reached in time shows in the state itself.
        let _ = tokio::time::timeout(patience, async { progress.wait_for(reached).await.is_ok() }).await;
        let Progress { position, state } = self.progress.borrow().clone();
        let name = self.name();
        match state {
            ProjectionState::Failed { position, error } if position <= at_least => {
                Err(ProjectionError::Stopped { name, position, reason: error })
            }
            _ if position >= at_least => Ok(()),
            _ => Err(ProjectionError::Behind { name, position, at_least }),
        }
    }

    /// Begins to read a consistent state of the read model, which has at least the events up to the returned position.
    pub(crate) async fn read(&self) -> Result<(Box<dyn ReadModelTx>, Position), ProjectionError> {
        let position = self.progress.borrow().position;
        Ok((self.model.read().await?, position))
    }

    /// Builds the read model anew from all events, beside the one that answers meanwhile, and swaps it in.
    pub(crate) async fn rebuild(
        &self,
        report: &(dyn Fn(RebuildProgress) + Send + Sync),
    ) -> Result<(), ProjectionError> {
        let fresh = self.model.begin_rebuild().await?;
        fresh.write(Position::ZERO, prepare_work(Arc::clone(&self.projection))).await?;
        let reached = self.build(&*fresh, Position::ZERO, report).await?;
        // The few events that came meanwhile are taken in while the live one waits.
        let mut written = self.written.lock().await;
        let reached = self.build(&*fresh, reached, report).await?;
        self.model.swap_in(fresh).await?;
        *written = reached;
        self.progress.send_modify(|progress| {
            *progress = Progress { position: reached, state: ProjectionState::CatchingUp };
        });
        self.mended.notify_one();
        Ok(())
    }

    /// Takes all events after a position into a read model; returns the position reached.
    async fn build(
        &self,
        model: &dyn ReadModel,
        after: Position,
        report: &(dyn Fn(RebuildProgress) + Send + Sync),
    ) -> Result<Position, ProjectionError> {
        let head = self.store.head().await?;
        let mut reader = Reader::new(&*self.store, ReadRequest::new(self.projection.filter()).after(after));
        let mut reached = after;
        while let Some(mut events) = reader.next_batch().await? {
            events.retain(|event| event.position() <= head);
            let Some(last) = events.last().map(RecordedEvent::position) else { break };
            write_all_or_name_the_bad_one(model, &self.projection, events, last).await?;
            reached = last;
            report(RebuildProgress { done: reached.get(), total: head.get() });
        }
        if reached < head {
            model.write(head, nothing()).await?;
        }
        report(RebuildProgress { done: head.get(), total: head.get() });
        Ok(head)
    }
}

fn nothing() -> TxWork {
    Box::new(|_| Box::pin(async { Ok(()) }))
}

/// Writes a batch in one transaction. When that fails, the events are written one by one, so that the good ones before
/// the bad one count and the bad one can be named.
async fn write_all_or_name_the_bad_one(
    model: &dyn ReadModel,
    projection: &Arc<dyn AnyProjection>,
    events: Vec<RecordedEvent>,
    upto: Position,
) -> Result<(), ProjectionError> {
    let whole = model.write(upto, apply_work(Arc::clone(projection), events.clone())).await;
    if !matches!(whole, Err(ReadModelError::Work(_))) {
        return Ok(whole?);
    }
    for event in events {
        let position = event.position();
        let one = model.write(position, apply_work(Arc::clone(projection), vec![event])).await;
        one.map_err(|error| match error {
            ReadModelError::Work(error) => {
                ProjectionError::Stopped { name: projection.name(), position, reason: error.to_string() }
            }
            other => other.into(),
        })?;
    }
    Ok(())
}
