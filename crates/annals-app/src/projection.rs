//! The code that keeps a read model.

use std::future::Future;
use std::sync::Arc;

use annals_core::{BoxError, BoxFuture, Filter, ModelKind, ReadModelTx, RecordedEvent};

/// Keeps a read model from events.
///
/// Its rows and the position up to which they were made from events are committed in one transaction, so an event is
/// applied once however often the process ends in between.
pub trait Projection: Send + Sync + 'static {
    /// Its name, by which the read model is stored and asked for.
    const NAME: &'static str;
    /// Its version: a higher one is built anew from all events.
    const VERSION: u32;
    /// What its read model is made of: rows of a database, unless told otherwise.
    const KIND: ModelKind = ModelKind::Rows;

    /// The events that it needs.
    fn filter(&self) -> Filter;

    /// Makes its tables, if they are not there: `CREATE TABLE IF NOT EXISTS …`.
    fn prepare(&self, tx: &mut dyn ReadModelTx) -> impl Future<Output = Result<(), BoxError>> + Send;

    /// Takes the next events into its tables. It is given many at once while it catches up: changes of the same row can be
    /// taken together before they are written.
    fn apply(
        &self,
        tx: &mut dyn ReadModelTx,
        events: &[RecordedEvent],
    ) -> impl Future<Output = Result<(), BoxError>> + Send;

    /// What an event belongs to. When the projection fails on an event, its key can be parked: its later events wait, and those
    /// of all other keys go on. Without this, it is the stream.
    fn key(&self, event: &RecordedEvent) -> String {
        event.stream().to_owned()
    }

    /// Looks at a new build, or at this version after it was built for the first time, before it answers in the place of the
    /// one before; both stand at the same position unless an earlier version is behind. An error keeps it from answering.
    fn check(
        &self,
        _before: &mut dyn ReadModelTx,
        _built: &mut dyn ReadModelTx,
    ) -> impl Future<Output = Result<(), BoxError>> + Send {
        std::future::ready(Ok(()))
    }
}

/// A projection, its type forgotten.
pub(crate) trait AnyProjection: Send + Sync {
    fn name(&self) -> &'static str;
    fn version(&self) -> u32;
    fn kind(&self) -> ModelKind;
    fn filter(&self) -> Filter;
    fn prepare<'a>(&'a self, tx: &'a mut dyn ReadModelTx) -> BoxFuture<'a, Result<(), BoxError>>;
    fn apply<'a>(
        &'a self,
        tx: &'a mut dyn ReadModelTx,
        events: &'a [RecordedEvent],
    ) -> BoxFuture<'a, Result<(), BoxError>>;
    fn key(&self, event: &RecordedEvent) -> String;
    fn check<'a>(
        &'a self,
        before: &'a mut dyn ReadModelTx,
        built: &'a mut dyn ReadModelTx,
    ) -> BoxFuture<'a, Result<(), BoxError>>;
}

impl<P: Projection> AnyProjection for P {
    fn name(&self) -> &'static str {
        P::NAME
    }

    fn version(&self) -> u32 {
        P::VERSION
    }

    fn kind(&self) -> ModelKind {
        P::KIND
    }

    fn filter(&self) -> Filter {
        Projection::filter(self)
    }

    fn prepare<'a>(&'a self, tx: &'a mut dyn ReadModelTx) -> BoxFuture<'a, Result<(), BoxError>> {
        Box::pin(Projection::prepare(self, tx))
    }

    fn apply<'a>(
        &'a self,
        tx: &'a mut dyn ReadModelTx,
        events: &'a [RecordedEvent],
    ) -> BoxFuture<'a, Result<(), BoxError>> {
        Box::pin(Projection::apply(self, tx, events))
    }

    fn key(&self, event: &RecordedEvent) -> String {
        Projection::key(self, event)
    }

    fn check<'a>(
        &'a self,
        before: &'a mut dyn ReadModelTx,
        built: &'a mut dyn ReadModelTx,
    ) -> BoxFuture<'a, Result<(), BoxError>> {
        Box::pin(Projection::check(self, before, built))
    }
}

/// The work of making tables, for a read model's transaction.
pub(crate) fn prepare_work(projection: Arc<dyn AnyProjection>) -> annals_core::TxWork {
    Box::new(move |tx| Box::pin(async move { projection.prepare(tx).await }))
}

/// The work of taking events in, for a read model's transaction.
pub(crate) fn apply_work(
    projection: Arc<dyn AnyProjection>,
    events: Arc<[RecordedEvent]>,
) -> annals_core::TxWork {
    Box::new(move |tx| Box::pin(async move { projection.apply(tx, &events).await }))
}
