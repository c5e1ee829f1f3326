//! Reads, each within one transaction of its connection.

use annals_core::append_rules::check_filter;
use annals_core::{
    ConsumerName, Direction, EventBatch, InvalidRequest, MAX_BATCH_BYTES, MAX_BATCH_EVENTS, Position,
    ReadFrom, ReadRequest, StreamName, StreamState, StreamSummary, Timestamp, Version,
};
use rusqlite::{Connection, OptionalExtension, Row};

use crate::event_row::{event_at, unsigned};
use crate::failure::Failure;
use crate::selection::{Selection, to_i64};

/// The last position.
pub(crate) fn head(connection: &Connection) -> rusqlite::Result<Position> {
    let mut statement = connection.prepare_cached("SELECT coalesce(max(position), 0) FROM events")?;
    Ok(Position::new(statement.query_row([], |row| unsigned(row, 0))?))
}

/// The next events of a read, up to the size of one batch.
pub(crate) fn batch(connection: &Connection, request: &ReadRequest) -> Result<EventBatch, Failure> {
    check_filter(&request.filter)?;
    let head = head(connection)?;
    let mut batch = EventBatch { head, ..EventBatch::default() };
    let Some(from) = start_of(connection, request, head)? else { return Ok(batch) };
    let mut selection = Selection::new(connection, &request.filter, from, request.direction);
    let mut left = request.limit.unwrap_or(u64::MAX);
    let mut bytes = 0;
    while left > 0
        && let Some(position) = selection.next()?
    {
        if batch.events.len() >= MAX_BATCH_EVENTS || bytes >= MAX_BATCH_BYTES {
            batch.next = Some(position);
            break;
        }
        let event = event_at(connection, position)?;
        bytes += event.body().len();
        batch.events.push(event);
        left -= 1;
    }
    Ok(batch)
}

/// The position at which a read begins; `None` when it begins beyond the end.
fn start_of(
    connection: &Connection,
    request: &ReadRequest,
    head: Position,
) -> Result<Option<Position>, Failure> {
    let forwards = request.direction == Direction::Forwards;
    let start = match request.from {
        ReadFrom::Start if forwards => Position::new(1),
        ReadFrom::Start => head,
        ReadFrom::Position(position) if forwards => position,
        ReadFrom::Position(position) => position.min(head),
        ReadFrom::Version(version) => {
            let stream = request.filter.as_stream().ok_or(InvalidRequest::VersionNeedsStream)?;
            return Ok(at_version(connection, stream, version, request.direction)?);
        }
        ReadFrom::RecordedAt(moment) if forwards => count_before(connection, head, |at| at < moment)?.next(),
        ReadFrom::RecordedAt(moment) => count_before(connection, head, |at| at <= moment)?,
    };
    Ok(Some(start).filter(|start| (1..=head.get()).contains(&start.get().max(u64::from(forwards)))))
}

fn at_version(
    connection: &Connection,
    stream: &StreamName,
    version: Version,
    direction: Direction,
) -> rusqlite::Result<Option<Position>> {
    let sql = match direction {
        Direction::Forwards => {
            "SELECT position FROM events WHERE stream = ?1 AND version >= ?2 ORDER BY version LIMIT 1"
        }
        Direction::Backwards => {
            "SELECT position FROM events WHERE stream = ?1 AND version <= ?2 ORDER BY version DESC LIMIT 1"
        }
    };
    let mut statement = connection.prepare_cached(sql)?;
    let found = statement.query_row((stream.as_str(), to_i64(version.get())), |row| unsigned(row, 0));
    Ok(found.optional()?.map(Position::new))
}

/// How many events were recorded at a moment that `holds`, which is true up to one moment and false from then on.
/// Positions are dense and times never go back, so no index of times is needed.
fn count_before(
    connection: &Connection,
    head: Position,
    holds: impl Fn(Timestamp) -> bool,
) -> rusqlite::Result<Position> {
    let mut statement = connection.prepare_cached("SELECT recorded_at FROM events WHERE position = ?1")?;
    let (mut low, mut high) = (0, head.get());
    while low < high {
        let middle = low + (high - low).div_ceil(2);
        let at = statement.query_row([to_i64(middle)], |row| row.get(0))?;
        if holds(Timestamp::from_micros(at)) {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    Ok(Position::new(low))
}

/// What is known of a stream.
pub(crate) fn stream_state(connection: &Connection, stream: &str) -> rusqlite::Result<StreamState> {
    let mut statement = connection
        .prepare_cached("SELECT version, exists_, visible_from, tombstoned FROM streams WHERE stream = ?1")?;
    Ok(statement.query_row([stream], |row| state_from(row, 0)).optional()?.unwrap_or_default())
}

/// Reads the four columns of a stream's state, from `first` on.
pub(crate) fn state_from(row: &Row<'_>, first: usize) -> rusqlite::Result<StreamState> {
    Ok(StreamState {
        version: Version::new(unsigned(row, first)?),
        exists: row.get(first + 1)?,
        visible_from: Version::new(unsigned(row, first + 2)?),
        tombstoned: row.get(first + 3)?,
    })
}

/// Streams by name.
pub(crate) fn streams(
    connection: &Connection,
    after: Option<&StreamName>,
    limit: usize,
) -> Result<Vec<StreamSummary>, Failure> {
    let mut statement = connection.prepare_cached(
        "SELECT version, exists_, visible_from, tombstoned, last_position, stream FROM streams \
         WHERE stream > ?1 ORDER BY stream LIMIT ?2",
    )?;
    // No name is empty, so every name lies after the empty one.
    let after = after.map_or("", StreamName::as_str);
    let mut rows = statement.query((after, to_i64(limit as u64)))?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let name: String = row.get(5)?;
        found.push(StreamSummary {
            stream: StreamName::new(&name).map_err(|error| Failure::Row(error.to_string()))?,
            state: state_from(row, 0)?,
            last_position: Position::new(unsigned(row, 4)?),
        });
    }
    Ok(found)
}

/// How far a consumer has come.
pub(crate) fn checkpoint(
    connection: &Connection,
    consumer: &ConsumerName,
) -> rusqlite::Result<Option<Position>> {
    let mut statement = connection.prepare_cached("SELECT position FROM checkpoints WHERE consumer = ?1")?;
    let found = statement.query_row([consumer.as_str()], |row| unsigned(row, 0)).optional()?;
    Ok(found.map(Position::new))
}
