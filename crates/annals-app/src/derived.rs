//! Streams made from streams of events: mapped, filtered, folded, and looked at through windows of time.

use std::collections::{HashMap, VecDeque};
use std::future::ready;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use annals_core::{
    EventStore, Filter, Position, ReadFrom, ReadRequest, RecordedEvent, StoreError, SubscriptionMessage,
    Timestamp, subscribe,
};
use futures_util::stream::{self, Stream, StreamExt};

use crate::{Event, UnreadableEvent, decode_event};

/// A window keeps so many items of one key; older ones are left out, and the window says so.
pub const MAX_WINDOW_ITEMS: usize = 10_000;

/// Something that follows from the events up to a position.
#[derive(Debug, Clone, PartialEq)]
pub struct Derived<T> {
    /// The position of the event that it follows from: a stream begun again behind it goes on from there.
    pub position: Position,
    /// When that event happened.
    pub occurred_at: Timestamp,
    /// What follows from it.
    pub value: T,
}

impl<T> Derived<T> {
    fn with<U>(&self, value: U) -> Derived<U> {
        Derived { position: self.position, occurred_at: self.occurred_at, value }
    }
}

/// Why a derived stream ends.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DerivedError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An event cannot be read.
    #[error(transparent)]
    Unreadable(#[from] UnreadableEvent),
}

/// The events behind a position that match, from history and then live: what streams are derived from. It ends with the
/// first error; begun again behind the last position seen, it skips nothing and repeats nothing.
///
/// Streams of several kinds of events in one are had by a filter of several items: one pass, in the order of the log. What
/// was made of them apart is merged by [`merge_derived`](crate::merge_derived) and
/// [`merge_derived_in_order`](crate::merge_derived_in_order).
///
/// ```
/// use annals_app::{DeriveExt, derive_from};
/// use annals_core::{AppendRequest, EventStore, EventType, Filter, MemoryStore, NewEvent, Position, StreamName};
/// use futures_util::StreamExt;
/// # annals_core::block_on(async {
/// let store = std::sync::Arc::new(MemoryStore::default());
/// let rung = NewEvent::new(StreamName::new("bell-1")?, EventType::new("BellRung")?).json("{}");
/// store.append(AppendRequest::new([rung])).await?;
/// let bells = derive_from(store, Filter::all(), Position::ZERO).map_values(|event| event.stream().to_owned());
/// let first = std::pin::pin!(bells).next().await.ok_or("a bell")??;
/// assert_eq!((first.position.get(), first.value.as_str()), (1, "bell-1"));
/// # Ok::<(), annals_core::BoxError>(()) }).unwrap();
/// ```
pub fn derive_from(
    store: Arc<dyn EventStore>,
    filter: Filter,
    after: Position,
) -> impl Stream<Item = Result<Derived<RecordedEvent>, DerivedError>> + Send {
    let batches = stream::unfold(Some(subscribe(store, filter, after)), |subscription| async {
        let mut subscription = subscription?;
        loop {
            match subscription.next().await {
                Ok(SubscriptionMessage::Events(events)) => return Some((Ok(events), Some(subscription))),
                Ok(_) => {}
                Err(error) => return Some((Err(DerivedError::from(error)), None)),
            }
        }
    });
    batches.flat_map(one_by_one)
}

/// The same events as [`derive_from`], up to the end of the log as it is when the first is read; then the stream ends.
pub fn derive_from_history(
    store: Arc<dyn EventStore>,
    filter: Filter,
    after: Position,
) -> impl Stream<Item = Result<Derived<RecordedEvent>, DerivedError>> + Send {
    let first = (Some(ReadRequest::new(filter).after(after)), None);
    let batches = stream::unfold(first, move |(request, end)| {
        let store = Arc::clone(&store);
        async move {
            let request: ReadRequest = request?;
            let batch = match store.read(request.clone()).await {
                Ok(batch) => batch,
                Err(error) => return Some((Err(DerivedError::from(error)), (None, end))),
            };
            let end = end.unwrap_or(batch.head);
            let mut events = batch.events;
            events.retain(|event| event.position() <= end);
            let next = batch.next.filter(|next| *next <= end);
            let request = next.map(|next| request.from(ReadFrom::Position(next)));
            Some((Ok(events), (request, Some(end))))
        }
    });
    batches.flat_map(one_by_one)
}

fn one_by_one(
    batch: Result<Vec<RecordedEvent>, DerivedError>,
) -> impl Stream<Item = Result<Derived<RecordedEvent>, DerivedError>> + Send {
    match batch {
        Ok(events) => stream::iter(events).map(|event| Ok(derived(event))).left_stream(),
        Err(error) => stream::iter([Err(error)]).right_stream(),
    }
}

fn derived(event: RecordedEvent) -> Derived<RecordedEvent> {
    Derived { position: event.position(), occurred_at: event.occurred_at(), value: event }
}

/// The items of a key that happened within a length of time up to one of them, that one included.
#[derive(Debug, PartialEq)]
pub struct Window<K, T> {
    /// The key.
    pub key: K,
    /// The items, in the order of the log. Windows share them: an item is in as many as there are items behind it.
    pub items: Vec<Arc<Derived<T>>>,
    /// Whether there were more than [`MAX_WINDOW_ITEMS`].
    pub is_cut: bool,
}

impl<K: Clone, T> Clone for Window<K, T> {
    fn clone(&self) -> Self {
        Self { key: self.key.clone(), items: self.items.clone(), is_cut: self.is_cut }
    }
}

/// What can be made of a derived stream. Each gives an ordinary `Stream`, so those of `futures_util::StreamExt` are there too.
pub trait DeriveExt<T: Send + 'static>:
    Stream<Item = Result<Derived<T>, DerivedError>> + Send + Sized
{
    /// Another value in the place of each.
    fn map_values<U: Send + 'static>(
        self,
        mut map: impl FnMut(T) -> U + Send,
    ) -> impl Stream<Item = Result<Derived<U>, DerivedError>> + Send {
        self.map(move |item| {
            let Derived { position, occurred_at, value } = item?;
            Ok(Derived { position, occurred_at, value: map(value) })
        })
    }

    /// Another value in the place of each for which there is one.
    fn filter_map_values<U: Send + 'static>(
        self,
        mut map: impl FnMut(&Derived<T>) -> Option<U> + Send,
    ) -> impl Stream<Item = Result<Derived<U>, DerivedError>> + Send {
        self.filter_map(move |item| {
            ready(item.map(|item| map(&item).map(|value| item.with(value))).transpose())
        })
    }

    /// Folds each into a state of its key, and goes on with what `step` makes of both. Memory grows with the number of keys.
    fn scan_by<K: Hash + Eq + Send, S: Default + Send, U: Send + 'static>(
        self,
        mut key: impl FnMut(&T) -> K + Send,
        mut step: impl FnMut(&mut S, &Derived<T>) -> Option<U> + Send,
    ) -> impl Stream<Item = Result<Derived<U>, DerivedError>> + Send {
        let mut states: HashMap<K, S> = HashMap::new();
        self.filter_map_values(move |item| step(states.entry(key(&item.value)).or_default(), item))
    }

    /// For each item, those of its key that happened less than `length` before it, itself included.
    ///
    /// Windows go by when things happened, whenever they were recorded; an item that is told of late has the others as far as
    /// they are still kept. They begin empty: to begin again behind a position with the same windows, begin behind that of the
    /// first item of the last window, and pass by what was seen. A key is forgotten after a million items of others.
    fn windows_by<K: Hash + Eq + Clone + Send + 'static>(
        self,
        length: Duration,
        mut key: impl FnMut(&T) -> K + Send,
    ) -> impl Stream<Item = Result<Derived<Window<K, T>>, DerivedError>> + Send
    where
        T: Sync,
    {
        let mut windows = Windows { length, by_key: HashMap::new(), taken: 0 };
        self.map(move |item| {
            let item = item?;
            let (position, occurred_at, key) = (item.position, item.occurred_at, key(&item.value));
            Ok(Derived { position, occurred_at, value: windows.take(key, item) })
        })
    }
}

impl<T: Send + 'static, S: Stream<Item = Result<Derived<T>, DerivedError>> + Send> DeriveExt<T> for S {}

/// Events as those of a domain, each with the id of its entity.
pub trait DecodeExt: DeriveExt<RecordedEvent> {
    /// What each stands for; those of other types are passed by.
    fn decoded<E: Event>(self) -> impl Stream<Item = Result<Derived<(String, E)>, DerivedError>> + Send {
        self.flat_map(|item| {
            let decoded = item.and_then(|item| Ok((decode_event::<E>(&item.value)?, item)));
            stream::iter(match decoded {
                Ok((events, item)) => {
                    let entity = item.value.entity_id().to_owned();
                    events.map(|event| Ok(item.with((entity.clone(), event)))).collect()
                }
                Err(error) => vec![Err(error)],
            })
        })
    }
}

impl<S: DeriveExt<RecordedEvent>> DecodeExt for S {}

/// A key is forgotten after so many items of others, so that memory does not grow with all keys there ever were.
const KEPT_FOR_ITEMS: u64 = 1_000_000;

struct Windows<K, T> {
    length: Duration,
    by_key: HashMap<K, KeyWindow<T>>,
    taken: u64,
}

struct KeyWindow<T> {
    items: VecDeque<Arc<Derived<T>>>,
    is_cut: bool,
    /// Which of all items came last.
    last: u64,
}

impl<K: Hash + Eq + Clone, T> Windows<K, T> {
    fn take(&mut self, key: K, item: Derived<T>) -> Window<K, T> {
        self.taken += 1;
        let empty = || KeyWindow { items: VecDeque::new(), is_cut: false, last: 0 };
        let known = self.by_key.entry(key.clone()).or_insert_with(empty);
        known.last = self.taken;
        let last = item.occurred_at;
        known.items.push_back(Arc::new(item));
        let length = i64::try_from(self.length.as_micros()).unwrap_or(i64::MAX);
        let begin = last.as_micros().saturating_sub(length);
        known.items.retain(|known| known.occurred_at.as_micros() > begin);
        if known.items.len() > MAX_WINDOW_ITEMS {
            known.items.pop_front();
            known.is_cut = true;
        } else if known.items.len() < MAX_WINDOW_ITEMS {
            known.is_cut = false;
        }
        // What happened later was recorded earlier.
        let items = known.items.iter().filter(|known| known.occurred_at <= last).map(Arc::clone).collect();
        let window = Window { key, items, is_cut: known.is_cut };
        if self.taken.is_multiple_of(KEPT_FOR_ITEMS) {
            let oldest = self.taken - KEPT_FOR_ITEMS;
            self.by_key.retain(|_, known| known.last > oldest);
        }
        window
    }
}
