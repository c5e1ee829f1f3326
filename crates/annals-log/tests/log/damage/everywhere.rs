//! A small store on the simulated disk, damaged in every way at every place: what was acknowledged is never lost in
//! silence, and never cut off.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use annals_core::conformance::{TestClock, block_on};
use annals_core::{AppendRequest, EventStore, Filter, Position, ReadFrom, ReadRequest, StoreError};
use annals_log::{EventLog, OpenMode, Planted, Storage};

use super::harms::{Harm, harms_to};
use crate::simulation::check::check;
use crate::simulation::disk::SimDisk;
use crate::simulation::engine::{self, FOLDER, Setup};
use crate::simulation::history::{Content, Expectation};
use crate::simulation::tree::{Tree, base_name, parent};
use crate::simulation::workload::{Action, Run, moment};

/// How a harm turned out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// The log does not open, and says why.
    Refused,
    /// The log opens, and what is damaged is named.
    Noticed,
    Harmless,
}

/// A store of a few segments, closed, and what it holds.
pub(crate) struct Subject {
    setup: Setup,
    tree: Tree,
    expected: Expectation,
    other_store: Tree,
    other_history: Tree,
}

impl Subject {
    /// A store of several segments, the same with an index on disk and compressed segments, and one of a single segment.
    pub(crate) fn all() -> [Self; 3] {
        let large: [&[Action]; 3] = [
            &[Action::AppendMany, Action::Checkpoint, Action::Roll],
            &[Action::AppendOne, Action::Truncate, Action::Compact, Action::Roll, Action::Seal],
            &[Action::AppendMany, Action::AppendOne],
        ];
        let small: [&[Action]; 2] = [&[Action::AppendMany], &[Action::AppendOne]];
        [Self::made_by(&large, 0), Self::made_by(&large, 3), Self::made_by(&small, 0)]
    }

    fn made_by(sessions: &[&[Action]], setup: u64) -> Self {
        let setup = Setup::nth(setup);
        let fresh = || Run::new(SimDisk::holding(Tree::default()), Vec::new(), setup);
        let (mut run, mut other_store) = (fresh(), fresh());
        perform(&mut other_store, sessions);
        let (first, rest) = sessions.split_at(1);
        perform(&mut run, first);
        let mut other_history = Run::new(SimDisk::holding(run.disk.tree()), run.history.clone(), setup);
        other_history.next_number += 500;
        perform(&mut other_history, rest);
        perform(&mut run, rest);
        let expected = Expectation::after(&run.history, usize::MAX);
        let (other_store, other_history) = (other_store.disk.tree(), other_history.disk.tree());
        Self { setup, tree: run.disk.tree(), expected, other_store, other_history }
    }

    /// Every harm to the files that `concerned` names.
    pub(crate) fn harms(&self, concerned: impl Fn(&str) -> bool) -> Vec<Harm> {
        harms_to(&self.tree, concerned)
    }

    fn examine(&self, harm: &Harm, planted: Option<Planted>) -> Result<Outcome, String> {
        let setup = self.setup.making(planted);
        let mut image = self.tree.clone();
        harm.apply(&mut image, &self.other_store, &self.other_history);
        if image == self.tree {
            return Ok(Outcome::Harmless);
        }
        let disk = SimDisk::holding(image.clone());
        let log = match engine::open(&disk, &TestClock::at(moment(10_000).as_micros()), setup) {
            Ok(log) => log,
            Err(StoreError::NotAStore { .. } | StoreError::NewerFormat { .. } | StoreError::Damaged(_)) => {
                return untouched(&image, &disk.tree()).map(|()| Outcome::Refused);
            }
            Err(error) => return Err(format!("an error that does not name the damage: {error}")),
        };
        let report = block_on(log.verify(Box::new(|_, _| {}))).map_err(|error| error.to_string())?;
        if matches!(harm, Harm::OfAnotherHistory { .. }) && (log.damage().is_some() || !report.is_sound()) {
            // It is sound by itself: that it does not belong here shows only where the chain of hashes goes on.
            drop(log);
            return untouched(&image, &disk.tree()).map(|()| Outcome::Noticed);
        }
        let readable = right_events(&log, &self.expected.certain)?;
        if log.damage().is_none() && report.is_sound() && readable.iter().all(|(_, readable)| *readable) {
            drop(log);
            return check(&image, &self.expected, false, setup).map(|_| Outcome::Harmless);
        }
        if report.is_sound() {
            return Err(format!("verify finds nothing, but the log says {:?}", log.damage()));
        }
        if let Some((position, _)) =
            readable.iter().find(|(at, readable)| *at <= report.readable_to && !readable)
        {
            return Err(format!(
                "verify says that all is readable up to {}, but {position} is not",
                report.readable_to
            ));
        }
        if log.damage().is_some() {
            let refused = log.append_blocking(AppendRequest::new([crate::event("a-1", "x")]));
            let told = refused.as_ref().err().map(ToString::to_string).unwrap_or_default();
            if !told.contains("read-only") || !told.contains("nothing was removed") {
                return Err(format!("a damaged log answers an append with {refused:?}"));
            }
        }
        drop(log);
        untouched(&image, &disk.tree()).map(|()| Outcome::Noticed)
    }
}

/// Opens the log, does some things, and closes it, once for each list of things.
fn perform(run: &mut Run, sessions: &[&[Action]]) {
    for actions in sessions {
        run.open().unwrap();
        for action in *actions {
            assert_eq!(run.perform(*action), Vec::<String>::new());
        }
        run.close();
    }
}

/// Whether each visible event can be read. One that is read differently from how it was written is an error.
fn right_events(log: &EventLog, content: &Content) -> Result<Vec<(Position, bool)>, String> {
    let mut readable = Vec::new();
    for stored in content.visible() {
        let at = ReadRequest::new(Filter::all()).from(ReadFrom::Position(stored.position)).limit(1);
        let found = log.read_blocking(&at).ok().and_then(|batch| batch.events.into_iter().next());
        let found = found.filter(|event| event.position() == stored.position);
        if let Some(event) = &found {
            let same =
                (event.version(), event.recorded_at(), event.id()) == (stored.version, stored.at, stored.id);
            if !same || *event.body() != stored.body {
                return Err(format!(
                    "position {} is read as {event:?}, expected {stored:?}",
                    stored.position
                ));
            }
        }
        readable.push((stored.position, found.is_some()));
    }
    Ok(readable)
}

/// Nothing of the log was changed by looking at it.
fn untouched(before: &Tree, after: &Tree) -> Result<(), String> {
    let kept = |path: &str| {
        let derived = parent(path) == format!("{FOLDER}/index") || base_name(path) == "lock";
        !derived && base_name(path) != "watermark"
    };
    for path in before.entries.keys().filter(|path| kept(path)) {
        if before.file_at(path) != after.file_at(path) {
            return Err(format!("{path} was changed, although it is damaged"));
        }
    }
    Ok(())
}

/// What was tried, and what was found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) by_kind: BTreeMap<&'static str, u64>,
    pub(crate) refused: u64,
    pub(crate) noticed: u64,
    pub(crate) harmless: u64,
    pub(crate) violations: Vec<String>,
}

/// Does every harm to one store, and adds what comes of it to what was found before.
pub(crate) fn run(
    subject: &Subject,
    harms: &[Harm],
    planted: Option<Planted>,
    until_first: bool,
    before: Found,
) -> Found {
    const CHUNK: usize = 64;
    let (found, next) = (Mutex::new(before), AtomicUsize::new(0));
    let lock = || found.lock().unwrap_or_else(PoisonError::into_inner);
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some(chunk) = harms.chunks(CHUNK).nth(next.fetch_add(1, Ordering::Relaxed)) {
                    if until_first && !lock().violations.is_empty() {
                        return;
                    }
                    for harm in chunk {
                        let examine = || subject.examine(harm, planted);
                        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(examine));
                        let outcome = outcome.unwrap_or_else(|_| Err("the log panicked".to_owned()));
                        let mut found = lock();
                        *found.by_kind.entry(harm.kind()).or_default() += 1;
                        match outcome {
                            Ok(Outcome::Refused) => found.refused += 1,
                            Ok(Outcome::Noticed) => found.noticed += 1,
                            Ok(Outcome::Harmless) => found.harmless += 1,
                            Err(problem) => found.violations.push(format!("{harm:?}: {problem}")),
                        }
                    }
                }
            });
        }
    });
    found.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// Bytes that change while the log is open are noticed by the read that meets them.
pub(crate) fn damage_while_open(planted: Option<Planted>) -> Result<(), String> {
    let disk = SimDisk::holding(Tree::default());
    let mut run = Run::new(disk.clone(), Vec::new(), Setup::default().making(planted));
    run.open().map_err(|error| error.to_string())?;
    run.perform(Action::AppendOne);
    let log = run.log.as_ref().ok_or("closed")?;
    let path = log.segment_paths().pop().ok_or("no segment")?;
    let file = disk.open(&path, OpenMode::ReadWrite).map_err(|error| error.to_string())?;
    let content = disk.tree().file_at(&path.to_string_lossy()).unwrap_or_default().to_vec();
    let last = content.iter().rposition(|byte| *byte != 0).ok_or("no content")?;
    file.write_all_at(&[content[last] ^ 1], last as u64).map_err(|error| error.to_string())?;
    match log.read_blocking(&ReadRequest::default()) {
        Err(StoreError::Damaged(damage)) if damage.first_position == Position::new(1) => Ok(()),
        other => Err(format!("a read of damaged bytes: {other:?}")),
    }
}

#[test]
fn damage_while_open_is_noticed() {
    damage_while_open(None).unwrap();
}

#[test]
fn all_damage_is_noticed_or_harmless() {
    let begun = std::time::Instant::now();
    let [large, indexed, small] = Subject::all();
    let found = run(&large, &large.harms(|_| true), None, false, Found::default());
    let mut indexed_harms = indexed.harms(|path| base_name(path) != "mark");
    if !crate::simulation::random::long_run() {
        // What is derived is checked by pages, so one bit of each byte stands for the others.
        indexed_harms.retain(|harm| match harm {
            Harm::FlippedBit { path, bit } => !path.contains("/index/") || bit % 8 == bit / 8 % 8,
            _ => true,
        });
    }
    let found = run(&indexed, &indexed_harms, None, false, found);
    // The mark's many zeros were all flipped in the larger store.
    let found = run(&small, &small.harms(|path| base_name(path) != "mark"), None, false, found);
    let kinds: Vec<String> =
        found.by_kind.iter().map(|(kind, count)| format!("\"{kind}\":{count}")).collect();
    println!(
        "evidence: {{\"test\":\"damage\",{},\"images\":{},\"refused\":{},\"noticed\":{},\"harmless\":{},\
         \"violated\":{},\"seconds\":{}}}",
        kinds.join(","),
        found.by_kind.values().sum::<u64>(),
        found.refused,
        found.noticed,
        found.harmless,
        found.violations.len(),
        begun.elapsed().as_secs(),
    );
    let shown: Vec<_> = found.violations.iter().take(8).cloned().collect();
    assert!(found.violations.is_empty(), "{} violations:\n{}", found.violations.len(), shown.join("\n"));
    assert!(found.noticed > 0 && found.refused > 0 && found.harmless > 0);
}
