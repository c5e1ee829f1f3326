//! redb as an event store: one write transaction per append or group, `Durability::Immediate`.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use annals_core::StreamName;
use redb::{Database, Durability, ReadableDatabase, ReadableTable, Table, TableDefinition, WriteTransaction};

use super::batching::Peer;
use super::contender::{Store, Totals};
use super::record::{decode, encode, moment};
use super::workload::{Append, Part, Query};
use crate::failure::{Failure, Result, failed};

const EVENTS: TableDefinition<u64, &[u8]> = TableDefinition::new("events");
/// The number and the version of a stream, by its name.
const STREAMS: TableDefinition<&str, (u32, u64)> = TableDefinition::new("streams");
const OF_STREAM: TableDefinition<(u32, u64), u64> = TableDefinition::new("events of streams");
const IDS: TableDefinition<&[u8; 16], u64> = TableDefinition::new("ids");
/// The numbers of types and tags.
const NAMES: TableDefinition<&str, u32> = TableDefinition::new("names");
/// Positions by type or tag.
const OF_NAME: TableDefinition<(u32, u64), ()> = TableDefinition::new("events of names");

const CACHE_BYTES: usize = 256 << 20;

/// A store in one redb database.
pub(crate) struct Redb {
    database: Mutex<Database>,
    places: Mutex<Places>,
}

/// What the writer goes on from.
#[derive(Default)]
struct Places {
    last_position: u64,
    streams: u32,
    names: HashMap<String, u32>,
}

/// The tables, open in one transaction.
struct Tables<'t> {
    events: Table<'t, u64, &'static [u8]>,
    streams: Table<'t, &'static str, (u32, u64)>,
    of_stream: Table<'t, (u32, u64), u64>,
    ids: Table<'t, &'static [u8; 16], u64>,
    names: Table<'t, &'static str, u32>,
    of_name: Table<'t, (u32, u64), ()>,
}

impl Redb {
    /// Opens the database in `folder`.
    pub(crate) fn open(folder: &Path) -> Result<Self> {
        let database = Database::builder().set_cache_size(CACHE_BYTES).create(folder.join("events.redb"))?;
        let making = database.begin_write()?;
        Tables::open(&making)?;
        making.commit()?;
        let places = Places::load(&database)?;
        Ok(Self { database: Mutex::new(database), places: Mutex::new(places) })
    }

    fn with_database<T>(&self, work: impl FnOnce(&mut Database) -> Result<T>) -> Result<T> {
        work(&mut self.database.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn append(&self, database: &Database, group: &[Append]) -> Result<()> {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let made = append_in_one(database, &mut places, group);
        if made.is_err() {
            *places = Places::load(database)?;
        }
        made
    }
}

fn append_in_one(database: &Database, places: &mut Places, group: &[Append]) -> Result<()> {
    let mut transaction = database.begin_write()?;
    transaction.set_durability(Durability::Immediate)?;
    let mut tables = Tables::open(&transaction)?;
    for part in group.iter().flat_map(|append| &append.parts) {
        tables.append_part(places, part)?;
    }
    drop(tables);
    Ok(transaction.commit()?)
}

impl Places {
    fn load(database: &Database) -> Result<Self> {
        let reading = database.begin_read()?;
        let last = reading.open_table(EVENTS)?.last()?.map_or(0, |(position, _)| position.value());
        let mut places = Self { last_position: last, ..Self::default() };
        places.streams = u32::try_from(redb::ReadableTableMetadata::len(&reading.open_table(STREAMS)?)?)?;
        for entry in reading.open_table(NAMES)?.iter()? {
            let (name, number) = entry?;
            places.names.insert(name.value().to_owned(), number.value());
        }
        Ok(places)
    }
}

impl<'t> Tables<'t> {
    fn open(transaction: &'t WriteTransaction) -> Result<Self> {
        Ok(Self {
            events: transaction.open_table(EVENTS)?,
            streams: transaction.open_table(STREAMS)?,
            of_stream: transaction.open_table(OF_STREAM)?,
            ids: transaction.open_table(IDS)?,
            names: transaction.open_table(NAMES)?,
            of_name: transaction.open_table(OF_NAME)?,
        })
    }

    fn append_part(&mut self, places: &mut Places, part: &Part) -> Result<()> {
        let name = part.stream.as_str();
        let found = self.streams.get(name)?.map(|state| state.value());
        let (stream, version) = found.unwrap_or_else(|| {
            places.streams += 1;
            (places.streams, 0)
        });
        if version != part.expected {
            return failed(format!("stream {name} is at version {version}, expected {}", part.expected));
        }
        let now = moment();
        for (version, event) in (version + 1..).zip(&part.events) {
            places.last_position += 1;
            let position = places.last_position;
            if self.ids.insert(&event.id, position)?.is_some() {
                return failed("an event id is already stored");
            }
            self.events.insert(position, &encode(version, now, name, event)[..])?;
            self.of_stream.insert((stream, version), position)?;
            for name in [event.event_type.as_str(), event.tag.as_str()] {
                let number = self.number_of(places, name)?;
                self.of_name.insert((number, position), ())?;
            }
        }
        self.streams.insert(name, (stream, version + part.events.len() as u64))?;
        Ok(())
    }

    fn number_of(&mut self, places: &mut Places, name: &str) -> Result<u32> {
        if let Some(number) = places.names.get(name) {
            return Ok(*number);
        }
        let number = places.names.len() as u32 + 1;
        self.names.insert(name, number)?;
        places.names.insert(name.to_owned(), number);
        Ok(number)
    }
}

impl Peer for Redb {
    type Ready = Append;

    fn lay_out(&self, append: Append) -> Append {
        append
    }

    fn append_group(&self, group: Vec<Append>) -> Vec<Result<()>> {
        let database = self.database.lock().unwrap_or_else(PoisonError::into_inner);
        match self.append(&database, &group) {
            Ok(()) => group.iter().map(|_| Ok(())).collect(),
            Err(error) if group.len() == 1 => vec![Err(error)],
            // One of them failed: each is made alone, so that the others are kept.
            Err(_) => group.into_iter().map(|append| self.append(&database, &[append])).collect(),
        }
    }
}

impl Store for Redb {
    fn read_all(&self) -> Result<Totals> {
        let reading = self.with_database(|database| Ok(database.begin_read()?))?;
        let mut totals = Totals::default();
        for entry in reading.open_table(EVENTS)?.iter()? {
            let (position, bytes) = entry?;
            let event = decode(bytes.value())?;
            totals.count(position.value(), event.stream, event.event_type, event.payload);
        }
        Ok(totals)
    }

    fn read_stream(&self, stream: &StreamName) -> Result<Totals> {
        let reading = self.with_database(|database| Ok(database.begin_read()?))?;
        let mut totals = Totals::default();
        let found = reading.open_table(STREAMS)?.get(stream.as_str())?.map(|state| state.value());
        let Some((number, _)) = found else { return Ok(totals) };
        let events = reading.open_table(EVENTS)?;
        for entry in reading.open_table(OF_STREAM)?.range((number, 0)..=(number, u64::MAX))? {
            let position = entry?.1.value();
            let bytes = events.get(position)?.ok_or_else(|| Failure::from("an event is missing"))?;
            let event = decode(bytes.value())?;
            totals.count(position, event.stream, event.event_type, event.payload);
        }
        Ok(totals)
    }

    fn check(&self, query: &Query) -> Result<()> {
        let transaction = self.with_database(|database| Ok(database.begin_write()?))?;
        let found = {
            let names = transaction.open_table(NAMES)?;
            let of_name = transaction.open_table(OF_NAME)?;
            let positions = |name: &str| -> Result<_> {
                // Numbers begin at 1, so a name that there is not has no positions.
                let number = names.get(name)?.map_or(0, |number| number.value());
                Ok(of_name.range((number, 1)..=(number, u64::MAX))?)
            };
            match query {
                Query::Type(event_type) => next_position(&mut positions(event_type.as_str())?)?,
                Query::BothTags(one, other) => {
                    let (mut one, mut other) = (positions(one.as_str())?, positions(other.as_str())?);
                    super::merge::first_in_both(|| next_position(&mut one), || next_position(&mut other))?
                }
            }
        };
        transaction.abort()?;
        match found {
            Some(position) => failed(format!("expected the condition to hold, found position {position}")),
            None => Ok(()),
        }
    }

    fn settle(&self) -> Result<()> {
        self.with_database(|database| Ok(database.compact().map(drop)?))
    }
}

fn next_position(range: &mut redb::Range<'_, (u32, u64), ()>) -> Result<Option<u64>> {
    Ok(range.next().transpose()?.map(|(key, _)| key.value().1))
}
