//! Looking after the reactions of a running application.

use std::sync::Arc;
use std::time::Duration;

use annals_core::Position;
use tokio::time::Instant;

use super::{DeadLetter, ReactionError, ReactionStatus, Reactor};
use crate::{RunningApp, Unknown};

impl RunningApp {
    /// Where each reaction stands.
    ///
    /// # Errors
    /// What the store reports.
    pub async fn reactions(&self) -> Result<Vec<ReactionStatus>, ReactionError> {
        let mut all = Vec::new();
        for reactor in self.reactors().values() {
            all.push(reactor.status().await?);
        }
        Ok(all)
    }

    fn reactor(&self, name: &str) -> Result<&Arc<Reactor>, ReactionError> {
        self.reactors().get(name).ok_or_else(|| {
            let known = self.reactors().keys().map(|name| (*name).to_owned()).collect();
            ReactionError::Unknown(Unknown { kind: "reaction", name: name.to_owned(), known })
        })
    }

    /// The events that a reaction has given up, in the order of the log: at most a thousand.
    ///
    /// # Errors
    /// [`ReactionError::Unknown`] when there is no such reaction; what the store reports.
    pub async fn dead_letters(&self, reaction: &str) -> Result<Vec<DeadLetter>, ReactionError> {
        self.reactor(reaction)?.dead_letters().await
    }

    /// Has a reaction handle an event once more that it had given up, now. When it succeeds, the event is no dead letter any more.
    ///
    /// Later events of its key were handled meanwhile. This also works in an application that was started
    /// [`passive`](crate::App::passive).
    ///
    /// # Errors
    /// [`ReactionError::NoSuchLetter`] when the event is no dead letter, [`ReactionError::FailedAgain`] when it fails again.
    pub async fn retry_dead_letter(&self, reaction: &str, position: Position) -> Result<(), ReactionError> {
        self.reactor(reaction)?.retry(position).await
    }

    /// Takes a dead letter off the list: nothing is done about its event any more.
    ///
    /// # Errors
    /// [`ReactionError::NoSuchLetter`] when the event is no dead letter; what the store reports.
    pub async fn drop_dead_letter(&self, reaction: &str, position: Position) -> Result<(), ReactionError> {
        self.reactor(reaction)?.drop_letter(position).await
    }

    /// Waits until every reaction and process manager has handled, or given up, what the store holds, and what came of that. What
    /// waits for a timer is at rest.
    ///
    /// # Errors
    /// [`ReactionError::Behind`] after `patience`, and at once where the application was started without its reactions.
    pub async fn settle(&self, patience: Duration) -> Result<(), ReactionError> {
        let deadline = Instant::now() + patience;
        let mut head = self.store().head().await?;
        loop {
            for reactor in self.reactors().values() {
                reactor.wait_for(head, deadline.saturating_duration_since(Instant::now())).await?;
            }
            let now = self.store().head().await?;
            if now == head {
                return Ok(());
            }
            head = now;
        }
    }
}
