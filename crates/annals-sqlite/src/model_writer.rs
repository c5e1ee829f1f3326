//! The thread that writes one read model.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use annals_core::{BoxError, Position, ReadModelError, TxWork};
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior};

use crate::connection::{BUSY_TIMEOUT, Synchronous, is_busy, open_writer};
use crate::event_row::unsigned;
use crate::failure::with_advice;
use crate::pool::Pool;
use crate::reply::Answer;
use crate::selection::to_i64;
use crate::tx::WriteTx;

type Done = Result<(), ReadModelError>;

/// What the writer of a read model is asked to do.
pub(crate) enum ModelJob {
    /// Do the work and move the checkpoint from the one to the other.
    Write { from: Position, to: Position, work: TxWork, answer: Answer<Done> },
    /// Remember the store, or compare it with the one that is remembered.
    Bind(String, Answer<Result<bool, ReadModelError>>),
    /// Make the file whole by itself, without a log, close it and end; on failure go on as before.
    Seal(Answer<Done>),
    /// Close the file and end.
    Retire(Answer<Done>),
}

/// The connection that writes one read model.
pub(crate) struct ModelWriter {
    name: String,
    tx: WriteTx,
    pool: Arc<Pool>,
}

/// The query that every snapshot begins with.
pub(crate) const CHECKPOINT: &str = "SELECT position FROM annals_checkpoint";

/// Read models made before there were bindings have only the first.
const TABLES: &str = "
CREATE TABLE IF NOT EXISTS annals_checkpoint (position INTEGER NOT NULL) STRICT;
INSERT INTO annals_checkpoint SELECT 0 WHERE NOT EXISTS (SELECT 1 FROM annals_checkpoint);
CREATE TABLE IF NOT EXISTS annals_binding (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    store_id TEXT NOT NULL -- of the store of events that the rows are made from; no row: not bound yet
) STRICT;
";

impl ModelWriter {
    /// Opens the file, and makes it a read model when it is empty.
    pub(crate) fn open(name: &str, path: &Path, pool: Arc<Pool>) -> Result<Self, BoxError> {
        // A read model can be built again, so its commits need not survive the loss of power one by one.
        let connection = open_writer(path, Synchronous::Normal)?;
        // Rows land all over their tables and indexes: a page that stays in memory, and in the log, over several commits
        // is written to the file once for all of them instead of once for each thousand pages of log.
        connection.pragma_update(None, "cache_size", -32_768)?;
        connection.pragma_update(None, "wal_autocheckpoint", 8_192)?;
        prepare(path, &connection)?;
        // Damage is to show now, while the file can be set aside.
        checkpoint_of(&connection)?;
        Ok(Self { name: name.to_owned(), tx: WriteTx { connection }, pool })
    }

    /// Works through the queue until the read model is dropped or its file is given up.
    pub(crate) fn run(mut self, queue: &Receiver<ModelJob>) {
        while let Ok(job) = queue.recv() {
            match job {
                ModelJob::Write { from, to, work, answer } => answer.give(self.write(from, to, work)),
                ModelJob::Bind(store_id, answer) => answer.give(self.bind(&store_id)),
                ModelJob::Seal(answer) => match self.seal() {
                    Ok(()) => {
                        let closed = self.close();
                        return answer.give(closed);
                    }
                    Err(error) => answer.give(Err(error)),
                },
                ModelJob::Retire(answer) => {
                    self.pool.close();
                    let closed = self.close();
                    return answer.give(closed);
                }
            }
        }
    }

    fn database(&self, operation: &'static str, source: impl Into<BoxError>) -> ReadModelError {
        ReadModelError::Database { operation, name: self.name.clone(), source: with_advice(source.into()) }
    }

    fn write(&mut self, from: Position, to: Position, work: TxWork) -> Done {
        let done = self.try_write(from, to, work);
        // After a commit there is nothing left to be undone.
        self.tx.roll_back();
        done
    }

    fn try_write(&mut self, from: Position, to: Position, work: TxWork) -> Done {
        self.tx
            .connection
            .execute_batch("BEGIN IMMEDIATE")
            .map_err(|error| self.database("write to", error))?;
        // From here on no other process can move the checkpoint.
        let found = checkpoint_of(&self.tx.connection).map_err(|error| self.database("write to", error))?;
        if found != from {
            return Err(ReadModelError::Superseded { found });
        }
        self.tx.run(work).map_err(ReadModelError::Work)?;
        if self.tx.connection.is_autocommit() {
            let reason = "the work ended the transaction that it was to run in: leave that to the read model";
            return Err(self.database("write to", reason));
        }
        self.finish(to).map_err(|error| self.database("write to", error))
    }

    fn finish(&self, checkpoint: Position) -> rusqlite::Result<()> {
        let mut statement =
            self.tx.connection.prepare_cached("UPDATE annals_checkpoint SET position = ?1")?;
        statement.execute([to_i64(checkpoint.get())])?;
        drop(statement);
        self.tx.connection.execute_batch("COMMIT")
    }

    fn bind(&self, store_id: &str) -> Result<bool, ReadModelError> {
        let bound = || -> rusqlite::Result<bool> {
            let connection = &self.tx.connection;
            let stored = || {
                let sql = "SELECT store_id FROM annals_binding";
                connection.query_row(sql, [], |row| row.get::<_, String>(0)).optional()
            };
            if let Some(stored) = stored()? {
                return Ok(stored == store_id);
            }
            connection.execute_batch("BEGIN IMMEDIATE")?;
            // Another process may have been first, and then its store counts.
            connection.execute("INSERT OR IGNORE INTO annals_binding VALUES (1, ?1)", [store_id])?;
            let same = stored()?.as_deref() == Some(store_id);
            connection.execute_batch("COMMIT")?;
            Ok(same)
        };
        bound().map_err(|error| {
            self.tx.roll_back();
            self.database("bind", error)
        })
    }

    /// Leaving the log behind needs the file for this connection alone, so reads of it are waited for.
    fn seal(&self) -> Done {
        let connection = &self.tx.connection;
        connection
            .pragma_update(None, "synchronous", "FULL")
            .map_err(|error| self.database("finish", error))?;
        let deadline = Instant::now() + BUSY_TIMEOUT;
        loop {
            self.pool.drain();
            let mode =
                connection.query_row("PRAGMA journal_mode = DELETE", [], |row| row.get::<_, String>(0));
            match mode {
                Ok(mode) if mode == "delete" => return Ok(()),
                Err(error) if !is_busy(&error) => return Err(self.database("finish", error)),
                _ if Instant::now() >= deadline => {
                    let reason = "it is still being read: end those reads, then swap it in again";
                    return Err(self.database("finish", reason));
                }
                _ => std::thread::sleep(Duration::from_millis(5)),
            }
        }
    }

    fn close(self) -> Done {
        let name = self.name;
        self.tx.connection.close().map_err(|(_, error)| ReadModelError::Database {
            operation: "close",
            name,
            source: error.into(),
        })
    }
}

/// The position up to which events were applied.
pub(crate) fn checkpoint_of(connection: &Connection) -> rusqlite::Result<Position> {
    let mut statement = connection.prepare_cached(CHECKPOINT)?;
    Ok(Position::new(statement.query_row([], |row| unsigned(row, 0))?))
}

/// Makes the tables where they are not there yet. Another process may be about to do the same.
fn prepare(path: &Path, connection: &Connection) -> Result<(), BoxError> {
    if is_prepared(path, connection)? {
        return Ok(());
    }
    let tx = Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?;
    if !is_prepared(path, &tx)? {
        tx.execute_batch(TABLES)?;
    }
    Ok(tx.commit()?)
}

/// Whether all tables are there; an error when it is a database of another kind.
fn is_prepared(path: &Path, connection: &Connection) -> Result<bool, BoxError> {
    let mut statement = connection.prepare("SELECT name FROM sqlite_master WHERE type = 'table'")?;
    let tables = statement.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<Vec<String>>>()?;
    let has = |name: &str| tables.iter().any(|table| table == name);
    match tables.first() {
        Some(other) if !has("annals_checkpoint") => Err(format!(
            "{} has a table {other:?} but no \"annals_checkpoint\", so it is no read model: move it away",
            path.display()
        )
        .into()),
        _ => Ok(has("annals_checkpoint") && has("annals_binding")),
    }
}
