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
#[serde(tag = "status", rename_all = "kebab-case")]
pub enum ProjectionState {
    /// It takes in history.
    CatchingUp,
    /// It has taken in all there is, and takes in what comes.
    Live,
    /// It stopped at an event; the others go on. It is tried again now and then, and at once after a rebuild.
    Failed {
        /// The event; 0 when the read model as a whole cannot be used.
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
        "the projection {name:?} stopped at position {position}: {reason}; it is tried again now and then; when the \
         cause is gone, it goes on"
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
    /// It was not made from the events of this store.
    #[error(
        "the read model {name:?}, at position {position}, was not made from this store, which ends at {head}, or the \
         store has lost its end; if the store is the right one, rebuild {name:?}"
    )]
    NotOfThisStore {
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

/// How far a projection has come.
#[derive(Debug, Clone)]
pub(crate) struct Progress {
    position: Position,
    state: ProjectionState,
}

/// A projection, its read model and where it stands.
pub(crate) struct Projector {
    store: Arc<dyn EventStore>,
    projection: Arc<dyn AnyProjection>,
    models: Arc<dyn ReadModelStore>,
    model: Arc<dyn ReadModel>,
    /// The position up to which the read model was made; held while it is written or swapped.
    written: Mutex<Position>,
    progress: watch::Sender<Progress>,
    /// A read model that is built for the first time answers nothing before it is here: half of it would be wrong.
    usable_from: Position,
    /// Wakes a stopped projection after a rebuild.
    mended: Notify,
}

/// A stopped projection is tried again after this long, then after twice as long each time.
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LAST_RETRY: Duration = Duration::from_secs(60);

impl Projector {
    pub(crate) async fn open(
        store: Arc<dyn EventStore>,
        models: Arc<dyn ReadModelStore>,
        projection: Arc<dyn AnyProjection>,
    ) -> Result<Self, ProjectionError> {
        let model = models.open(projection.name(), projection.version()).await?;
        let of_this_store = model.bind(&store.store_id()).await?;
        let checkpoint = model.checkpoint().await?;
        let head = store.head().await?;
        let state = if of_this_store && checkpoint <= head {
            prepare(&*model, &projection, checkpoint).await?;
            ProjectionState::CatchingUp
        } else {
            // What it holds is not of this store, so it answers nothing.
            let (name, position) = (projection.name(), checkpoint);
            let error = ProjectionError::NotOfThisStore { name, position, head }.to_string();
            ProjectionState::Failed { position: Position::ZERO, error }
        };
        let usable_from = if checkpoint == Position::ZERO { head } else { Position::ZERO };
        let progress = watch::Sender::new(Progress { position: checkpoint, state });
        let mended = Notify::new();
        let written = Mutex::new(checkpoint);
        Ok(Self { store, projection, models, model, written, progress, usable_from, mended })
    }

    pub(crate) fn name(&self) -> &'static str {
        self.projection.name()
    }

    pub(crate) async fn status(&self) -> Result<ProjectionStatus, StoreError> {
        let head = self.store.head().await?;
        let Progress { position, mut state } = self.progress.borrow().clone();
        if state == ProjectionState::CatchingUp && position >= head {
            state = ProjectionState::Live;
        }
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
        let mut patience = FIRST_RETRY;
        loop {
            if !self.is_of_another_store() {
                let before = self.progress.borrow().position;
                match self.follow().await {
                    Err(ProjectionError::Store(StoreError::Closed)) | Ok(()) => return,
                    Err(error) => self.stop_at(error),
                }
                // One that got on since is tried again soon.
                let got_on = self.progress.borrow().position > before;
                patience = if got_on { FIRST_RETRY } else { (patience * 2).min(LAST_RETRY) };
                let _ = tokio::time::timeout(patience, self.mended.notified()).await;
            } else {
                self.mended.notified().await;
            }
        }
    }

    fn is_of_another_store(&self) -> bool {
        matches!(self.progress.borrow().state, ProjectionState::Failed { position: Position::ZERO, .. })
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

    async fn write(&self, events: Vec<RecordedEvent>, upto: Position) -> Result<(), ProjectionError> {
        let mut written = self.written.lock().await;
        let mut events: Arc<[RecordedEvent]> = events.into();
        loop {
            // A rebuild, or another process, may have put a read model in place that has these events already.
            let known = events.partition_point(|event| event.position() <= *written);
            if known == events.len() {
                return Ok(());
            }
            if known > 0 {
                events = events.iter().skip(known).cloned().collect();
            }
            let done = write_all_or_name_the_bad_one(
                &*self.model,
                &self.projection,
                *written,
                Arc::clone(&events),
                upto,
            );
            match done.await {
                Ok(reached) => *written = reached,
                Err(ProjectionError::ReadModel(ReadModelError::Superseded { found })) => {
                    let went_back = found < *written;
                    *written = found;
                    if went_back {
                        // Events before these are missing now: they are read again from where it is.
                        return Err(ReadModelError::Superseded { found }.into());
                    }
                }
                Err(error) => {
                    *written = self.model.checkpoint().await?;
                    return Err(error);
                }
            }
        }
    }

    /// Waits until the read model has every event up to `position`.
    pub(crate) async fn wait_for(
        &self,
        at_least: Position,
        patience: Duration,
    ) -> Result<(), ProjectionError> {
        let at_least = at_least.max(self.usable_from);
        let mut progress = self.progress.subscribe();
        let reached = |progress: &Progress| {
            progress.position >= at_least || matches!(progress.state, ProjectionState::Failed { .. })
        };
        // Whether it was reached in time shows in the state itself.
        let _ = tokio::time::timeout(patience, async { progress.wait_for(reached).await.is_ok() }).await;
        let Progress { position, state } = self.progress.borrow().clone();
        let name = self.name();
        match state {
            ProjectionState::Failed { position: Position::ZERO, .. } => {
                Err(ProjectionError::NotOfThisStore { name, position, head: self.store.head().await? })
            }
            ProjectionState::Failed { position, error } if position <= at_least => {
                Err(ProjectionError::Stopped { name, position, reason: error })
            }
            _ if position >= at_least => Ok(()),
            _ => Err(ProjectionError::Behind { name, position, at_least }),
        }
    }

    /// Tells whenever the read model may have changed.
    pub(crate) fn changes(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
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
        fresh.bind(&self.store.store_id()).await?;
        prepare(&*fresh, &self.projection, Position::ZERO).await?;
        let reached = self.build(&*fresh, Position::ZERO, self.store.head().await?, report).await?;
        // The few events that came meanwhile are taken in while the live one waits.
        let mut written = self.written.lock().await;
        let reached = self.build(&*fresh, reached, self.store.head().await?, report).await?;
        self.model.swap_in(fresh).await?;
        *written = reached;
        self.progress.send_modify(|progress| {
            progress.position = progress.position.max(reached);
            if matches!(progress.state, ProjectionState::Failed { .. }) {
                *progress = Progress { position: reached, state: ProjectionState::CatchingUp };
            }
        });
        self.mended.notify_one();
        Ok(())
    }

    /// The read model as it was at a position, built apart from the live one, to be read. It is gone when it is dropped.
    pub(crate) async fn as_of(
        &self,
        position: Position,
        report: &(dyn Fn(RebuildProgress) + Send + Sync),
    ) -> Result<Arc<dyn ReadModel>, ProjectionError> {
        let scratch = self.models.scratch(self.name()).await?;
        prepare(&*scratch, &self.projection, Position::ZERO).await?;
        self.build(&*scratch, Position::ZERO, position, report).await?;
        Ok(scratch)
    }

    /// Takes all events after a position, up to another, into a read model; returns the position reached.
    async fn build(
        &self,
        model: &dyn ReadModel,
        after: Position,
        head: Position,
        report: &(dyn Fn(RebuildProgress) + Send + Sync),
    ) -> Result<Position, ProjectionError> {
        let mut reader = Reader::new(&*self.store, ReadRequest::new(self.projection.filter()).after(after));
        let mut reached = after;
        while let Some(mut events) = reader.next_batch().await? {
            events.retain(|event| event.position() <= head);
            let Some(last) = events.last().map(RecordedEvent::position) else { break };
            reached =
                write_all_or_name_the_bad_one(model, &self.projection, reached, events.into(), last).await?;
            report(RebuildProgress { done: reached.get(), total: head.get() });
        }
        if reached < head {
            model.write(reached, head, nothing()).await?;
        }
        report(RebuildProgress { done: head.get(), total: head.get() });
        Ok(head)
    }
}

fn nothing() -> TxWork {
    Box::new(|_| Box::pin(async { Ok(()) }))
}

async fn prepare(
    model: &dyn ReadModel,
    projection: &Arc<dyn AnyProjection>,
    checkpoint: Position,
) -> Result<(), ProjectionError> {
    match model.write(checkpoint, checkpoint, prepare_work(Arc::clone(projection))).await {
        // Another process got on with it, so the tables are there.
        Err(ReadModelError::Superseded { .. }) => Ok(()),
        other => Ok(other?),
    }
}

/// Writes a batch in one transaction. When that fails, the events are written one by one, so that the good ones before
/// the bad one count and the bad one can be named. Returns where the checkpoint is now.
async fn write_all_or_name_the_bad_one(
    model: &dyn ReadModel,
    projection: &Arc<dyn AnyProjection>,
    from: Position,
    events: Arc<[RecordedEvent]>,
    upto: Position,
) -> Result<Position, ProjectionError> {
    let whole = model.write(from, upto, apply_work(Arc::clone(projection), Arc::clone(&events))).await;
    if !matches!(whole, Err(ReadModelError::Work(_))) {
        return Ok(whole.map(|()| upto)?);
    }
    let mut from = from;
    for event in events.iter().cloned() {
        let position = event.position();
        let one = model.write(from, position, apply_work(Arc::clone(projection), Arc::new([event]))).await;
        one.map_err(|error| match error {
            ReadModelError::Work(error) => {
                ProjectionError::Stopped { name: projection.name(), position, reason: error.to_string() }
            }
            other => other.into(),
        })?;
        from = position;
    }
    Ok(from)
}
