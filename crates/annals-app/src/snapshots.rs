//! Saved states of aggregates, beside the events: they save time, and nothing depends on them.

use std::sync::Arc;
use std::time::Duration;

use annals_core::{
    BoxError, EventStore, Position, ReadFrom, ReadModel, ReadModelStore, ReadRequest, RecordedEvent,
    StreamName, Timestamp, Version, params,
};
use tokio::sync::OnceCell;

use crate::commands::{Folded, first_visible};
use crate::{Aggregate, State};

/// The form in which snapshots are kept.
const SNAPSHOTS_VERSION: u32 = 1;
/// A state is saved when at least so many events were folded since it was saved last.
const EVENTS_BETWEEN_SNAPSHOTS: u64 = 200;
/// A state is saved when it took at least so long to fold …
const LONG_FOLD: Duration = Duration::from_millis(10);
/// … and is of so many events: to look for a snapshot costs as much as to fold a few.
pub(crate) const FEWEST_EVENTS: u64 = 20;

/// The snapshots of one type of aggregate: the newest of each entity.
///
/// They are kept as a read model named `snapshots-<category>`, which may be deleted at any time. A snapshot is taken
/// only when its state has the shape that the type has now, and when the event up to which it was folded is the one that
/// stands there.
pub(crate) struct Snapshots {
    category: &'static str,
    /// Of the state as it is in this program: told once, for every load and save asks for it.
    shape: String,
    store: Arc<dyn EventStore>,
    models: Arc<dyn ReadModelStore>,
    /// Opened when it is needed first; nothing when that failed.
    model: OnceCell<Option<Arc<dyn ReadModel>>>,
}

/// A saved state, and the event that it was folded up to.
pub(crate) struct Snapshot<A> {
    pub(crate) folded: Folded<A>,
    pub(crate) event_id: String,
}

impl<A> Snapshot<A> {
    /// Whether this event is the one up to which the state was folded.
    pub(crate) fn ends_with(&self, event: &RecordedEvent) -> bool {
        event.version() == self.folded.version
            && event.position() == self.folded.position
            && event.id().to_string() == self.event_id
    }
}

/// Whether it is time to save a state again.
pub(crate) fn is_worth_saving<A>(folded: &Folded<A>, took: Duration) -> bool {
    let unsaved = folded.version.get().saturating_sub(folded.saved.get());
    unsaved >= EVENTS_BETWEEN_SNAPSHOTS || (unsaved >= FEWEST_EVENTS && took >= LONG_FOLD)
}

/// The shape of a state, and of how events are folded into it.
fn shape_of<A: Aggregate>() -> String {
    format!("{:016x}-{}", <A as State>::shape(&mut Vec::new()), A::FOLDING)
}

impl Snapshots {
    pub(crate) fn new<A: Aggregate>(store: Arc<dyn EventStore>, models: Arc<dyn ReadModelStore>) -> Self {
        Self { category: A::CATEGORY, shape: shape_of::<A>(), store, models, model: OnceCell::new() }
    }

    /// Without them all is slower and nothing else, so a failure is told once and passed by.
    async fn model(&self) -> Option<&Arc<dyn ReadModel>> {
        let opened = self.model.get_or_init(|| async {
            self.open()
                .await
                .inspect_err(
                    |error| tracing::warn!(category = self.category, %error, "no snapshots are used"),
                )
                .ok()
        });
        opened.await.as_ref()
    }

    async fn open(&self) -> Result<Arc<dyn ReadModel>, BoxError> {
        let name = format!("snapshots-{}", self.category);
        let model = self.models.open(&name, SNAPSHOTS_VERSION).await?;
        if !model.bind(&self.store.store_id()).await? {
            return Err(format!("{name} is of another store: delete it").into());
        }
        write(&model, |tx| {
            Box::pin(async move {
                let table = "CREATE TABLE IF NOT EXISTS snapshots (stream TEXT PRIMARY KEY, shape TEXT NOT NULL, \
                             version BIGINT NOT NULL, position BIGINT NOT NULL, recorded_at BIGINT NOT NULL, \
                             event_id TEXT NOT NULL, visible_from BIGINT NOT NULL, state BLOB NOT NULL)";
                tx.execute(table, &[]).await?;
                Ok(())
            })
        })
        .await?;
        Ok(model)
    }

    /// The saved state of an entity, if there is one that can be read now.
    pub(crate) async fn load<A: Aggregate>(&self, stream: &StreamName) -> Option<Snapshot<A>> {
        let model = self.model().await?;
        let found = load(&**model, &self.shape, stream).await;
        found
            .inspect_err(|error| tracing::warn!(%stream, %error, "the snapshot cannot be read"))
            .ok()
            .flatten()
    }

    /// Removes a snapshot that does not fit its stream, while its finder goes on.
    pub(crate) fn remove_beside(self: &Arc<Self>, stream: StreamName, version: Version) {
        let snapshots = Arc::clone(self);
        tokio::spawn(async move {
            let Some(model) = snapshots.model().await else { return };
            if let Err(error) = remove(model, &stream, version).await {
                tracing::warn!(%stream, %error, "the snapshot cannot be removed");
            }
        });
    }

    /// Saves a state, while its owner goes on.
    pub(crate) fn save_beside<A: Aggregate>(self: &Arc<Self>, stream: StreamName, folded: Folded<A>) {
        let snapshots = Arc::clone(self);
        tokio::spawn(async move {
            let Some(model) = snapshots.model().await else { return };
            if let Err(error) = save(&snapshots, model, &stream, &folded).await {
                tracing::warn!(%stream, %error, "the snapshot cannot be saved");
            }
        });
    }
}

/// Changes rows. Snapshots have no order among them, so the checkpoint stays where it is.
async fn write(
    model: &Arc<dyn ReadModel>,
    work: impl for<'t> FnOnce(
        &'t mut dyn annals_core::ReadModelTx,
    ) -> annals_core::BoxFuture<'t, Result<(), BoxError>>
    + Send
    + 'static,
) -> Result<(), BoxError> {
    Ok(model.write(Position::ZERO, Position::ZERO, Box::new(work)).await?)
}

async fn load<A: Aggregate>(
    model: &dyn ReadModel,
    shape: &str,
    stream: &StreamName,
) -> Result<Option<Snapshot<A>>, BoxError> {
    let mut tx = model.read().await?;
    let question = "SELECT version, position, recorded_at, event_id, visible_from, state FROM snapshots \
                    WHERE stream = $1 AND shape = $2";
    let rows = tx.query(question, params![stream.as_str(), shape]).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    let Ok(state) = serde_json::from_slice(&row.get::<Vec<u8>>("state")?) else { return Ok(None) };
    let folded = Folded {
        state: Arc::new(state),
        version: Version::new(row.get("version")?),
        position: Position::new(row.get("position")?),
        recorded_at: row.get::<Timestamp>("recorded_at")?,
        saved: Version::new(row.get("version")?),
        visible_from: Version::new(row.get("visible_from")?),
    };
    Ok(Some(Snapshot { folded, event_id: row.get("event_id")? }))
}

async fn save<A: Aggregate>(
    snapshots: &Snapshots,
    model: &Arc<dyn ReadModel>,
    stream: &StreamName,
    folded: &Folded<A>,
) -> Result<(), BoxError> {
    let store = &snapshots.store;
    let last = ReadRequest::stream(stream.clone()).from(ReadFrom::Version(folded.version)).limit(1);
    let found = store.read(last).await?.events.into_iter().next();
    let Some(event) = found.filter(|event| event.version() == folded.version) else { return Ok(()) };
    if first_visible(&store.stream_state(stream).await?) != folded.visible_from {
        return Ok(());
    }
    let (event_id, visible_from) = (event.id().to_string(), folded.visible_from);
    let state = serde_json::to_vec(&*folded.state)?;
    let (stream, shape, version) = (stream.as_str().to_owned(), snapshots.shape.clone(), folded.version);
    let (position, recorded_at) = (folded.position, folded.recorded_at);
    write(model, move |tx| {
        Box::pin(async move {
            // Saving goes on beside other work, so an older state may come last.
            let statement = "INSERT INTO snapshots (stream, shape, version, position, recorded_at, event_id, \
                             visible_from, state) VALUES ($1, $2, $3, $4, $5, $6, $7, $8) \
                             ON CONFLICT (stream) DO UPDATE SET shape = excluded.shape, version = excluded.version, \
                             position = excluded.position, recorded_at = excluded.recorded_at, \
                             event_id = excluded.event_id, visible_from = excluded.visible_from, \
                             state = excluded.state \
                             WHERE excluded.version > snapshots.version OR excluded.shape <> snapshots.shape";
            let values = params![stream, shape, version, position, recorded_at, event_id, visible_from, state];
            tx.execute(statement, values).await?;
            Ok(())
        })
    })
    .await
}

async fn remove(model: &Arc<dyn ReadModel>, stream: &StreamName, version: Version) -> Result<(), BoxError> {
    let stream = stream.as_str().to_owned();
    write(model, move |tx| {
        Box::pin(async move {
            let statement = "DELETE FROM snapshots WHERE stream = $1 AND version = $2";
            tx.execute(statement, params![stream, version]).await?;
            Ok(())
        })
    })
    .await
}
