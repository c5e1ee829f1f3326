//! Loading an aggregate of many events from its snapshot, beside one of few events.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use annals_app::{App, At, RunningApp};
use annals_core::{ReadModelStore, StreamName, Timestamp, params};
use annals_log::EventLog;
use annals_sqlite::SqliteReadModels;
use tokio::runtime::Runtime;

use super::Run;
use super::filling::Filling;
use super::orders::{Order, command, event, stream};
use crate::event_log::open_log;
use crate::failure::{Failure, Result, failed};
use crate::random::Random;
use crate::statistics::Latencies;
use crate::targets::ANNALS;

pub(super) const SNAPSHOT_RATIO: &str = "snapshot_ratio";
const SNAPSHOT_LOAD: &str = "snapshot_load";
/// The aggregates with a snapshot, which lies this many events further back in each than in the one before: a state is
/// saved again after 200 events at the latest.
const LONG_LIVES: u64 = 8;
const FURTHER_BACK: u64 = 25;
/// The aggregates without.
const SHORT_LIVES: u64 = 500;
const SHORT_LIFE: u64 = 100;
/// The loads of each kind in a round.
const LOADS: u64 = 160;

/// The folders of a store, and how many events its aggregates of many events have.
struct Stored {
    log: PathBuf,
    models: PathBuf,
    long_life: u64,
}

/// Has the framework save the states, then loads them in applications that were just started.
pub(super) fn run(run: &mut Run, runtime: &Runtime) -> Result<()> {
    let stored = Stored {
        log: run.scratch.fresh("orders"),
        models: run.scratch.fresh("models"),
        long_life: run.scale.long_life,
    };
    eprintln!("{SNAPSHOT_RATIO}: aggregates of {} and of {SHORT_LIFE} events", stored.long_life);
    let mut random = Random::seeded()?;
    stored.fill(&mut random)?;
    runtime.block_on(stored.have_snapshots(&mut random))?;
    let (mut long, mut short, mut folded) =
        (Latencies::default(), Latencies::default(), Latencies::default());
    for round in 0..run.scale.rounds {
        let app = runtime.block_on(stored.start())?;
        runtime.block_on(async {
            // Not measured: the first load opens the file of snapshots.
            stored.load(&app, stored.a_short_life(&mut random), At::Now).await?;
            for number in 0..LOADS {
                long.push(stored.load(&app, number % LONG_LIVES, At::Now).await?);
                short.push(stored.load(&app, stored.a_short_life(&mut random), At::Now).await?);
            }
            // The state by the time at which things happened is folded from all events.
            folded
                .push(stored.load(&app, round as u64 % LONG_LIVES, At::OccurredAt(Timestamp::now())).await?);
            Ok::<_, Failure>(())
        })?;
        eprintln!("  round {} of {}", round + 1, run.scale.rounds);
    }
    let p50 = |times: &Latencies| times.percentile_us(0.5).unwrap_or(0.0);
    run.report.add(SNAPSHOT_RATIO, ANNALS, p50(&long) / p50(&short), "ratio", None);
    for (name, times) in [("with_snapshot", &long), ("short_life", &short), ("without_snapshot", &folded)] {
        run.report.add(SNAPSHOT_LOAD, name, p50(times), "us", Some(times));
    }
    run.report.note(format!(
        "{SNAPSHOT_RATIO}: of the medians of with_snapshot ({} events, of which 0 to {} are behind the snapshot) and short_life \
         ({SHORT_LIFE} events, appended at once), loaded in turn in an application started anew in every round; \
         without_snapshot folds all events",
        stored.long_life,
        (LONG_LIVES - 1) * FURTHER_BACK + 1,
    ));
    Ok(())
}

/// How many events follow the snapshot of an aggregate.
fn behind_the_snapshot(number: u64) -> u64 {
    1 + number * FURTHER_BACK
}

impl Stored {
    fn fill(&self, random: &mut Random) -> Result<()> {
        let log = open_log(&self.log)?;
        let mut filling = Filling::new(&log);
        for number in LONG_LIVES..LONG_LIVES + SHORT_LIVES {
            let name = stream(number)?;
            for version in 1..=SHORT_LIFE {
                filling.push(&name, &event(random, version)?)?;
            }
        }
        let names = (0..LONG_LIVES).map(stream).collect::<Result<Vec<_>>>()?;
        for version in 1..self.long_life {
            for (name, number) in names.iter().zip(0..) {
                if version <= self.long_life - behind_the_snapshot(number) {
                    filling.push(name, &event(random, version)?)?;
                }
            }
        }
        filling.store()?;
        Ok(log.seal_blocking()?)
    }

    async fn start(&self) -> Result<RunningApp> {
        let store: Arc<EventLog> = Arc::new(open_log(&self.log)?);
        let models = Arc::new(SqliteReadModels::in_folder(&self.models)?);
        Ok(App::new("orders").aggregate::<Order>().start(store, models).await?)
    }

    /// The framework saves a state that a command made it fold from many events. The events behind the snapshot come by
    /// commands, too few for the state to be saved again.
    async fn have_snapshots(&self, random: &mut Random) -> Result<()> {
        let app = self.start().await?;
        for number in 0..LONG_LIVES {
            app.execute::<Order>(&number.to_string(), command(random)?).await?;
            let saved = self.long_life - behind_the_snapshot(number);
            wait_for_snapshot(&self.models, &stream(number)?, saved).await?;
            for _ in 1..behind_the_snapshot(number) {
                app.execute::<Order>(&number.to_string(), command(random)?).await?;
            }
        }
        Ok(())
    }

    fn a_short_life(&self, random: &mut Random) -> u64 {
        LONG_LIVES + random.below(SHORT_LIVES)
    }

    /// How long it takes to load an aggregate.
    async fn load(&self, app: &RunningApp, number: u64, at: At) -> Result<Duration> {
        let id = number.to_string();
        let begun = Instant::now();
        let view = app.state("order", &id, at).await?;
        let took = begun.elapsed();
        let expected = if number < LONG_LIVES { self.long_life } else { SHORT_LIFE };
        match view.version.get() {
            found if found == expected => Ok(took),
            found => failed(format!("order {id} was loaded with {found} events, expected {expected}")),
        }
    }
}

/// Snapshots are saved beside the work of who makes them necessary.
async fn wait_for_snapshot(models: &Path, stream: &StreamName, version: u64) -> Result<()> {
    let model = SqliteReadModels::in_folder(models)?.open("snapshots-order", 1).await?;
    for _ in 0..1_000 {
        let mut tx = model.read().await?;
        let sql = "SELECT version FROM snapshots WHERE stream = $1";
        let rows = tx.query(sql, params![stream.as_str()]).await.unwrap_or_default();
        if let Some(row) = rows.first()
            && row.get::<u64>("version")? == version
        {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    failed(format!("the framework has not saved the state of {stream} at version {version} within 10 s"))
}
