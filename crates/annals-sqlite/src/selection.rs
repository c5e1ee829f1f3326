//! Finds the positions that a filter selects, by seeking in one index per term.
//!
//! SQLite itself would choose one index for a whole filter and test the rest row by row. Here every term has its own
//! ascending list of positions, and the lists are intersected by leaping from one to the next; no filter and no
//! condition, however large, reads rows that no term points to.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use annals_core::{Direction, Filter, FilterItem, Position};
use rusqlite::Connection;
use rusqlite::types::Value;

/// How many positions a list fetches first, and at most, at once.
const FIRST_FETCH: usize = 4;
const LARGEST_FETCH: usize = 1024;

/// The statements that seek in one index, forwards and backwards.
struct Seek {
    forwards: &'static str,
    backwards: &'static str,
}

macro_rules! seek {
    ($from:literal) => {
        Seek {
            forwards: concat!(
                "SELECT position FROM ",
                $from,
                " AND position >= ?2 ORDER BY position LIMIT ?3"
            ),
            backwards: concat!(
                "SELECT position FROM ",
                $from,
                " AND position <= ?2 ORDER BY position DESC LIMIT ?3"
            ),
        }
    };
}

static ALL: Seek = seek!("events NOT INDEXED WHERE ?1 IS NULL AND hidden = 0");
static STREAM: Seek = seek!("events INDEXED BY events_of_stream WHERE stream = ?1 AND hidden = 0");
static CATEGORY: Seek = seek!("events INDEXED BY events_of_category WHERE category = ?1 AND hidden = 0");
static TYPE: Seek = seek!("events INDEXED BY events_of_type WHERE type = ?1 AND hidden = 0");
static CORRELATION: Seek =
    seek!("events INDEXED BY events_of_correlation WHERE correlation_id = ?1 AND hidden = 0");
static TAG: Seek = seek!("event_tags WHERE tag = ?1");
static ID: Seek = seek!("events INDEXED BY sqlite_autoindex_events_1 WHERE id = ?1 AND hidden = 0");

/// The ascending keys of one term. A key is a position, negated when reading backwards, so that both directions are
/// the same from here on.
struct Postings {
    sql: &'static str,
    term: Value,
    sign: i64,
    fetched: Vec<i64>,
    at: usize,
    used: usize,
    fetch: usize,
    ended: bool,
}

impl Postings {
    fn new(seek: &'static Seek, term: Value, direction: Direction) -> Self {
        let (sql, sign) = match direction {
            Direction::Forwards => (seek.forwards, 1),
            Direction::Backwards => (seek.backwards, -1),
        };
        Self { sql, term, sign, fetched: Vec::new(), at: 0, used: 0, fetch: FIRST_FETCH, ended: false }
    }

    /// The first key at or beyond `from`, which never goes back.
    fn seek(&mut self, connection: &Connection, from: i64) -> rusqlite::Result<Option<i64>> {
        loop {
            let rest = self.fetched.get(self.at..).unwrap_or_default();
            self.at += rest.partition_point(|key| *key < from);
            if let Some(key) = self.fetched.get(self.at) {
                self.used += 1;
                return Ok(Some(*key));
            }
            if self.ended {
                return Ok(None);
            }
            self.refill(connection, from)?;
        }
    }

    fn refill(&mut self, connection: &Connection, from: i64) -> rusqlite::Result<()> {
        // Lists that are read one by one fetch more and more; those that are leapt through, little.
        let wanted = if self.used * 2 > self.fetched.len() { self.fetch * 4 } else { FIRST_FETCH };
        if !self.fetched.is_empty() {
            self.fetch = wanted.min(LARGEST_FETCH);
        }
        let mut statement = connection.prepare_cached(self.sql)?;
        let mut rows = statement.query((&self.term, from * self.sign, self.fetch as i64))?;
        self.fetched.clear();
        (self.at, self.used) = (0, 0);
        while let Some(row) = rows.next()? {
            self.fetched.push(row.get::<_, i64>(0)? * self.sign);
        }
        self.ended = self.fetched.len() < self.fetch;
        Ok(())
    }
}

/// All of these must have a key, each of them by any of its lists.
struct Item(Vec<Vec<Postings>>);

impl Item {
    fn new(item: &FilterItem, direction: Direction) -> Self {
        let text = |text: &str| Value::Text(text.to_owned());
        let list = |seek, term| Postings::new(seek, term, direction);
        let mut all = Vec::new();
        if let Some(id) = &item.event_id {
            all.push(vec![list(&ID, Value::Blob(id.as_bytes().to_vec()))]);
        }
        if let Some(stream) = &item.stream {
            all.push(vec![list(&STREAM, text(stream.as_str()))]);
        }
        if let Some(id) = &item.correlation_id {
            all.push(vec![list(&CORRELATION, text(id.as_str()))]);
        }
        all.extend(item.tags.iter().map(|tag| vec![list(&TAG, text(tag.as_str()))]));
        if !item.types.is_empty() {
            all.push(item.types.iter().map(|name| list(&TYPE, text(name.as_str()))).collect());
        }
        if let Some(category) = &item.category {
            all.push(vec![list(&CATEGORY, text(category.as_str()))]);
        }
        if all.is_empty() {
            all.push(vec![list(&ALL, Value::Null)]);
        }
        Self(all)
    }

    /// Leaps from list to list until all agree on a key at or beyond `from`.
    fn seek(&mut self, connection: &Connection, from: i64) -> rusqlite::Result<Option<i64>> {
        let mut candidate = from;
        loop {
            let before = candidate;
            for any in &mut self.0 {
                let mut nearest = None;
                for list in any {
                    let key = list.seek(connection, candidate)?;
                    nearest = [nearest, key].into_iter().flatten().min();
                }
                let Some(key) = nearest else { return Ok(None) };
                candidate = key;
            }
            // One list agrees with itself.
            if candidate == before || self.0.len() == 1 {
                return Ok(Some(candidate));
            }
        }
    }
}

/// The visible positions that match a filter, one after the other.
pub(crate) struct Selection<'c> {
    connection: &'c Connection,
    items: Vec<Item>,
    /// The nearest key of each item that has one.
    nearest: BinaryHeap<Reverse<(i64, usize)>>,
    /// The items that have to be sought again, from `from`.
    due: Vec<usize>,
    from: i64,
    sign: i64,
}

impl<'c> Selection<'c> {
    /// Begins at `from`, which is included.
    pub(crate) fn new(
        connection: &'c Connection,
        filter: &Filter,
        from: Position,
        direction: Direction,
    ) -> Self {
        let from = to_i64(from.get());
        let items: Vec<_> = match filter.items() {
            [] => vec![Item::new(&FilterItem::default(), direction)],
            items => items.iter().map(|item| Item::new(item, direction)).collect(),
        };
        let (sign, from) = match direction {
            Direction::Forwards => (1, from.max(1)),
            Direction::Backwards => (-1, -from),
        };
        let due = (0..items.len()).collect();
        Self { connection, items, nearest: BinaryHeap::new(), due, from, sign }
    }

    /// The next position; `None` at the end.
    pub(crate) fn next(&mut self) -> rusqlite::Result<Option<Position>> {
        while let Some(index) = self.due.pop() {
            let Some(item) = self.items.get_mut(index) else { continue };
            if let Some(key) = item.seek(self.connection, self.from)? {
                self.nearest.push(Reverse((key, index)));
            }
        }
        let Some(Reverse((key, _))) = self.nearest.peek().copied() else { return Ok(None) };
        while let Some(Reverse((other, index))) = self.nearest.peek().copied()
            && other == key
        {
            self.nearest.pop();
            self.due.push(index);
        }
        self.from = key.saturating_add(1);
        Ok(Some(Position::new(key.saturating_mul(self.sign).unsigned_abs())))
    }
}

/// A position or version as SQLite's integer; those beyond its range are beyond every stored one anyway.
pub(crate) fn to_i64(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_seek_is_a_search_in_an_index() {
        let connection = Connection::open_in_memory().unwrap();
        crate::schema::create(std::path::Path::new("memory"), &connection).unwrap();
        for seek in [&ALL, &STREAM, &CATEGORY, &TYPE, &CORRELATION, &TAG, &ID] {
            for sql in [seek.forwards, seek.backwards] {
                let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
                let plan: Vec<String> =
                    statement.query_map(("x", 1, 1), |row| row.get(3)).unwrap().map(Result::unwrap).collect();
                assert_eq!(plan.len(), 1, "{sql}: {plan:?}");
                assert!(plan[0].starts_with("SEARCH"), "{sql}: {plan:?}");
                assert!(!plan[0].contains("TEMP B-TREE"), "{sql}: {plan:?}");
            }
        }
    }
}
