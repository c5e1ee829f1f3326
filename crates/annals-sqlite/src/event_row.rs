//! An event as a row.

use annals_core::{
    BodyParts, ContentType, EventId, Position, RecordedEvent, SystemEvent, Timestamp, Version,
};
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::failure::Failure;
use crate::selection::to_i64;

const SELECT: &str = "SELECT position, stream, version, type, id, occurred_at, recorded_at, content_type, \
    correlation_id, causation_id, tags, metadata, payload FROM events WHERE position = ?1";

/// The event at a position, hidden or not.
pub(crate) fn event_at(connection: &Connection, position: Position) -> Result<RecordedEvent, Failure> {
    let mut statement = connection.prepare_cached(SELECT)?;
    let found = statement.query_row([to_i64(position.get())], |row| Ok(from_row(row))).optional()?;
    found.unwrap_or_else(|| Err(Failure::Row(format!("the event at position {position} is missing"))))
}

/// Writes one event of an append that begins at `append_first`.
pub(crate) fn insert(
    connection: &Connection,
    event: &RecordedEvent,
    digest: &[u8; 32],
    append_first: Position,
) -> rusqlite::Result<()> {
    let tags = event.tags().collect::<Vec<_>>();
    let content_type = Some(event.content_type()).filter(|name| *name != ContentType::JSON);
    let position = to_i64(event.position().get());
    let mut statement = connection.prepare_cached(
        "INSERT INTO events (position, stream, version, category, type, id, occurred_at, recorded_at, append_first, \
            hidden, digest, content_type, correlation_id, causation_id, tags, metadata, payload) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, 0, ?10, ?11, ?12, ?13, ?14, ?15, ?16)",
    )?;
    statement.execute(params![
        position,
        event.stream(),
        to_i64(event.version().get()),
        event.category(),
        event.event_type(),
        event.id().as_bytes(),
        event.given_occurred_at().map(Timestamp::as_micros),
        event.recorded_at().as_micros(),
        to_i64(append_first.get()),
        digest,
        content_type,
        event.correlation_id(),
        event.causation_id(),
        // No name has a control character, so a line each is unambiguous, and people can read it.
        (!tags.is_empty()).then(|| tags.join("\n")),
        event.metadata(),
        event.payload(),
    ])?;
    for tag in tags {
        connection
            .prepare_cached("INSERT INTO event_tags VALUES (?1, ?2)")?
            .execute(params![tag, position])?;
    }
    Ok(())
}

/// The tags in the form in which [`insert`] keeps them beside their event.
pub(crate) fn split_tags(tags: Option<&str>) -> impl Iterator<Item = &str> {
    tags.into_iter().flat_map(|tags| tags.split('\n'))
}

fn from_row(row: &Row<'_>) -> Result<RecordedEvent, Failure> {
    let position = unsigned(row, 0)?;
    let wrong = |reason: String| Failure::Row(format!("the event at position {position}: {reason}"));
    let text = |index: usize| row.get_ref(index)?.as_str_or_null().map_err(from_sql(index));
    let required = |index: usize| Ok::<_, Failure>(text(index)?.unwrap_or_default());

    let payload = row.get_ref(12)?.as_blob().map_err(from_sql(12))?;
    let event_type = required(3)?;
    if event_type.starts_with('$') && SystemEvent::parse(event_type, payload).is_none() {
        return Err(wrong(format!("its payload does not fit its type {event_type:?}")));
    }
    let parts = BodyParts {
        id: EventId::from_bytes(row.get(4)?),
        occurred_at: row.get::<_, Option<i64>>(5)?.map(Timestamp::from_micros),
        correlation_id: text(8)?,
        causation_id: text(9)?,
        stream: required(1)?,
        event_type,
        tags: split_tags(text(10)?).collect(),
        content_type: text(7)?,
        metadata: row.get_ref(11)?.as_blob_or_null().map_err(from_sql(11))?,
        payload,
    };
    let body = parts.encode().map_err(|error| wrong(error.to_string()))?;
    let version = Version::new(unsigned(row, 2)?);
    RecordedEvent::view(Position::new(position), version, Timestamp::from_micros(row.get(6)?), body)
        .map_err(|error| wrong(error.to_string()))
}

fn from_sql(column: usize) -> impl Fn(rusqlite::types::FromSqlError) -> Failure {
    move |error| Failure::Row(format!("column {column} of an event: {error}"))
}

/// A column that never holds a negative number.
pub(crate) fn unsigned(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    let number: i64 = row.get(column)?;
    u64::try_from(number).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(column, number))
}
