//! Whether Annals is as fast on many events as on few.

use std::sync::Arc;
use std::time::Duration;

use super::appends::APPEND_WORKS;
use super::contender::{Contender, Kind};
use super::loading::Filling;
use super::reads::time_streams;
use super::run::Run;
use super::workload::{Pool, Source, Spread};
use crate::failure::Result;
use crate::random::Random;
use crate::report::number;
use crate::statistics::{Latencies, median};

pub(crate) const GROWTH_APPEND: &str = "growth_append_p50";
pub(crate) const GROWTH_STREAM: &str = "growth_stream_p50";
pub(crate) const GROWTH_16X100: &str = "growth_append_16x100";
const STREAM_EVENTS: u64 = 100;
/// So few appends are made in a round that the smaller store stays small.
const SINGLE_APPENDS: u32 = 400;
const LARGE_APPENDS: u32 = 320;

struct Grown {
    store: Arc<dyn Contender>,
    pool: Arc<Pool>,
    source: Source,
    appends: Latencies,
    streams: Latencies,
    rates: Vec<f64>,
}

impl Grown {
    fn fill(run: &Run, events: u64) -> Result<Self> {
        let pool = Arc::new(Pool::new(Spread { streams: (events / STREAM_EVENTS) as u32, regions: 10 })?);
        let store = Kind::Annals.plain().open(&run.scratch.fresh("growth"), &pool)?;
        let mut source = Source::new(Arc::clone(&pool))?;
        Filling::scattered(events).fill(&store, &mut source, "annals")?;
        let (appends, streams) = (Latencies::default(), Latencies::default());
        Ok(Self { store, pool, source, appends, streams, rates: Vec::new() })
    }

    fn append_singly(&mut self) -> Result<()> {
        let mut slice = APPEND_WORKS[0].measure(&self.store, &mut self.source, SINGLE_APPENDS)?;
        self.appends.append(&mut slice.times);
        Ok(())
    }

    fn read_streams(&mut self, random: &mut Random, budget: Duration) -> Result<()> {
        self.streams.append(&mut time_streams(&*self.store, &self.pool, random, budget)?);
        Ok(())
    }

    fn append_much(&mut self) -> Result<()> {
        let slice = APPEND_WORKS[3].measure(&self.store, &mut self.source, LARGE_APPENDS)?;
        self.rates.push((slice.times.count() as u64 * STREAM_EVENTS) as f64 / slice.seconds);
        Ok(())
    }
}

/// Fills a small and a large store, and does the same to both in turn.
pub(crate) fn run(run: &mut Run) -> Result<()> {
    let (few, many) = run.scale.growth;
    eprintln!("growth: {few} and {many} events");
    let mut both = [Grown::fill(run, few)?, Grown::fill(run, many)?];
    let mut random = Random::seeded()?;
    for _ in 0..run.scale.rounds {
        for grown in &mut both {
            grown.append_singly()?;
            grown.read_streams(&mut random, run.scale.slice / 2)?;
        }
    }
    // Streams grow by this, so it comes when they have been read.
    for _ in 0..run.scale.rounds {
        both.iter_mut().try_for_each(Grown::append_much)?;
    }
    report(run, &both, few, many);
    Ok(())
}

fn report(run: &mut Run, [small, large]: &[Grown; 2], few: u64, many: u64) {
    let p50 = |times: &Latencies| times.percentile_us(0.5).unwrap_or(0.0);
    let figures = [
        (GROWTH_APPEND, p50(&small.appends), p50(&large.appends), "us", Some(&large.appends)),
        (GROWTH_STREAM, p50(&small.streams), p50(&large.streams), "us", Some(&large.streams)),
        (GROWTH_16X100, median(&small.rates), median(&large.rates), "events/s", None),
    ];
    for (work, at_few, at_many, unit, times) in figures {
        run.report.add(work, Kind::Annals.name(), at_many / at_few, "ratio", times);
        run.report.note(format!(
            "{work}: {} {unit} at {few} events, {} {unit} at {many}",
            number(at_few),
            number(at_many)
        ));
    }
}
