//! When a simulated application has come to rest.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::simulated::{RETRY, Simulated};
use crate::process::{DueTimer, due_timers};
use crate::{Projection, ProjectionError, ReactionError, ReactionState, RunningApp, Work};

/// Everything has so long, in simulated time, to come to rest.
const PATIENCE: Duration = Duration::from_secs(120);

/// Why a simulated application does not come to rest.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Unsettled {
    /// A projection does not get there.
    #[error(transparent)]
    Projection(#[from] ProjectionError),
    /// A reaction or a process manager does not.
    #[error(transparent)]
    Reaction(#[from] ReactionError),
    /// A timer does not fire.
    #[error(
        "the timer {timer:?} of {process} {id:?} is due and does not fire: is there an error in the log of the service?"
    )]
    TimerDue {
        /// The process manager.
        process: String,
        /// The key of the process.
        id: String,
        /// The name of the timer.
        timer: String,
    },
    /// Reactions or processes cause events without end.
    #[error(
        "events keep coming, {0:?} after the last command: do two of its reactions or processes answer each other?"
    )]
    Restless(Duration),
}

impl Unsettled {
    /// Whether it may be otherwise in a moment: what has stopped is tried again by itself.
    fn may_pass(&self) -> bool {
        matches!(
            self,
            Self::Projection(ProjectionError::Stopped { .. }) | Self::TimerDue { .. } | Self::Restless(_)
        )
    }
}

impl Simulated {
    /// Ends what is bad: from here on nothing fails, is late or comes twice. Waits until every projection has taken in what
    /// is stored, every reaction and process has done what is to be done about it, and every timer has fired that is due by the
    /// simulated time; then hands out the application as it runs, for whatever else is to be looked at. Timers that are due
    /// later are not waited for: let time [`pass`](Self::pass), and settle again.
    ///
    /// # Errors
    /// [`Unsettled`] with what does not come to rest.
    pub async fn settle(&self) -> Result<RunningApp, Unsettled> {
        self.world.be_calm();
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.while_it_runs(|app| async move { self.look(&app).await.map(|()| app) }).await {
                Some(Err(why)) if why.may_pass() && Instant::now() < deadline => sleep(RETRY).await,
                Some(settled) => return settled,
                None => {}
            }
        }
    }

    /// Whether it is at rest now.
    async fn look(&self, app: &RunningApp) -> Result<(), Unsettled> {
        let head = app.store().head().await.map_err(ProjectionError::from)?;
        let reactions = app.reactions().await?;
        let is_passive = reactions.iter().any(|reaction| reaction.state == ReactionState::Passive);
        if !is_passive {
            app.settle(PATIENCE).await?;
        }
        app.catch_up(PATIENCE).await?;
        if app.store().head().await.map_err(ProjectionError::from)? > head {
            return Err(Unsettled::Restless(PATIENCE));
        }
        let Some(work) = app.all_versions().find(|versions| versions.answering().name() == Work::NAME) else {
            return Ok(());
        };
        let (mut tx, _) = work.answering().read().await?;
        let due = due_timers(&mut *tx, self.world.now(), 1).await.map_err(ProjectionError::from)?;
        match due.into_iter().next() {
            Some(DueTimer { process, id, timer, .. }) if !is_passive => {
                Err(Unsettled::TimerDue { process, id, timer })
            }
            _ => Ok(()),
        }
    }

    /// Lets so much simulated time pass, for timers that are due later. It takes hardly any real time: processes look at the
    /// clock once a second.
    pub async fn pass(&self, time: Duration) {
        self.world.pass(time).await;
    }
}
