//! The task of a reaction: takes up events, has them handled, remembers up to where everything is settled.

use std::convert::Infallible;
use std::sync::Arc;

use annals_core::AppendError;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::attempt::attempt;
use super::dead_letters::is_note;
use super::in_hand::{InHand, Task};
use super::reactor::{Halt, Progress};
use super::{ReactionState, Reactor};

/// What became of an attempt.
enum Outcome {
    Handled,
    /// It is a dead letter.
    GivenUp,
    Failed(String),
    /// It should be a dead letter, which the store did not take.
    NotNoted(AppendError),
}

impl Reactor {
    /// Goes on from the saved place. When it ends, what is being handled is broken off, and handled again by the next.
    pub(super) async fn follow(self: &Arc<Self>) -> Result<Infallible, Halt> {
        let place = self.consumer.begin(self.reaction.begin()).await?;
        // Given up, and the end came before the place was saved.
        let given_up = self.letters.given_up_after(place).await?;
        let mut hand = InHand::after(place);
        let mut following = self.consumer.follow(self.reaction.filter(), place);
        let mut saving = self.consumer.saving(place);
        let mut running = JoinSet::new();
        loop {
            while running.len() < self.reaction.concurrency()
                && let Some(task) = hand.next()
            {
                running.spawn(Arc::clone(self).handle(task));
            }
            let settled = hand.settled();
            let (room, wake) = (hand.room(), hand.first_waiting().map(|(at, _)| at));
            self.show_progress(&hand, following.is_at_end());
            tokio::select! {
                // In a simulation, a seed decides what comes first, and nothing else. None is ready so often that the next has no turn.
                biased;
                saved = saving.save(settled), if saving.is_due(settled) => saved?,
                () = sleep_until(wake.unwrap_or_else(Instant::now)), if wake.is_some() => {
                    hand.wake(Instant::now());
                }
                Some(done) = running.join_next() => {
                    let (task, outcome) = done.map_err(|error| Halt::Panic(error.to_string()))?;
                    match outcome {
                        Outcome::Handled | Outcome::GivenUp => {
                            hand.settle(&task);
                            saving.done();
                        }
                        Outcome::Failed(error) => self.try_again(&mut hand, task, error),
                        Outcome::NotNoted(error) => return Err(error.into()),
                    }
                }
                followed = following.next(room), if room > 0 => {
                    let followed = followed?;
                    for event in followed.events.iter().filter(|event| !is_note(event)) {
                        if !given_up.contains(&event.position()) {
                            hand.take(&self.reaction.key(event), event);
                        }
                    }
                    hand.pass(followed.upto);
                }
            }
        }
    }

    async fn handle(self: Arc<Self>, task: Task) -> (Task, Outcome) {
        let context = self.context(&task.event, task.attempt);
        let Err(error) = attempt(&*self.reaction, &task.event, &context).await else {
            return (task, Outcome::Handled);
        };
        let (name, position) = (self.name(), task.event.position().get());
        let is_last = self.reaction.retry().delay_after(task.attempt).is_none();
        tracing::warn!(
            reaction = name,
            position,
            attempt = task.attempt,
            is_last,
            correlation_id = task.event.correlation_id(),
            error,
            "reaction failed"
        );
        if !is_last {
            return (task, Outcome::Failed(error));
        }
        let noted = self.letters.add(&task.event, &error, task.attempt).await;
        (task, noted.map_or_else(Outcome::NotNoted, |()| Outcome::GivenUp))
    }

    fn try_again(&self, hand: &mut InHand, task: Task, error: String) {
        // A policy that changed its mind since is taken at its word with the next attempt.
        let delay = self.reaction.retry().delay_after(task.attempt).unwrap_or_default();
        hand.wait(task, error, delay);
    }

    fn show_progress(&self, hand: &InHand, is_at_end: bool) {
        let state = match hand.first_waiting() {
            Some((_, waiting)) => waiting.state(),
            None if is_at_end => ReactionState::Live,
            None => ReactionState::CatchingUp,
        };
        let (position, in_hand) = (hand.settled(), hand.count());
        self.progress.send_if_modified(|progress| {
            let has_changed =
                (progress.position, progress.in_hand, &progress.state) != (position, in_hand, &state);
            *progress = Progress { position, state, in_hand };
            has_changed
        });
    }
}
