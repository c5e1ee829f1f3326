//! Keeps one version of one projection: from where it stopped, to the end of the log, then live.

mod follow;
mod fresh;
mod mend;
mod proof;
mod rebuild;
mod status;
mod write;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use annals_core::{
    Bookmark, EventStore, Lead, Position, ReadModel, ReadModelError, ReadModelStore, ReadModelTx, StoreError,
};
use tokio::sync::{Mutex, Notify, watch};
use tokio::time::{Instant, sleep};

use crate::feed::Feed;
use crate::ledger::Ledger;
use crate::pace::Pace;
use crate::projection::AnyProjection;
use crate::versions::BEING_BUILT;
pub use fresh::MOST_FRESH_EVENTS;
pub(crate) use rebuild::rebuild;
pub use status::{
    GapProof, GapVerdict, ProjectionError, ProjectionState, ProjectionStatus, RebuildProgress, Rebuilt,
    VerifiedAgainst,
};
use write::{Target, Written};

/// Who stands by looks this often how far the read model is, and whether to take over.
const LOOK: Duration = Duration::from_millis(20);
/// A question waits so long for a read model that was removed to be whole again.
const WAIT_FOR_WHOLE: Duration = Duration::from_secs(1);

/// How far a projection has come.
#[derive(Debug, Clone)]
pub(crate) struct Progress {
    position: Position,
    /// What the read model itself is known to hold: no more than `position`, for what is of no interest is not written.
    saved: Position,
    state: ProjectionState,
    pace: Pace,
    ledger: Arc<Ledger>,
    rebuild: Option<RebuildProgress>,
}

/// One version of a projection, its read model and where it stands.
pub(crate) struct Projector {
    store: Arc<dyn EventStore>,
    projection: Arc<dyn AnyProjection>,
    models: Arc<dyn ReadModelStore>,
    model: Arc<dyn ReadModel>,
    /// The pass over the log that it shares with others.
    feed: Arc<Feed>,
    /// Held while this process is the one that keeps the read model.
    lead: Mutex<Option<Lead>>,
    /// What the read model holds; held while it is written or swapped.
    written: Mutex<Written>,
    progress: watch::Sender<Progress>,
    /// A read model that is built for the first time answers nothing before it is here: half of it would be wrong.
    usable_from: AtomicU64,
    /// Wakes a stopped projection after a rebuild, and one that is to be tried again.
    mended: Notify,
    /// Wakes one that follows the log after it was taken back.
    moved: Notify,
}

impl Projector {
    pub(crate) async fn open(
        store: Arc<dyn EventStore>,
        models: Arc<dyn ReadModelStore>,
        projection: Arc<dyn AnyProjection>,
        feed: Arc<Feed>,
        has_older: bool,
    ) -> Result<Self, ProjectionError> {
        let name = projection.name();
        let model = models.open(name, projection.version()).await?;
        let lead = model.try_lead().await?;
        let mut bookmark = model.bookmark().await?;
        // Who stands by writes nothing. The one that leads has bound it before anything else was in it.
        let is_bound = lead.is_some() || bookmark != Bookmark::default();
        let of_this_store = !is_bound || model.bind(&store.store_id()).await?;
        let head = store.head().await?;
        let is_usable = of_this_store && bookmark.position <= head;
        if is_usable && lead.is_some() {
            let nothing = Ledger::default();
            let target = Target { model: &*model, projection: &projection, forgiven: &nothing };
            target.prepare(bookmark.position).await?;
            bookmark = model.bookmark().await?;
        }
        let position = bookmark.position;
        let mut ledger = Ledger::of(name, &bookmark)?;
        if has_older && lead.is_some() && bookmark == Bookmark::default() {
            // The earlier version answers until this one is whole and was looked at, also after a restart in between.
            ledger.withdrawn = Some(BEING_BUILT.to_owned());
            let (at, notes) = (Position::ZERO, Some(ledger.to_notes()));
            match model.write_with_notes(at, at, notes, write::nothing()).await {
                Err(ReadModelError::Superseded { .. }) => {}
                other => other?,
            }
        }
        let state = if is_usable {
            ProjectionState::CatchingUp
        } else {
            // What it holds is not of this store, so it answers nothing.
            let error = ProjectionError::NotOfThisStore { name, position, head }.to_string();
            ProjectionState::Failed { position: Position::ZERO, event: None, error }
        };
        let usable_from = AtomicU64::new(if position == Position::ZERO { head.get() } else { 0 });
        let progress = Progress {
            position,
            saved: position,
            state,
            pace: Pace::begin(position.get()),
            ledger: Arc::new(ledger.clone()),
            rebuild: None,
        };
        Ok(Self {
            store,
            projection,
            models,
            model,
            feed,
            lead: Mutex::new(lead),
            written: Mutex::new(Written { position, ledger }),
            progress: watch::Sender::new(progress),
            usable_from,
            mended: Notify::new(),
            moved: Notify::new(),
        })
    }

    pub(crate) fn name(&self) -> &'static str {
        self.projection.name()
    }

    pub(crate) fn version(&self) -> u32 {
        self.projection.version()
    }

    fn target<'a>(&'a self, model: &'a dyn ReadModel, forgiven: &'a Ledger) -> Target<'a> {
        Target { model, projection: &self.projection, forgiven }
    }

    fn usable_from(&self) -> Position {
        Position::new(self.usable_from.load(Ordering::SeqCst))
    }

    /// Whether it was built as a whole, from this store.
    pub(crate) fn is_usable(&self) -> bool {
        let progress = self.progress.borrow();
        progress.position >= self.usable_from() && !is_of_another_store(&progress.state)
    }

    /// Why an earlier version answers in its place.
    pub(crate) fn withdrawn(&self) -> Option<String> {
        self.progress.borrow().ledger.withdrawn.clone()
    }

    pub(crate) async fn status(&self, answers: bool) -> Result<ProjectionStatus, StoreError> {
        let head = self.store.head().await?;
        // Who has not taken the lead yet may have to stand by.
        let leads = self.lead.lock().await.is_some();
        let Progress { position, mut state, pace, ledger, rebuild, .. } = self.progress.borrow().clone();
        if state == ProjectionState::CatchingUp && position >= head && leads {
            state = ProjectionState::Live;
        }
        let catches_up = state == ProjectionState::CatchingUp;
        let done = position.get();
        Ok(ProjectionStatus {
            name: self.name(),
            version: self.version(),
            answers,
            position: position.min(head),
            head,
            events: ledger.seen.as_ref().map(crate::seen::Seen::events),
            positions_per_second: catches_up.then(|| pace.per_second(done) as u64),
            seconds_left: pace.left(done, head.get()).filter(|_| catches_up).map(|left| left.as_secs()),
            state,
            rebuild,
            skipped: ledger.skipped.clone(),
            parked: ledger.parked.clone(),
            withdrawn: ledger.withdrawn.clone(),
        })
    }

    /// Tells all who wait how far it is.
    fn show(&self, written: &Written, state: Option<ProjectionState>) {
        self.show_at(written, written.position, state);
    }

    /// As [`show`](Self::show), where nothing of interest is between what was written and `passed`.
    fn show_at(&self, written: &Written, passed: Position, state: Option<ProjectionState>) {
        self.progress.send_modify(|progress| {
            progress.position = passed;
            progress.saved = written.position;
            progress.pace.update(passed.get());
            if *progress.ledger != written.ledger {
                progress.ledger = Arc::new(written.ledger.clone());
            }
            if let Some(state) = state {
                progress.state = state;
            }
        });
    }

    /// Waits until the read model has every event up to `position`.
    pub(crate) async fn wait_for(
        &self,
        at_least: Position,
        patience: Duration,
    ) -> Result<(), ProjectionError> {
        let at_least = at_least.max(self.usable_from());
        let mut progress = self.progress.subscribe();
        let reached = |progress: &Progress| {
            progress.position >= at_least || matches!(progress.state, ProjectionState::Failed { .. })
        };
        // Whether it was reached in time shows in the state itself.
        let _ = tokio::time::timeout(patience, async { progress.wait_for(reached).await.is_ok() }).await;
        let Progress { position, state, .. } = self.progress.borrow().clone();
        let name = self.name();
        match state {
            ProjectionState::Failed { position: Position::ZERO, .. } => {
                Err(ProjectionError::NotOfThisStore { name, position, head: self.store.head().await? })
            }
            ProjectionState::Failed { position, event, error } if position <= at_least => {
                Err(ProjectionError::Stopped { name, position, event, reason: error })
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
        let deadline = Instant::now() + WAIT_FOR_WHOLE;
        loop {
            let Progress { position, saved, .. } = *self.progress.borrow();
            let tx = self.model.read().await?;
            let found = tx.checkpoint().unwrap_or(saved);
            if found >= saved && position >= self.usable_from() {
                return Ok((tx, position));
            }
            // It was removed: what is there now is empty, or a part, until it has been built anew.
            drop(tx);
            if found < saved {
                self.moved.notify_one();
                self.mended.notify_one();
            }
            if Instant::now() >= deadline {
                let (name, at_least) = (self.name(), saved.max(self.usable_from()));
                return Err(ProjectionError::Behind { name, position: found.min(position), at_least });
            }
            sleep(LOOK).await;
        }
    }
}

fn is_of_another_store(state: &ProjectionState) -> bool {
    matches!(state, ProjectionState::Failed { position: Position::ZERO, .. })
}
