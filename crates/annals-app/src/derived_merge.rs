//! Several derived streams in one.

use std::pin::Pin;

use annals_core::Position;
use futures_util::stream::{self, Stream, StreamExt};

use crate::{Derived, DerivedError};

/// The items of several streams in one, each as it comes: for streams of what is to come.
///
/// None waits for another, so one that stays silent holds nothing back, and while all have items each has its turn. The items of
/// one stream stay in order; those of different streams come in no order, for nobody knows what a silent one will tell next.
/// So there is no one position behind which to begin again: keep the last position seen of each stream, and begin each
/// behind its own. The first error is the last item; without one, it ends when all have ended.
///
/// The streams are of one type: `boxed()` makes them so.
///
/// ```
/// use annals_app::{DeriveExt, derive_from, merge_derived};
/// use annals_core::{Category, Filter, MemoryStore, Position};
/// use futures_util::StreamExt;
/// let store = std::sync::Arc::new(MemoryStore::default());
/// let of = |category: Category| {
///     let events = derive_from(store.clone(), Filter::category(category.clone()), Position::ZERO);
///     // Which one an item is of is told by its value.
///     events.map_values(move |event| (category.clone(), event)).boxed()
/// };
/// let both = merge_derived([of(Category::new("account")?), of(Category::new("card")?)]);
/// # drop(both);
/// # Ok::<(), annals_core::BoxError>(())
/// ```
pub fn merge_derived<T, S>(
    streams: impl IntoIterator<Item = S>,
) -> impl Stream<Item = Result<Derived<T>, DerivedError>> + Send
where
    T: Send + 'static,
    S: Stream<Item = Result<Derived<T>, DerivedError>> + Send,
{
    let merged = stream::select_all(streams.into_iter().map(Box::pin).collect::<Vec<_>>());
    stream::unfold(Some(merged), |merged| async {
        let mut merged = merged?;
        let item = merged.next().await?;
        let rest = item.is_ok().then_some(merged);
        Some((item, rest))
    })
}

/// The items of several streams in one, in the order of their positions: for streams that end, such as those of
/// [`derive_from_history`](crate::derive_from_history).
///
/// Each item waits until every stream has told its next one, or its end: a live stream that stays silent would hold all others
/// back, so live ones are for [`merge_derived`]. Items of one position come in the order of the streams. An error is the
/// last item, and all that came before what it stands for has been told: begun again behind the last position, nothing is
/// skipped.
///
/// The streams are of one type: `boxed()` makes them so.
pub fn merge_derived_in_order<T, S>(
    streams: impl IntoIterator<Item = S>,
) -> impl Stream<Item = Result<Derived<T>, DerivedError>> + Send
where
    T: Send + 'static,
    S: Stream<Item = Result<Derived<T>, DerivedError>> + Send,
{
    let branch = |stream| Branch { stream: Box::pin(stream), next: None, told: Position::ZERO };
    let branches: Vec<Branch<T, S>> = streams.into_iter().map(branch).collect();
    stream::unfold(branches, |mut branches| async move {
        for branch in &mut branches {
            if branch.next.is_none() {
                branch.next = branch.stream.next().await;
            }
        }
        branches.retain(|branch| branch.next.is_some());
        let first = branches.iter_mut().min_by_key(|branch| branch.place())?;
        let item = first.next.take()?;
        match &item {
            Ok(item) => first.told = item.position,
            Err(_) => branches.clear(),
        }
        Some((item, branches))
    })
}

/// A stream that is merged in order.
struct Branch<T, S> {
    stream: Pin<Box<S>>,
    /// What it told and was not passed on yet.
    next: Option<Result<Derived<T>, DerivedError>>,
    /// The position of the last item passed on.
    told: Position,
}

impl<T, S> Branch<T, S> {
    /// Where its next item stands among those of others. An error stands behind all that has the position of what it came after.
    fn place(&self) -> (Position, bool) {
        match &self.next {
            Some(Ok(item)) => (item.position, false),
            _ => (self.told, true),
        }
    }
}
