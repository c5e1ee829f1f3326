//! Read-only connections to one file, kept for the next read.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use rusqlite::Connection;

use crate::connection::open_reader;

/// The most connections that are kept while nobody uses them.
const MOST_IDLE: usize = 4;

/// Idle connections; closed, it opens new ones for nobody and keeps none that come back.
pub(crate) struct Pool {
    path: PathBuf,
    idle: Mutex<Option<Vec<Connection>>>,
}

impl Pool {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, idle: Mutex::new(Some(Vec::new())) }
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Option<Vec<Connection>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection for the caller alone; `None` when the pool is closed.
    pub(crate) fn take(&self) -> rusqlite::Result<Option<Connection>> {
        match self.idle().as_mut().map(Vec::pop) {
            None => return Ok(None),
            Some(Some(connection)) => return Ok(Some(connection)),
            Some(None) => {}
        }
        open_reader(&self.path).map(Some)
    }

    /// Takes a connection back, which must not be in a transaction.
    pub(crate) fn give(&self, connection: Connection) {
        let mut idle = self.idle();
        match idle.as_mut() {
            Some(kept) if kept.len() < MOST_IDLE && connection.is_autocommit() => kept.push(connection),
            _ => {
                // Closing takes a while; others need not wait for it.
                drop(idle);
                drop(connection);
            }
        }
    }

    pub(crate) fn close(&self) {
        let connections = self.idle().take();
        drop(connections);
    }
}
