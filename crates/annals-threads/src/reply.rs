//! One answer, from a thread to a task of any executor.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

/// The side that answers. Dropped unused, it tells the waiting side that no answer will come.
#[derive(Debug)]
pub struct Answer<T>(Arc<Mutex<Slot<T>>>);

/// The side that waits: a future of the answer, or of `None` when there will be none.
#[derive(Debug)]
pub struct Reply<T>(Arc<Mutex<Slot<T>>>);

#[derive(Debug)]
enum Slot<T> {
    Open(Option<Waker>),
    Given(T),
    Ended,
}

/// Both sides of one answer.
pub fn pair<T>() -> (Answer<T>, Reply<T>) {
    let slot = Arc::new(Mutex::new(Slot::Open(None)));
    (Answer(Arc::clone(&slot)), Reply(slot))
}

fn replace<T>(slot: &Mutex<Slot<T>>, with: Slot<T>) -> Slot<T> {
    std::mem::replace(&mut *slot.lock().unwrap_or_else(PoisonError::into_inner), with)
}

impl<T> Answer<T> {
    /// Gives the answer, and wakes who waits for it.
    pub fn give(self, value: T) {
        if let Slot::Open(Some(waker)) = replace(&self.0, Slot::Given(value)) {
            waker.wake();
        }
    }
}

impl<T> Drop for Answer<T> {
    fn drop(&mut self) {
        let mut slot = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !matches!(*slot, Slot::Open(_)) {
            return;
        }
        if let Slot::Open(Some(waker)) = std::mem::replace(&mut *slot, Slot::Ended) {
            drop(slot);
            waker.wake();
        }
    }
}

impl<T> Future for Reply<T> {
    type Output = Option<T>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        let mut slot = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *slot {
            Slot::Open(waker) => {
                match waker {
                    Some(waker) => waker.clone_from(context.waker()),
                    None => *waker = Some(context.waker().clone()),
                }
                Poll::Pending
            }
            _ => match std::mem::replace(&mut *slot, Slot::Ended) {
                Slot::Given(value) => Poll::Ready(Some(value)),
                Slot::Open(_) | Slot::Ended => Poll::Ready(None),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use annals_core::block_on;

    #[test]
    fn an_answer_arrives_from_another_thread() {
        let (answer, reply) = pair();
        let thread = std::thread::spawn(move || answer.give(7));
        assert_eq!(block_on(reply), Some(7));
        thread.join().unwrap();
    }

    #[test]
    fn a_dropped_answer_ends_the_waiting() {
        let (answer, reply) = pair::<u8>();
        let thread = std::thread::spawn(move || drop(answer));
        assert_eq!(block_on(reply), None);
        thread.join().unwrap();
    }
}
