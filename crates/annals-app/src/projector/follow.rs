//! The task of a projection: stands by, leads, takes in events, and tries again when it stopped.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use annals_core::{Position, ReadModelError, ReadRequest, RecordedEvent, StoreError};
use futures_util::future::try_join;
use tokio::time::{Instant, sleep, timeout};

use super::{
    LOOK, Progress, ProjectionError, ProjectionState, Projector, Written, is_of_another_store, write,
};
use crate::feed::FeedMessage;
use crate::ledger::{Failure, Ledger, short};

/// A stopped projection is tried again after this long, then after twice as long each time.
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LAST_RETRY: Duration = Duration::from_secs(60);
/// Who keeps the read model looks this often whether somebody has removed it.
const WATCH: Duration = Duration::from_millis(200);

/// Who needs to keep the read model waits so long for the one that does.
const WAIT_FOR_LEAD: Duration = Duration::from_secs(1);

/// Why taking in events ended.
enum Halt {
    /// It cannot go on.
    Stopped(ProjectionError),
    /// The read model is elsewhere than it was thought to be: begin again from where it is.
    Moved,
    /// Another process keeps it now.
    Fenced,
}

impl<E: Into<ProjectionError>> From<E> for Halt {
    fn from(error: E) -> Self {
        match error.into() {
            ProjectionError::ReadModel(ReadModelError::Superseded { .. }) => Self::Moved,
            ProjectionError::ReadModel(ReadModelError::Fenced { .. }) => Self::Fenced,
            other => Self::Stopped(other),
        }
    }
}

impl Projector {
    /// Runs until the store is closed or the task is ended.
    pub(crate) async fn run(self: Arc<Self>) {
        let mut patience = FIRST_RETRY;
        loop {
            if is_of_another_store(&self.progress.borrow().state) {
                self.mended.notified().await;
                continue;
            }
            let before = self.progress.borrow().position;
            match self.stand_by_and_follow().await {
                Halt::Stopped(ProjectionError::Store(StoreError::Closed)) => return,
                Halt::Stopped(error) => self.stop_at(error).await,
                Halt::Moved | Halt::Fenced => {
                    self.lead.lock().await.take();
                    continue;
                }
            }
            // One that got on since is tried again soon.
            let got_on = self.progress.borrow().position > before;
            patience = if got_on { FIRST_RETRY } else { (patience * 2).min(LAST_RETRY) };
            let _ = timeout(patience, self.mended.notified()).await;
        }
    }

    async fn stand_by_and_follow(&self) -> Halt {
        let done = async {
            while !self.take_lead().await? {
                self.look().await?;
                let _ = timeout(LOOK, self.mended.notified()).await;
            }
            tokio::select! {
                // In a simulation, a seed decides what comes first, and nothing else.
                biased;
                () = self.moved.notified() => Err(Halt::Moved),
                halt = self.follow() => halt,
                () = self.removed() => Err(Halt::Moved),
            }
        };
        match done.await {
            Ok(never) => match never {},
            Err(halt) => halt,
        }
    }

    /// Becomes the one that keeps the read model, if no other one does.
    pub(super) async fn take_lead(&self) -> Result<bool, ProjectionError> {
        let mut lead = self.lead.lock().await;
        if lead.is_some() {
            return Ok(true);
        }
        *lead = self.model.try_lead().await?;
        if lead.is_none() {
            return Ok(false);
        }
        self.load().await?;
        Ok(true)
    }

    /// As [`take_lead`](Self::take_lead), for what only the one that leads may do.
    pub(super) async fn need_lead(&self) -> Result<(), ProjectionError> {
        // One that ends lets go of it within moments.
        let deadline = Instant::now() + WAIT_FOR_LEAD;
        while !self.take_lead().await? {
            if Instant::now() >= deadline {
                return Err(ProjectionError::NotLeading { name: self.name() });
            }
            sleep(LOOK).await;
        }
        Ok(())
    }

    /// Finds out where the read model is, which another process, or nobody, may have moved.
    async fn load(&self) -> Result<(), ProjectionError> {
        let mut written = self.written.lock().await;
        let was_of_this_store = !is_of_another_store(&self.progress.borrow().state);
        let is_of_this_store = was_of_this_store && self.model.bind(&self.store.store_id()).await?;
        let mut bookmark = self.model.bookmark().await?;
        if is_of_this_store {
            let nothing = Ledger::default();
            self.target(&*self.model, &nothing).prepare(bookmark.position).await?;
            bookmark = self.model.bookmark().await?;
        }
        let ledger = Ledger::of(self.name(), &bookmark)?;
        *written = Written { position: bookmark.position, ledger };
        if !is_of_this_store {
            let (name, position, head) = (self.name(), written.position, self.store.head().await?);
            let error = ProjectionError::NotOfThisStore { name, position, head }.to_string();
            let state = ProjectionState::Failed { position: Position::ZERO, event: None, error };
            self.show(&written, Some(state));
            return Ok(());
        }
        self.notice_removal(written.position).await?;
        self.show(&written, Some(ProjectionState::CatchingUp));
        Ok(())
    }

    /// Waits until the read model has less than was written to it.
    async fn removed(&self) {
        loop {
            sleep(WATCH).await;
            let written = self.written.lock().await.position;
            // One that cannot be read is told of when it is written.
            if self.model.bookmark().await.is_ok_and(|found| found.position < written) {
                return;
            }
        }
    }

    /// One that was removed answers again when it is whole.
    async fn notice_removal(&self, position: Position) -> Result<(), ProjectionError> {
        if position == Position::ZERO && self.progress.borrow().position > Position::ZERO {
            self.usable_from.fetch_max(self.store.head().await?.get(), Ordering::SeqCst);
        }
        Ok(())
    }

    /// Sees how far the process that keeps the read model has come.
    async fn look(&self) -> Result<(), ProjectionError> {
        let bookmark = self.model.bookmark().await?;
        let ledger = Ledger::of(self.name(), &bookmark)?;
        let mut position = bookmark.position;
        let state = match &ledger.failure {
            Some(failure) => ProjectionState::Failed {
                position: failure.position,
                event: failure.event.clone(),
                error: failure.reason.clone(),
            },
            None => ProjectionState::StandingBy,
        };
        if position < self.store.head().await? && ledger.failure.is_none() {
            // What follows may be of no interest to the projection, and then its keeper writes nothing down.
            let next = ReadRequest::new(self.projection.filter()).after(position).limit(1);
            let batch = self.store.read(next).await?;
            if batch.events.is_empty() {
                position = batch.head;
            }
        }
        self.notice_removal(position).await?;
        let Progress { position: known, state: told, ledger: remembered, .. } =
            self.progress.borrow().clone();
        if (known, &told, &*remembered) != (position, &state, &ledger) {
            self.show_at(&Written { position: bookmark.position, ledger }, position, Some(state));
        }
        Ok(())
    }

    /// Shows where it stopped, here and to those who stand by.
    async fn stop_at(&self, error: ProjectionError) {
        let position = self.progress.borrow().position.next();
        let (position, event, reason) = match error {
            ProjectionError::Stopped { position, event, reason, .. } => (position, event, reason),
            other => (position, None, other.to_string()),
        };
        tracing::error!(
            projection = self.name(),
            position = position.get(),
            event = event.as_ref().map(|event| event.id.as_str()),
            reason,
            "projection stopped"
        );
        let leads = self.lead.lock().await.is_some();
        let mut written = self.written.lock().await;
        let failure = Some(Failure { position, event: event.clone(), reason: short(&reason) });
        let state = ProjectionState::Failed { position, event, error: reason };
        if leads && written.ledger.failure != failure {
            let (at, ledger) = (written.position, Ledger { failure, ..written.ledger.clone() });
            let target = self.target(&*self.model, &ledger);
            // A read model that fails cannot remember that it does; it is told all the same.
            let _ = target.commit(&mut written, at, ledger.clone(), write::nothing()).await;
        }
        self.show(&written, Some(state));
    }

    async fn follow(&self) -> Result<std::convert::Infallible, Halt> {
        let after = self.written.lock().await.position;
        let mut cursor = self.feed.join(self.projection.filter(), after);
        let mut message = cursor.next().await?;
        loop {
            message = match message {
                FeedMessage::Events { after, upto, events, at_end } => {
                    // While these are written, the next ones are read.
                    let write = self.take(after, upto, events, at_end);
                    try_join(write, async { Ok(cursor.next().await?) }).await?.1
                }
                FeedMessage::CaughtUp(position) => {
                    self.progress.send_modify(|progress| {
                        progress.position = progress.position.max(position);
                        progress.state = ProjectionState::Live;
                    });
                    cursor.next().await?
                }
            };
        }
    }

    async fn take(
        &self,
        after: Position,
        upto: Position,
        mut events: Arc<[RecordedEvent]>,
        at_end: bool,
    ) -> Result<(), Halt> {
        let mut written = self.written.lock().await;
        if after > written.position && !self.is_quiet(written.position, after) {
            // It was taken back.
            return Err(Halt::Moved);
        }
        // A rebuild may have put a build in place that has some of them.
        let known = events.partition_point(|event| event.position() <= written.position);
        if known > 0 {
            events = events.iter().skip(known).cloned().collect();
        }
        if !events.is_empty() {
            let forgiven = Ledger::default();
            self.target(&*self.model, &forgiven).write(&mut written, &events, upto).await?;
        }
        let state = if at_end { ProjectionState::Live } else { ProjectionState::CatchingUp };
        self.show_at(&written, upto.max(written.position), Some(state));
        Ok(())
    }

    /// Whether nothing was between what was written last and a position: what is of no interest is not written down.
    fn is_quiet(&self, written: Position, after: Position) -> bool {
        let progress = self.progress.borrow();
        written <= after && progress.position >= after
    }
}
