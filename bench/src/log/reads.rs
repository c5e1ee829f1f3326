//! Reading everything, and reading one stream.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::contender::{Contender, Kind, Totals};
use super::loading::Filling;
use super::run::Run;
use super::workload::{Pool, Source, Spread};
use crate::event_log::written_bytes;
use crate::failure::{Result, failed};
use crate::floor::Prewritten;
use crate::random::Random;
use crate::statistics::{Latencies, median};

pub(crate) const READ_ALL: &str = "read_all";
pub(crate) const READ_STREAM: &str = "read_stream";
/// A stream has this many events.
const STREAM_EVENTS: u64 = 100;

struct Reading {
    kind: Kind,
    store: Arc<dyn Contender>,
    rates: Vec<f64>,
    times: Latencies,
}

/// Fills one store of each kind, and reads them in turn.
pub(crate) fn run(run: &mut Run) -> Result<()> {
    let events = run.scale.read_events;
    eprintln!("reading: {events} events in {} streams", events / STREAM_EVENTS);
    let spread = Spread { streams: (events / STREAM_EVENTS) as u32, regions: 10 };
    let pool = Arc::new(Pool::new(spread)?);
    let mut readings = Vec::new();
    let mut event_bytes = None;
    for kind in run.scale.kinds.clone() {
        let folder = run.scratch.fresh(kind.name());
        let store = kind.plain().open(&folder, &pool)?;
        let mut source = Source::new(Arc::clone(&pool))?;
        Filling::scattered(events).fill(&store, &mut source, kind.name())?;
        store.wait_until_idle();
        if kind == Kind::Annals {
            event_bytes = Some(written_bytes(&folder)? / events);
        }
        readings.push(Reading { kind, store, rates: Vec::new(), times: Latencies::default() });
    }
    if run.wants(READ_ALL) {
        read_all(run, &mut readings, events, event_bytes)?;
    }
    if run.wants(READ_STREAM) {
        read_streams(run, &mut readings, &pool)?;
    }
    Ok(())
}

/// Without a store of Annals, the floor reads this many bytes per event.
const USUAL_EVENT_BYTES: u64 = 270;

fn read_all(run: &mut Run, readings: &mut [Reading], events: u64, event_bytes: Option<u64>) -> Result<()> {
    let event_bytes = event_bytes.unwrap_or(USUAL_EVENT_BYTES);
    let floor = Prewritten::create(&run.scratch.fresh("floor"))?;
    let mut floor_rates = Vec::new();
    let mut expected: Option<Totals> = None;
    for round in 0..run.scale.rounds {
        readings.rotate_left(1);
        for reading in readings.iter_mut() {
            let begun = Instant::now();
            let totals = reading.store.read_all()?;
            let seconds = begun.elapsed().as_secs_f64();
            let others = *expected.get_or_insert(totals);
            if totals != others || totals.events != events {
                let name = reading.kind.name();
                return failed(format!(
                    "{name} read {totals:?}, others {others:?}: expected the same {events} events"
                ));
            }
            reading.rates.push(events as f64 / seconds);
        }
        let took = floor.read_checksummed(events * event_bytes)?;
        floor_rates.push(events as f64 / took.as_secs_f64());
        eprintln!("  round {} of {}", round + 1, run.scale.rounds);
    }
    readings.sort_by_key(|reading| reading.kind as u8);
    for reading in readings.iter() {
        run.report.add(READ_ALL, reading.kind.name(), median(&reading.rates), "events/s", None);
    }
    run.report.add(READ_ALL, "floor", median(&floor_rates), "events/s", None);
    run.report.note(format!("{READ_ALL}: the floor reads {event_bytes} bytes per event, as Annals has written, and checks their CRC32C"));
    Ok(())
}

fn read_streams(run: &mut Run, readings: &mut [Reading], pool: &Pool) -> Result<()> {
    let mut random = Random::seeded()?;
    for _ in 0..run.scale.rounds {
        readings.rotate_left(1);
        for reading in readings.iter_mut() {
            let mut times = time_streams(&*reading.store, pool, &mut random, run.scale.slice)?;
            reading.times.append(&mut times);
        }
    }
    readings.sort_by_key(|reading| reading.kind as u8);
    for reading in readings.iter() {
        let p50 = reading.times.percentile_us(0.5).unwrap_or(0.0);
        run.report.add(READ_STREAM, reading.kind.name(), p50, "us", Some(&reading.times));
    }
    run.report.note(format!(
        "{READ_STREAM}: a stream has {STREAM_EVENTS} events, each appended with events of 999 other streams, so that \
         they lie far from each other"
    ));
    Ok(())
}

/// Reads random streams until `budget` is used up.
pub(crate) fn time_streams(
    store: &dyn Contender,
    pool: &Pool,
    random: &mut Random,
    budget: Duration,
) -> Result<Latencies> {
    let mut times = Latencies::default();
    let begun = Instant::now();
    while begun.elapsed() < budget {
        let stream = pool.stream(random.below(u64::from(pool.stream_count())) as u32)?;
        let one = Instant::now();
        let totals = store.read_stream(&stream)?;
        times.push(one.elapsed());
        if totals.events < STREAM_EVENTS {
            return failed(format!("stream {stream} has {} events, expected {STREAM_EVENTS}", totals.events));
        }
    }
    Ok(times)
}
