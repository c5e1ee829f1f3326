//! Writes the index of events that are no longer the latest to disk, and merges runs.

use std::sync::{Arc, PoisonError};

use annals_core::{Position, StoreError};

use crate::options::{LogOptions, Maintenance};
use crate::places::Places;
use crate::planted::Mistakes;
use crate::recent::Recent;
use crate::run::{MergeContext, Rewritten, Run, RunContent, RunName, merge_runs, write_run};
use crate::segments::Segment;
use crate::storage::Storage;
use crate::sync::{Condvar, Mutex};
use crate::ticket::lock;
use crate::view::{LogIndex, Older};

/// So many runs of like size are merged into one.
const MERGED_AT_ONCE: usize = 4;
/// Runs smaller than this count as of this size.
const SMALLEST_TIER_EVENTS: u64 = 4096;
/// No run is merged into one with more events.
const LARGEST_RUN_EVENTS: u64 = 32 << 20;

impl Older {
    /// What is older once the part that was being written out is a run.
    pub(crate) fn with_run(&self, run: Run) -> Self {
        // One of checkpoints alone takes the place of another of the same name.
        let kept = self.runs.iter().filter(|known| known.path() != run.path()).cloned();
        let runs: Vec<Arc<Run>> = kept.collect();
        Self { frozen: None, runs: runs.into_iter().chain([Arc::new(run)]).collect() }
    }
}

/// Who keeps the runs.
pub(crate) struct Upkeep {
    storage: Arc<dyn Storage>,
    places: Places,
    pub(crate) memory_bytes: usize,
    mode: Maintenance,
    pub(crate) mistakes: Mistakes,
    state: Mutex<State>,
    wake: Condvar,
    /// Whoever holds this writes or merges runs.
    work: Mutex<()>,
}

#[derive(Default)]
struct State {
    wanted: bool,
    closed: bool,
    /// Why a run could not be written the last time.
    failed: Option<String>,
}

impl Upkeep {
    pub(crate) fn new(options: &LogOptions, places: Places) -> Self {
        Self {
            storage: Arc::clone(&options.storage),
            places,
            memory_bytes: options.index_memory_bytes,
            mode: options.maintenance,
            mistakes: Mistakes::of(options),
            state: Mutex::default(),
            wake: Condvar::new(),
            work: Mutex::default(),
        }
    }

    /// A part was set aside: it is to be written.
    pub(crate) fn frozen(&self, index: &LogIndex) {
        match self.mode {
            Maintenance::Inline => {
                self.write_frozen_now(index);
                self.merge_now(index);
            }
            Maintenance::Background => {
                lock(&self.state).wanted = true;
                self.wake.notify_one();
            }
        }
    }

    /// Why the index could not be written the last time it was tried, if it could not.
    pub(crate) fn failure(&self) -> Option<String> {
        lock(&self.state).failed.clone()
    }

    /// Writes the part that was set aside, if there is one. What cannot be written stays in memory.
    pub(crate) fn write_frozen_now(&self, index: &LogIndex) {
        let _work = lock(&self.work);
        let Some(frozen) = index.older().frozen.clone() else { return };
        let written = self.write(index, &frozen);
        let failed = match written {
            Ok(run) => {
                index.change_older(|older| older.with_run(run));
                None
            }
            Err(error) => Some(error.to_string()),
        };
        lock(&self.state).failed = failed;
    }

    pub(crate) fn write(&self, index: &LogIndex, recent: &Recent) -> Result<Run, StoreError> {
        let folder = self.places.index();
        self.storage.create_dir_all(&folder).map_err(|error| StoreError::io("create", &folder, error))?;
        let (mut checkpoints, mut segments) = (recent.checkpoints.clone(), recent.stamps());
        let mut begins = recent.begins;
        // A run without events takes the place of one of the same name, so it takes over what that one tells.
        let replaced = index.older().runs.last().cloned();
        let is_replaced = |run: &Arc<Run>| (run.first(), run.last()) == (recent.first(), recent.index.last());
        if let Some(replaced) = replaced.filter(is_replaced) {
            let mut known = replaced.checkpoints()?;
            known.append(&mut checkpoints);
            checkpoints = known;
            begins = replaced.header().begins;
            segments.splice(0..0, replaced.segments()?);
            segments.dedup();
        }
        let content = RunContent {
            store: index.store,
            index: &recent.index,
            offsets: &recent.offsets,
            frames: &recent.frames,
            hidden: &recent.hidden,
            checkpoints: &checkpoints,
            segments: &segments,
            begins,
            resume: recent.resume.ok_or(StoreError::Closed)?,
        };
        let path = write_run(&*self.storage, &folder, &content)?;
        self.open(index, path)
    }

    fn open(&self, index: &LogIndex, path: std::path::PathBuf) -> Result<Run, StoreError> {
        let opened = Run::open_written(&*self.storage, path.clone(), index.store);
        let opened = opened.map(|run| run.making(self.mistakes));
        opened.map_err(|reason| StoreError::IndexDamaged { path, reason })
    }

    /// Merges runs as long as enough of like size stand side by side.
    pub(crate) fn merge_now(&self, index: &LogIndex) {
        let _work = lock(&self.work);
        while let Some(from) = first_to_merge(&index.older().runs) {
            if let Err(error) = self.merge_from(index, from) {
                lock(&self.state).failed = Some(error.to_string());
                return;
            }
        }
    }

    /// Merges all runs into as few as may be.
    pub(crate) fn merge_all(&self, index: &LogIndex) -> Result<(), StoreError> {
        let _work = lock(&self.work);
        let mut from = 0;
        loop {
            let runs = index.older().runs.clone();
            let mut events = 0;
            let fits = runs.iter().skip(from).take_while(|run| {
                events += run.header().events();
                events <= LARGEST_RUN_EVENTS
            });
            match fits.count() {
                0 => return Ok(()),
                1 => {}
                count => self.merge(index, from..from + count)?,
            }
            from += 1;
        }
    }

    fn merge_from(&self, index: &LogIndex, from: usize) -> Result<(), StoreError> {
        self.merge(index, from..from + MERGED_AT_ONCE)
    }

    fn merge(&self, index: &LogIndex, range: std::ops::Range<usize>) -> Result<(), StoreError> {
        let older = index.older();
        let merged = older.runs.get(range.clone()).unwrap_or_default();
        let hidden = index.hidden();
        let folder = self.places.index();
        let context = MergeContext { removed: &|position| hidden.contains(position), rewritten: &[] };
        let path = merge_runs(&*self.storage, &folder, merged, &context)?;
        let Some(path) = path else { return Ok(()) };
        let run = Arc::new(self.open(index, path)?);
        index.change_older(|older| {
            let mut runs = older.runs.clone();
            runs.splice(range, [Arc::clone(&run)]);
            Older { frozen: older.frozen.clone(), runs }
        });
        self.remove(merged, &run);
        Ok(())
    }

    /// Puts rewritten segments in the place of those that are read, and fits the runs to them.
    ///
    /// On disk the runs change first: should the process end in between, they are found not to fit and are built again.
    pub(crate) fn replace_segments(
        &self,
        index: &LogIndex,
        rewritten: &[Rewritten],
        rename: impl FnOnce() -> Result<Vec<Arc<Segment>>, StoreError>,
    ) -> Result<(), StoreError> {
        let _work = lock(&self.work);
        let hidden = index.hidden();
        let context = MergeContext { removed: &|position| hidden.contains(position), rewritten };
        let folder = self.places.index();
        let concerned = |run: &Run| {
            rewritten.iter().any(|segment| {
                let first = segment.stamp.first_position;
                let last = Position::new(first.get() + segment.offsets.len() as u64 - 1);
                first <= run.last() && run.first() <= last
            })
        };
        let mut runs = Vec::new();
        for run in &index.older().runs {
            if !concerned(run) {
                runs.push(Arc::clone(run));
            } else if let Some(path) = merge_runs(&*self.storage, &folder, &[Arc::clone(run)], &context)? {
                runs.push(Arc::new(self.open(index, path)?));
            }
        }
        let segments = rename()?;
        // Whoever asks sees either all of the old or all of the new.
        let _nobody_asks = index.recent.write().unwrap_or_else(PoisonError::into_inner);
        index.change_older(|older| Older { frozen: older.frozen.clone(), runs });
        segments.into_iter().for_each(|segment| index.segments.put(segment));
        Ok(())
    }

    /// Removes the files of runs that another took the place of. Who reads them can go on.
    fn remove(&self, runs: &[Arc<Run>], kept: &Run) {
        for run in runs.iter().filter(|run| kept.path() != run.path()) {
            // One that stays is found and removed when the log is opened the next time.
            let _ = self.storage.remove(run.path());
        }
    }

    /// What the thread of the index does until the log is closed.
    pub(crate) fn serve(&self, index: &LogIndex) {
        loop {
            let mut state = lock(&self.state);
            while !state.wanted && !state.closed {
                state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            if state.closed {
                return;
            }
            state.wanted = false;
            drop(state);
            self.write_frozen_now(index);
            self.merge_now(index);
        }
    }

    pub(crate) fn close(&self) {
        lock(&self.state).closed = true;
        self.wake.notify_all();
    }
}

fn tier(run: &Run) -> u32 {
    (run.header().events().max(SMALLEST_TIER_EVENTS) / SMALLEST_TIER_EVENTS).ilog(MERGED_AT_ONCE as u64)
}

/// Where the runs begin that are to be merged next: the latest ones, once none of them is smaller than the first.
fn first_to_merge(runs: &[Arc<Run>]) -> Option<usize> {
    let from = runs.len().checked_sub(MERGED_AT_ONCE)?;
    let latest = runs.get(from..)?;
    let events: u64 = latest.iter().map(|run| run.header().events()).sum();
    let first = tier(latest.first()?);
    (events <= LARGEST_RUN_EVENTS && latest.iter().all(|run| tier(run) >= first)).then_some(from)
}

/// The runs in a folder that together cover the log from its beginning, and the files that are not needed.
pub(crate) fn choose_runs(names: &[String]) -> (Vec<RunName>, Vec<String>) {
    let mut known: Vec<(RunName, &String)> =
        names.iter().filter_map(|name| RunName::parse(name).map(|run| (run, name))).collect();
    // Of those that begin at the same position, one of checkpoints alone comes first, and then the longest.
    known.sort_by_key(|(run, _)| (run.first, run.last >= run.first, std::cmp::Reverse(run.last)));
    let mut chosen: Vec<(RunName, &String)> = Vec::new();
    let mut next = Position::new(1);
    for (run, name) in known {
        if run.first == next && (run.last >= run.first || run.last.next() == run.first) {
            next = run.last.next();
            chosen.push((run, name));
        }
    }
    let is_chosen = |name: &&String| chosen.iter().any(|(_, known)| known == name);
    let rest = names.iter().filter(|name| !is_chosen(name)).cloned().collect();
    (chosen.into_iter().map(|(run, _)| run).collect(), rest)
}
