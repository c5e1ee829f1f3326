//! Every call of the disk fails in turn, once and for good: the log says so, keeps what it acknowledged, and goes on when
//! it can.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use annals_core::StoreError;
use annals_log::Planted;

use super::check::{check, compare};
use super::disk::SimDisk;
use super::engine::Setup;
use super::faults::{Call, Fault, Faults};
use super::history::{Answer, Expectation};
use super::images::Replay;
use super::random::{Random, long_run, seed};
use super::tree::Tree;
use super::workload::{Action, Base, Bases, Run, Workload};

const FOR_GOOD: u64 = u64::MAX;
/// Every answer that there is by the end of a run.
const AT_THE_END: usize = usize::MAX - 1;
/// Every fault, and how many calls it hits. What is interrupted for good never ends.
const FAULTS: [(Fault, u64); 11] = [
    (Fault::InputOutput, 1),
    (Fault::InputOutput, FOR_GOOD),
    (Fault::ReadOnlyError, FOR_GOOD),
    (Fault::Full, 1),
    (Fault::Full, FOR_GOOD),
    (Fault::FullAtBarrier, 1),
    (Fault::FullAtBarrier, FOR_GOOD),
    (Fault::Short, 1),
    (Fault::Short, FOR_GOOD),
    (Fault::Interrupted, 1),
    (Fault::Interrupted, 5),
];

/// What was tried, and what was found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) workloads: usize,
    pub(crate) runs: u64,
    pub(crate) images: u64,
    pub(crate) violations: Vec<String>,
}

/// One failure of one run.
struct Failing<'a> {
    workload: &'a Workload,
    fault: Fault,
    first: u64,
    count: u64,
    planted: Option<Planted>,
}

/// Lets every call of every workload fail.
pub(crate) fn run(workloads: &[Workload], planted: Option<Planted>, until_first: bool) -> Found {
    let (bases, next) = (Bases::make(), AtomicUsize::new(0));
    let found = Mutex::new(Found { workloads: workloads.len(), ..Found::default() });
    let lock = || found.lock().unwrap_or_else(PoisonError::into_inner);
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some(workload) = workloads.get(next.fetch_add(1, Ordering::Relaxed)) {
                    for (fault, count) in FAULTS {
                        for first in 0.. {
                            if until_first && !lock().violations.is_empty() {
                                return;
                            }
                            let failing = Failing { workload, fault, first, count, planted };
                            match failing.run(&bases) {
                                // The workload ended before this call.
                                Ok(None) => break,
                                Ok(Some(images)) => {
                                    let mut found = lock();
                                    found.runs += u64::from(images > 0);
                                    found.images += images;
                                }
                                Err(problem) => lock().violations.push(problem),
                            }
                        }
                    }
                }
            });
        }
    });
    found.into_inner().unwrap_or_else(PoisonError::into_inner)
}

impl Failing<'_> {
    fn setup(&self) -> Setup {
        self.workload.setup.making(self.planted)
    }

    /// Runs the workload; returns how many images were checked, or `None` when the call that was to fail never came.
    fn run(&self, bases: &Bases) -> Result<Option<u64>, String> {
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.run_on(bases)));
        let result = result.unwrap_or_else(|_| Err("the log panicked".to_owned()));
        let Self { workload, fault, first, count, .. } = self;
        let times = if *count == FOR_GOOD { "for good".to_owned() } else { format!("{count} times") };
        result.map_err(|problem| format!("{}, {fault:?} at call {first} {times}: {problem}", workload.name()))
    }

    fn run_on(&self, bases: &Bases) -> Result<Option<u64>, String> {
        let (base, history) = bases.get(self.workload.base);
        let disk = SimDisk::traced(base.clone());
        let mut run = Run::new(disk.clone(), history, self.setup());
        disk.set_faults(Faults::at(self.fault, self.first, self.count));
        let opened = run.open().err().map(|error| error.to_string());
        let actions = if opened.is_some() { &[] } else { self.workload.actions.as_slice() };
        self.answers_well(&disk, opened.iter())?;
        for action in actions {
            let unknown = run.history.iter().any(|submitted| submitted.answer == Answer::Open);
            let reopens = *action == Action::DeleteIndex;
            let problems = run.perform(*action);
            self.answers_well(&disk, problems.iter())?;
            if unknown
                && !reopens
                && !problems.iter().all(|problem| problem.contains("read-only") || run.log.is_none())
            {
                return Err(format!("after a failed barrier {action:?} is not refused: {problems:?}"));
            }
            if unknown && !reopens && problems.is_empty() && !matches!(action, Action::Seal | Action::Compact)
            {
                return Err(format!("after a failed barrier {action:?} is taken"));
            }
            self.reads_go_on(&run)?;
        }
        let faults = disk.faults();
        disk.set_faults(Faults::none());
        self.goes_on_with_room(&mut run, &faults)?;
        run.close();
        if faults.calls <= self.first {
            return Ok(None);
        }
        if faults.failed.is_empty() {
            return Ok(Some(0));
        }
        let expected = Expectation::after(&run.history, AT_THE_END);
        check(&disk.tree().reachable(), &expected, true, self.setup())
            .map_err(|problem| format!("opened again: {problem}"))?;
        let mut replay = Replay::of(base.clone());
        disk.ops().iter().for_each(|op| replay.step(op));
        self.opens_without_room(&disk.tree().reachable(), &expected)?;
        let mut images = 1 + self.power_cuts(&replay, &expected, "after a power cut")?;
        // The next process sees what the failed barrier was for, although it may never reach the disk.
        let next = SimDisk::resumed(disk.tree(), Some(disk.ops()));
        let (next, history) = Run::trace_again(next, &expected, self.setup())?;
        let mut replay = Replay::of(base);
        next.ops().iter().for_each(|op| replay.step(op));
        let expected = Expectation::after(&history, AT_THE_END);
        images += self.power_cuts(&replay, &expected, "after going on and a power cut")?;
        Ok(Some(images))
    }

    /// Short and interrupted transfers are nobody's business; other failures are told with what to do.
    fn answers_well<'b>(
        &self,
        disk: &SimDisk,
        problems: impl Iterator<Item = &'b String>,
    ) -> Result<(), String> {
        let failed = disk.faults().failed;
        let barrier = failed.contains(&Call::Sync);
        for problem in problems {
            let fits = match self.fault {
                Fault::Short | Fault::Interrupted => barrier,
                Fault::Full => problem.contains("is full") || problem.contains("closed"),
                Fault::FullAtBarrier => {
                    let words = ["is full", "is not known", "read-only", "closed"];
                    words.iter().any(|word| problem.contains(word))
                }
                _ => !failed.is_empty(),
            };
            if !fits {
                return Err(format!("a surprising answer: {problem}"));
            }
        }
        Ok(())
    }

    /// Reads show all that was acknowledged and nothing else, as long as the disk can be read.
    fn reads_go_on(&self, run: &Run) -> Result<(), String> {
        if let Some(log) = run.log.as_ref().filter(|_| self.fault != Fault::InputOutput) {
            let expected = Expectation::after(&run.history, AT_THE_END);
            compare(log, &expected.certain).map_err(|problem| format!("reads do not go on: {problem}"))?;
        }
        Ok(())
    }

    /// A log that only lacked room goes on when there is some; one that only met odd transfers goes on anyway.
    fn goes_on_with_room(&self, run: &mut Run, faults: &Faults) -> Result<(), String> {
        let could = matches!(self.fault, Fault::Full | Fault::Short | Fault::Interrupted);
        if run.log.is_none() || !could || faults.failed.contains(&Call::Sync) {
            return Ok(());
        }
        match run.perform(Action::AppendOne).first() {
            Some(problem) => Err(format!("it does not go on with room again: {problem}")),
            None => Ok(()),
        }
    }

    /// A store on a full disk opens and is read; what needs room says so.
    fn opens_without_room(&self, image: &Tree, expected: &Expectation) -> Result<(), String> {
        if self.fault != Fault::Full || self.count != FOR_GOOD {
            return Ok(());
        }
        let disk = SimDisk::holding(image.clone());
        disk.set_faults(Faults::at(Fault::Full, 0, FOR_GOOD));
        let mut run = Run::new(disk, expected.as_history(), self.setup());
        run.next_number += 50;
        match run.open() {
            // Nothing can be set aside, or made, without room.
            Err(StoreError::DiskFull { .. }) => return Ok(()),
            Err(error) => return Err(format!("on a full disk: {error}")),
            Ok(()) => self.reads_go_on(&run)?,
        }
        let refused = run.perform(Action::Roll);
        self.answers_well(&run.disk, refused.iter())?;
        self.reads_go_on(&run)
    }

    fn power_cuts(&self, replay: &Replay, expected: &Expectation, when: &str) -> Result<u64, String> {
        let mut random = Random::of(&[seed(), expected.fingerprint, self.first]);
        let choices = replay.few_choices(&mut random);
        for choice in &choices {
            check(&replay.image(choice), expected, false, self.setup())
                .map_err(|problem| format!("{when}: {problem}\n  [{}]", replay.describe(choice)))?;
        }
        Ok(choices.len() as u64)
    }
}

/// The workloads of the test command, or of the longer run.
pub(crate) fn workloads() -> Vec<Workload> {
    let mut workloads = Workload::every(Base::Nothing, 1);
    workloads.extend(Workload::every(Base::Empty, 1));
    workloads.extend(Workload::every(Base::Written, 1));
    let pairs = Workload::every(Base::Written, 2).into_iter().zip(0..);
    let share = if long_run() { 1 } else { 6 };
    workloads.extend(
        pairs.filter(|(_, number)| Random::of(&[seed(), *number]).below(share) == 0).map(|(pair, _)| pair),
    );
    workloads
}

#[test]
fn every_failing_call_is_survived() {
    let begun = std::time::Instant::now();
    let found = run(&workloads(), None, false);
    println!(
        "evidence: {{\"test\":\"failing calls\",\"workloads\":{},\"runs\":{},\"images\":{},\"violated\":{},\
         \"seed\":{},\"seconds\":{}}}",
        found.workloads,
        found.runs,
        found.images,
        found.violations.len(),
        seed(),
        begun.elapsed().as_secs(),
    );
    let shown: Vec<_> = found.violations.iter().take(5).cloned().collect();
    assert!(found.violations.is_empty(), "{} violations:\n{}", found.violations.len(), shown.join("\n"));
}
