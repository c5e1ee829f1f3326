//! Read models whose work takes no simulated time, so that the same seed gives the same order; and which fail at times.

use std::any::Any;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use annals_core::{
    Bookmark, BoxFuture, Fork, Lead, ModelKind, Position, ReadModel, ReadModelError, ReadModelStore,
    ReadModelTx, Row, TxWork, Value,
};

use super::world::World;

/// What takes longer waits for another task, such as one that holds a read model: that one has to go on then.
const LONGEST: Duration = Duration::from_secs(30);

/// Polls to the end at once what other threads work on: a runtime whose clock stands still would take waiting for them for
/// doing nothing, and go on to the next moment meanwhile.
async fn at_once<T>(mut work: BoxFuture<'_, T>) -> T {
    poll_fn(move |context| {
        let begun = Instant::now();
        let mut quietly = Context::from_waker(Waker::noop());
        while begun.elapsed() < LONGEST {
            if let Poll::Ready(done) = work.as_mut().poll(&mut quietly) {
                return Poll::Ready(done);
            }
            std::thread::yield_now();
        }
        work.as_mut().poll(context)
    })
    .await
}

/// The application that uses the read models: when it is ended, they answer nothing any more.
#[derive(Clone)]
struct User {
    world: Arc<World>,
    generation: u64,
}

impl User {
    fn does<'a, T: Send + 'a>(&'a self, work: BoxFuture<'a, T>) -> BoxFuture<'a, T> {
        Box::pin(async move {
            self.world.must_run(self.generation).await;
            at_once(work).await
        })
    }

    fn model(&self, name: &str, inner: Arc<dyn ReadModel>) -> Arc<SteadyModel> {
        let name = name.to_owned();
        Arc::new(SteadyModel { user: self.clone(), name, inner, rebuilt: Mutex::default() })
    }
}

/// Read models as one running application sees them.
pub(super) struct SteadyModels {
    user: User,
    inner: Arc<dyn ReadModelStore>,
}

impl SteadyModels {
    pub(super) fn new(world: Arc<World>, generation: u64, inner: Arc<dyn ReadModelStore>) -> Self {
        Self { user: User { world, generation }, inner }
    }
}

impl ReadModelStore for SteadyModels {
    fn open(&self, name: &str, version: u32) -> BoxFuture<'_, Result<Arc<dyn ReadModel>, ReadModelError>> {
        let name = name.to_owned();
        Box::pin(async move {
            let opened = self.user.does(self.inner.open(&name, version)).await?;
            Ok(self.user.model(&name, opened) as _)
        })
    }

    fn of_kind(&self, kind: ModelKind) -> Option<Arc<dyn ReadModelStore>> {
        let inner = self.inner.of_kind(kind)?;
        Some(Arc::new(Self { user: self.user.clone(), inner }))
    }

    fn scratch(&self, name: &str) -> BoxFuture<'_, Result<Arc<dyn ReadModel>, ReadModelError>> {
        let name = name.to_owned();
        Box::pin(async move {
            let opened = self.user.does(self.inner.scratch(&name)).await?;
            Ok(self.user.model(&name, opened) as _)
        })
    }
}

/// Work was done, and is undone again because the simulation has it so.
#[derive(Debug, thiserror::Error)]
#[error("the simulation has it so")]
struct Undone;

struct SteadyModel {
    user: User,
    name: String,
    inner: Arc<dyn ReadModel>,
    /// The build that was begun last, as it is known outside.
    rebuilt: Mutex<Weak<SteadyModel>>,
}

impl ReadModel for SteadyModel {
    fn bookmark(&self) -> BoxFuture<'_, Result<Bookmark, ReadModelError>> {
        self.user.does(self.inner.bookmark())
    }

    fn write_with_notes(
        &self,
        from: Position,
        to: Position,
        notes: Option<Vec<u8>>,
        work: TxWork,
    ) -> BoxFuture<'_, Result<(), ReadModelError>> {
        Box::pin(async move {
            // Tables are made when an application starts, which it does in the end.
            let fails =
                to > from && self.user.world.happens(&format!("writes to {} that fail", self.name), 5);
            if !fails {
                return self.user.does(self.inner.write_with_notes(from, to, notes, work)).await;
            }
            let work: TxWork = Box::new(|tx| {
                Box::pin(async move {
                    work(tx).await?;
                    Err(Undone.into())
                })
            });
            let written = self.user.does(self.inner.write_with_notes(from, to, notes, work)).await;
            match written {
                Err(ReadModelError::Work(error)) if error.is::<Undone>() => {
                    let name = self.name.clone();
                    self.user
                        .world
                        .note(true, format!("a write to the read model {name:?} failed at its end"));
                    Err(ReadModelError::Database { operation: "write", name, source: error })
                }
                other => other,
            }
        })
    }

    fn try_lead(&self) -> BoxFuture<'_, Result<Option<Lead>, ReadModelError>> {
        self.user.does(self.inner.try_lead())
    }

    fn bind(&self, store_id: &str) -> BoxFuture<'_, Result<bool, ReadModelError>> {
        let store_id = store_id.to_owned();
        Box::pin(async move { self.user.does(self.inner.bind(&store_id)).await })
    }

    fn read(&self) -> BoxFuture<'_, Result<Box<dyn ReadModelTx>, ReadModelError>> {
        Box::pin(async move { Ok(Box::new(SteadyTx(self.user.does(self.inner.read()).await?)) as _) })
    }

    fn fork(&self) -> BoxFuture<'_, Result<Fork, ReadModelError>> {
        Box::pin(async move {
            let (bookmark, tx) = self.user.does(self.inner.fork()).await?;
            Ok((bookmark, Box::new(SteadyTx(tx)) as _))
        })
    }

    fn begin_rebuild(&self) -> BoxFuture<'_, Result<Arc<dyn ReadModel>, ReadModelError>> {
        Box::pin(async move {
            let begun = self.user.model(&self.name, self.user.does(self.inner.begin_rebuild()).await?);
            *self.rebuilt.lock().unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(&begun);
            Ok(begun as _)
        })
    }

    fn swap_in(&self, built: Arc<dyn ReadModel>) -> BoxFuture<'_, Result<(), ReadModelError>> {
        let known = self.rebuilt.lock().unwrap_or_else(PoisonError::into_inner).upgrade();
        let inner = match known {
            Some(known) if std::ptr::addr_eq(Arc::as_ptr(&known), Arc::as_ptr(&built)) => {
                Arc::clone(&known.inner)
            }
            _ => built,
        };
        self.user.does(self.inner.swap_in(inner))
    }

    fn swap_back(&self) -> BoxFuture<'_, Result<bool, ReadModelError>> {
        self.user.does(self.inner.swap_back())
    }
}

struct SteadyTx(Box<dyn ReadModelTx>);

impl ReadModelTx for SteadyTx {
    fn execute<'a>(
        &'a mut self,
        sql: &'a str,
        params: &'a [Value],
    ) -> BoxFuture<'a, Result<u64, ReadModelError>> {
        Box::pin(at_once(self.0.execute(sql, params)))
    }

    fn execute_many<'a>(
        &'a mut self,
        sql: &'a str,
        rows: &'a [Vec<Value>],
    ) -> BoxFuture<'a, Result<u64, ReadModelError>> {
        Box::pin(at_once(self.0.execute_many(sql, rows)))
    }

    fn query<'a>(
        &'a mut self,
        sql: &'a str,
        params: &'a [Value],
    ) -> BoxFuture<'a, Result<Vec<Row>, ReadModelError>> {
        Box::pin(at_once(self.0.query(sql, params)))
    }

    fn checkpoint(&self) -> Option<Position> {
        self.0.checkpoint()
    }

    fn as_any(&mut self) -> &mut dyn Any {
        self.0.as_any()
    }
}
