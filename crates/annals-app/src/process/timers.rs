//! Fires the timers of processes when they are due.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use annals_core::{CausationId, Clock, CorrelationId, Position, Version};
use futures_util::{StreamExt, stream};
use tokio::time::{Instant, sleep, timeout};

use super::AnyProcess;
use super::work::{DueTimer, due_timers, next_due};
use crate::versions::Versions;
use crate::{CommandOptions, Error, ProjectionError, Rejection};

/// Nothing is waited for longer than this without looking at the clock, which may have been set.
const LOOK: Duration = Duration::from_secs(1);
/// And it is not looked again before so much time has passed.
const SHORTEST_LOOK: Duration = Duration::from_millis(5);
/// So many timers are looked at in one go.
const BATCH: u32 = 1_024;
/// So many timers fire at the same time.
const CONCURRENCY: usize = 64;
/// The read model is waited for so long after timers have fired; then what is still in it is fired again, which changes nothing.
const PATIENCE: Duration = Duration::from_secs(5);
/// A timer that cannot be fired is tried again after so long.
const RETRY: Duration = Duration::from_secs(10);
/// So many timers that cannot be fired are remembered; the others are tried each time.
const MOST_FAILING: usize = 10_000;

/// The timers of all process managers of an application.
pub(crate) struct Timers {
    pub(crate) processes: BTreeMap<&'static str, Arc<dyn AnyProcess>>,
    pub(crate) work: Versions,
    pub(crate) clock: Arc<dyn Clock>,
}

/// A timer by its process and name.
type Key = (String, String, String, Version);

impl Timers {
    /// Runs until the task is ended.
    pub(crate) async fn run(self) {
        let mut failing: HashMap<Key, Instant> = HashMap::new();
        loop {
            if let Err(error) = self.fire_due(&mut failing).await {
                tracing::error!(%error, "the timers of processes cannot be fired");
                sleep(LOOK).await;
            }
        }
    }

    /// Fires what is due; when nothing is, waits for what is next.
    async fn fire_due(&self, failing: &mut HashMap<Key, Instant>) -> Result<(), ProjectionError> {
        let projector = self.work.answering();
        let mut changes = projector.changes();
        changes.mark_unchanged();
        let now = self.clock.now();
        let (mut tx, _) = projector.read().await?;
        let mut due = due_timers(&mut *tx, now, BATCH).await?;
        let next = next_due(&mut *tx).await?;
        drop(tx);
        failing.retain(|_, until| *until > Instant::now());
        due.retain(|due| !failing.contains_key(&due.key()));
        if due.is_empty() {
            let until_next = next.map(|next| next.as_micros().saturating_sub(now.as_micros()).max(0));
            let wait = until_next.map_or(LOOK, |micros| Duration::from_micros(micros.unsigned_abs()));
            // Those that are due already and fail wait for their turn.
            let wait = if wait.is_zero() { LOOK } else { wait.min(LOOK) };
            let _ = timeout(wait, changes.changed()).await;
            // Where much is done, the read model changes all the time.
            sleep(SHORTEST_LOOK.min(wait)).await;
            return Ok(());
        }
        let fired: Vec<_> = stream::iter(due)
            .map(|due| async move { (self.fire(&due).await, due) })
            .buffer_unordered(CONCURRENCY)
            .collect()
            .await;
        let mut last = Position::ZERO;
        for (fired, due) in fired {
            match fired {
                Ok(Some(position)) => last = last.max(position),
                Ok(None) => {}
                Err(error) => {
                    let (process, id, timer) = (&due.process, &due.id, &due.timer);
                    tracing::warn!(process, id, timer, %error, "a timer cannot be fired yet");
                    if failing.len() < MOST_FAILING {
                        failing.insert(due.key(), Instant::now() + RETRY);
                    }
                }
            }
        }
        // What has fired is to be gone from the read model before it is looked at again.
        projector.wait_for(last, PATIENCE).await
    }

    async fn fire(&self, due: &DueTimer) -> Result<Option<Position>, Error<Rejection>> {
        match self.processes.get(due.process.as_str()) {
            Some(process) => process.fire(&due.id, &due.timer, due.step, due.because()).await,
            // One of a process manager that the application has no more.
            None => Ok(None),
        }
    }
}

impl DueTimer {
    /// What its step carries: that of the step that set it.
    fn because(&self) -> CommandOptions {
        CommandOptions {
            correlation_id: CorrelationId::new(&self.correlation).ok(),
            causation_id: CausationId::new(&self.cause).ok(),
            ..CommandOptions::default()
        }
    }

    fn key(&self) -> Key {
        (self.process.clone(), self.id.clone(), self.timer.clone(), self.step)
    }
}
