//! Random work, restarts and crashes on the simulated disk, against a model that knows nothing of files.

mod naive;
mod steps;

use std::cell::Cell;

use annals_core::conformance::block_on;
use annals_core::{AppendError, AppendRequest, ConsumerName, EventStore, Position, ReadRequest, StreamName};
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};

use crate::simulation::check::read_all;
use crate::simulation::disk::SimDisk;
use crate::simulation::engine::{self, Setup};
use crate::simulation::images::Replay;
use crate::simulation::random::{Random, long_run, seed};
use crate::simulation::tears::Tearing;
use crate::simulation::tree::Tree;
use crate::simulation::workload::{Run, moment};
use naive::{Answer, Model};
use steps::Step;

/// How often each thing was done.
#[derive(Debug, Default)]
struct Counts {
    appends: Cell<u64>,
    refusals: Cell<u64>,
    reads: Cell<u64>,
    reopenings: Cell<u64>,
    crashes: Cell<u64>,
}

fn count(cell: &Cell<u64>) {
    cell.set(cell.get() + 1);
}

/// The log and the model, side by side.
struct Pair<'a> {
    run: Run,
    base: Tree,
    model: Model,
    counts: &'a Counts,
}

impl Pair<'_> {
    fn step(&mut self, step: &Step) -> Result<(), String> {
        match step {
            Step::Append(draft) => {
                let request = draft.request(&self.model);
                self.append(&request)
            }
            Step::Read(draft) => self.read(&draft.request(&self.model)),
            Step::Reopen => {
                count(&self.counts.reopenings);
                self.run.close();
                self.run.open().map_err(|error| error.to_string())?;
                self.same()
            }
            Step::SealAndCompact => {
                let log = self.run.log.as_ref().ok_or("closed")?;
                engine::seal(log).and_then(|()| engine::compact(log)).map_err(|error| error.to_string())?;
                self.same()
            }
            Step::Crash { draft, way } => self.crash(&draft.request(&self.model), *way),
        }
    }

    fn append(&mut self, request: &AppendRequest) -> Result<(), String> {
        let at = moment(self.run.next_number);
        self.run.next_number += 1;
        self.run.clock.set(at.as_micros());
        let expected = self.model.append(request, at);
        let log = self.run.log.as_ref().ok_or("closed")?;
        let found = match log.append_blocking(request.clone()) {
            Ok(receipt) => {
                count(&self.counts.appends);
                let places = (receipt.first_position.get(), receipt.last_position.get());
                Answer::Kept { places, duplicate: receipt.duplicate }
            }
            Err(error) => {
                count(&self.counts.refusals);
                match error {
                    AppendError::Conflict(_) => Answer::Conflict,
                    AppendError::IdReused { .. } => Answer::IdReused,
                    AppendError::PartialDuplicate { .. } => Answer::PartlyKnown,
                    AppendError::KnownFromSeveralAppends { .. } => Answer::KnownFromSeveral,
                    other => return Err(format!("{request:?}: {other}")),
                }
            }
        };
        if found == expected { Ok(()) } else { Err(format!("{request:?}: {found:?}, expected {expected:?}")) }
    }

    fn read(&self, request: &ReadRequest) -> Result<(), String> {
        count(&self.counts.reads);
        let log = self.run.log.as_ref().ok_or("closed")?;
        let batch = log.read_blocking(request).map_err(|error| error.to_string())?;
        let found: Vec<u64> = batch.events.iter().map(|event| event.position().get()).collect();
        let expected = self.model.read(request);
        if found == expected { Ok(()) } else { Err(format!("{request:?}: {found:?}, expected {expected:?}")) }
    }

    /// Everything that the log shows is what the model has.
    fn same(&self) -> Result<(), String> {
        let log = self.run.log.as_ref().ok_or("closed")?;
        if let Some(damage) = log.damage() {
            return Err(damage.to_string());
        }
        let found: Vec<_> = read_all(log)?.iter().map(|event| (event.position().get(), event.id())).collect();
        let visible = self.model.read(&ReadRequest::default());
        let ids = visible.iter().map(|position| (*position, self.model.event(*position).event_id()));
        if found != ids.collect::<Vec<_>>() {
            return Err(format!("found {found:?}, expected the positions {visible:?}"));
        }
        for name in steps::STREAMS {
            let stream = StreamName::new(name).map_err(|error| error.to_string())?;
            let found = block_on(log.stream_state(&stream)).map_err(|error| error.to_string())?;
            if found != self.model.state(name) {
                return Err(format!("{name}: {found:?}, expected {:?}", self.model.state(name)));
            }
        }
        let consumer = ConsumerName::new("mailer").map_err(|error| error.to_string())?;
        let found = block_on(log.checkpoint(&consumer)).map_err(|error| error.to_string())?;
        if found != self.model.checkpoint {
            return Err(format!("the checkpoint is {found:?}, expected {:?}", self.model.checkpoint));
        }
        Ok(())
    }

    /// The power fails at a moment of an append, and what no barrier covered is there or not.
    fn crash(&mut self, request: &AppendRequest, way: u64) -> Result<(), String> {
        count(&self.counts.crashes);
        let mut random = Random::of(&[way]);
        let (begun, before) = (self.run.disk.op_count(), self.model.clone());
        self.append(request)?;
        let ops = self.run.disk.ops();
        let point = begun + random.below((ops.len() - begun) as u64 + 1) as usize;
        let mut replay = Replay::of(self.base.clone());
        ops[..point].iter().for_each(|op| replay.step(op));
        let mut choices = Vec::new();
        replay.for_each_choice(false, Tearing::Sampled, &mut random, |choice| choices.push(choice));
        let choice = &choices[random.below(choices.len() as u64) as usize];
        self.base = replay.image(choice);
        self.run.close();
        self.run.disk = SimDisk::traced(self.base.clone());
        self.run.open().map_err(|error| error.to_string())?;
        let told = |problem| format!("{problem}, after a crash: {}", replay.describe(choice));
        if point == ops.len() {
            return self.same().map_err(told);
        }
        let after = std::mem::replace(&mut self.model, before);
        self.same().or_else(|without| {
            self.model = after;
            self.same()
                .map_err(|with| told(format!("neither without the append ({without}) nor with it ({with})")))
        })
    }
}

#[test]
fn random_work_with_crashes_agrees_with_the_model() {
    let begun = std::time::Instant::now();
    let (seed, cases) = (seed(), if long_run() { 40_000 } else { 3_000 });
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 2_000, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    let counts = Counts::default();
    let result = runner.run(&steps::steps(), |steps| {
        let base = Tree::default();
        let mut run = Run::new(SimDisk::traced(base.clone()), Vec::new(), Setup::nth(steps.len() as u64));
        run.open().map_err(|error| TestCaseError::fail(error.to_string()))?;
        let mut pair = Pair { run, base, model: Model::default(), counts: &counts };
        for (number, step) in steps.iter().enumerate() {
            pair.step(step)
                .map_err(|problem| TestCaseError::fail(format!("step {number}, {step:?}: {problem}")))?;
        }
        pair.same().map_err(TestCaseError::fail)
    });
    println!(
        "evidence: {{\"test\":\"model\",\"cases\":{cases},\"appends\":{},\"refusals\":{},\"reads\":{},\
         \"reopenings\":{},\"crashes\":{},\"violated\":{},\"seed\":{seed},\"seconds\":{}}}",
        counts.appends.get(),
        counts.refusals.get(),
        counts.reads.get(),
        counts.reopenings.get(),
        counts.crashes.get(),
        u64::from(result.is_err()),
        begun.elapsed().as_secs(),
    );
    if let Err(error) = result {
        panic!("seed {seed} (ANNALS_SEED): {error}");
    }
}

/// A position that a request may name, some way before or behind the end.
fn near(model: &Model, offset: u64) -> Position {
    Position::new((model.head() + 3).saturating_sub(offset))
}
