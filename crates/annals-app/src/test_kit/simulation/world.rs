//! What the parts of one simulation share.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use annals_core::{BoxError, Clock, MemoryStore, ReadModelStore, Timestamp};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, sleep_until};

use super::dice::Dice;
use super::fault::Fault;
use super::models::SteadyModels;
use super::store::FaultyStore;
use super::{Happening, LONGEST, MakeModels};
use crate::{App, RunningApp, StartError};

/// The simulated time begins here: 2030-01-01T00:00:00Z.
const BEGINNING: Timestamp = Timestamp::from_micros(1_893_456_000_000_000);

/// The store, the application that runs on it, and what happened so far.
pub(super) struct World {
    pub(super) dice: Dice,
    pub(super) store: MemoryStore,
    begun: Instant,
    /// When the simulation is taken for one that does not end.
    deadline: Mutex<Instant>,
    /// How many applications were ended.
    ended: AtomicU64,
    /// Whether nothing bad happens any more.
    is_calm: AtomicBool,
    pub(super) running: watch::Sender<Option<RunningApp>>,
    crashed: Notify,
    happenings: Mutex<Vec<Happening>>,
    commands: AtomicU64,
}

/// A clock that tells the simulated time.
struct SimulatedClock(Instant);

impl Clock for SimulatedClock {
    fn now(&self) -> Timestamp {
        BEGINNING.plus_micros(i64::try_from(self.0.elapsed().as_micros()).unwrap_or(i64::MAX))
    }
}

impl World {
    /// A world that begins now.
    pub(super) fn new(seed: u64) -> Arc<Self> {
        let begun = Instant::now();
        Arc::new(Self {
            dice: Dice::new(seed),
            store: MemoryStore::with_clock(Arc::new(SimulatedClock(begun))),
            begun,
            deadline: Mutex::new(begun + LONGEST),
            ended: AtomicU64::new(0),
            is_calm: AtomicBool::new(false),
            running: watch::Sender::new(None),
            crashed: Notify::new(),
            happenings: Mutex::default(),
            commands: AtomicU64::new(0),
        })
    }

    pub(super) fn now(&self) -> Timestamp {
        SimulatedClock(self.begun).now()
    }

    /// Lets time pass that does not count as waiting for an end.
    pub(super) async fn pass(&self, time: Duration) {
        *self.deadline.lock().unwrap_or_else(PoisonError::into_inner) += time;
        sleep(time).await;
    }

    /// Comes back when the simulation has taken too long.
    pub(super) async fn time_is_up(&self) {
        loop {
            let deadline = *self.deadline.lock().unwrap_or_else(PoisonError::into_inner);
            if Instant::now() >= deadline {
                return;
            }
            sleep_until(deadline).await;
        }
    }

    /// A number for a command, by which it is known again.
    pub(super) fn next_command(&self) -> u64 {
        self.commands.fetch_add(1, Ordering::SeqCst) + 1
    }

    pub(super) fn be_calm(&self) {
        self.is_calm.store(true, Ordering::SeqCst);
    }

    pub(super) fn is_calm(&self) -> bool {
        self.is_calm.load(Ordering::SeqCst)
    }

    pub(super) fn note(&self, is_fault: bool, what: String) {
        let mut happenings = self.happenings.lock().unwrap_or_else(PoisonError::into_inner);
        happenings.push(Happening { at: self.begun.elapsed(), what, is_fault });
    }

    pub(super) fn take_happenings(&self) -> Vec<Happening> {
        std::mem::take(&mut *self.happenings.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What happens to the next append to a stream.
    pub(super) fn fault_of(&self, stream: &str) -> Option<Fault> {
        Fault::choose(&self.dice, stream).filter(|_| !self.is_calm())
    }

    /// Whether something that happens once in a while happens now.
    pub(super) fn happens(&self, occasion: &str, percent: u64) -> bool {
        self.dice.throw(occasion, 100) < percent && !self.is_calm()
    }

    /// Takes some time, at times.
    pub(super) async fn delay(&self, occasion: &str, percent: u64, most: Duration) {
        if self.happens(occasion, percent) {
            let millis = u64::try_from(most.as_millis()).unwrap_or(u64::MAX);
            sleep(Duration::from_millis(1 + self.dice.throw(occasion, millis))).await;
        }
    }

    /// Ends the application of which so many were ended before, unless it is ended already. Nothing that it had begun goes on.
    pub(super) fn crash(&self, generation: u64) {
        if self.ended.load(Ordering::SeqCst) != generation {
            return;
        }
        self.ended.store(generation + 1, Ordering::SeqCst);
        drop(self.running.send_replace(None));
        self.crashed.notify_one();
    }

    /// Goes on only while the application is not ended of which so many were ended before.
    pub(super) async fn must_run(&self, generation: u64) {
        if self.ended.load(Ordering::SeqCst) != generation {
            std::future::pending::<()>().await;
        }
    }

    /// Starts the application, and again whenever it was ended; comes back only when it cannot be started.
    pub(super) async fn keep_running(
        self: &Arc<Self>,
        make_models: &MakeModels<'_>,
        app: &dyn Fn() -> App,
    ) -> BoxError {
        let mut models: Option<Arc<dyn ReadModelStore>> = None;
        loop {
            let kept = models.take().filter(|_| !self.happens("read models are lost", 25));
            let is_fresh = kept.is_none();
            let opened = match kept.map_or_else(make_models, Ok) {
                Ok(opened) => opened,
                Err(error) => return error,
            };
            let generation = self.ended.load(Ordering::SeqCst);
            let store = Arc::new(FaultyStore::new(Arc::clone(self), generation));
            let steady = Arc::new(SteadyModels::new(Arc::clone(self), generation, Arc::clone(&opened)));
            let clock = Arc::new(SimulatedClock(self.begun));
            let started = tokio::select! {
                biased;
                // It may end before it has begun.
                () = self.crashed.notified() => None,
                started = app().clock(clock).start(store, steady) => Some(started),
            };
            models = Some(opened);
            let started = match started {
                // A fault that it does not start with: it is started again.
                Some(Err(StartError::NotBegun { .. })) | None => None,
                Some(Err(error)) => return error.into(),
                Some(Ok(app)) => Some(app),
            };
            if let Some(app) = started {
                self.running.send_replace(Some(app));
                if generation > 0 {
                    let models = if is_fresh { "fresh read models" } else { "the read models it had" };
                    self.note(true, format!("the application was started again, on {models}"));
                }
                self.crashed.notified().await;
            }
            sleep(Duration::from_millis(1 + self.dice.throw("time until the next start", 50))).await;
        }
    }
}
