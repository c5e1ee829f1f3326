//! Whole applications in a simulation: with conflicts, lost answers, crashes and late messages, all from a seed.

mod dice;
mod fault;
mod models;
mod rest;
mod simulated;
mod store;
mod world;

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use annals_core::{BoxError, ReadModelStore};

use crate::App;
pub use rest::Unsettled;
pub use simulated::Simulated;
use world::World;

/// The environment variable that names the one seed to run.
const SEED_VARIABLE: &str = "ANNALS_SEED";
/// A simulation that takes longer, in simulated time and without what it lets pass, does not come to its end.
const LONGEST: Duration = Duration::from_secs(600);

type MakeModels<'a> = dyn Fn() -> Result<Arc<dyn ReadModelStore>, BoxError> + 'a;

/// Runs `check` on an application once for each seed, while bad things happen to it: appends find conflicts, fail, or are
/// stored without an answer; writes to read models fail at their end; reads and appends are late, so that tasks overtake
/// each other; commands come twice; the application ends in the middle of an append and is started again, at times with empty read models. What happens follows
/// from the seed alone. It runs on one thread and in simulated time, on a store in memory; `models` makes new read models.
///
/// The environment variable `ANNALS_SEED` names one seed to run instead. Do not call this from within a runtime: it has its
/// own.
///
/// Commands happen, and timers of processes are due, by the simulated time, whatever clock the application has been given.
///
/// What is found this way: clients that retry without a command id, projections that keep something outside of their read
/// model, aggregates that are not pure, process managers that do things twice.
///
/// ```
/// # use std::sync::Arc;
/// # use annals_app::*;
/// # use annals_core::*;
/// # use serde::{Deserialize, Serialize};
/// # #[derive(Event, Serialize, Deserialize)] #[annals(crate = annals_app)] enum Ticked { Ticked }
/// # #[derive(Command, Serialize, Deserialize)] #[annals(crate = annals_app)] enum Tick { Tick }
/// # #[derive(Debug, thiserror::Error, DomainError)] #[annals(crate = annals_app)] enum Never {}
/// # #[derive(Default, Clone, Serialize, Deserialize, State)] #[annals(crate = annals_app)] struct Clock { ticks: u64 }
/// # impl Aggregate for Clock {
/// #     const CATEGORY: &'static str = "clock";
/// #     type Command = Tick; type Event = Ticked; type Error = Never;
/// #     fn handle(&self, _: &Tick, _: &Context) -> Result<Vec<Ticked>, Never> { Ok(vec![Ticked::Ticked]) }
/// #     fn apply(&mut self, _: &Ticked) { self.ticks += 1; }
/// # }
/// let models = || Ok(Arc::new(annals_sqlite::SqliteReadModels::temporary()?) as _);
/// let app = || App::new("clocks").aggregate::<Clock>();
/// simulate(0..20, models, app, async |clocks| {
///     for _ in 0..3 {
///         clocks.execute::<Clock>("kitchen", Tick::Tick).await?;
///     }
///     let clocks = clocks.settle().await?;
///     assert_eq!(clocks.state("clock", "kitchen", At::Now).await?.state["ticks"], 3);
///     Ok(())
/// });
/// ```
///
/// # Panics
/// When `check` fails or panics for a seed: with the seed, and with what was done to the application until then.
#[track_caller]
pub fn simulate<C>(
    seeds: impl IntoIterator<Item = u64>,
    models: impl Fn() -> Result<Arc<dyn ReadModelStore>, BoxError>,
    app: impl Fn() -> App,
    check: C,
) where
    C: AsyncFn(Simulated) -> Result<(), BoxError>,
{
    let only = std::env::var(SEED_VARIABLE).ok().map(|text| match text.parse::<u64>() {
        Ok(seed) => seed,
        Err(error) => panic!("{SEED_VARIABLE} is {text:?}, expected the number of a seed: {error}"),
    });
    let seeds: Vec<u64> = only.map_or_else(|| seeds.into_iter().collect(), |seed| vec![seed]);
    for seed in seeds {
        let report = Simulation::new(seed).run(&models, &app, &check);
        if report.failure.is_some() {
            panic!("{report}");
        }
    }
}

/// One run of an application under one seed: what [`simulate`] does for each.
#[derive(Debug, Clone, Copy)]
pub struct Simulation {
    seed: u64,
}

/// Something that happened in a simulation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Happening {
    /// When, in simulated time since the beginning.
    pub at: Duration,
    /// What.
    pub what: String,
    /// Whether it was done to the application, rather than by it.
    pub is_fault: bool,
}

/// What came of a simulation. Printed, it is what a person needs to see when it failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SimulationReport {
    /// The seed.
    pub seed: u64,
    /// What happened, in order. The same code and the same seed give the same.
    pub happenings: Vec<Happening>,
    /// What the check said, when it failed.
    pub failure: Option<String>,
}

impl std::fmt::Display for SimulationReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { seed, happenings, failure } = self;
        writeln!(f, "seed {seed}: {}", failure.as_deref().unwrap_or("all is well"))?;
        writeln!(f, "what was done to the application, in simulated time:")?;
        for Happening { at, what, .. } in happenings.iter().filter(|happening| happening.is_fault) {
            writeln!(f, "{:>7} ms  {what}", at.as_millis())?;
        }
        write!(f, "{SEED_VARIABLE}={seed} runs this one alone")
    }
}

impl Simulation {
    /// The simulation of a seed.
    pub fn new(seed: u64) -> Self {
        Self { seed }
    }

    /// Runs `check` on an application; see [`simulate`].
    ///
    /// # Panics
    /// Within another runtime.
    pub fn run<C>(
        self,
        models: &dyn Fn() -> Result<Arc<dyn ReadModelStore>, BoxError>,
        app: &dyn Fn() -> App,
        check: C,
    ) -> SimulationReport
    where
        C: AsyncFnOnce(Simulated) -> Result<(), BoxError>,
    {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        let runtime = match runtime {
            Ok(runtime) => runtime,
            Err(error) => panic!("cannot begin the simulation of seed {}: {error}", self.seed),
        };
        let world = {
            let _inside = runtime.enter();
            World::new(self.seed)
        };
        let checked = async {
            tokio::select! {
                biased;
                checked = check(Simulated::new(Arc::clone(&world))) => checked,
                () = world.time_is_up() => {
                    Err(format!("it did not end within {LONGEST:?} of simulated time").into())
                }
                error = world.keep_running(models, app) => {
                    Err(format!("the application cannot be started: {error}").into())
                }
            }
        };
        let ended = catch_unwind(AssertUnwindSafe(|| runtime.block_on(checked)));
        let failure = match ended {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(payload) => Some(format!("the check panicked: {}", text_of(&*payload))),
        };
        let happenings = world.take_happenings();
        // The world holds the application, and the application its world.
        drop(world.running.send_replace(None));
        SimulationReport { seed: self.seed, happenings, failure }
    }
}

/// What a panic says.
fn text_of(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<String>().cloned();
    let text = text.or_else(|| payload.downcast_ref::<&str>().map(|text| (*text).to_owned()));
    text.unwrap_or_else(|| "it gave no text".to_owned())
}
