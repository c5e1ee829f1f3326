//! The thread that writes: it takes the appends that wait and commits them as one group.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use annals_core::append_rules::PreparedAppend;
use annals_core::{AppendError, AppendReceipt, Clock, Head, Position, StoreError, TxWork};
use annals_threads::{Answer, run_work};

use crate::append::{Place, append};
use crate::failure::{Refusal, is_io_failure, store_error};
use crate::read;
use crate::tx::WriteTx;

/// A group ends at this many appends, or once its events have this many bytes.
const GROUP_APPENDS: usize = 512;
const GROUP_BYTES: usize = 8 << 20;

/// How often the writer looks, while someone waits, for what other processes appended.
const LOOK_EVERY: Duration = Duration::from_millis(25);

pub(crate) type Outcome = Result<AppendReceipt, AppendError>;

/// What the writer is asked to do.
pub(crate) enum Job {
    Append(PreparedAppend, Answer<Outcome>),
    AppendWith(PreparedAppend, TxWork, Answer<Outcome>),
    /// Look for what other processes appended.
    Look,
}

/// The one connection of this process that writes, and what its thread shares with the store.
pub(crate) struct Writer {
    pub(crate) path: PathBuf,
    pub(crate) tx: WriteTx,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) head: Arc<Head>,
    /// How many wait for the head to move.
    pub(crate) waiters: Arc<AtomicUsize>,
    /// Why no more appends are taken.
    pub(crate) stopped: Option<String>,
}

impl Writer {
    /// Works through the queue until the store is dropped.
    pub(crate) fn run(mut self, queue: &Receiver<Job>) {
        let mut next = None;
        while let Some(job) = next.take().or_else(|| self.receive(queue)) {
            match job {
                Job::Look => self.look(),
                Job::AppendWith(append, work, answer) => {
                    let outcome = self.append_with(&append, work);
                    answer.give(outcome);
                }
                Job::Append(append, answer) => {
                    let mut bytes = append.body_bytes;
                    let mut group = vec![(append, answer)];
                    while group.len() < GROUP_APPENDS && bytes < GROUP_BYTES {
                        match queue.try_recv() {
                            Ok(Job::Append(append, answer)) => {
                                bytes += append.body_bytes;
                                group.push((append, answer));
                            }
                            Ok(other) => {
                                next = Some(other);
                                break;
                            }
                            Err(_) => break,
                        }
                    }
                    self.append_group(group);
                }
            }
        }
        self.head.close();
    }

    /// The next job; `None` when there will be no more.
    fn receive(&self, queue: &Receiver<Job>) -> Option<Job> {
        if self.waiters.load(Ordering::Acquire) == 0 {
            return queue.recv().ok();
        }
        match queue.recv_timeout(LOOK_EVERY) {
            Ok(job) => Some(job),
            Err(RecvTimeoutError::Timeout) => Some(Job::Look),
            Err(RecvTimeoutError::Disconnected) => None,
        }
    }

    fn look(&self) {
        // What cannot be read now can be read at the next look, and reads themselves report why not.
        if let Ok(head) = read::head(&self.tx.connection)
            && head > self.head.get()
        {
            self.head.advance(head);
        }
    }

    fn append_group(&mut self, group: Vec<(PreparedAppend, Answer<Outcome>)>) {
        let (appends, answers): (Vec<_>, Vec<_>) = group.into_iter().unzip();
        match self.try_group(&appends) {
            Ok(outcomes) => {
                answers.into_iter().zip(outcomes).for_each(|(answer, outcome)| answer.give(outcome))
            }
            Err(failed) => answers.into_iter().for_each(|answer| answer.give(Err(failed().into()))),
        }
    }

    /// Writes a group in one transaction; on failure nothing of it is acknowledged, and each is told the same.
    fn try_group(&mut self, appends: &[PreparedAppend]) -> Result<Vec<Outcome>, FailedGroup> {
        let mut place = self.begin()?;
        let mut outcomes = Vec::with_capacity(appends.len());
        for prepared in appends {
            match self.append_in_savepoint(&mut place, prepared) {
                Ok(outcome) => outcomes.push(outcome),
                Err(error) => {
                    self.tx.roll_back();
                    return Err(self.plain("cannot append", error));
                }
            }
        }
        self.commit()?;
        self.head.advance(place.head);
        Ok(outcomes)
    }

    /// One append of a group, undone alone when it is refused; an error ends the whole group.
    fn append_in_savepoint(
        &self,
        place: &mut Place,
        prepared: &PreparedAppend,
    ) -> Result<Outcome, rusqlite::Error> {
        let connection = &self.tx.connection;
        let run = |sql: &str| connection.prepare_cached(sql)?.execute([]).map(drop);
        run("SAVEPOINT one_append")?;
        let outcome = match append(&self.tx, place, prepared) {
            Ok(receipt) => Ok(receipt),
            Err(refusal) => {
                if connection.is_autocommit() {
                    // SQLite has rolled everything back, as it does when the disk is full.
                    return Err(engine_error(refusal));
                }
                run("ROLLBACK TO one_append")?;
                Err(refusal.into_append_error(&self.path))
            }
        };
        run("RELEASE one_append")?;
        Ok(outcome)
    }

    fn append_with(&mut self, prepared: &PreparedAppend, work: TxWork) -> Outcome {
        let mut place = self.begin().map_err(|failed| failed())?;
        let before = place.head;
        let receipt = append(&self.tx, &mut place, prepared).map_err(|refusal| {
            self.tx.roll_back();
            refusal.into_append_error(&self.path)
        })?;
        if !receipt.duplicate {
            let done = run_work(&mut self.tx, work);
            if self.tx.connection.is_autocommit() {
                // SQLite rolls back by itself when the disk is full; anything else was done by the work.
                let moved = read::head(&self.tx.connection).unwrap_or(Position::MAX) > before;
                if done.is_ok() || moved || prepared.events.is_empty() {
                    let reason = "the work ended the transaction that it was to run in".to_owned();
                    return Err(StoreError::OutcomeUnknown { reason }.into());
                }
            }
            if let Err(source) = done {
                self.tx.roll_back();
                let operation = "cannot do the work in the append's transaction, so nothing was written";
                return Err(StoreError::backend(operation, source).into());
            }
        }
        self.commit().map_err(|failed| failed())?;
        self.head.advance(place.head);
        Ok(receipt)
    }

    fn begin(&self) -> Result<Place, FailedGroup> {
        if let Some(reason) = self.stopped.clone() {
            return Err(Box::new(move || StoreError::ReadOnly { reason: reason.clone() }));
        }
        let connection = &self.tx.connection;
        let begun = connection
            .execute_batch("BEGIN IMMEDIATE")
            .and_then(|()| Place::at_the_end(connection, self.clock.now()));
        begun.map_err(|error| {
            self.tx.roll_back();
            self.plain("cannot begin to write", error)
        })
    }

    fn commit(&mut self) -> Result<(), FailedGroup> {
        let Err(error) = self.tx.connection.execute_batch("COMMIT") else { return Ok(()) };
        self.tx.roll_back();
        if !is_io_failure(&error) {
            return Err(self.plain("cannot commit", error));
        }
        // The log may have the commit although the barrier behind it failed; no later barrier would tell.
        let reason = format!("a write to {} failed: {error}", self.path.display());
        self.stopped = Some(format!("{reason}; open the store again"));
        Err(Box::new(move || StoreError::OutcomeUnknown { reason: reason.clone() }))
    }

    fn plain(&self, operation: &'static str, error: rusqlite::Error) -> FailedGroup {
        let path = self.path.clone();
        Box::new(move || store_error(&path, operation, &error))
    }
}

/// Makes the error of a failed group, once for each of its appends.
type FailedGroup = Box<dyn Fn() -> StoreError>;

fn engine_error(refusal: Refusal) -> rusqlite::Error {
    match refusal {
        Refusal::Failed(crate::failure::Failure::Sqlite(error)) => error,
        _ => rusqlite::Error::SqliteFailure(
            rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_ABORT),
            Some("the transaction was rolled back".to_owned()),
        ),
    }
}
