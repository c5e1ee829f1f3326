//! Group commit: the first who waits leads the group and makes the barrier; those who arrive meanwhile follow in the
//! next group.
//!
//! A thread that appends leads on its own thread. A task cannot, so the log's one own thread leads for tasks; it also
//! writes the durable mark when no append has come for a while.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use annals_core::catalog::{PreparedAppend, Staged, Staging};
use annals_core::{AppendError, AppendReceipt, Clock, Head, StoreError};

use crate::index::Index;
use crate::writer::Writer;

/// A group takes no more appends once their events have this many bytes; one append may be larger.
const GROUP_BYTES: usize = 8 << 20;

type Outcome = Result<AppendReceipt, AppendError>;

/// The writing side of a log, shared by all who append.
pub(crate) struct Commits {
    pub(crate) index: RwLock<Index>,
    pub(crate) head: Head,
    clock: Arc<dyn Clock>,
    mark_after: Duration,
    writer: Mutex<Writer>,
    queue: Mutex<Queue>,
    /// Wakes the log's own thread.
    work: Condvar,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Waiting>,
    /// Whether somebody commits a group just now.
    leading: bool,
    closed: bool,
    /// When the last group was committed, while that is not marked yet.
    unmarked_since: Option<Instant>,
}

struct Waiting {
    append: PreparedAppend,
    ticket: Arc<Ticket>,
    /// Whether a thread waits, which can lead, or a task, which cannot.
    can_lead: bool,
}

enum Turn {
    Wait,
    Lead,
    Done(Outcome),
}

/// What an appender waits on.
struct Ticket {
    turn: Mutex<(Turn, Option<Waker>)>,
    changed: Condvar,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Ticket {
    fn new() -> Arc<Self> {
        Arc::new(Self { turn: Mutex::new((Turn::Wait, None)), changed: Condvar::new() })
    }

    fn set(&self, turn: Turn) {
        let mut state = lock(&self.turn);
        state.0 = turn;
        let waker = state.1.take();
        drop(state);
        self.changed.notify_one();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn wait(&self) -> Turn {
        let mut state = lock(&self.turn);
        loop {
            match std::mem::replace(&mut state.0, Turn::Wait) {
                Turn::Wait => state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                turn => return turn,
            }
        }
    }

    async fn done(&self) -> Outcome {
        poll_fn(|context| {
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

impl Commits {
    pub(crate) fn new(index: Index, writer: Writer, clock: Arc<dyn Clock>, mark_after: Duration) -> Self {
        let head = Head::at(index.catalog.head());
        let unmarked_since = writer.needs_mark().then(Instant::now);
        let queue = Queue { unmarked_since, ..Queue::default() };
        Self {
            index: RwLock::new(index),
            head,
            clock,
            mark_after,
            writer: Mutex::new(writer),
            queue: Mutex::new(queue),
            work: Condvar::new(),
        }
    }

    /// Appends from a thread, which may make the barrier for others too.
    pub(crate) fn append_blocking(&self, append: PreparedAppend) -> Outcome {
        let (ticket, lead) = self.enqueue(append, true)?;
        if lead {
            self.lead();
        }
        loop {
            match ticket.wait() {
                Turn::Done(outcome) => return outcome,
                Turn::Lead | Turn::Wait => self.lead(),
            }
        }
    }

    /// Appends from a task.
    pub(crate) async fn append(&self, append: PreparedAppend) -> Outcome {
        let (ticket, _) = self.enqueue(append, false)?;
        ticket.done().await
    }

    /// Lines an append up; the second answer is whether the caller is to lead.
    fn enqueue(&self, append: PreparedAppend, can_lead: bool) -> Result<(Arc<Ticket>, bool), AppendError> {
        let ticket = Ticket::new();
        let mut queue = lock(&self.queue);
        if queue.closed {
            return Err(StoreError::Closed.into());
        }
        queue.waiting.push_back(Waiting { append, ticket: Arc::clone(&ticket), can_lead });
        let free = !queue.leading;
        if free && can_lead {
            queue.leading = true;
        } else if free {
            self.work.notify_one();
        }
        Ok((ticket, free && can_lead))
    }

    /// Commits one group and hands the lead over.
    fn lead(&self) {
        let group = self.take_group();
        self.commit(group);
        let mut queue = lock(&self.queue);
        if queue.unmarked_since.replace(Instant::now()).is_none() {
            self.work.notify_one();
        }
        match queue.waiting.front() {
            Some(next) if next.can_lead => next.ticket.set(Turn::Lead),
            next => {
                if next.is_some() {
                    self.work.notify_one();
                }
                queue.leading = false;
            }
        }
    }

    fn take_group(&self) -> Vec<Waiting> {
        let mut queue = lock(&self.queue);
        let mut bytes = 0;
        let fits = queue.waiting.iter().take_while(|waiting| {
            let first = bytes == 0;
            bytes += waiting.append.body_bytes + 1;
            first || bytes <= GROUP_BYTES
        });
        let count = fits.count();
        queue.waiting.drain(..count).collect()
    }

    fn commit(&self, group: Vec<Waiting>) {
        let mut writer = lock(&self.writer);
        let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
        let mut staging = Staging::new(&index.catalog, &*index, self.clock.now());
        let mut accepted = Vec::new();
        for Waiting { append, ticket, .. } in group {
            let staged = writer.check().map_err(AppendError::from).and_then(|()| staging.stage(append));
            match staged {
                Ok(Staged::Accepted(place)) => accepted.push((ticket, place, false)),
                Ok(Staged::DuplicateOf(place)) => accepted.push((ticket, place, true)),
                Ok(Staged::Duplicate(receipt)) => ticket.set(Turn::Done(with_proof(receipt, &index))),
                Err(error) => ticket.set(Turn::Done(Err(error))),
            }
        }
        let recorded_at = staging.recorded_at();
        let appends = staging.into_appends();
        drop(index);
        if appends.is_empty() {
            return;
        }
        let committed = writer.commit(&self.index, &appends, recorded_at);
        if committed.is_ok() {
            self.head.advance(self.index.read().unwrap_or_else(PoisonError::into_inner).catalog.head());
        }
        for (ticket, place, duplicate) in accepted {
            let outcome = match (&committed, appends.get(place)) {
                (Ok(proof), Some(append)) => {
                    let proof = Some(*proof).filter(|_| !append.events.is_empty());
                    Ok(AppendReceipt { duplicate, proof, ..append.receipt.clone() })
                }
                (Err(error), _) => Err(again(error).into()),
                (Ok(_), None) => Err(StoreError::Closed.into()),
            };
            ticket.set(Turn::Done(outcome));
        }
    }

    /// What the log's own thread does until the log is closed.
    pub(crate) fn serve_tasks(&self) {
        let mut queue = lock(&self.queue);
        loop {
            let idle = !queue.leading;
            if idle && !queue.waiting.is_empty() {
                queue.leading = true;
                drop(queue);
                self.lead();
                queue = lock(&self.queue);
                continue;
            }
            let due = queue.unmarked_since.map(|since| self.mark_after.saturating_sub(since.elapsed()));
            if idle && (due == Some(Duration::ZERO) || queue.closed) {
                if queue.unmarked_since.take().is_some() {
                    queue.leading = true;
                    drop(queue);
                    self.mark();
                    queue = lock(&self.queue);
                    queue.leading = false;
                    continue;
                }
                if queue.closed {
                    return;
                }
            }
            queue = match due.filter(|_| idle) {
                Some(due) => self.work.wait_timeout(queue, due).unwrap_or_else(PoisonError::into_inner).0,
                None => self.work.wait(queue).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    fn mark(&self) {
        let mut writer = lock(&self.writer);
        if writer.needs_mark() {
            // Without a mark the events are as durable as before; only a loss of the last ones could not be proven.
            let _ = writer.write_mark();
        }
    }

    /// Takes no more appends; what is lined up is still committed.
    pub(crate) fn close(&self) {
        lock(&self.queue).closed = true;
        self.work.notify_one();
        self.head.close();
    }
}

/// Adds the chain's hash of that time to the receipt of a former append.
fn with_proof(mut receipt: AppendReceipt, index: &Index) -> Outcome {
    receipt.proof = Some(index.proof_of(receipt.last_position)?);
    Ok(receipt)
}

/// The same error for each append of a group that failed together.
fn again(error: &StoreError) -> StoreError {
    match error {
        StoreError::DiskFull { path } => StoreError::DiskFull { path: path.clone() },
        StoreError::OutcomeUnknown { reason } => StoreError::OutcomeUnknown { reason: reason.clone() },
        StoreError::ReadOnly { reason } => StoreError::ReadOnly { reason: reason.clone() },
        StoreError::Io { operation, path, source } => StoreError::Io {
            operation,
            path: path.clone(),
            source: std::io::Error::new(source.kind(), source.to_string()),
        },
        other => StoreError::backend("cannot commit", std::io::Error::other(other.to_string())),
    }
}
