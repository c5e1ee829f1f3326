//! Projections whose rows belong to one key each: events are folded on several threads and written in bulk.

use std::borrow::Cow;
use std::collections::HashMap;
use std::future::Future;
use std::hash::{BuildHasher, Hash};
use std::num::NonZeroUsize;

use annals_core::{BoxError, Filter, ModelKind, ReadModelTx, RecordedEvent};

use crate::Projection;
use crate::panics::{catch_panic, panic_text};

/// Fewer events than this are folded where they are: to start a thread costs as much as some of them.
const FEWEST_FOR_THREADS: usize = 1_024;
/// More threads than this would wait for the one that writes.
const MOST_THREADS: usize = 8;

/// A projection whose rows belong to one key each, such as an account.
///
/// The events of a batch are folded into one change for each key: those of one key in order, different keys at the same time
/// where there is more than one processor. Then all changes are written at once. A type that implements this is a
/// [`Projection`].
///
/// ```
/// # use annals_app::*;
/// # use annals_core::*;
/// /// How often each bell was rung.
/// struct Rings;
///
/// impl KeyedProjection for Rings {
///     const NAME: &'static str = "rings";
///     const VERSION: u32 = 1;
///     type Change = i64;
///
///     fn filter(&self) -> Filter {
///         Category::new("bell").map(Filter::category).unwrap_or_default()
///     }
///
///     async fn prepare(&self, tx: &mut dyn ReadModelTx) -> Result<(), BoxError> {
///         tx.execute("CREATE TABLE IF NOT EXISTS rings (bell TEXT PRIMARY KEY, rings BIGINT NOT NULL)", &[]).await?;
///         Ok(())
///     }
///
///     fn take(&self, rings: &mut i64, event: &RecordedEvent) -> Result<(), BoxError> {
///         *rings += i64::from(event.event_type() == "BellRung");
///         Ok(())
///     }
///
///     async fn write(&self, tx: &mut dyn ReadModelTx, changes: Vec<(Cow<'_, str>, i64)>) -> Result<(), BoxError> {
///         let sql = "INSERT INTO rings VALUES ($1, $2) ON CONFLICT (bell) DO UPDATE SET rings = rings.rings + $2";
///         for (bell, rings) in changes {
///             tx.execute(sql, params![&*bell, rings]).await?;
///         }
///         Ok(())
///     }
/// }
/// # use std::borrow::Cow;
/// ```
pub trait KeyedProjection: Send + Sync + 'static {
    /// As [`Projection::NAME`].
    const NAME: &'static str;
    /// As [`Projection::VERSION`].
    const VERSION: u32;
    /// As [`Projection::KIND`].
    const KIND: ModelKind = ModelKind::Rows;
    /// What the events of one key change.
    type Change: Default + Send;

    /// As [`Projection::filter`].
    fn filter(&self) -> Filter;

    /// As [`Projection::prepare`].
    fn prepare(&self, tx: &mut dyn ReadModelTx) -> impl Future<Output = Result<(), BoxError>> + Send;

    /// What an event belongs to, by which it is parked, too. Without this, it is the entity.
    fn key<'e>(&self, event: &'e RecordedEvent) -> Cow<'e, str> {
        Cow::Borrowed(event.entity_id())
    }

    /// Takes an event into the change of its key.
    ///
    /// # Errors
    /// What is wrong with the event: the projection stops there.
    fn take(&self, change: &mut Self::Change, event: &RecordedEvent) -> Result<(), BoxError>;

    /// Writes the changes of a batch, one for each of its keys, in the order of the keys.
    fn write(
        &self,
        tx: &mut dyn ReadModelTx,
        changes: Vec<(Cow<'_, str>, Self::Change)>,
    ) -> impl Future<Output = Result<(), BoxError>> + Send;

    /// As [`Projection::check`].
    fn check(
        &self,
        _before: &mut dyn ReadModelTx,
        _built: &mut dyn ReadModelTx,
    ) -> impl Future<Output = Result<(), BoxError>> + Send {
        std::future::ready(Ok(()))
    }
}

impl<P: KeyedProjection> Projection for P {
    const NAME: &'static str = P::NAME;
    const VERSION: u32 = P::VERSION;
    const KIND: ModelKind = P::KIND;

    fn filter(&self) -> Filter {
        KeyedProjection::filter(self)
    }

    async fn prepare(&self, tx: &mut dyn ReadModelTx) -> Result<(), BoxError> {
        KeyedProjection::prepare(self, tx).await
    }

    async fn apply(&self, tx: &mut dyn ReadModelTx, events: &[RecordedEvent]) -> Result<(), BoxError> {
        let threads = std::thread::available_parallelism().map_or(1, NonZeroUsize::get).min(MOST_THREADS);
        let threads = if events.len() < FEWEST_FOR_THREADS { 1 } else { threads };
        self.write(tx, changes_of(self, events, threads)?).await
    }

    fn key(&self, event: &RecordedEvent) -> String {
        KeyedProjection::key(self, event).into_owned()
    }

    async fn check(&self, before: &mut dyn ReadModelTx, built: &mut dyn ReadModelTx) -> Result<(), BoxError> {
        KeyedProjection::check(self, before, built).await
    }
}

type Changes<'e, C> = Vec<(Cow<'e, str>, C)>;

/// The changes of a batch, folded by so many threads, each of which has the keys that fall to it.
fn changes_of<'e, P: KeyedProjection>(
    projection: &P,
    events: &'e [RecordedEvent],
    threads: usize,
) -> Result<Changes<'e, P::Change>, BoxError> {
    let hasher = std::hash::RandomState::new();
    let part = |index: usize| -> Result<Changes<'e, P::Change>, BoxError> {
        let mut changes: HashMap<Cow<'e, str>, P::Change> = HashMap::new();
        for event in events {
            let key = projection.key(event);
            if threads == 1 || falls_to(&hasher, &key, threads) == index {
                projection.take(changes.entry(key).or_default(), event)?;
            }
        }
        Ok(changes.into_iter().collect())
    };
    let part = &part;
    let parts: Vec<_> = std::thread::scope(|scope| {
        let started: Vec<_> = (1..threads).map(|index| scope.spawn(move || part(index))).collect();
        let panicked = |text: String| Err(format!("taking an event in panicked: {text}").into());
        let own = catch_panic(|| part(0)).unwrap_or_else(panicked);
        let joined = started
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|panic| panicked(panic_text(&*panic))));
        std::iter::once(own).chain(joined).collect()
    });
    let mut changes = Vec::new();
    for part in parts {
        changes.extend(part?);
    }
    // Rows in the order of their keys lie side by side in most databases.
    changes.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
    Ok(changes)
}

fn falls_to(hasher: &impl BuildHasher, key: &impl Hash, threads: usize) -> usize {
    (hasher.hash_one(key) % threads as u64) as usize
}

#[cfg(test)]
mod tests {
    use annals_core::*;

    use super::*;

    /// Notes the versions of the events of each key.
    struct Versions;

    impl KeyedProjection for Versions {
        const NAME: &'static str = "versions";
        const VERSION: u32 = 1;
        type Change = Vec<u64>;

        fn filter(&self) -> Filter {
            Filter::all()
        }

        async fn prepare(&self, _: &mut dyn ReadModelTx) -> Result<(), BoxError> {
            Ok(())
        }

        fn take(&self, versions: &mut Vec<u64>, event: &RecordedEvent) -> Result<(), BoxError> {
            match event.event_type() {
                "Bad" => Err("bad".into()),
                "Worse" => panic!("on purpose"),
                _ => {
                    versions.push(event.version().get());
                    Ok(())
                }
            }
        }

        async fn write(
            &self,
            _: &mut dyn ReadModelTx,
            _: Vec<(Cow<'_, str>, Vec<u64>)>,
        ) -> Result<(), BoxError> {
            Ok(())
        }
    }

    fn events(last: &str) -> Vec<RecordedEvent> {
        block_on(async {
            let store = MemoryStore::default();
            let event = |n: u64, kind: &str| {
                let stream = StreamName::new(format!("key-{:02}", n % 37)).unwrap();
                NewEvent::new(stream, EventType::new(kind).unwrap())
            };
            let all = (0..2_000).map(|n| event(n, "Good")).chain([event(5, last)]);
            store.append(AppendRequest::new(all)).await.unwrap();
            let store: &dyn EventStore = &store;
            store.reader(ReadRequest::default()).collect().await.unwrap()
        })
    }

    #[test]
    fn any_number_of_threads_keeps_the_order_of_each_key() {
        let events = events("Good");
        let expected = changes_of(&Versions, &events, 1).unwrap();
        assert_eq!(expected.len(), 37);
        assert!(expected.iter().all(|(_, versions)| versions.is_sorted()) && expected.is_sorted());
        for threads in 2..=5 {
            assert_eq!(changes_of(&Versions, &events, threads).unwrap(), expected);
        }
    }

    #[test]
    fn a_failure_on_any_thread_is_the_failure_of_the_batch() {
        for (last, said) in [("Bad", "bad"), ("Worse", "panicked")] {
            // Whichever of them it falls to, be it the one that the others were started from.
            for threads in 1..=8 {
                let failed = changes_of(&Versions, &events(last), threads).unwrap_err().to_string();
                assert!(failed.contains(said), "{failed}");
            }
        }
    }
}
