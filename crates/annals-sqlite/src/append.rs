//! Checks an append against the tables and writes it, within the transaction of its connection.
//!
//! The transaction takes the part of a staged group: what earlier appends of the group wrote is found in the tables
//! like everything else.

use annals_core::append_rules::{
    self, AppendState, Known, PreparedAppend, WrittenStream, find_known, stage_append,
};
use annals_core::{
    AppendCondition, AppendReceipt, Direction, EventId, Position, StreamName, StreamState, Timestamp,
};
use rusqlite::{Connection, OptionalExtension, params};

use crate::event_row::{event_at, insert, split_tags, unsigned};
use crate::failure::{Failure, Refusal};
use crate::read;
use crate::selection::{Selection, to_i64};
use crate::tx::WriteTx;

/// Where the next event of a transaction goes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    /// The last position so far.
    pub(crate) head: Position,
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
            Some((head, micros)) => {
                Self { head: Position::new(head), recorded_at: Timestamp::from_micros(micros).max(now) }
            }
            None => Self { head: Position::ZERO, recorded_at: now },
        })
    }
}

/// Checks and writes one append. After an error, what it wrote has to be rolled back, and `place` is as it was.
pub(crate) fn append(
    tx: &WriteTx,
    place: &mut Place,
    append: &PreparedAppend,
) -> Result<AppendReceipt, Refusal> {
    let connection = &tx.connection;
    if let Some(first) = find_known(tx, &append.events)? {
        return Ok(receipt_of(connection, first)?);
    }
    let staged = stage_append(tx, append, place.head, place.recorded_at)?;
    for (event, digest) in staged.events.iter().zip(&staged.digests) {
        insert(connection, event, digest, staged.receipt.first_position)?;
    }
    for stream in &staged.streams {
        store(connection, stream)?;
    }
    if let Some(checkpoint) = &staged.checkpoint {
        let mut statement = connection.prepare_cached(
            "INSERT INTO checkpoints VALUES (?1, ?2) ON CONFLICT (consumer) DO UPDATE SET position = ?2",
        )?;
        statement.execute((checkpoint.consumer.as_str(), to_i64(checkpoint.position.get())))?;
    }
    place.head = staged.receipt.last_position;
    Ok(staged.receipt)
}

impl AppendState for WriteTx {
    type Error = Refusal;

    fn stream_state(&self, stream: &StreamName) -> Result<StreamState, Refusal> {
        Ok(read::stream_state(&self.connection, stream.as_str())?)
    }

    fn known(&self, id: &EventId) -> Result<Option<Known>, Refusal> {
        let mut statement = self
            .connection
            .prepare_cached("SELECT position, digest, append_first FROM events WHERE id = ?1")?;
        let found = statement.query_row([id.as_bytes()], |row| {
            Ok(Known {
                position: Position::new(unsigned(row, 0)?),
                digest: row.get(1)?,
                append_first: Position::new(unsigned(row, 2)?),
            })
        });
        Ok(found.optional()?)
    }

    fn first_breaking(&self, condition: &AppendCondition) -> Result<Option<Position>, Refusal> {
        let from = condition.after.next();
        Ok(Selection::new(&self.connection, &condition.query, from, Direction::Forwards).next()?)
    }
}

/// The receipt that the append beginning at `first` was given.
fn receipt_of(connection: &Connection, first: Position) -> Result<AppendReceipt, Failure> {
    let mut statement = connection.prepare_cached(
        "SELECT coalesce( \
            (SELECT position - 1 FROM events WHERE position > ?1 AND append_first <> ?1 ORDER BY position LIMIT 1), \
            (SELECT max(position) FROM events))",
    )?;
    let last = statement.query_row([to_i64(first.get())], |row| unsigned(row, 0))?;
    let event = |at| event_at(connection, Position::new(at)).map(|event| (&event).into());
    append_rules::receipt_of(first, (first.get()..=last).map(event))
}

fn store(connection: &Connection, stream: &WrittenStream) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached(
        "INSERT INTO streams VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (stream) DO UPDATE SET \
         version = ?2, exists_ = ?3, visible_from = ?4, tombstoned = ?5, last_position = ?6",
    )?;
    statement.execute(params![
        stream.name.as_str(),
        to_i64(stream.after.version.get()),
        stream.after.exists,
        to_i64(stream.after.visible_from.get()),
        stream.after.tombstoned,
        to_i64(stream.last_position.get()),
    ])?;
    // Of a stream that is new, visible_from is 0 before and 1 after, and there is nothing to hide.
    if stream.after.visible_from.get() > stream.before.visible_from.get().max(1) {
        hide(connection, stream)?;
    }
    Ok(())
}

/// Hides what the stream's own system events hid, from the indexes of terms too.
fn hide(connection: &Connection, stream: &WrittenStream) -> rusqlite::Result<()> {
    let versions = (
        stream.name.as_str(),
        to_i64(stream.before.visible_from.get()),
        to_i64(stream.after.visible_from.get()),
    );
    let mut tagged = connection.prepare_cached(
        "SELECT position, tags FROM events WHERE stream = ?1 AND version >= ?2 AND version < ?3 \
         AND tags IS NOT NULL",
    )?;
    let mut remove = connection.prepare_cached("DELETE FROM event_tags WHERE tag = ?1 AND position = ?2")?;
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
