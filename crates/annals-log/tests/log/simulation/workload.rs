//! What the log is asked to do: short sequences of actions, and runs of them on a simulated disk.

use std::sync::Arc;

use annals_core::conformance::TestClock;
use annals_core::{
    AppendError, AppendReceipt, AppendRequest, ConsumerName, DeleteMode, EventId, EventType, NewEvent,
    Position, StoreError, StreamName, SystemEvent, Tag, Timestamp, Version,
};
use annals_log::{EventLog, Planted, Storage};

use super::disk::SimDisk;
use super::engine::{self, FOLDER, SEGMENT_BYTES, Setup};
use super::history::{Answer, Expectation, Submitted};
use super::tree::{Op, Tree};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    AppendOne,
    AppendMany,
    Roll,
    Seal,
    Checkpoint,
    /// Truncates one stream and deletes another.
    Truncate,
    Compact,
    /// Closes the log, removes its index files, and opens it again.
    DeleteIndex,
}

impl Action {
    pub(crate) const ALL: [Self; 8] = [
        Self::AppendOne,
        Self::AppendMany,
        Self::Roll,
        Self::Seal,
        Self::Checkpoint,
        Self::Truncate,
        Self::Compact,
        Self::DeleteIndex,
    ];
}

/// What the disk holds before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Base {
    /// Nothing: the store is made first.
    Nothing,
    /// A store without events.
    Empty,
    /// A store with a few events, closed.
    Written,
}

#[derive(Debug, Clone)]
pub(crate) struct Workload {
    pub(crate) base: Base,
    pub(crate) actions: Vec<Action>,
    pub(crate) setup: Setup,
}

impl Workload {
    /// Its name, as `ANNALS_WORKLOAD` takes it.
    pub(crate) fn name(&self) -> String {
        let actions = self.actions.iter().map(|action| format!("{action:?}")).collect::<Vec<_>>();
        let told = |is_so: bool, what: &'static str| if is_so { what } else { "" };
        let small = told(self.setup.small_index, "+small_index");
        let compressed = told(self.setup.compress, "+compressed");
        format!("{:?}{small}{compressed}:{}", self.base, actions.join(","))
    }

    /// Every sequence of so many actions.
    pub(crate) fn every(base: Base, length: u32) -> Vec<Self> {
        let count = Action::ALL.len();
        let sequence = |number: usize| (0..length).map(move |i| Action::ALL[number / count.pow(i) % count]);
        // The setups in turn, so that each action comes first, and last, under each of them.
        let setup = |number: usize| {
            let digits = (0..length).map(|i| number / count.pow(i));
            Setup::nth(digits.sum::<usize>() as u64 + u64::from(length))
        };
        let workload = |number| Self { base, actions: sequence(number).collect(), setup: setup(number) };
        (0..count.pow(length)).map(workload).collect()
    }
}

/// The disks on which workloads begin, and what had been stored there.
#[derive(Debug, Clone)]
pub(crate) struct Bases {
    empty: Tree,
    written: (Tree, Vec<Submitted>),
}

impl Bases {
    pub(crate) fn make() -> Self {
        let mut run = Run::new(
            SimDisk::holding(Tree::default()),
            Vec::new(),
            Setup { small_index: true, ..Setup::default() },
        );
        run.open().unwrap();
        run.close();
        let empty = run.disk.tree();
        run.open().unwrap();
        for action in [Action::AppendMany, Action::AppendOne, Action::Checkpoint] {
            assert_eq!(run.perform(action), Vec::<String>::new());
        }
        run.close();
        let mut history = run.history;
        for submitted in &mut history {
            (submitted.asked_after, submitted.answered_after) = (0, 0);
        }
        Self { empty, written: (run.disk.tree(), history) }
    }

    pub(crate) fn get(&self, base: Base) -> (Tree, Vec<Submitted>) {
        match base {
            Base::Nothing => (Tree::default(), Vec::new()),
            Base::Empty => (self.empty.clone(), Vec::new()),
            Base::Written => self.written.clone(),
        }
    }
}

/// A run as it went: from which disk, by which changes, with which questions and answers.
#[derive(Debug)]
pub(crate) struct Trace {
    pub(crate) base: Tree,
    pub(crate) ops: Vec<Op>,
    pub(crate) history: Vec<Submitted>,
}

/// A log at work.
pub(crate) struct Run {
    pub(crate) disk: SimDisk,
    pub(crate) clock: Arc<TestClock>,
    pub(crate) log: Option<EventLog>,
    pub(crate) history: Vec<Submitted>,
    pub(crate) setup: Setup,
    /// The number of the next append: its ids and its time depend on it.
    pub(crate) next_number: u64,
}

/// Those who store checkpoints, in turn.
pub(crate) const CONSUMERS: [&str; 2] = ["mailer", "printer"];
/// When logs are opened after a crash.
pub(crate) const OPENED_AT: Timestamp = Timestamp::from_micros(20_000_000);

pub(crate) fn moment(number: u64) -> Timestamp {
    Timestamp::from_micros(1_000_000 + 1_000 * number as i64)
}

impl Run {
    pub(crate) fn new(disk: SimDisk, history: Vec<Submitted>, setup: Setup) -> Self {
        let next_number = history.len() as u64;
        let clock = TestClock::at(moment(next_number).as_micros());
        Self { disk, clock, log: None, history, setup, next_number }
    }

    /// Runs a workload from the opening to the closing of the log, all of it traced.
    pub(crate) fn trace(
        workload: &Workload,
        bases: &Bases,
        planted: Option<Planted>,
    ) -> Result<Trace, String> {
        let (base, history) = bases.get(workload.base);
        let setup = workload.setup.making(planted);
        let mut run = Self::new(SimDisk::traced(base.clone()), history, setup);
        run.open().map_err(|error| format!("{}: cannot be opened: {error}", workload.name()))?;
        for action in &workload.actions {
            if let Some(problem) = run.perform(*action).first() {
                return Err(format!("{}: {action:?}: {problem}", workload.name()));
            }
        }
        run.close();
        Ok(Trace { base, ops: run.disk.ops(), history: run.history })
    }

    /// Goes on after a crash: opens the log, asks again for what was not answered, appends once more, closes.
    pub(crate) fn trace_again(
        disk: SimDisk,
        expected: &Expectation,
        setup: Setup,
    ) -> Result<(SimDisk, Vec<Submitted>), String> {
        let history = expected.as_history();
        let mut run = Self::new(disk, history, setup);
        run.next_number += 50;
        // A clock may stand still, or begin anew with each start of the machine.
        run.clock.set(OPENED_AT.as_micros());
        run.open().map_err(|error| format!("cannot be opened again: {error}"))?;
        run.resolve().map_err(|error| format!("an append is not taken again: {error}"))?;
        if let Some(problem) = run.perform(Action::AppendMany).first() {
            return Err(problem.clone());
        }
        run.close();
        Ok((run.disk.clone(), std::mem::take(&mut run.history)))
    }

    pub(crate) fn open(&mut self) -> Result<(), StoreError> {
        self.log = Some(engine::open(&self.disk, &self.clock, self.setup)?);
        Ok(())
    }

    pub(crate) fn close(&mut self) {
        self.log = None;
    }

    /// Does one thing; returns what did not work.
    pub(crate) fn perform(&mut self, action: Action) -> Vec<String> {
        let problem = match action {
            Action::AppendOne => self.append(|number| AppendRequest::new([event(number, 0, "a-1", 12)])),
            Action::AppendMany => self.append(|number| {
                let streams = ["b-1", "a-1", "b-1"].iter().zip(0..);
                AppendRequest::new(streams.map(|(stream, index)| event(number, index, stream, 30)))
            }),
            Action::Roll => {
                let large = SEGMENT_BYTES as usize;
                let filled = self.append(|number| AppendRequest::new([event(number, 0, "c-1", large)]));
                let rolled = self.append(|number| AppendRequest::new([event(number, 0, "a-1", 1)]));
                return filled.into_iter().chain(rolled).collect();
            }
            Action::Checkpoint => self.append(|number| {
                let consumer = ConsumerName::new(CONSUMERS[number as usize % 2]).unwrap();
                AppendRequest::default().checkpoint(consumer, Position::new(number + 1))
            }),
            Action::Truncate => {
                let truncated = self.append(|number| {
                    let before = Version::new(number);
                    system(number, "a-1", SystemEvent::StreamTruncated { before })
                });
                let deleted = self.append(|number| system(number, "b-1", DeleteMode::Soft.into()));
                return truncated.into_iter().chain(deleted).collect();
            }
            Action::Seal => self.with_log(|log| engine::seal(log).err().map(|error| error.to_string())),
            Action::Compact => self.with_log(|log| engine::compact(log).err().map(|error| error.to_string())),
            Action::DeleteIndex => self.delete_index().err().map(|error| error.to_string()),
        };
        problem.into_iter().collect()
    }

    fn with_log(&self, act: impl FnOnce(&EventLog) -> Option<String>) -> Option<String> {
        self.log.as_ref().map_or(Some("the log is closed".to_owned()), act)
    }

    fn delete_index(&mut self) -> Result<(), StoreError> {
        self.close();
        let folder = std::path::Path::new(FOLDER).join("index");
        for name in self.disk.list(&folder).unwrap_or_default() {
            let path = folder.join(name);
            self.disk.remove(&path).map_err(|error| StoreError::io("remove", &path, error))?;
        }
        self.open()?;
        self.resolve().map_err(|error| match error {
            AppendError::Store(error) => error,
            other => StoreError::backend("cannot append again", std::io::Error::other(other.to_string())),
        })
    }

    /// Asks again for the appends that were not answered.
    pub(crate) fn resolve(&mut self) -> Result<(), AppendError> {
        for index in 0..self.history.len() {
            if self.history[index].answer == Answer::Open {
                let Submitted { request, at, .. } = self.history[index].clone();
                self.clock.set(at.as_micros());
                let answer = self.ask(request);
                self.note(index, &answer, true);
                answer?;
            }
        }
        Ok(())
    }

    fn ask(&self, request: AppendRequest) -> Result<AppendReceipt, AppendError> {
        self.log.as_ref().ok_or(StoreError::Closed)?.append_blocking(request)
    }

    /// Appends what `request` makes of the append's number; returns why that did not work.
    pub(crate) fn append(&mut self, request: impl FnOnce(u64) -> AppendRequest) -> Option<String> {
        let number = self.next_number;
        self.next_number += 1;
        let (request, at) = (request(number), moment(number));
        self.clock.set(at.as_micros());
        self.history.push(Submitted {
            request: request.clone(),
            at,
            answer: Answer::Open,
            asked_after: self.disk.op_count(),
            answered_after: usize::MAX,
        });
        let answer = self.ask(request);
        self.note(self.history.len() - 1, &answer, false);
        answer.err().map(|error| error.to_string())
    }

    /// Notes an answer. An append that may have been stored by an earlier try stays open when a later one fails.
    fn note(&mut self, index: usize, answer: &Result<AppendReceipt, AppendError>, try_again: bool) {
        let submitted = &mut self.history[index];
        submitted.answer = match answer {
            Ok(receipt) => Answer::Kept(AppendReceipt { duplicate: false, ..receipt.clone() }),
            Err(AppendError::Store(StoreError::OutcomeUnknown { .. })) => return,
            Err(_) if try_again => return,
            Err(_) => Answer::Refused,
        };
        submitted.answered_after = self.disk.op_count();
    }
}

fn event(number: u64, index: u64, stream: &str, filler: usize) -> NewEvent {
    NewEvent::new(StreamName::new(stream).unwrap(), EventType::new("Happened").unwrap())
        .id(EventId::derived("simulation", &format!("{number}-{index}")))
        .tag(Tag::new(format!("number:{number}")).unwrap())
        .json(format!("{{\"number\":{number},\"index\":{index},\"filler\":\"{}\"}}", "x".repeat(filler)))
}

fn system(number: u64, stream: &str, event: SystemEvent) -> AppendRequest {
    let event = NewEvent::system(StreamName::new(stream).unwrap(), event);
    AppendRequest::new([event.id(EventId::derived("simulation", &format!("{number}-system")))])
}
