//! Power cuts and kills at every point of every short workload, and again while the log recovers.

use std::sync::atomic::{AtomicUsize, Ordering};

use annals_log::Planted;

use super::check::check;
use super::disk::SimDisk;
use super::engine::Setup;
use super::found::Found;
use super::history::{Expectation, Submitted};
use super::images::{CASUAL_FILES, Choice, Replay};
use super::random::{Random, long_run, seed};
use super::tears::Tearing;
use super::tree::{Op, Tree};
use super::workload::{Action, Base, Bases, Run, Workload};

/// What is tried.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) planted: Option<Planted>,
    pub(crate) workloads: Vec<Workload>,
    /// After one in so many images the log goes on, and crashes again.
    pub(crate) again_after_one_in: u64,
    /// At one in so many crash points the process is killed instead, and the next one goes on and loses power.
    pub(crate) kill_at_one_in: u64,
    /// One in so many images is opened once more after all that was done with it.
    pub(crate) thorough_for_one_in: u64,
    /// Whether the first violation ends it.
    pub(crate) until_first: bool,
    /// Whether only processes are killed, and the power fails only after that.
    pub(crate) kills_only: bool,
}

/// Where in a plan something happens: what `ANNALS_CRASH_POINT` and `ANNALS_CHOICE` name.
#[derive(Debug, Clone, Copy, Default)]
struct Only {
    point: Option<usize>,
    choice: Option<u64>,
}

#[derive(Clone, Copy)]
struct Crashes<'a> {
    plan: &'a Plan,
    setup: Setup,
    bases: &'a Bases,
    found: &'a Found,
    only: Only,
}

/// How an image came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Depth {
    First,
    Second,
}

/// Tries everything that is planned, on all processors.
pub(crate) fn run(plan: &Plan) -> Found {
    let number = |name: &str| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    let chosen = std::env::var("ANNALS_WORKLOAD").ok().filter(|_| plan.planted.is_none());
    let only = match &chosen {
        Some(_) => Only {
            point: number("ANNALS_CRASH_POINT").map(|point| point as usize),
            choice: number("ANNALS_CHOICE"),
        },
        None => Only::default(),
    };
    let workloads: Vec<&Workload> =
        plan.workloads.iter().filter(|one| chosen.as_ref().is_none_or(|name| *name == one.name())).collect();
    let (bases, found, next) = (Bases::make(), Found::default(), AtomicUsize::new(0));
    let crashes = Crashes { plan, setup: Setup::default(), bases: &bases, found: &found, only };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some(workload) = workloads.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let setup = workload.setup.making(plan.planted);
                    Crashes { setup, ..crashes }.workload(workload);
                }
            });
        }
    });
    found
}

impl Crashes<'_> {
    fn over(&self) -> bool {
        self.plan.until_first && self.found.violated.load(Ordering::Relaxed) > 0
    }

    fn workload(&self, workload: &Workload) {
        if self.over() {
            return;
        }
        let trace = match Run::trace(workload, self.bases, self.plan.planted) {
            Ok(trace) => trace,
            Err(problem) => return self.found.report(problem),
        };
        self.found.workloads.fetch_add(1, Ordering::Relaxed);
        let place = format!("ANNALS_SEED={} ANNALS_WORKLOAD={}", self.plan.seed, workload.name());
        let mut replay = Replay::of(trace.base.clone());
        let mut seen_by_programs = trace.base.clone();
        let mut before = None;
        for point in 0..=trace.ops.len() {
            if let Some(op) = point.checked_sub(1).and_then(|last| trace.ops.get(last)) {
                replay.step(op);
                seen_by_programs.apply(op);
            }
            let expected = Expectation::after(&trace.history, point);
            let same_as_before = before.replace(expected.fingerprint) == Some(expected.fingerprint);
            if self.over() || self.only.point.is_some_and(|only| only != point) {
                continue;
            }
            let place = format!("{place} ANNALS_CRASH_POINT={point}");
            if !self.plan.kills_only {
                self.point(&replay, &expected, same_as_before, &place, Depth::First);
            }
            if Random::of(&[self.plan.seed, expected.fingerprint, point as u64])
                .below(self.plan.kill_at_one_in)
                == 0
            {
                self.kill(&trace.base, &seen_by_programs, &trace.ops[..point], &expected, &place);
            }
        }
    }

    /// Every way in which a power cut at one point may turn out. What the point before it, with the same expectations,
    /// has tried is left out.
    fn point(&self, replay: &Replay, expected: &Expectation, known: bool, place: &str, depth: Depth) {
        self.found.crash_points.fetch_add(1, Ordering::Relaxed);
        if known && !replay.is_newest_open() {
            return;
        }
        let tearing = if depth == Depth::First { Tearing::Everywhere } else { Tearing::Sampled };
        // The sampled tears of an image must not depend on how the point was reached, but on what is there.
        let mut random = Random::of(&[self.plan.seed, expected.fingerprint]);
        replay.for_each_choice(known, tearing, &mut random, |choice| {
            let skipped = depth == Depth::First && self.only.choice.is_some_and(|only| only != choice.number);
            if !skipped && !self.over() {
                self.image(replay, &choice, expected, place, depth);
            }
        });
    }

    fn image(&self, replay: &Replay, choice: &Choice, expected: &Expectation, place: &str, depth: Depth) {
        let image = replay.image(choice);
        let hash = image.hash(&CASUAL_FILES) as u64;
        self.found.images.insert(hash);
        // What is sampled depends on the seed and on how the image came about, but not on the store's id, which is in
        // the hash, nor on which thread meets an image first.
        let case = expected.fingerprint ^ choice.fingerprint();
        let one_in = |share: u64, salt: u64| Random::of(&[self.plan.seed, case, salt]).below(share) == 0;
        let place = match depth {
            Depth::First => format!("{place} ANNALS_CHOICE={}", choice.number),
            Depth::Second => format!("{place} way {}", choice.number),
        };
        if self.found.checks.insert(hash ^ expected.fingerprint) {
            let thorough = one_in(self.plan.thorough_for_one_in, 1);
            if let Err(problem) = check(&image, expected, thorough, self.setup) {
                return self.found.report(format!("{place}: {problem}\n  [{}]", replay.describe(choice)));
            }
        }
        let again = self.only.choice.is_some() || one_in(self.plan.again_after_one_in, 2);
        if depth == Depth::First && again && self.found.again.insert(hash ^ expected.fingerprint) {
            self.crash_again(image, expected, &place);
        }
    }

    /// The log recovers and goes on, and the power fails again at any moment.
    fn crash_again(&self, image: Tree, expected: &Expectation, place: &str) {
        let disk = SimDisk::traced(image.clone());
        match Run::trace_again(disk, expected, self.setup) {
            Ok((disk, history)) => {
                let place = format!("{place} then crashed again");
                self.points_after(Replay::of(image), &disk.ops(), 0, &history, &place);
            }
            Err(problem) => self.found.report(format!("{place}: {problem}")),
        }
    }

    /// The process is killed, but the machine goes on: nothing is lost, but nothing more is durable either. Another
    /// process opens the log, goes on, and only then the power fails.
    fn kill(&self, base: &Tree, seen: &Tree, ops: &[Op], expected: &Expectation, place: &str) {
        self.found.kills.fetch_add(1, Ordering::Relaxed);
        let place = format!("{place} killed, and power cut later");
        let disk = SimDisk::resumed(seen.clone(), Some(ops.to_vec()));
        match Run::trace_again(disk, expected, self.setup) {
            Ok((disk, history)) => {
                self.points_after(Replay::of(base.clone()), &disk.ops(), ops.len(), &history, &place);
            }
            Err(problem) => self.found.report(format!("{place}: {problem}")),
        }
    }

    fn points_after(&self, mut replay: Replay, ops: &[Op], begun: usize, history: &[Submitted], place: &str) {
        let mut before = None;
        for (point, op) in (1..).zip(ops) {
            replay.step(op);
            if point > begun && !self.over() {
                let expected = Expectation::after(history, point);
                let known = before.replace(expected.fingerprint) == Some(expected.fingerprint);
                self.point(&replay, &expected, known, &format!("{place} at {point}"), Depth::Second);
            }
        }
    }
}

/// The workloads of the test command, or of the longer run.
fn planned(long: bool, seed: u64) -> Vec<Workload> {
    let mut workloads = Workload::every(Base::Nothing, 0);
    workloads.extend(Workload::every(Base::Nothing, 1));
    let sampled = |base, length, share: u64| {
        let every = Workload::every(base, length).into_iter().zip(0..);
        let kept = every
            .filter(move |(_, number)| Random::of(&[seed, u64::from(length), *number]).below(share) == 0);
        kept.map(|(workload, _)| workload).collect::<Vec<_>>()
    };
    for base in [Base::Empty, Base::Written] {
        workloads.extend((1..=2).flat_map(|length| Workload::every(base, length)));
        workloads.extend(sampled(base, 3, if long { 1 } else { 24 }));
        workloads.extend(sampled(base, 4, if long { 8 } else { 128 }));
    }
    workloads
}

/// A plan with the workloads of the test command.
pub(crate) fn plan() -> Plan {
    let (seed, long) = (seed(), long_run());
    Plan {
        seed,
        planted: None,
        workloads: planned(long, seed),
        again_after_one_in: if long { 20 } else { 96 },
        kill_at_one_in: if long { 6 } else { 12 },
        thorough_for_one_in: 8,
        until_first: false,
        kills_only: false,
    }
}

#[test]
fn no_crash_loses_or_makes_up_an_event() {
    let plan = plan();
    let begun = std::time::Instant::now();
    let found = run(&plan);
    let (violated, images) = (found.violated.load(Ordering::Relaxed), found.images.len());
    println!(
        "evidence: {{\"test\":\"simulated crashes\",\"workloads\":{},\"crash_points\":{},\"images\":{images},\
         \"checks\":{},\"second_crashes\":{},\"kills\":{},\"violated\":{violated},\"seed\":{},\"seconds\":{}}}",
        found.workloads.load(Ordering::Relaxed),
        found.crash_points.load(Ordering::Relaxed),
        found.checks.len(),
        found.again.len(),
        found.kills.load(Ordering::Relaxed),
        plan.seed,
        begun.elapsed().as_secs(),
    );
    assert_eq!(violated, 0, "{}", found.violations().join("\n"));
    if std::env::var_os("ANNALS_WORKLOAD").is_none() {
        let enough = if long_run() { 2_000_000 } else { 200_000 };
        assert!(images >= enough, "{images} distinct images, expected at least {enough}");
    }
}

/// A compaction that is killed between its runs and its segments leaves runs of a form that no segment has. Another process
/// begins to write runs of the form that is there, and the power fails among them: the longer run found that places of the one
/// form were trusted beside those of the other.
#[test]
fn a_killed_compaction_leaves_no_places_of_another_form() {
    let actions = [Action::AppendMany, Action::Truncate, Action::Truncate, Action::Compact];
    let setup = Setup { small_index: true, ..Setup::default() };
    let workloads = vec![Workload { base: Base::Empty, actions: actions.to_vec(), setup }];
    let found = run(&Plan { workloads, kills_only: true, kill_at_one_in: 2, ..plan() });
    let violated = found.violated.load(Ordering::Relaxed);
    assert!(found.kills.load(Ordering::Relaxed) > 20);
    assert_eq!(violated, 0, "{}", found.violations().join("\n"));
}
