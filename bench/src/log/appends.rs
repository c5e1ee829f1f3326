//! Appends per second, and how long each takes: every contender in turn, round after round.

use std::path::Path;
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use super::contender::{Contender, Entrant, Kind, ReadyAppend};
use super::run::Run;
use super::workload::{Pool, Source, Spread};
use crate::event_log::written_bytes;
use crate::failure::{Result, failed};
use crate::floor::Prewritten;
use crate::statistics::{Latencies, median};

/// No more events than this are laid out at once.
const LARGEST_SLICE_EVENTS: u32 = 400_000;

/// How appends are made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AppendWork {
    pub(crate) name: &'static str,
    pub(crate) threads: u32,
    pub(crate) events: u32,
}

pub(crate) const APPEND_WORKS: [AppendWork; 4] = [
    AppendWork { name: "append_1x1", threads: 1, events: 1 },
    AppendWork { name: "append_64x1", threads: 64, events: 1 },
    AppendWork { name: "append_1x100", threads: 1, events: 100 },
    AppendWork { name: "append_16x100", threads: 16, events: 100 },
];

/// What was measured at one go.
#[derive(Default)]
pub(crate) struct Slice {
    pub(crate) seconds: f64,
    pub(crate) times: Latencies,
    /// What each append returned: the same number for those that shared a barrier.
    barriers: Vec<u64>,
}

/// What the log of Annals writes under one barrier.
#[derive(Debug, Clone, Copy)]
struct Frame {
    bytes: f64,
    events: f64,
}

/// One who takes part in a work, with what it did so far.
struct Participant {
    name: String,
    doer: Doer,
    rates: Vec<f64>,
    times: Latencies,
}

enum Doer {
    Store { store: Arc<dyn Contender>, source: Source, appends: u32 },
    Floor { file: Prewritten, frame: Frame },
}

/// Makes all appends at once in their lanes, one thread each, and waits for them.
pub(crate) fn make_appends(lanes: Vec<Vec<ReadyAppend>>) -> Result<Slice> {
    let start = Barrier::new(lanes.len() + 1);
    std::thread::scope(|scope| {
        let start = &start;
        let begin = |lane: Vec<ReadyAppend>| {
            scope.spawn(move || {
                start.wait();
                make_one_after_the_other(lane)
            })
        };
        let threads: Vec<_> = lanes.into_iter().map(begin).collect();
        start.wait();
        let begun = Instant::now();
        let mut all = Slice::default();
        for thread in threads {
            let Ok(done) = thread.join() else { return failed("a thread that appends panicked: see above") };
            let mut done = done?;
            all.times.append(&mut done.times);
            all.barriers.append(&mut done.barriers);
        }
        all.seconds = begun.elapsed().as_secs_f64();
        Ok(all)
    })
}

fn make_one_after_the_other(lane: Vec<ReadyAppend>) -> Result<Slice> {
    let mut slice = Slice::default();
    let begun = Instant::now();
    for append in lane {
        let one = Instant::now();
        slice.barriers.push(append()?);
        slice.times.push(one.elapsed());
    }
    slice.seconds = begun.elapsed().as_secs_f64();
    Ok(slice)
}

impl AppendWork {
    /// Lays out so many appends, spread over the lanes, and makes them.
    pub(crate) fn measure(
        &self,
        store: &Arc<dyn Contender>,
        source: &mut Source,
        appends: u32,
    ) -> Result<Slice> {
        let per_lane = appends.div_ceil(self.threads);
        let mut lanes = Vec::new();
        for lane in 0..self.threads {
            let appends = (0..per_lane).map(|_| {
                let append = source.append_to_one(self.events, lane, self.threads)?;
                Ok(Arc::clone(store).prepare(append))
            });
            lanes.push(appends.collect::<Result<Vec<_>>>()?);
        }
        match lanes.len() {
            1 => make_one_after_the_other(lanes.pop().unwrap_or_default()),
            _ => make_appends(lanes),
        }
    }

    /// Finds how many appends take about `budget`.
    fn calibrate(&self, store: &Arc<dyn Contender>, source: &mut Source, budget: Duration) -> Result<u32> {
        let largest = (LARGEST_SLICE_EVENTS / self.events).max(self.threads);
        let mut appends = (self.threads * 2).max(8);
        for share in [0.25, 1.0] {
            let slice = self.measure(store, source, appends)?;
            let wanted = f64::from(appends) / slice.seconds * budget.as_secs_f64() * share;
            appends = (wanted as u32).clamp(self.threads, largest);
        }
        Ok(appends)
    }

    fn entrants(&self, run: &Run) -> Vec<Entrant> {
        let plain = run.scale.kinds.iter().map(|kind| kind.plain());
        let batched = run.scale.kinds.iter().filter(|kind| **kind != Kind::Annals).map(|kind| kind.grouped());
        if self.threads == 1 { plain.collect() } else { plain.chain(batched).collect() }
    }

    /// Measures the work with all who take part.
    pub(crate) fn run(&self, run: &mut Run) -> Result<()> {
        eprintln!("{}: {} threads, {} events per append", self.name, self.threads, self.events);
        let pool = Arc::new(Pool::new(Spread { streams: run.scale.streams, regions: 10 })?);
        let mut participants = Vec::new();
        let mut frame = None;
        for entrant in self.entrants(run) {
            let folder = run.scratch.fresh(&entrant.name());
            let store = entrant.open(&folder, &pool)?;
            let mut source = Source::new(Arc::clone(&pool))?;
            let appends = self.calibrate(&store, &mut source, run.scale.slice)?;
            if entrant.kind == Kind::Annals {
                frame = Some(self.find_frame(&folder, &store, &mut source, appends)?);
            }
            store.wait_until_idle();
            participants.push(Participant::new(entrant.name(), Doer::Store { store, source, appends }));
        }
        if let Some(frame) = frame {
            let file = Prewritten::create(&run.scratch.fresh("floor"))?;
            participants.push(Participant::new("floor".to_owned(), Doer::Floor { file, frame }));
        }
        for round in 0..run.scale.rounds {
            participants.rotate_left(1);
            for participant in &mut participants {
                participant.take_turn(self, run.scale.slice)?;
            }
            eprintln!("  round {} of {}", round + 1, run.scale.rounds);
        }
        self.report(run, participants, frame);
        Ok(())
    }

    /// Finds what Annals writes under one barrier in this work.
    fn find_frame(
        &self,
        folder: &Path,
        store: &Arc<dyn Contender>,
        source: &mut Source,
        appends: u32,
    ) -> Result<Frame> {
        let before = written_bytes(folder)?;
        let slice = self.measure(store, source, appends)?;
        let bytes = written_bytes(folder)?.saturating_sub(before) as f64;
        let events = (slice.barriers.len() * self.events as usize) as f64;
        let mut barriers = slice.barriers;
        barriers.sort_unstable();
        barriers.dedup();
        if barriers == [0] {
            return failed(
                "the receipts of Annals tell no frame: expected the chain's hash in each as its proof",
            );
        }
        let frames = barriers.len() as f64;
        Ok(Frame { bytes: bytes / frames, events: events / frames })
    }

    fn report(&self, run: &mut Run, mut participants: Vec<Participant>, frame: Option<Frame>) {
        participants.sort_by_key(|participant| {
            let order =
                Entrant::named(&participant.name).map(|entrant| (entrant.batched, entrant.kind as u8));
            (participant.name != "annals", participant.name != "floor", order)
        });
        for done in &participants {
            run.report.add(self.name, &done.name, median(&done.rates), "events/s", Some(&done.times));
        }
        if let Some(frame) = frame {
            run.report.note(format!(
                "{}: the frames of Annals have {:.0} bytes and {:.1} events on average, and so have the floor's",
                self.name, frame.bytes, frame.events
            ));
        }
    }
}

impl Participant {
    fn new(name: String, doer: Doer) -> Self {
        Self { name, doer, rates: Vec::new(), times: Latencies::default() }
    }

    fn take_turn(&mut self, work: &AppendWork, budget: Duration) -> Result<()> {
        let (mut times, rate) = match &mut self.doer {
            Doer::Store { store, source, appends } => {
                let slice = work.measure(store, source, *appends)?;
                store.wait_until_idle();
                let rate = slice.times.count() as f64 * f64::from(work.events) / slice.seconds;
                (slice.times, rate)
            }
            Doer::Floor { file, frame } => {
                let (times, took) = file.write_frames(frame.bytes.round() as usize, budget)?;
                let rate = times.count() as f64 * frame.events / took.as_secs_f64();
                (times, rate)
            }
        };
        self.rates.push(rate);
        self.times.append(&mut times);
        Ok(())
    }
}
