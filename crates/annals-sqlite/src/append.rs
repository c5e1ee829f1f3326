//! Checks an append against the tables and writes it, within the transaction of its connection.
//!
//! The rules are those of `annals_core::catalog::Staging`. The transaction takes the part of the staged group: what
//! earlier appends of the group wrote is found in the tables like everything else.

use std::collections::HashMap;

use annals_core::catalog::{PreparedAppend, PreparedEvent};
use annals_core::{
    AppendCondition, AppendError, AppendReceipt, Conflict, Direction, EventId, FailedCheck, KnownEvent,
    Position, RecordedEvent, StoreError, StreamName, StreamState, Timestamp, Version,
};
use rusqlite::{Connection, OptionalExtension, params};

use crate::event_row::{insert, split_tags, unsigned};
use crate::failure::{Failure, Refusal};
use crate::read::stream_state;
use crate::selection::{Selection, to_i64};

/// Where the next event of a transaction goes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    /// The last position so far.
    pub(crate) head: u64,
    /// When the events of this transaction are recorded.
    pub(crate) recorded_at: Timestamp,
}

impl Place {
    /// Finds the end of the log; its transaction must have the right to write already.
    pub(crate) fn at_the_end(connection: &Connection, now: Timestamp) -> rusqlite::Result<Self> {
        let mut statement = connection
            .prepare_cached("SELECT position, recorded_at FROM events ORDER BY position DESC LIMIT 1")?;
        let last = statement.query_row([], |row| Ok((unsigned(row, 0)?, row.get(1)?))).optional()?;
        Ok(match last {
            Some((head, micros)) => Self { head, recorded_at: Timestamp::from_micros(micros).max(now) },
            None => Self { head: 0, recorded_at: now },
        })
    }
}

/// Checks and writes one append. After an error, what it wrote has to be rolled back, and `place` is as it was.
pub(crate) fn append(
    connection: &Connection,
    place: &mut Place,
    append: &PreparedAppend,
) -> Result<AppendReceipt, Refusal> {
    if let Some(receipt) = find_known(connection, &append.events)? {
        return Ok(receipt);
    }
    check(connection, append)?;
    let first = place.head + 1;
    let mut written = Written::default();
    for (event, position) in append.events.iter().zip(first..) {
        let version = written.next_version(connection, event, position)?;
        let position = Position::new(position);
        let placed = RecordedEvent::view(position, version, place.recorded_at, event.body.clone())
            .map_err(|error| StoreError::backend("cannot lay out an event", error))
            .map_err(AppendError::from)?;
        insert(connection, &placed, &event.digest, first)?;
    }
    for stream in &written.streams {
        stream.store(connection)?;
    }
    if let Some(checkpoint) = &append.checkpoint {
        let mut statement = connection.prepare_cached(
            "INSERT INTO checkpoints VALUES (?1, ?2) ON CONFLICT (consumer) DO UPDATE SET position = ?2",
        )?;
        statement.execute((checkpoint.consumer.as_str(), to_i64(checkpoint.position.get())))?;
    }
    place.head += append.events.len() as u64;
    Ok(AppendReceipt {
        first_position: Position::new(first),
        last_position: Position::new(place.head),
        recorded_at: place.recorded_at,
        streams: written.streams.into_iter().map(|stream| (stream.name, stream.after.version)).collect(),
        duplicate: false,
        proof: None,
    })
}

/// The receipt of a former append when these are its events.
fn find_known(connection: &Connection, events: &[PreparedEvent]) -> Result<Option<AppendReceipt>, Refusal> {
    let mut known = Vec::new();
    let mut appends = Vec::new();
    for event in events {
        let Some((position, digest, append_first)) = place_of(connection, &event.id)? else { continue };
        if digest != event.digest {
            return Err(AppendError::IdReused { id: event.id, position }.into());
        }
        known.push(KnownEvent { id: event.id, position });
        appends.push(append_first);
    }
    let Some(first) = appends.first().copied() else { return Ok(None) };
    if known.len() < events.len() {
        return Err(AppendError::PartialDuplicate { known, total: events.len() }.into());
    }
    if appends.iter().any(|append| *append != first) {
        return Err(AppendError::KnownFromSeveralAppends { known }.into());
    }
    Ok(Some(receipt_of(connection, first)?))
}

type Known = (Position, [u8; 32], u64);

fn place_of(connection: &Connection, id: &EventId) -> rusqlite::Result<Option<Known>> {
    let mut statement =
        connection.prepare_cached("SELECT position, digest, append_first FROM events WHERE id = ?1")?;
    let found = statement.query_row([id.as_bytes()], |row| {
        Ok((Position::new(unsigned(row, 0)?), row.get(1)?, unsigned(row, 2)?))
    });
    found.optional()
}

/// The receipt that the append beginning at `first` was given.
fn receipt_of(connection: &Connection, first: u64) -> Result<AppendReceipt, Failure> {
    let mut statement = connection.prepare_cached(
        "SELECT append_first, position, recorded_at, stream, version FROM events \
         WHERE position >= ?1 ORDER BY position",
    )?;
    let mut rows = statement.query([to_i64(first)])?;
    let mut receipt = AppendReceipt {
        first_position: Position::new(first),
        last_position: Position::new(first),
        recorded_at: Timestamp::default(),
        streams: Vec::new(),
        duplicate: true,
        proof: None,
    };
    let mut places: HashMap<String, usize> = HashMap::new();
    while let Some(row) = rows.next()? {
        if unsigned(row, 0)? != first {
            break;
        }
        receipt.last_position = Position::new(unsigned(row, 1)?);
        receipt.recorded_at = Timestamp::from_micros(row.get(2)?);
        let (stream, version) = (row.get::<_, String>(3)?, Version::new(unsigned(row, 4)?));
        if let Some(written) = places.get(&stream).and_then(|place| receipt.streams.get_mut(*place)) {
            written.1 = version;
        } else {
            let name = StreamName::new(&stream).map_err(|error| Failure::Row(error.to_string()))?;
            places.insert(stream, receipt.streams.len());
            receipt.streams.push((name, version));
        }
    }
    Ok(receipt)
}

/// Makes all the checks and reports all that failed.
fn check(connection: &Connection, append: &PreparedAppend) -> Result<(), Refusal> {
    let mut failed = Vec::new();
    for (stream, expected) in &append.expected {
        let actual = stream_state(connection, stream.as_str())?;
        if !expected.is_met_by(&actual) {
            failed.push(FailedCheck::Version { stream: stream.clone(), expected: *expected, actual });
        }
    }
    let mut seen: Vec<&StreamName> = Vec::new();
    for PreparedEvent { stream, .. } in &append.events {
        // Runs of one stream are the rule; looking back at one name spares most of the queries.
        if seen.last() == Some(&stream) || seen.contains(&stream) {
            continue;
        }
        seen.push(stream);
        let state = stream_state(connection, stream.as_str())?;
        if state.tombstoned {
            failed.push(FailedCheck::Tombstoned { stream: stream.clone(), version: state.version });
        }
    }
    if let Some(AppendCondition { query, after }) = &append.condition
        && let Some(found) = Selection::new(connection, query, after.next(), Direction::Forwards).next()?
    {
        failed.push(FailedCheck::Condition { found, after: *after });
    }
    if failed.is_empty() { Ok(()) } else { Err(AppendError::Conflict(Conflict { failed }).into()) }
}

/// The streams that an append writes, in order of first mention.
#[derive(Default)]
struct Written {
    streams: Vec<WrittenStream>,
    places: HashMap<StreamName, usize>,
}

struct WrittenStream {
    name: StreamName,
    before: StreamState,
    after: StreamState,
    last_position: u64,
}

impl Written {
    fn next_version(
        &mut self,
        connection: &Connection,
        event: &PreparedEvent,
        position: u64,
    ) -> Result<Version, Refusal> {
        let known = self.places.get(&event.stream).copied();
        let state = match known.and_then(|place| self.streams.get(place)) {
            Some(written) => written.after,
            None => stream_state(connection, event.stream.as_str())?,
        };
        if state.tombstoned {
            // Ended by an earlier event of this same append.
            let check = FailedCheck::Tombstoned { stream: event.stream.clone(), version: state.version };
            return Err(AppendError::Conflict(Conflict { failed: vec![check] }).into());
        }
        let after = state.after_event(event.system);
        match known.and_then(|place| self.streams.get_mut(place)) {
            Some(written) => {
                written.after = after;
                written.last_position = position;
            }
            None => {
                self.places.insert(event.stream.clone(), self.streams.len());
                let name = event.stream.clone();
                self.streams.push(WrittenStream { name, before: state, after, last_position: position });
            }
        }
        Ok(after.version)
    }
}

impl WrittenStream {
    fn store(&self, connection: &Connection) -> rusqlite::Result<()> {
        let mut statement = connection.prepare_cached(
            "INSERT INTO streams VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (stream) DO UPDATE SET \
             version = ?2, exists_ = ?3, visible_from = ?4, tombstoned = ?5, last_position = ?6",
        )?;
        statement.execute(params![
            self.name.as_str(),
            to_i64(self.after.version.get()),
            self.after.exists,
            to_i64(self.after.visible_from.get()),
            self.after.tombstoned,
            to_i64(self.last_position),
        ])?;
        // Of a stream that is new, visible_from is 0 before and 1 after, and there is nothing to hide.
        if self.after.visible_from.get() > self.before.visible_from.get().max(1) {
            self.hide(connection)?;
        }
        Ok(())
    }

    /// Hides what the stream's own system events hid, from the indexes of terms too.
    fn hide(&self, connection: &Connection) -> rusqlite::Result<()> {
        let versions = (
            self.name.as_str(),
            to_i64(self.before.visible_from.get()),
            to_i64(self.after.visible_from.get()),
        );
        let mut tagged = connection.prepare_cached(
            "SELECT position, tags FROM events WHERE stream = ?1 AND version >= ?2 AND version < ?3 \
             AND tags IS NOT NULL",
        )?;
        let mut remove =
            connection.prepare_cached("DELETE FROM event_tags WHERE tag = ?1 AND position = ?2")?;
        let mut rows = tagged.query(versions)?;
        while let Some(row) = rows.next()? {
            let position: i64 = row.get(0)?;
            for tag in split_tags(row.get_ref(1)?.as_str_or_null()?) {
                remove.execute((tag, position))?;
            }
        }
        let mut hide = connection.prepare_cached(
            "UPDATE events SET hidden = 1 WHERE stream = ?1 AND version >= ?2 AND version < ?3",
        )?;
        hide.execute(versions)?;
        Ok(())
    }
}
