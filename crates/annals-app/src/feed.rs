//! One pass over the log for several projections.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use annals_core::{EventStore, Filter, FilterItem, Position, ReadRequest, RecordedEvent, StoreError};
use tokio::sync::Notify;

/// So many batches are kept for those who come later: at most 8 × 4 MiB of events.
const KEPT_BATCHES: usize = 8;
/// Who is ahead waits so long, at most, for those who would have to read for themselves what is about to go.
const WAIT_FOR_OTHERS: Duration = Duration::from_millis(500);

/// Reads the events of several projections once. Each has a cursor; who comes first to the end of what was read reads on,
/// and the others find it in memory. One that is far behind, or far too slow, reads for itself.
pub(crate) struct Feed {
    store: Arc<dyn EventStore>,
    /// The events that any of them needs.
    filter: Filter,
    /// Where it ends; nothing when it goes on for ever.
    end: Option<Position>,
    shared: Mutex<Shared>,
    /// Held by who reads on.
    reading: tokio::sync::Mutex<()>,
    moved: Notify,
}

#[derive(Default)]
struct Shared {
    batches: VecDeque<Batch>,
    /// Where each cursor is.
    cursors: HashMap<u64, Position>,
    next_cursor: u64,
}

/// All events that are needed after a position, up to another.
#[derive(Clone)]
struct Batch {
    after: Position,
    upto: Position,
    events: Arc<[RecordedEvent]>,
    /// Whether it goes up to the end of the log.
    at_end: bool,
}

/// What a cursor comes to.
pub(crate) enum FeedMessage {
    /// The next events, in order; every one that is needed after `after`, up to `upto`, is among them.
    Events { after: Position, upto: Position, events: Arc<[RecordedEvent]>, at_end: bool },
    /// All events up to here were handed over.
    CaughtUp(Position),
}

/// A place in a feed.
pub(crate) struct Cursor {
    feed: Arc<Feed>,
    filter: Filter,
    number: u64,
    at: Position,
    /// Whether it was told that it is at the end.
    is_told: bool,
}

impl Feed {
    pub(crate) fn new(
        store: Arc<dyn EventStore>,
        filters: impl IntoIterator<Item = Filter>,
        end: Option<Position>,
    ) -> Arc<Self> {
        let (shared, reading, moved) = (Mutex::default(), tokio::sync::Mutex::default(), Notify::new());
        Arc::new(Self { store, filter: union(filters), end, shared, reading, moved })
    }

    /// A place behind a position, for events that match.
    pub(crate) fn join(self: &Arc<Self>, filter: Filter, after: Position) -> Cursor {
        let mut shared = self.shared();
        let number = shared.next_cursor;
        shared.next_cursor += 1;
        shared.cursors.insert(number, after);
        Cursor { feed: Arc::clone(self), filter, number, at: after, is_told: false }
    }

    fn shared(&self) -> std::sync::MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn read(&self, filter: &Filter, after: Position) -> Result<Batch, StoreError> {
        let batch = self.store.read(ReadRequest::new(filter.clone()).after(after)).await?;
        let (mut events, mut at_end) = (batch.events, batch.next.is_none());
        let last = events.last().map_or(after, RecordedEvent::position);
        let mut upto = if at_end { batch.head.max(last) } else { last };
        if let Some(end) = self.end.filter(|end| *end <= upto) {
            events.retain(|event| event.position() <= end);
            (upto, at_end) = (end.max(after), true);
        }
        Ok(Batch { after, upto, events: events.into(), at_end })
    }

    /// Waits until nobody needs the oldest batch that is kept, within reason. Who is at the end of the log waits for nobody.
    async fn make_room(&self, is_live: bool) {
        let begun = tokio::time::Instant::now();
        loop {
            let moved = self.moved.notified();
            {
                let mut shared = self.shared();
                let oldest = match shared.batches.front() {
                    Some(oldest) if shared.batches.len() >= KEPT_BATCHES => (oldest.after, oldest.upto),
                    _ => return,
                };
                let needed = |at: &Position| oldest.0 <= *at && *at < oldest.1;
                if is_live || begun.elapsed() >= WAIT_FOR_OTHERS || !shared.cursors.values().any(needed) {
                    shared.batches.pop_front();
                    return;
                }
            }
            let _ = tokio::time::timeout(WAIT_FOR_OTHERS, moved).await;
        }
    }
}

/// What any of the filters asks for.
fn union(filters: impl IntoIterator<Item = Filter>) -> Filter {
    let mut items: Vec<FilterItem> = Vec::new();
    for filter in filters {
        if filter.matches_all() {
            return filter;
        }
        for item in filter.items() {
            if !items.contains(item) {
                items.push(item.clone());
            }
        }
    }
    items.into_iter().collect()
}

impl Cursor {
    /// Waits for what comes next. Dropping the future loses nothing.
    pub(crate) async fn next(&mut self) -> Result<FeedMessage, StoreError> {
        loop {
            let batch = match self.kept() {
                Kept::Here(batch) => batch,
                Kept::Gone => self.feed.read(&self.filter, self.at).await?,
                Kept::Ahead => match self.read_on().await? {
                    Some(batch) => batch,
                    None => continue,
                },
            };
            let (after, upto) = (self.at, batch.upto);
            if batch.at_end && upto == after && self.is_told && self.feed.end.is_none() {
                self.feed.store.wait_past(self.at).await?;
                continue;
            }
            let (events, at_end) = (self.own(&batch), batch.at_end);
            self.is_told = at_end;
            self.go_to(upto);
            return Ok(if events.is_empty() && at_end {
                FeedMessage::CaughtUp(upto)
            } else {
                FeedMessage::Events { after, upto, events, at_end }
            });
        }
    }

    fn kept(&self) -> Kept {
        let shared = self.feed.shared();
        let here = shared.batches.iter().find(|batch| batch.after <= self.at && self.at < batch.upto);
        match (here, shared.batches.back()) {
            (Some(batch), _) => Kept::Here(batch.clone()),
            (None, Some(newest)) if self.at < newest.upto => Kept::Gone,
            _ => Kept::Ahead,
        }
    }

    /// Reads on for all; nothing when another one did so meanwhile.
    async fn read_on(&self) -> Result<Option<Batch>, StoreError> {
        let _alone = self.feed.reading.lock().await;
        if !matches!(self.kept(), Kept::Ahead) {
            return Ok(None);
        }
        let batch = self.feed.read(&self.feed.filter, self.at).await?;
        if batch.upto > batch.after {
            self.feed.make_room(batch.at_end).await;
            self.feed.shared().batches.push_back(batch.clone());
        }
        Ok(Some(batch))
    }

    /// The events of a batch that this one needs.
    fn own(&self, batch: &Batch) -> Arc<[RecordedEvent]> {
        let mine = |event: &RecordedEvent| event.position() > self.at && self.filter.matches(event);
        if batch.after == self.at && self.filter == self.feed.filter {
            return Arc::clone(&batch.events);
        }
        batch.events.iter().filter(|event| mine(event)).cloned().collect()
    }

    fn go_to(&mut self, position: Position) {
        self.at = position;
        self.feed.shared().cursors.insert(self.number, position);
        self.feed.moved.notify_waiters();
    }
}

enum Kept {
    /// It is in memory.
    Here(Batch),
    /// It was, or never will be.
    Gone,
    /// Nobody has read so far.
    Ahead,
}

impl Drop for Cursor {
    fn drop(&mut self) {
        self.feed.shared().cursors.remove(&self.number);
        self.feed.moved.notify_waiters();
    }
}
