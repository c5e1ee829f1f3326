//! The events that a reaction has taken up: which are to be handled next, which wait, and up to where everything is settled.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use annals_core::{Position, RecordedEvent, Timestamp};
use bytes::Bytes;
use tokio::time::Instant;

use super::ReactionState;
use crate::FailedEvent;

/// A reaction takes up no more events than this that are not settled,
pub(super) const MOST_EVENTS: usize = 1_024;
/// nor more bytes, give or take a batch,
const MOST_BYTES: usize = 32 << 20;
/// and no more settled ones behind one that is not: they would be handled again after a crash.
const MOST_AHEAD: usize = 10_000;

/// An event to be handled.
#[derive(Clone)]
pub(super) struct Task {
    pub(super) key: Arc<str>,
    pub(super) event: RecordedEvent,
    /// From 1.
    pub(super) attempt: u32,
}

/// An event that waits to be tried again.
pub(super) struct Waiting {
    task: Task,
    /// Why it failed the last time.
    error: String,
    /// When it is tried again.
    at: Timestamp,
}

impl Waiting {
    pub(super) fn state(&self) -> ReactionState {
        let Task { event, attempt, .. } = &self.task;
        let (event, error) = (FailedEvent::of(event), self.error.clone());
        ReactionState::Retrying { event, error, attempt: *attempt, next_attempt: self.at }
    }
}

pub(super) struct InHand {
    /// Every event up to here was taken up.
    upto: Position,
    /// The later events of each key of which one is being handled, is to be handled or waits.
    later: HashMap<Arc<str>, VecDeque<RecordedEvent>>,
    ready: VecDeque<Task>,
    waiting: BTreeMap<(Instant, Position), Waiting>,
    /// The events that are not settled, and those that are although one before them is not.
    open: BTreeSet<Position>,
    ahead: BTreeSet<Position>,
    bytes: usize,
}

impl InHand {
    /// Nothing, behind a position.
    pub(super) fn after(upto: Position) -> Self {
        Self {
            upto,
            later: HashMap::new(),
            ready: VecDeque::new(),
            waiting: BTreeMap::new(),
            open: BTreeSet::new(),
            ahead: BTreeSet::new(),
            bytes: 0,
        }
    }

    /// How many events are not settled.
    pub(super) fn count(&self) -> usize {
        self.open.len()
    }

    /// How many more may be taken up; none until half of them can be, for many small reads take longer than a large one.
    pub(super) fn room(&self) -> usize {
        let room = MOST_EVENTS - self.open.len().min(MOST_EVENTS);
        let is_full = self.bytes >= MOST_BYTES || self.ahead.len() >= MOST_AHEAD;
        if is_full || room < MOST_EVENTS / 2 { 0 } else { room }
    }

    /// Every event up to here is settled.
    pub(super) fn settled(&self) -> Position {
        self.open.first().map_or(self.upto, |first| first.previous())
    }

    /// Takes up an event.
    pub(super) fn take(&mut self, key: &str, event: &RecordedEvent) {
        let event = apart(event);
        self.upto = event.position();
        self.open.insert(event.position());
        self.bytes += event.body().len();
        match self.later.get_mut(key) {
            Some(later) => later.push_back(event),
            None => {
                let key: Arc<str> = key.into();
                self.later.insert(Arc::clone(&key), VecDeque::new());
                self.ready.push_back(Task { key, event, attempt: 1 });
            }
        }
    }

    /// There is nothing more to be taken up until here.
    pub(super) fn pass(&mut self, upto: Position) {
        self.upto = self.upto.max(upto);
    }

    /// The next event to be handled, which is then in the hands of the caller.
    pub(super) fn next(&mut self) -> Option<Task> {
        self.ready.pop_front()
    }

    /// The event of a task is handled or a dead letter: its key goes on.
    pub(super) fn settle(&mut self, task: &Task) {
        let position = task.event.position();
        self.open.remove(&position);
        self.bytes = self.bytes.saturating_sub(task.event.body().len());
        self.ahead.insert(position);
        let settled = self.settled();
        while self.ahead.first().is_some_and(|ahead| *ahead <= settled) {
            self.ahead.pop_first();
        }
        let Some(later) = self.later.get_mut(&task.key) else { return };
        match later.pop_front() {
            Some(event) => self.ready.push_back(Task { key: Arc::clone(&task.key), event, attempt: 1 }),
            None => {
                self.later.remove(&task.key);
            }
        }
    }

    /// The event of a task is tried again after a while.
    pub(super) fn wait(&mut self, task: Task, error: String, delay: Duration) {
        let at = Timestamp::now().plus_micros(i64::try_from(delay.as_micros()).unwrap_or(i64::MAX));
        let place = (Instant::now() + delay, task.event.position());
        let task = Task { attempt: task.attempt.saturating_add(1), ..task };
        self.waiting.insert(place, Waiting { task, error, at });
    }

    /// The event that is tried again first, and when.
    pub(super) fn first_waiting(&self) -> Option<(Instant, &Waiting)> {
        self.waiting.first_key_value().map(|((at, _), waiting)| (*at, waiting))
    }

    /// Makes those ready whose time has come.
    pub(super) fn wake(&mut self, now: Instant) {
        while let Some(first) = self.waiting.first_entry().filter(|first| first.key().0 <= now) {
            self.ready.push_back(first.remove().task);
        }
    }
}

/// The event in bytes of its own: one that waits must not keep the whole batch that it was read with.
fn apart(event: &RecordedEvent) -> RecordedEvent {
    let body = Bytes::copy_from_slice(event.body());
    RecordedEvent::view(event.position(), event.version(), event.recorded_at(), body)
        .unwrap_or_else(|_| event.clone())
}
