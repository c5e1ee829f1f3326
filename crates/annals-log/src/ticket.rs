//! What an appender waits on.

use std::sync::{Arc, PoisonError};
use std::task::{Poll, Waker};

use annals_core::{AppendError, AppendReceipt};

use crate::sync::{Condvar, Mutex, MutexGuard};

pub(crate) type Outcome = Result<AppendReceipt, AppendError>;

/// What an appender is told.
pub(crate) enum Turn {
    Wait,
    /// Lead the next group.
    Lead,
    Done(Outcome),
}

/// The place where an appender waits for its turn.
pub(crate) struct Ticket {
    turn: Mutex<(Turn, Option<Waker>)>,
    changed: Condvar,
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Ticket {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { turn: Mutex::new((Turn::Wait, None)), changed: Condvar::new() })
    }

    pub(crate) fn set(&self, turn: Turn) {
        let mut state = lock(&self.turn);
        state.0 = turn;
        let waker = state.1.take();
        drop(state);
        match waker {
            Some(waker) => waker.wake(),
            // Asks the system, whether a thread waits or not: too much where a task does.
            None => self.changed.notify_one(),
        }
    }

    /// Waits, as a thread.
    pub(crate) fn wait(&self) -> Turn {
        let mut state = lock(&self.turn);
        loop {
            match std::mem::replace(&mut state.0, Turn::Wait) {
                Turn::Wait => state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                turn => return turn,
            }
        }
    }

    /// Waits, as a task, which is never asked to lead.
    pub(crate) async fn done(&self) -> Outcome {
        std::future::poll_fn(|context| {
            let mut state = lock(&self.turn);
            match std::mem::replace(&mut state.0, Turn::Wait) {
                Turn::Done(outcome) => Poll::Ready(outcome),
                _ => {
                    state.1 = Some(context.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }
}
