//! Tells waiters how far the log has come.

#[cfg(shuttle)]
use shuttle::sync::atomic::{AtomicBool, AtomicU64, Ordering};
#[cfg(not(shuttle))]
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use event_listener::{Event, Listener};

use crate::{Position, StoreError};

/// The position of the last visible event, to be read at once and waited for, by threads and by tasks alike.
#[derive(Debug, Default)]
pub struct Head {
    position: AtomicU64,
    closed: AtomicBool,
    moved: Event,
}

impl Head {
    /// A head at `position`.
    pub fn at(position: Position) -> Self {
        Self { position: AtomicU64::new(position.get()), ..Self::default() }
    }

    /// Where it is.
    pub fn get(&self) -> Position {
        Position::new(self.position.load(Ordering::Acquire))
    }

    /// Moves it forwards and wakes who waits. What is behind it must be readable already.
    pub fn advance(&self, position: Position) {
        self.position.fetch_max(position.get(), Ordering::AcqRel);
        self.moved.notify(usize::MAX);
    }

    /// Ends all waiting with [`StoreError::Closed`].
    pub fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.moved.notify(usize::MAX);
    }

    fn state(&self, after: Position) -> Option<Result<Position, StoreError>> {
        let head = self.get();
        if head > after {
            return Some(Ok(head));
        }
        self.closed.load(Ordering::Acquire).then_some(Err(StoreError::Closed))
    }

    /// Waits, as a task, until it is behind `after`.
    ///
    /// # Errors
    /// [`StoreError::Closed`] when the store was closed.
    pub async fn wait_past(&self, after: Position) -> Result<Position, StoreError> {
        loop {
            if let Some(state) = self.state(after) {
                return state;
            }
            let listener = self.moved.listen();
            if let Some(state) = self.state(after) {
                return state;
            }
            listener.await;
        }
    }

    /// Waits, as a thread, until it is behind `after`, for at most `timeout`; `None` when that passed.
    ///
    /// # Errors
    /// [`StoreError::Closed`] when the store was closed.
    pub fn wait_past_blocking(
        &self,
        after: Position,
        timeout: std::time::Duration,
    ) -> Result<Option<Position>, StoreError> {
        let deadline = std::time::Instant::now() + timeout;
        loop {
            if let Some(state) = self.state(after) {
                return state.map(Some);
            }
            let listener = self.moved.listen();
            if let Some(state) = self.state(after) {
                return state.map(Some);
            }
            if listener.wait_deadline(deadline).is_none() {
                return Ok(None);
            }
        }
    }
}
