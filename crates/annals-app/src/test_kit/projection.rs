//! Tests of a projection: *given* these events, *then* its read model answers so, in whatever way the events come.

use std::fmt::Debug;
use std::future::Future;
use std::panic::Location;
use std::sync::Arc;

use annals_core::{BoxError, NewEvent, ReadModelStore, Row, Timestamp};

use super::delivery::Delivery;
use super::difference::difference_of_values;
use super::given_events::add_events;
use crate::projection::AnyProjection;
use crate::{App, Event, Projection, Query, QueryContext, QueryError, RunningApp};

/// Begins a test of a projection, on read models in `models`.
///
/// What it comes to is looked at five times: when all events came in one batch, when each came in one of its own, when the
/// application was started again before each, when every batch came again with all that follow, and after a rebuild. A
/// projection that is right answers the same each time. The events, and not the projection, are new each time: what it keeps
/// in itself, rather than in its read model, shows.
///
/// ```
/// # use std::sync::Arc;
/// # use annals_app::*;
/// # use annals_core::*;
/// # use serde::{Deserialize, Serialize};
/// # #[derive(Event, Serialize, Deserialize)] #[annals(crate = annals_app)] enum LampEvent { Dimmed { to: i64 } }
/// struct Lamps;
///
/// impl Projection for Lamps {
///     const NAME: &'static str = "lamps";
///     const VERSION: u32 = 1;
///
///     fn filter(&self) -> Filter {
///         Filter::all()
///     }
///     async fn prepare(&self, tx: &mut dyn ReadModelTx) -> Result<(), BoxError> {
///         tx.execute("CREATE TABLE IF NOT EXISTS lamps (lamp TEXT PRIMARY KEY, light BIGINT)", &[]).await?;
///         Ok(())
///     }
///     async fn apply(&self, tx: &mut dyn ReadModelTx, events: &[RecordedEvent]) -> Result<(), BoxError> {
///         for recorded in events {
///             let Some(LampEvent::Dimmed { to }) = decode_event(recorded)?.next() else { continue };
///             tx.execute("INSERT OR REPLACE INTO lamps VALUES ($1, $2)", params![recorded.entity_id(), to]).await?;
///         }
///         Ok(())
///     }
/// }
///
/// #[derive(Query, Serialize, Deserialize)]
/// #[query(output = i64, from = Lamps)]
/// # #[annals(crate = annals_app)]
/// struct Brightest {}
///
/// async fn brightest(_: Brightest, mut context: QueryContext) -> Result<i64, QueryError> {
///     let row = context.row("SELECT MAX(light) AS light FROM lamps", &[]).await?;
///     Ok(row.ok_or(QueryError::not_found("lamp"))?.get("light")?)
/// }
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// let models = Arc::new(annals_sqlite::SqliteReadModels::temporary()?);
/// given_projection(models, Lamps)
///     .events([("lamp-1", LampEvent::Dimmed { to: 90 }), ("lamp-2", LampEvent::Dimmed { to: 40 })])
///     .events([("lamp-1", LampEvent::Dimmed { to: 10 })])
///     .then(brightest, Brightest {}, 40)
///     .await;
/// # Ok::<(), BoxError>(()) })?;
/// # Ok::<(), annals_core::BoxError>(())
/// ```
pub fn given_projection<P: Projection>(models: Arc<dyn ReadModelStore>, projection: P) -> GivenProjection {
    let projection: Arc<dyn AnyProjection> = Arc::new(projection);
    GivenProjection { models, projection, events: Vec::new(), occurred_at: None }
}

/// A projection, and what has happened so far.
pub struct GivenProjection {
    models: Arc<dyn ReadModelStore>,
    projection: Arc<dyn AnyProjection>,
    events: Vec<NewEvent>,
    occurred_at: Option<Timestamp>,
}

impl GivenProjection {
    /// The events given after this happened at this moment.
    #[must_use]
    pub fn at(mut self, moment: Timestamp) -> Self {
        self.occurred_at = Some(moment);
        self
    }

    /// These events happened, each on a stream, in this order.
    ///
    /// # Panics
    /// When a stream has no valid name, or an event cannot be written.
    #[must_use]
    #[track_caller]
    pub fn events<'s, E: Event>(mut self, events: impl IntoIterator<Item = (&'s str, E)>) -> Self {
        add_events(&mut self.events, events, self.occurred_at);
        self
    }

    /// The read model answers a question so, in whatever way the events came: `handler` is the one that the application
    /// answers it with.
    ///
    /// # Panics
    /// When it answers otherwise in one of the ways, or not at all.
    #[track_caller]
    pub fn then<Q, F, Fut>(
        self,
        handler: F,
        question: Q,
        expected: Q::Output,
    ) -> impl Future<Output = ()> + use<Q, F, Fut>
    where
        Q: Query,
        Q::Output: Debug + PartialEq,
        F: Fn(Q, QueryContext) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Result<Q::Output, QueryError>> + Send + 'static,
    {
        let place = Location::caller();
        async move {
            let make = || self.app().query::<Q, _, _>(handler.clone());
            let mut differing = Vec::new();
            for delivery in Delivery::ALL {
                let ask = async |app: RunningApp| {
                    let copy = serde_json::from_slice::<Q>(&serde_json::to_vec(&question)?)?;
                    Ok(app.ask(copy).await?)
                };
                let found: Q::Output = self.look(delivery, &make, ask, place).await;
                if found != expected {
                    differing.push((delivery, found));
                }
            }
            tell(&format!("the answer to {}", Q::NAME), &expected, &differing, place);
        }
    }

    /// The rows that a query in SQL finds in the read model: the same ones, in the same order, in whatever way the events
    /// came.
    ///
    /// # Panics
    /// When it finds others in one of the ways, or fails.
    #[track_caller]
    pub fn rows(self, sql: &str) -> impl Future<Output = Vec<Row>> + use<> {
        let (place, sql) = (Location::caller(), sql.to_owned());
        async move {
            let name = self.projection.name();
            let mut expected: Option<Vec<Row>> = None;
            let mut differing = Vec::new();
            for delivery in Delivery::ALL {
                let read = async |app: RunningApp| {
                    let (mut tx, _) = app.versions(name)?.answering().read().await?;
                    Ok(tx.query(&sql, &[]).await?)
                };
                let found = self.look(delivery, &|| self.app(), read, place).await;
                match &expected {
                    None => expected = Some(found),
                    Some(expected) if *expected == found => {}
                    Some(_) => differing.push((delivery, found)),
                }
            }
            let expected = expected.unwrap_or_default();
            let values = |rows: &[Row]| rows.iter().map(|row| row.values().to_vec()).collect::<Vec<_>>();
            let differing: Vec<_> =
                differing.iter().map(|(delivery, rows)| (*delivery, values(rows))).collect();
            tell(&format!("what {sql:?} finds"), &values(&expected), &differing, place);
            expected
        }
    }

    fn app(&self) -> App {
        App::new("a projection in a test").shared_projection(Arc::clone(&self.projection))
    }

    async fn look<T>(
        &self,
        delivery: Delivery,
        app: &(dyn Fn() -> App + Sync),
        look: impl AsyncFnOnce(RunningApp) -> Result<T, BoxError>,
        place: &Location<'_>,
    ) -> T {
        let name = self.projection.name();
        let delivered = delivery.deliver(app, name, &self.events, &self.models).await;
        let looked = match delivered {
            Ok(app) => look(app).await,
            Err(error) => Err(error),
        };
        match looked {
            Ok(found) => found,
            Err(error) => panic!("{name:?} cannot be asked {}: {error} ({place})", delivery.text()),
        }
    }
}

/// Fails where something differs: under which of the ways, and how under the first of them.
fn tell<T: Debug>(what: &str, expected: &T, differing: &[(Delivery, T)], place: &Location<'_>) {
    let Some((first, found)) = differing.first() else { return };
    let others: Vec<_> = differing.iter().skip(1).map(|(delivery, _)| delivery.text()).collect();
    let others = match others.as_slice() {
        [] => "; in all other ways it is".to_owned(),
        others => format!(", nor {}", others.join(", nor ")),
    };
    let difference = difference_of_values(expected, found);
    panic!("{what} is not as expected {}{others} ({place}):\n{difference}", first.text());
}
