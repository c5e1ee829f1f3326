//! SQLite as an event store: one writing connection, one that reads, WAL, `synchronous=FULL`.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use annals_core::StreamName;
use rusqlite::{Connection, OptionalExtension, params};

use super::batching::Peer;
use super::contender::{Store, Totals};
use super::record::moment;
use super::workload::{Append, Draft, Part, Query};
use crate::failure::{Failure, Result, failed};

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS streams (number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, version INTEGER NOT NULL);
    CREATE TABLE IF NOT EXISTS names (number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
    CREATE TABLE IF NOT EXISTS events (
        position INTEGER PRIMARY KEY, stream INTEGER NOT NULL, version INTEGER NOT NULL, type INTEGER NOT NULL,
        id BLOB NOT NULL UNIQUE, recorded_at INTEGER NOT NULL, payload BLOB NOT NULL);
    CREATE UNIQUE INDEX IF NOT EXISTS events_of_stream ON events (stream, version);
    CREATE INDEX IF NOT EXISTS events_of_type ON events (type);
    CREATE TABLE IF NOT EXISTS tags (tag INTEGER NOT NULL, position INTEGER NOT NULL, PRIMARY KEY (tag, position))
        WITHOUT ROWID;
";
const SETTINGS: &str = "
    PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA wal_autocheckpoint=8000; PRAGMA cache_size=-65536;
    PRAGMA mmap_size=17179869184; PRAGMA temp_store=MEMORY;
";

/// A store in one SQLite database.
pub(crate) struct Sqlite {
    writing: Mutex<Writing>,
    reading: Mutex<Connection>,
}

/// The connection that writes, and the numbers of types and tags.
struct Writing {
    connection: Connection,
    names: HashMap<String, i64>,
}

impl Sqlite {
    /// Opens the database in `folder`.
    pub(crate) fn open(folder: &Path) -> Result<Self> {
        let connect = || -> Result<Connection> {
            let connection = Connection::open(folder.join("events.db"))?;
            connection.execute_batch(SETTINGS)?;
            connection.set_prepared_statement_cache_capacity(32);
            Ok(connection)
        };
        let connection = connect()?;
        connection.execute_batch(SCHEMA)?;
        let reading = Mutex::new(connect()?);
        let mut writing = Writing { connection, names: HashMap::new() };
        writing.load_names()?;
        Ok(Self { writing: Mutex::new(writing), reading })
    }

    fn writing(&self) -> MutexGuard<'_, Writing> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reading(&self) -> MutexGuard<'_, Connection> {
        self.reading.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Writing {
    fn load_names(&mut self) -> Result<()> {
        let mut statement = self.connection.prepare("SELECT name, number FROM names")?;
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        self.names = rows.collect::<Result<_, _>>()?;
        Ok(())
    }

    fn append(&mut self, group: &[Append]) -> Result<()> {
        self.connection.execute_batch("BEGIN IMMEDIATE")?;
        let made = group.iter().flat_map(|append| &append.parts).try_for_each(|part| self.append_part(part));
        match made.and_then(|()| Ok(self.connection.execute_batch("COMMIT")?)) {
            Ok(()) => Ok(()),
            Err(error) => {
                self.connection.execute_batch("ROLLBACK")?;
                self.load_names()?;
                Err(error)
            }
        }
    }

    fn append_part(&mut self, part: &Part) -> Result<()> {
        let stream = self.advance(part)?;
        let now = moment() as i64;
        for (version, event) in (part.expected + 1..).zip(&part.events) {
            self.insert(stream, version as i64, now, event)?;
        }
        Ok(())
    }

    /// Moves the stream from the expected version on, and returns its number.
    fn advance(&self, part: &Part) -> Result<i64> {
        let (name, count) = (part.stream.as_str(), part.events.len() as i64);
        let number = match part.expected {
            0 => {
                let sql = "INSERT INTO streams (name, version) VALUES (?, ?) ON CONFLICT DO NOTHING RETURNING number";
                let mut statement = self.connection.prepare_cached(sql)?;
                statement.query_row(params![name, count], |row| row.get(0)).optional()?
            }
            expected => {
                let sql = "UPDATE streams SET version = version + ?1 WHERE name = ?2 AND version = ?3 RETURNING number";
                let mut statement = self.connection.prepare_cached(sql)?;
                statement.query_row(params![count, name, expected as i64], |row| row.get(0)).optional()?
            }
        };
        number.ok_or_else(|| Failure::from(format!("stream {name} is not at version {}", part.expected)))
    }

    fn insert(&mut self, stream: i64, version: i64, now: i64, event: &Draft) -> Result<()> {
        let event_type = self.number_of(event.event_type.as_str())?;
        let tag = self.number_of(event.tag.as_str())?;
        let sql =
            "INSERT INTO events (stream, version, type, id, recorded_at, payload) VALUES (?, ?, ?, ?, ?, ?)";
        let mut statement = self.connection.prepare_cached(sql)?;
        statement.execute(params![stream, version, event_type, event.id, now, &event.payload[..]])?;
        let position = self.connection.last_insert_rowid();
        self.connection.prepare_cached("INSERT INTO tags VALUES (?, ?)")?.execute([tag, position])?;
        Ok(())
    }

    fn number_of(&mut self, name: &str) -> Result<i64> {
        if let Some(number) = self.names.get(name) {
            return Ok(*number);
        }
        self.connection.execute("INSERT INTO names (name) VALUES (?)", [name])?;
        let number = self.connection.last_insert_rowid();
        self.names.insert(name.to_owned(), number);
        Ok(number)
    }
}

impl Peer for Sqlite {
    type Ready = Append;

    fn lay_out(&self, append: Append) -> Append {
        append
    }

    fn append_group(&self, group: Vec<Append>) -> Vec<Result<()>> {
        let mut writing = self.writing();
        match writing.append(&group) {
            Ok(()) => group.iter().map(|_| Ok(())).collect(),
            Err(error) if group.len() == 1 => vec![Err(error)],
            // One of them failed: each is made alone, so that the others are kept.
            Err(_) => group.into_iter().map(|append| writing.append(&[append])).collect(),
        }
    }
}

impl Store for Sqlite {
    fn read_all(&self) -> Result<Totals> {
        let reading = self.reading();
        // Streams and types are few beside events: their names are looked up here, which is faster than a join.
        let names = names_of(&reading, "SELECT number, name FROM names")?;
        let streams = names_of(&reading, "SELECT number, name FROM streams")?;
        let mut totals = Totals::default();
        let mut statement =
            reading.prepare_cached("SELECT position, stream, type, payload FROM events ORDER BY position")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let stream = name_of(&streams, row.get(1)?)?;
            let event_type = name_of(&names, row.get(2)?)?;
            totals.count(row.get::<_, i64>(0)? as u64, stream, event_type, row.get_ref(3)?.as_blob()?);
        }
        Ok(totals)
    }

    fn read_stream(&self, stream: &StreamName) -> Result<Totals> {
        let reading = self.reading();
        let mut totals = Totals::default();
        let sql = "SELECT e.position, n.name, e.payload FROM events e JOIN names n ON n.number = e.type \
                   WHERE e.stream = (SELECT number FROM streams WHERE name = ?) ORDER BY e.version";
        let mut statement = reading.prepare_cached(sql)?;
        let mut rows = statement.query([stream.as_str()])?;
        while let Some(row) = rows.next()? {
            let event_type = row.get_ref(1)?.as_str()?;
            totals.count(
                row.get::<_, i64>(0)? as u64,
                stream.as_str(),
                event_type,
                row.get_ref(2)?.as_blob()?,
            );
        }
        Ok(totals)
    }

    fn check(&self, query: &Query) -> Result<()> {
        let writing = self.writing();
        writing.connection.execute_batch("BEGIN IMMEDIATE")?;
        let found: Option<i64> = match query {
            Query::Type(event_type) => {
                let sql = "SELECT position FROM events WHERE position > 0 \
                           AND type = (SELECT number FROM names WHERE name = ?) LIMIT 1";
                let mut statement = writing.connection.prepare_cached(sql)?;
                statement.query_row([event_type.as_str()], |row| row.get(0)).optional()?
            }
            Query::BothTags(one, other) => {
                let sql = "SELECT a.position FROM tags a JOIN tags b ON b.position = a.position \
                           AND b.tag = (SELECT number FROM names WHERE name = ?2) \
                           WHERE a.tag = (SELECT number FROM names WHERE name = ?1) AND a.position > 0 LIMIT 1";
                let mut statement = writing.connection.prepare_cached(sql)?;
                statement.query_row([one.as_str(), other.as_str()], |row| row.get(0)).optional()?
            }
        };
        writing.connection.execute_batch("ROLLBACK")?;
        match found {
            Some(position) => failed(format!("expected the condition to hold, found position {position}")),
            None => Ok(()),
        }
    }

    fn settle(&self) -> Result<()> {
        self.writing()
            .connection
            .execute_batch("PRAGMA wal_checkpoint(TRUNCATE); VACUUM; PRAGMA wal_checkpoint(TRUNCATE)")?;
        Ok(())
    }
}

fn names_of(connection: &Connection, sql: &str) -> Result<Vec<String>> {
    let mut names = Vec::new();
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let number = row.get::<_, i64>(0)? as usize;
        names.resize_with(names.len().max(number + 1), String::new);
        names[number] = row.get(1)?;
    }
    Ok(names)
}

fn name_of(names: &[String], number: i64) -> Result<&str> {
    let name = names.get(number as usize).map(String::as_str);
    name.ok_or_else(|| Failure::from(format!("name {number} is not in the database")))
}
