//! The tables of a store.

use std::path::Path;

use annals_core::StoreError;
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior};

use crate::failure::store_error;
use crate::place::{Found, identify};

/// The format that this program writes.
pub(crate) const FORMAT: u32 = 2;

/// The table by which a store is recognised.
pub(crate) const META: &str = "annals_meta";

/// The indexes of terms hold visible events only, so that what is hidden costs reads nothing. Large columns come last
/// in a row: what is before them is read without them.
const TABLES: &str = "
CREATE TABLE annals_meta (
    key TEXT PRIMARY KEY NOT NULL,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO annals_meta VALUES ('format', '2');
INSERT INTO annals_meta VALUES ('store_id', lower(hex(randomblob(16))));

CREATE TABLE events (
    position INTEGER PRIMARY KEY,
    stream TEXT NOT NULL,
    version INTEGER NOT NULL,
    category TEXT NOT NULL,
    type TEXT NOT NULL,
    id BLOB NOT NULL UNIQUE,
    occurred_at INTEGER,           -- microseconds since 1970; NULL: when it was recorded
    recorded_at INTEGER NOT NULL,  -- microseconds since 1970
    append_first INTEGER NOT NULL, -- the first position of the append that it came with
    hidden INTEGER NOT NULL,       -- 1 when its stream was deleted or truncated behind it
    digest BLOB NOT NULL,          -- of the content
    content_type TEXT,             -- NULL: application/json
    correlation_id TEXT,
    causation_id TEXT,
    tags TEXT,                     -- one per line; NULL: none
    metadata BLOB,
    payload BLOB NOT NULL,
    UNIQUE (stream, version)
) STRICT;
CREATE INDEX events_of_stream ON events (stream) WHERE hidden = 0;
CREATE INDEX events_of_category ON events (category) WHERE hidden = 0;
CREATE INDEX events_of_type ON events (type) WHERE hidden = 0;
CREATE INDEX events_of_correlation ON events (correlation_id) WHERE hidden = 0 AND correlation_id IS NOT NULL;

-- The tags of visible events.
CREATE TABLE event_tags (
    tag TEXT NOT NULL,
    position INTEGER NOT NULL,
    PRIMARY KEY (tag, position)
) STRICT, WITHOUT ROWID;

CREATE TABLE streams (
    stream TEXT PRIMARY KEY NOT NULL,
    version INTEGER NOT NULL,
    exists_ INTEGER NOT NULL,
    visible_from INTEGER NOT NULL,
    tombstoned INTEGER NOT NULL,
    last_position INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE checkpoints (
    consumer TEXT PRIMARY KEY NOT NULL,
    position INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
";

/// Makes the tables where they are not there yet. Another process may be about to do the same.
pub(crate) fn create(path: &Path, connection: &Connection) -> Result<(), StoreError> {
    if identify(path, connection)? == Found::Store {
        return Ok(());
    }
    let failed = |error| store_error(path, "cannot make the tables of a new store", &error);
    connection.execute_batch("BEGIN IMMEDIATE").map_err(failed)?;
    let made = match identify(path, connection) {
        Ok(Found::Nothing) => connection.execute_batch(TABLES).map_err(failed),
        other => other.map(|_| ()),
    };
    let ended = made.and_then(|()| connection.execute_batch("COMMIT").map_err(failed));
    if ended.is_err() && !connection.is_autocommit() {
        connection.execute_batch("ROLLBACK").map_err(failed)?;
    }
    ended
}

/// What tells the store from every other; made here for a store of a program that did not know of it yet.
pub(crate) fn store_id(path: &Path, connection: &Connection) -> Result<String, StoreError> {
    let stored = |connection: &Connection| {
        let sql = "SELECT value FROM annals_meta WHERE key = 'store_id'";
        connection.query_row(sql, [], |row| row.get(0)).optional()
    };
    let stored_or_made = || -> rusqlite::Result<String> {
        if let Some(id) = stored(connection)? {
            return Ok(id);
        }
        let tx = Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?;
        // Another process may have been first, and then its id counts.
        tx.execute("INSERT OR IGNORE INTO annals_meta VALUES ('store_id', lower(hex(randomblob(16))))", [])?;
        let id = stored(&tx)?.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
        tx.commit()?;
        Ok(id)
    };
    stored_or_made().map_err(|error| store_error(path, "cannot read the id of the store", &error))
}
