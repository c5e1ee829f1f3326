//! A reaction of a running application: who handles its events, how far it is, what became of dead letters.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use annals_core::{
    AppendError, ConsumerName, EventStore, Filter, Lead, NameError, Position, ReadFrom, ReadModelError,
    ReadModelStore, ReadRequest, RecordedEvent, StoreError, Timestamp,
};
use futures_util::FutureExt;
use tokio::sync::{Mutex, watch};
use tokio::time::{sleep, timeout};

use super::attempt::attempt;
use super::dead_letters::{DeadLetter, DeadLetters, Note, is_note};
use super::{AnyReaction, ReactionContext, ReactionError, ReactionState, ReactionStatus};
use crate::consumer::Consumer;
use crate::mediator::Commands;
use crate::panics::panic_text;

/// Who stands by looks this often whether to take over.
const LOOK: Duration = Duration::from_millis(50);
/// One that has stopped is tried again after this long, then after twice as long each time.
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LAST_RETRY: Duration = Duration::from_secs(60);
/// Who stands by looks through so many events for one that matters.
const GLANCE: u64 = 64;

/// Why handling events ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum Halt {
    #[error(transparent)]
    Append(#[from] AppendError),
    #[error(transparent)]
    Reaction(#[from] ReactionError),
    #[error("the lead cannot be taken: {0}")]
    Lead(#[from] ReadModelError),
    #[error("its filter, key or retry panicked: {0}")]
    Panic(String),
}

impl From<StoreError> for Halt {
    fn from(error: StoreError) -> Self {
        Self::Append(error.into())
    }
}

impl Halt {
    fn is_closed(&self) -> bool {
        matches!(
            self,
            Self::Append(AppendError::Store(StoreError::Closed))
                | Self::Reaction(ReactionError::Store(StoreError::Closed))
        )
    }
}

/// How far a reaction is.
#[derive(Clone)]
pub(super) struct Progress {
    pub(super) position: Position,
    pub(super) state: ReactionState,
    pub(super) in_hand: usize,
}

pub(crate) struct Reactor {
    pub(super) reaction: Arc<dyn AnyReaction>,
    store: Arc<dyn EventStore>,
    models: Arc<dyn ReadModelStore>,
    commands: Commands,
    pub(super) consumer: Consumer,
    pub(super) letters: DeadLetters,
    /// Held while this process is the one that handles the events.
    lead: Mutex<Option<Lead>>,
    pub(super) progress: watch::Sender<Progress>,
}

impl Reactor {
    pub(crate) fn new(
        reaction: Arc<dyn AnyReaction>,
        store: Arc<dyn EventStore>,
        models: Arc<dyn ReadModelStore>,
        commands: Commands,
    ) -> Result<Self, NameError> {
        let name = reaction.name();
        let consumer = Consumer::new(Arc::clone(&store), ConsumerName::new(format!("reaction:{name}"))?);
        let letters = DeadLetters::new(Arc::clone(&store), name)?;
        let progress = Progress { position: Position::ZERO, state: ReactionState::Passive, in_hand: 0 };
        let (lead, progress) = (Mutex::default(), watch::Sender::new(progress));
        Ok(Self { reaction, store, models, commands, consumer, letters, lead, progress })
    }

    pub(crate) fn name(&self) -> &'static str {
        self.reaction.name()
    }

    /// Begins, so that what is stored from now on is handled whenever it runs. What keeps it from going on is tried again by
    /// [`run`](Self::run).
    ///
    /// # Errors
    /// One that was never started has no place, and the store did not take it: what is stored from now on would be missed.
    pub(crate) async fn begin(&self) -> Result<(), AppendError> {
        self.show(ReactionState::CatchingUp);
        let begun = async {
            if self.take_lead().await? {
                let position = self.consumer.begin(self.reaction.begin()).await?;
                self.progress.send_modify(|progress| progress.position = position);
            }
            Ok::<_, Halt>(())
        };
        match begun.await {
            // What takes no writes takes no commands either.
            Err(Halt::Append(error))
                if !matches!(error, AppendError::Store(StoreError::ReadOnly { .. }))
                    && matches!(self.consumer.place().await, Ok(None)) =>
            {
                return Err(error);
            }
            Err(halt) => self.show(ReactionState::Stopped { error: halt.to_string(), next_attempt: None }),
            Ok(()) => {}
        }
        Ok(())
    }

    /// Runs until the store is closed or the task is ended.
    pub(crate) async fn run(self: Arc<Self>) {
        let mut patience = FIRST_RETRY;
        loop {
            let before = self.progress.borrow().position;
            let halt = match AssertUnwindSafe(self.stand_by_and_follow()).catch_unwind().await {
                Ok(Err(halt)) => halt,
                Ok(Ok(never)) => match never {},
                Err(panic) => Halt::Panic(panic_text(&*panic)),
            };
            // Another process may be able to go on.
            self.lead.lock().await.take();
            if self.progress.borrow().position > before {
                patience = FIRST_RETRY;
            }
            let micros = i64::try_from(patience.as_micros()).unwrap_or(i64::MAX);
            let next_attempt = (!halt.is_closed()).then(|| Timestamp::now().plus_micros(micros));
            tracing::error!(reaction = self.name(), reason = %halt, "reaction stopped");
            self.show(ReactionState::Stopped { error: halt.to_string(), next_attempt });
            if next_attempt.is_none() {
                return;
            }
            sleep(patience).await;
            patience = (patience * 2).min(LAST_RETRY);
        }
    }

    fn show(&self, state: ReactionState) {
        self.progress.send_modify(|progress| (progress.state, progress.in_hand) = (state, 0));
    }

    async fn stand_by_and_follow(self: &Arc<Self>) -> Result<Infallible, Halt> {
        while !self.take_lead().await? {
            let position = self.look().await?.unwrap_or_default();
            let state = ReactionState::StandingBy;
            self.progress.send_replace(Progress { position, state, in_hand: 0 });
            sleep(LOOK).await;
        }
        self.follow().await
    }

    /// Becomes the one that handles the events, if no other one does. The lock is that of a read model without content.
    async fn take_lead(&self) -> Result<bool, ReadModelError> {
        let mut lead = self.lead.lock().await;
        if lead.is_none() {
            *lead = self.models.open(&format!("reaction-{}", self.name()), 1).await?.try_lead().await?;
        }
        Ok(lead.is_some())
    }

    /// Up to where everything is settled, as far as the store tells; nothing for one that was never started.
    async fn look(&self) -> Result<Option<Position>, StoreError> {
        let Some(place) = self.consumer.place().await? else { return Ok(None) };
        // What is of no interest is not written down by who handles the events.
        let next = ReadRequest::new(self.reaction.filter()).after(place).limit(GLANCE);
        let batch = self.store.read(next).await?;
        let is_quiet = batch.events.iter().all(is_note) && batch.events.len() < GLANCE as usize;
        Ok(Some(if is_quiet { batch.head.max(place) } else { place }))
    }

    pub(crate) async fn status(&self) -> Result<ReactionStatus, ReactionError> {
        let Progress { position, state, in_hand } = self.progress.borrow().clone();
        let position = match state {
            ReactionState::CatchingUp | ReactionState::Live | ReactionState::Retrying { .. } => {
                Some(position)
            }
            _ => self.look().await?,
        };
        let head = self.store.head().await?;
        let dead_letters = self.letters.count().await?;
        Ok(ReactionStatus { name: self.name(), position, head, state, in_hand, dead_letters })
    }

    /// Waits until everything up to a position is settled.
    pub(crate) async fn wait_for(&self, at_least: Position, patience: Duration) -> Result<(), ReactionError> {
        let mut progress = self.progress.subscribe();
        let is_over =
            |progress: &Progress| progress.position >= at_least || progress.state == ReactionState::Passive;
        // Whether it was reached in time shows in the progress itself.
        let _ = timeout(patience, async { progress.wait_for(is_over).await.is_ok() }).await;
        let Progress { position, state, .. } = self.progress.borrow().clone();
        if position >= at_least {
            return Ok(());
        }
        Err(ReactionError::Behind { name: self.name(), position, at_least, state: Box::new(state) })
    }

    pub(super) fn context(&self, event: &RecordedEvent, attempt: u32) -> ReactionContext {
        ReactionContext::new(self.name(), attempt, event, self.commands.clone())
    }

    pub(crate) async fn dead_letters(&self) -> Result<Vec<DeadLetter>, ReactionError> {
        self.letters.list().await
    }

    /// Handles the event of a dead letter once more, now.
    pub(crate) async fn retry(&self, position: Position) -> Result<(), ReactionError> {
        let settling = self.letters.begin_to_settle(position).await?;
        let name = self.name();
        let request = ReadRequest::new(Filter::all()).from(ReadFrom::Position(position)).limit(1);
        let found = self.store.read(request).await?.events.into_iter().next();
        let is_it = |event: &RecordedEvent| event.id().to_string() == settling.event.id;
        let event = found.filter(is_it).ok_or(ReactionError::Gone { name, position })?;
        let tried = attempt(&*self.reaction, &event, &self.context(&event, 1)).await;
        tried.map_err(|error| ReactionError::FailedAgain { name, position, error })?;
        Ok(settling.settle(Note::Retried).await?)
    }

    /// Takes a dead letter off the list.
    pub(crate) async fn drop_letter(&self, position: Position) -> Result<(), ReactionError> {
        Ok(self.letters.begin_to_settle(position).await?.settle(Note::Dropped).await?)
    }
}
