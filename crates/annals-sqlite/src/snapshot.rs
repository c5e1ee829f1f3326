//! A read transaction that any task may hold: its connection travels to a reading thread for each query and back.

use std::any::Any;
use std::sync::Arc;

use annals_core::{BoxFuture, Position, ReadModelError, ReadModelTx, Row, Value};
use annals_threads::WorkThreads;
use rusqlite::Connection;

use crate::event_row::unsigned;
use crate::pool::Pool;
use crate::statement::{execute, query};

/// An open read transaction, whose connection returns to its pool when this is dropped.
pub(crate) struct Snapshot {
    threads: Arc<WorkThreads>,
    /// Where its connection returns to; one that may be written is closed instead.
    pool: Option<Arc<Pool>>,
    /// `None` while a query has it, and for good when a query was given up half-way.
    connection: Option<Connection>,
    /// What the transaction began with: of a read model, its checkpoint.
    first: Option<u64>,
}

impl Snapshot {
    /// Begins to read with a query for one number; call it on a reading thread. `None` when the pool is closed.
    pub(crate) fn begin(
        threads: Arc<WorkThreads>,
        pool: Arc<Pool>,
        fix: &str,
    ) -> rusqlite::Result<Option<Self>> {
        let Some(connection) = pool.take()? else { return Ok(None) };
        connection.execute_batch("BEGIN DEFERRED")?;
        // SQLite fixes what a transaction sees at its first query, not where it begins.
        let first = Some(connection.query_row(fix, [], |row| unsigned(row, 0))?);
        Ok(Some(Self { threads, pool: Some(pool), connection: Some(connection), first }))
    }

    /// A transaction that was begun on a connection of its own, to be undone at the end.
    pub(crate) fn of(threads: Arc<WorkThreads>, connection: Connection) -> Self {
        Self { threads, pool: None, connection: Some(connection), first: None }
    }

    pub(crate) fn connection(&self) -> Option<&Connection> {
        self.connection.as_ref()
    }

    async fn run<T: Send + 'static>(
        &mut self,
        sql: &str,
        params: &[Value],
        statement: fn(&Connection, &str, &[Value]) -> Result<T, ReadModelError>,
    ) -> Result<T, ReadModelError> {
        let lost = |reason: &str| ReadModelError::Statement {
            statement: sql.to_owned(),
            source: reason.to_owned().into(),
        };
        let Some(connection) = self.connection.take() else {
            return Err(lost("an earlier query of this transaction was given up: begin another to read"));
        };
        let (text, values) = (sql.to_owned(), params.to_vec());
        let reply = self.threads.run(move || {
            let result = statement(&connection, &text, &values);
            (connection, result)
        });
        match reply.await {
            Some((connection, result)) => {
                self.connection = Some(connection);
                result
            }
            None => Err(lost("the read model is closed: open it again")),
        }
    }
}

impl Drop for Snapshot {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take()
            && (connection.is_autocommit() || connection.execute_batch("ROLLBACK").is_ok())
            && let Some(pool) = &self.pool
        {
            pool.give(connection);
        }
    }
}

impl ReadModelTx for Snapshot {
    fn execute<'a>(
        &'a mut self,
        sql: &'a str,
        params: &'a [Value],
    ) -> BoxFuture<'a, Result<u64, ReadModelError>> {
        Box::pin(self.run(sql, params, execute))
    }

    fn query<'a>(
        &'a mut self,
        sql: &'a str,
        params: &'a [Value],
    ) -> BoxFuture<'a, Result<Vec<Row>, ReadModelError>> {
        Box::pin(self.run(sql, params, query))
    }

    fn checkpoint(&self) -> Option<Position> {
        self.first.map(Position::new)
    }

    fn as_any(&mut self) -> &mut dyn Any {
        self
    }
}
