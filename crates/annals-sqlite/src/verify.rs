//! Reads and checks everything that a store holds.

use std::collections::HashMap;

use annals_core::{Position, RecordedEvent, StreamState, Timestamp, VerifyReport};
use rusqlite::{Connection, OptionalExtension};

use crate::event_row::{event_at, unsigned};
use crate::failure::Failure;
use crate::read::{head, state_from};
use crate::selection::to_i64;

/// A damaged store may have a problem per event; this many are enough to see what is wrong.
const MOST_PROBLEMS: usize = 1_000;

/// How often progress is told.
const PROGRESS_EVERY: u64 = 1_024;

struct Verification<'a> {
    connection: &'a Connection,
    report: VerifyReport,
    streams: HashMap<String, StreamState>,
    tags: u64,
    last_recorded_at: Timestamp,
    append_first: u64,
    unlisted: u64,
}

/// Checks the database itself, every event, every stream and every tag.
pub(crate) fn verify(
    connection: &Connection,
    progress: &(dyn Fn(u64, u64) + Send + Sync),
) -> rusqlite::Result<VerifyReport> {
    let mut verification = Verification {
        connection,
        report: VerifyReport::default(),
        streams: HashMap::new(),
        tags: 0,
        last_recorded_at: Timestamp::from_micros(i64::MIN),
        append_first: 0,
        unlisted: 0,
    };
    let head = head(connection)?.get();
    progress(0, head);
    verification.check_database()?;
    let mut gap = false;
    for position in 1..=head {
        let readable = verification.check_event(Position::new(position))?;
        gap |= !readable;
        if !gap {
            verification.report.readable_to = Position::new(position);
        }
        if position % PROGRESS_EVERY == 0 {
            progress(position, head);
        }
    }
    verification.check_streams()?;
    verification.check_tags()?;
    let mut report = verification.finish();
    report.checked.push(("events".to_owned(), report.events));
    progress(head, head);
    Ok(report)
}

impl Verification<'_> {
    fn problem(&mut self, problem: String) {
        if self.report.problems.len() < MOST_PROBLEMS {
            self.report.problems.push(problem);
        } else {
            self.unlisted += 1;
        }
    }

    fn check_database(&mut self) -> rusqlite::Result<()> {
        let mut statement = self.connection.prepare("PRAGMA integrity_check")?;
        let lines = statement.query_map([], |row| row.get::<_, String>(0))?.collect::<Result<Vec<_>, _>>()?;
        lines
            .into_iter()
            .filter(|line| line != "ok")
            .for_each(|line| self.problem(format!("the database: {line}")));
        let outside =
            self.connection
                .query_row("SELECT count(*) FROM events WHERE position < 1", [], |row| unsigned(row, 0))?;
        if outside > 0 {
            self.problem(format!("{outside} events have a position before 1, expected none"));
        }
        Ok(())
    }

    /// Whether the event could be read.
    fn check_event(&mut self, position: Position) -> rusqlite::Result<bool> {
        let event = match event_at(self.connection, position) {
            Ok(event) => event,
            Err(Failure::Sqlite(error)) => {
                self.problem(format!("the event at position {position} cannot be read: {error}"));
                return Ok(false);
            }
            Err(Failure::Row(problem)) => {
                self.problem(problem);
                return Ok(false);
            }
            Err(Failure::Invalid(_) | Failure::Closed) => return Ok(false),
        };
        self.report.events += 1;
        self.check_order(&event);
        self.check_columns(&event)?;
        Ok(true)
    }

    fn check_order(&mut self, event: &RecordedEvent) {
        let position = event.position();
        if event.recorded_at() < self.last_recorded_at {
            self.problem(format!(
                "the event at position {position} was recorded at {}, before the one before it, at {}",
                event.recorded_at(),
                self.last_recorded_at
            ));
        }
        self.last_recorded_at = event.recorded_at();
        let state = self.streams.get(event.stream()).copied().unwrap_or_default();
        let after = state.after_event(event.system_event());
        if after.version != event.version() {
            self.problem(format!(
                "the event at position {position} is version {} of stream {:?}, expected {}",
                event.version(),
                event.stream(),
                after.version
            ));
        }
        self.streams.insert(event.stream().to_owned(), StreamState { version: event.version(), ..after });
    }

    /// Checks the columns that are not part of the event as it is read.
    fn check_columns(&mut self, event: &RecordedEvent) -> rusqlite::Result<()> {
        let position = event.position();
        let mut statement = self.connection.prepare_cached(
            "SELECT digest, category, append_first, hidden FROM events WHERE position = ?1",
        )?;
        let (digest, category, append_first, hidden) =
            statement.query_row([to_i64(position.get())], |row| {
                Ok((
                    row.get::<_, Vec<u8>>(0)?,
                    row.get::<_, String>(1)?,
                    unsigned(row, 2)?,
                    row.get::<_, bool>(3)?,
                ))
            })?;
        if digest != event.content_digest() {
            self.problem(format!("the content of the event at position {position} does not fit its digest"));
        }
        if category != event.category() {
            self.problem(format!(
                "the event at position {position} has category {category:?}, expected {:?}",
                event.category()
            ));
        }
        if append_first != self.append_first && append_first != position.get() {
            self.problem(format!(
                "the event at position {position} is said to be of the append that began at {append_first}, expected \
                 {} or {position}",
                self.append_first
            ));
        }
        self.append_first = append_first;
        if !hidden {
            self.check_tags_of(event)?;
        }
        Ok(())
    }

    fn check_tags_of(&mut self, event: &RecordedEvent) -> rusqlite::Result<()> {
        let position = event.position();
        let connection = self.connection;
        let mut statement =
            connection.prepare_cached("SELECT 1 FROM event_tags WHERE tag = ?1 AND position = ?2")?;
        for tag in event.tags() {
            self.tags += 1;
            if !statement.exists((tag, to_i64(position.get())))? {
                self.problem(format!(
                    "the tag {tag:?} of the event at position {position} is not in event_tags"
                ));
            }
        }
        Ok(())
    }

    fn check_streams(&mut self) -> rusqlite::Result<()> {
        let connection = self.connection;
        let mut listed = connection.prepare(
            "SELECT version, exists_, visible_from, tombstoned, last_position, stream FROM streams",
        )?;
        let mut last = connection
            .prepare("SELECT position FROM events WHERE stream = ?1 ORDER BY version DESC LIMIT 1")?;
        let mut wrongly_hidden = connection
            .prepare("SELECT count(*) FROM events WHERE stream = ?1 AND hidden <> (version < ?2)")?;
        let mut rows = listed.query([])?;
        let mut checked = 0;
        while let Some(row) = rows.next()? {
            checked += 1;
            let (found, last_position, stream) =
                (state_from(row, 0)?, unsigned(row, 4)?, row.get::<_, String>(5)?);
            let expected = self.streams.remove(&stream).unwrap_or_default();
            if found != expected {
                self.problem(format!(
                    "stream {stream:?} is listed as {found:?}, its events give {expected:?}"
                ));
            }
            let position = last.query_row([&stream], |row| unsigned(row, 0)).optional()?.unwrap_or(0);
            if position != last_position {
                self.problem(format!(
                    "stream {stream:?} is listed with its last event at position {last_position}, found it at {position}"
                ));
            }
            let wrong = wrongly_hidden
                .query_row((&stream, to_i64(expected.visible_from.get())), |row| unsigned(row, 0))?;
            if wrong > 0 {
                self.problem(format!("{wrong} events of stream {stream:?} are wrongly hidden or visible"));
            }
        }
        for stream in std::mem::take(&mut self.streams).into_keys() {
            self.problem(format!("stream {stream:?} has events but is not listed in streams"));
        }
        self.report.checked.push(("streams".to_owned(), checked));
        Ok(())
    }

    fn check_tags(&mut self) -> rusqlite::Result<()> {
        let found =
            self.connection.query_row("SELECT count(*) FROM event_tags", [], |row| unsigned(row, 0))?;
        if found != self.tags {
            let expected = self.tags;
            self.problem(format!(
                "event_tags has {found} rows, expected {expected}, the tags of all visible events"
            ));
        }
        self.report.checked.push(("tags".to_owned(), found));
        Ok(())
    }

    fn finish(mut self) -> VerifyReport {
        if self.unlisted > 0 {
            self.report.problems.push(format!("and {} more problems", self.unlisted));
        }
        debug_assert!(self.report.readable_to.get() <= self.report.events);
        self.report
    }
}
