//! A transaction as work sees it: a connection on the thread that writes with it.

use std::any::Any;

use annals_core::{BoxFuture, ReadModelError, ReadModelTx, Row, Value};
use rusqlite::Connection;

use crate::snapshot::Snapshot;
use crate::statement::{execute, execute_many, query};

/// A connection that writes. Only its own thread polls what is made here, so statements run in place.
pub(crate) struct WriteTx {
    pub(crate) connection: Connection,
}

impl ReadModelTx for WriteTx {
    fn execute<'a>(
        &'a mut self,
        sql: &'a str,
        params: &'a [Value],
    ) -> BoxFuture<'a, Result<u64, ReadModelError>> {
        Box::pin(async move { execute(&self.connection, sql, params) })
    }

    fn execute_many<'a>(
        &'a mut self,
        sql: &'a str,
        rows: &'a [Vec<Value>],
    ) -> BoxFuture<'a, Result<u64, ReadModelError>> {
        Box::pin(async move { execute_many(&self.connection, sql, rows.iter().map(Vec::as_slice)) })
    }

    fn query<'a>(
        &'a mut self,
        sql: &'a str,
        params: &'a [Value],
    ) -> BoxFuture<'a, Result<Vec<Row>, ReadModelError>> {
        Box::pin(async move { query(&self.connection, sql, params) })
    }

    fn as_any(&mut self) -> &mut dyn Any {
        self
    }
}

impl WriteTx {
    /// Ends a transaction that is to leave nothing behind. SQLite may have ended it already.
    pub(crate) fn roll_back(&self) {
        if !self.connection.is_autocommit() {
            // If this fails, the next BEGIN does, and says so.
            let _ = self.connection.execute_batch("ROLLBACK");
        }
    }
}

/// The SQLite connection below a transaction of this crate, for what portable SQL cannot say; `None` when `tx` is of
/// another store. The transaction on it is open: it must not be ended.
///
/// ```
/// use annals_core::{Position, ReadModelStore};
/// # annals_core::block_on(async {
/// let models = annals_sqlite::SqliteReadModels::temporary()?;
/// let notes = models.open("notes", 1).await?;
/// notes.write(Position::ZERO, Position::new(1), Box::new(|tx| Box::pin(async move {
///     let sqlite = annals_sqlite::connection(tx).ok_or("not on SQLite")?;
///     sqlite.execute_batch("CREATE TABLE notes (text TEXT); INSERT INTO notes VALUES ('by the driver')")?;
///     Ok(())
/// }))).await?;
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
pub fn connection(tx: &mut dyn ReadModelTx) -> Option<&Connection> {
    let tx = tx.as_any();
    if tx.is::<WriteTx>() {
        return tx.downcast_ref::<WriteTx>().map(|tx| &tx.connection);
    }
    tx.downcast_ref::<Snapshot>().and_then(Snapshot::connection)
}
