//! Reads of a store, on threads and connections of their own, so that writing does not block them.

use std::path::PathBuf;
use std::sync::Arc;

use annals_threads::WorkThreads;
use rusqlite::Connection;

use crate::failure::Failure;
use crate::pool::Pool;

/// How many reads run at once.
const READERS: usize = 2;

pub(crate) struct Readers {
    threads: WorkThreads,
    pool: Arc<Pool>,
}

impl Readers {
    pub(crate) fn spawn(path: PathBuf) -> std::io::Result<Self> {
        let threads = WorkThreads::spawn("annals-sqlite-read", READERS)?;
        Ok(Self { threads, pool: Arc::new(Pool::new(path)) })
    }

    /// Runs `read` in a transaction of its own, so that all it reads is of one moment.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let reply = self.unfixed(move |connection| {
            connection.execute_batch("BEGIN DEFERRED")?;
            let result = read(connection);
            if !connection.is_autocommit() {
                connection.execute_batch("ROLLBACK")?;
            }
            result
        });
        reply.await
    }

    /// Runs `read` without a transaction around it.
    pub(crate) async fn unfixed<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let pool = Arc::clone(&self.pool);
        let reply = self.threads.run(move || {
            let connection = pool.take()?.ok_or(Failure::Closed)?;
            let result = read(&connection);
            pool.give(connection);
            result
        });
        reply.await.unwrap_or(Err(Failure::Closed))
    }
}
