//! The thread that writes one read model.

use std::path::Path;
use std::sync::mpsc::Receiver;

use annals_core::{Bookmark, BoxError, Position, ReadModelError, TxWork};
use annals_threads::{Answer, run_work};
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior};

use crate::connection::{Synchronous, open_writer};
use crate::event_row::unsigned;
use crate::failure::{is_disk_trouble, with_advice};
use crate::selection::to_i64;
use crate::tx::WriteTx;

type Done = Result<(), ReadModelError>;

/// What the writer of a read model is asked to do.
pub(crate) enum ModelJob {
    /// Do the work, move the checkpoint from the one to the other, and replace the notes if there are new ones.
    Write { from: Position, to: Position, notes: Option<Vec<u8>>, work: TxWork, answer: Answer<Done> },
    /// Become the one whose writes count.
    Lead(Answer<Done>),
    /// Remember the store, or compare it with the one that is remembered.
    Bind(String, Answer<Result<bool, ReadModelError>>),
    /// Make what is in the file survive the loss of power.
    Seal(Answer<Done>),
}

/// The connection that writes one read model.
pub(crate) struct ModelWriter {
    name: String,
    tx: WriteTx,
    synchronous: Synchronous,
    /// The number of the lead that this one took, after which any other one's writes are refused.
    lead: Option<u64>,
}

/// The query that every snapshot begins with.
pub(crate) const CHECKPOINT: &str = "SELECT position FROM annals_checkpoint";

/// Read models of earlier times have only the first ones.
const TABLES: &str = "
CREATE TABLE IF NOT EXISTS annals_checkpoint (position INTEGER NOT NULL) STRICT;
INSERT INTO annals_checkpoint SELECT 0 WHERE NOT EXISTS (SELECT 1 FROM annals_checkpoint);
CREATE TABLE IF NOT EXISTS annals_binding (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    store_id TEXT NOT NULL -- of the store of events that the rows are made from; no row: not bound yet
) STRICT;
CREATE TABLE IF NOT EXISTS annals_notes (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    lead INTEGER NOT NULL, -- counts up whenever a process becomes the one that keeps the read model
    notes BLOB NOT NULL    -- about the events that were applied
) STRICT;
INSERT OR IGNORE INTO annals_notes VALUES (1, 0, x'');
";
const TABLE_NAMES: [&str; 3] = ["annals_checkpoint", "annals_binding", "annals_notes"];

impl ModelWriter {
    /// Opens the file, and makes it a read model when it is empty.
    pub(crate) fn open(name: &str, path: &Path, synchronous: Synchronous) -> Result<Self, BoxError> {
        let connection = open_writer(path, synchronous)?;
        // Rows land all over their tables and indexes: a page that stays in memory, and in the log, over several commits
        // is written to the file once for all of them instead of once for each thousand pages of log.
        connection.pragma_update(None, "cache_size", -32_768)?;
        connection.pragma_update(None, "wal_autocheckpoint", 8_192)?;
        prepare(path, &connection)?;
        // Damage is to show now, while the file can be set aside.
        bookmark_of(&connection)?;
        Ok(Self { name: name.to_owned(), tx: WriteTx { connection }, synchronous, lead: None })
    }

    /// Works through the queue until the read model is dropped or its file is given up.
    pub(crate) fn run(mut self, queue: &Receiver<ModelJob>) {
        while let Ok(job) = queue.recv() {
            match job {
                ModelJob::Write { from, to, notes, work, answer } => {
                    answer.give(self.write(from, to, notes, work));
                }
                ModelJob::Lead(answer) => answer.give(self.lead()),
                ModelJob::Bind(store_id, answer) => answer.give(self.bind(&store_id)),
                ModelJob::Seal(answer) => answer.give(self.seal()),
            }
        }
    }

    fn database(&self, operation: &'static str, source: impl Into<BoxError>) -> ReadModelError {
        let path = Path::new(self.tx.connection.path().unwrap_or_default());
        let source = with_advice(source.into(), path);
        ReadModelError::Database { operation, name: self.name.clone(), source }
    }

    fn write(&mut self, from: Position, to: Position, notes: Option<Vec<u8>>, work: TxWork) -> Done {
        let done = self.try_write(from, to, notes, work);
        // After a commit there is nothing left to be undone.
        self.tx.roll_back();
        done
    }

    fn try_write(&mut self, from: Position, to: Position, notes: Option<Vec<u8>>, work: TxWork) -> Done {
        let failed = |writer: &Self, error: BoxError| writer.database("write to", error);
        self.tx.connection.execute_batch("BEGIN IMMEDIATE").map_err(|error| failed(self, error.into()))?;
        // From here on no other process can move the checkpoint, nor take the lead.
        if let Some(lead) = self.lead
            && lead_of(&self.tx.connection).map_err(|error| failed(self, error.into()))? != lead
        {
            return Err(ReadModelError::Fenced { name: self.name.clone() });
        }
        let found = checkpoint_of(&self.tx.connection).map_err(|error| failed(self, error.into()))?;
        if found != from {
            return Err(ReadModelError::Superseded { found });
        }
        run_work(&mut self.tx, work).map_err(|error| match is_disk_trouble(&*error) {
            true => failed(self, error),
            false => ReadModelError::Work(error),
        })?;
        if self.tx.connection.is_autocommit() {
            let reason = "the work ended the transaction that it was to run in: leave that to the read model";
            return Err(failed(self, reason.into()));
        }
        self.finish(to, notes).map_err(|error| failed(self, error.into()))
    }

    fn finish(&self, checkpoint: Position, notes: Option<Vec<u8>>) -> rusqlite::Result<()> {
        let connection = &self.tx.connection;
        if let Some(notes) = notes {
            connection.prepare_cached("UPDATE annals_notes SET notes = ?1")?.execute([notes])?;
        }
        let mut statement = connection.prepare_cached("UPDATE annals_checkpoint SET position = ?1")?;
        statement.execute([to_i64(checkpoint.get())])?;
        drop(statement);
        connection.execute_batch("COMMIT")
    }

    fn lead(&mut self) -> Done {
        let sql = "UPDATE annals_notes SET lead = lead + 1 RETURNING lead";
        let lead = self.tx.connection.query_row(sql, [], |row| unsigned(row, 0));
        self.lead = Some(lead.map_err(|error| self.database("take the lead of", error))?);
        Ok(())
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

    fn seal(&self) -> Done {
        if self.synchronous == Synchronous::Off {
            return Ok(());
        }
        let connection = &self.tx.connection;
        let synced = || -> rusqlite::Result<()> {
            connection.pragma_update(None, "synchronous", "FULL")?;
            // The log is synced before it is copied. That some of it cannot be copied yet, because it is read, does no harm.
            connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))?;
            connection.pragma_update(None, "synchronous", "NORMAL")
        };
        synced().map_err(|error| self.database("finish", error))
    }
}

fn lead_of(connection: &Connection) -> rusqlite::Result<u64> {
    connection.prepare_cached("SELECT lead FROM annals_notes")?.query_row([], |row| unsigned(row, 0))
}

/// Where the read model stands, and what is remembered about it.
pub(crate) fn bookmark_of(connection: &Connection) -> rusqlite::Result<Bookmark> {
    let position = checkpoint_of(connection)?;
    let notes =
        connection.prepare_cached("SELECT notes FROM annals_notes")?.query_row([], |row| row.get(0))?;
    Ok(Bookmark { position, notes })
}

/// The position up to which events were applied.
fn checkpoint_of(connection: &Connection) -> rusqlite::Result<Position> {
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
        _ => Ok(TABLE_NAMES.iter().all(|name| has(name))),
    }
}
