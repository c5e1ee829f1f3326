//! The thread that writes one read model.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use annals_core::{BoxError, Position, ReadModelError, TxWork};
use rusqlite::{Connection, OptionalExtension};

use crate::connection::{BUSY_TIMEOUT, Synchronous, is_busy, open_writer};
use crate::failure::with_advice;
use crate::pool::Pool;
use crate::reply::Answer;
use crate::selection::to_i64;
use crate::tx::WriteTx;

type Done = Result<(), ReadModelError>;

/// What the writer of a read model is asked to do.
pub(crate) enum ModelJob {
    Write(Position, TxWork, Answer<Done>),
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

impl ModelWriter {
    /// Opens the file, and makes it a read model when it is empty.
    pub(crate) fn open(name: &str, path: &Path, pool: Arc<Pool>) -> Result<Self, BoxError> {
        // A read model can be built again, so its commits need not survive the loss of power one by one.
        let connection = open_writer(path, Synchronous::Normal)?;
        prepare(path, &connection)?;
        Ok(Self { name: name.to_owned(), tx: WriteTx { connection }, pool })
    }

    /// Works through the queue until the read model is dropped or its file is given up.
    pub(crate) fn run(mut self, queue: &Receiver<ModelJob>) {
        while let Ok(job) = queue.recv() {
            match job {
                ModelJob::Write(checkpoint, work, answer) => answer.give(self.write(checkpoint, work)),
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

    fn write(&mut self, checkpoint: Position, work: TxWork) -> Done {
        let failed = |this: &Self, error: rusqlite::Error| {
            this.tx.roll_back();
            this.database("write to", error)
        };
        self.tx.connection.execute_batch("BEGIN IMMEDIATE").map_err(|error| failed(self, error))?;
        if let Err(source) = self.tx.run(work) {
            self.tx.roll_back();
            return Err(ReadModelError::Work(source));
        }
        if self.tx.connection.is_autocommit() {
            let reason = "the work ended the transaction that it was to run in: leave that to the read model";
            return Err(self.database("write to", reason));
        }
        self.finish(checkpoint).map_err(|error| failed(self, error))
    }

    fn finish(&self, checkpoint: Position) -> rusqlite::Result<()> {
        let mut statement =
            self.tx.connection.prepare_cached("UPDATE annals_checkpoint SET position = ?1")?;
        statement.execute([to_i64(checkpoint.get())])?;
        drop(statement);
        self.tx.connection.execute_batch("COMMIT")
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

fn prepare(path: &Path, connection: &Connection) -> Result<(), BoxError> {
    let sql = "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name = 'annals_checkpoint' DESC LIMIT 1";
    let table = connection.query_row(sql, [], |row| row.get::<_, String>(0)).optional()?;
    match table.as_deref() {
        Some("annals_checkpoint") => Ok(()),
        Some(other) => Err(format!(
            "{} has a table {other:?} but no \"annals_checkpoint\", so it is no read model: move it away",
            path.display()
        )
        .into()),
        None => Ok(connection.execute_batch(
            "BEGIN IMMEDIATE; CREATE TABLE annals_checkpoint (position INTEGER NOT NULL) STRICT; \
             INSERT INTO annals_checkpoint VALUES (0); COMMIT",
        )?),
    }
}
