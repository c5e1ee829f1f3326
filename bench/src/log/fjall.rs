//! fjall as an event store: one atomic batch per append or group, persisted with `PersistMode::SyncAll`.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use annals_core::StreamName;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch, PersistMode};

use super::batching::Peer;
use super::contender::{Store, Totals};
use super::record::{decode, encode, moment};
use super::workload::{Append, Draft, Part, Query};
use crate::failure::{Failure, Result, failed};

const CACHE_BYTES: u64 = 256 << 20;

/// A store in one fjall database.
pub(crate) struct Fjall {
    database: Database,
    events: Keyspace,
    /// Number and version by name.
    streams: Keyspace,
    /// Positions by stream and version.
    of_stream: Keyspace,
    ids: Keyspace,
    /// The numbers of types and tags.
    names: Keyspace,
    /// Positions by type or tag.
    of_name: Keyspace,
    places: Mutex<Places>,
}

/// What the writer goes on from.
#[derive(Default)]
struct Places {
    last_position: u64,
    last_stream: u32,
    names: HashMap<String, u32>,
}

/// What a group has put in its batch, which reads do not see yet.
struct Staged {
    batch: OwnedWriteBatch,
    streams: HashMap<StreamName, (u32, u64)>,
    ids: HashSet<[u8; 16]>,
}

impl Fjall {
    /// Opens the database in `folder`.
    pub(crate) fn open(folder: &Path) -> Result<Self> {
        let database = Database::builder(folder).cache_size(CACHE_BYTES).open()?;
        let plain = KeyspaceCreateOptions::default;
        // Events are asked for only when they are there, so the last level needs no filters.
        let found = || KeyspaceCreateOptions::default().expect_point_read_hits(true);
        let mut store = Self {
            events: database.keyspace("events", found)?,
            streams: database.keyspace("streams", plain)?,
            of_stream: database.keyspace("of_stream", found)?,
            ids: database.keyspace("ids", plain)?,
            names: database.keyspace("names", plain)?,
            of_name: database.keyspace("of_name", found)?,
            places: Mutex::default(),
            database,
        };
        store.places = Mutex::new(store.load_places()?);
        Ok(store)
    }

    fn load_places(&self) -> Result<Places> {
        let mut places = Places::default();
        if let Some(last) = self.events.last_key_value() {
            places.last_position = number_at(&last.key()?, 0)?;
        }
        // The last stream's events begin with its number.
        if let Some(last) = self.of_stream.last_key_value() {
            places.last_stream = short_at(&last.key()?)?;
        }
        for entry in self.names.iter() {
            let (name, number) = entry.into_inner()?;
            places.names.insert(String::from_utf8(name.to_vec())?, short_at(&number)?);
        }
        Ok(places)
    }

    fn append(&self, places: &mut Places, group: &[Append]) -> Result<()> {
        let made = self.append_in_one(places, group);
        if made.is_err() {
            *places = self.load_places()?;
        }
        made
    }

    fn append_in_one(&self, places: &mut Places, group: &[Append]) -> Result<()> {
        let mut staged = Staged {
            batch: self.database.batch().durability(Some(PersistMode::SyncAll)),
            streams: HashMap::new(),
            ids: HashSet::new(),
        };
        for part in group.iter().flat_map(|append| &append.parts) {
            self.stage_part(places, &mut staged, part)?;
        }
        for (name, (number, version)) in &staged.streams {
            staged.batch.insert(&self.streams, name.as_str(), state_bytes(*number, *version));
        }
        Ok(staged.batch.commit()?)
    }

    fn stage_part(&self, places: &mut Places, staged: &mut Staged, part: &Part) -> Result<()> {
        let found = match staged.streams.get(&part.stream) {
            Some(state) => Some(*state),
            None => self.stream_state(&part.stream)?,
        };
        let (stream, version) = found.unwrap_or_else(|| {
            places.last_stream += 1;
            (places.last_stream, 0)
        });
        if version != part.expected {
            return failed(format!(
                "stream {} is at version {version}, expected {}",
                part.stream, part.expected
            ));
        }
        let now = moment();
        for (version, event) in (version + 1..).zip(&part.events) {
            if !staged.ids.insert(event.id) || self.ids.contains_key(event.id)? {
                return failed("an event id is already stored");
            }
            places.last_position += 1;
            let key = places.last_position.to_be_bytes();
            staged.batch.insert(&self.ids, event.id, key);
            staged.batch.insert(&self.events, key, encode(version, now, part.stream.as_str(), event));
            staged.batch.insert(&self.of_stream, state_bytes(stream, version), key);
            self.stage_names(places, staged, event)?;
        }
        staged.streams.insert(part.stream.clone(), (stream, version + part.events.len() as u64));
        Ok(())
    }

    fn stage_names(&self, places: &mut Places, staged: &mut Staged, event: &Draft) -> Result<()> {
        for name in [event.event_type.as_str(), event.tag.as_str()] {
            let number = match places.names.get(name) {
                Some(number) => *number,
                None => {
                    let number = places.names.len() as u32 + 1;
                    places.names.insert(name.to_owned(), number);
                    staged.batch.insert(&self.names, name, number.to_be_bytes());
                    number
                }
            };
            staged.batch.insert(&self.of_name, state_bytes(number, places.last_position), []);
        }
        Ok(())
    }

    fn stream_state(&self, stream: &StreamName) -> Result<Option<(u32, u64)>> {
        let Some(state) = self.streams.get(stream.as_str())? else { return Ok(None) };
        Ok(Some((short_at(&state)?, number_at(&state, 4)?)))
    }
}

/// A number of 4 bytes and one of 8, so that their order is that of their bytes.
fn state_bytes(number: u32, version: u64) -> [u8; 12] {
    let mut bytes = [0; 12];
    bytes[..4].copy_from_slice(&number.to_be_bytes());
    bytes[4..].copy_from_slice(&version.to_be_bytes());
    bytes
}

fn short_at(bytes: &[u8]) -> Result<u32> {
    let found = bytes.first_chunk().ok_or_else(|| Failure::from("a stored key is too short"))?;
    Ok(u32::from_be_bytes(*found))
}

fn number_at(bytes: &[u8], start: usize) -> Result<u64> {
    let found = bytes.get(start..).and_then(<[u8]>::first_chunk);
    Ok(u64::from_be_bytes(*found.ok_or_else(|| Failure::from("a stored key is too short"))?))
}

impl Peer for Fjall {
    type Ready = Append;

    fn lay_out(&self, append: Append) -> Append {
        append
    }

    fn append_group(&self, group: Vec<Append>) -> Vec<Result<()>> {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        match self.append(&mut places, &group) {
            Ok(()) => group.iter().map(|_| Ok(())).collect(),
            Err(error) if group.len() == 1 => vec![Err(error)],
            // One of them failed: each is made alone, so that the others are kept.
            Err(_) => group.into_iter().map(|append| self.append(&mut places, &[append])).collect(),
        }
    }
}

impl Store for Fjall {
    fn read_all(&self) -> Result<Totals> {
        let mut totals = Totals::default();
        for entry in self.events.iter() {
            let (key, bytes) = entry.into_inner()?;
            let event = decode(&bytes)?;
            totals.count(number_at(&key, 0)?, event.stream, event.event_type, event.payload);
        }
        Ok(totals)
    }

    fn read_stream(&self, stream: &StreamName) -> Result<Totals> {
        let mut totals = Totals::default();
        let Some((number, _)) = self.stream_state(stream)? else { return Ok(totals) };
        for entry in self.of_stream.prefix(number.to_be_bytes()) {
            let key = entry.value()?;
            let bytes = self.events.get(&key)?.ok_or_else(|| Failure::from("an event is missing"))?;
            let event = decode(&bytes)?;
            totals.count(number_at(&key, 0)?, event.stream, event.event_type, event.payload);
        }
        Ok(totals)
    }

    fn check(&self, query: &Query) -> Result<()> {
        let places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let positions = |name: &str| {
            // Numbers begin at 1, so a name that there is not has no positions.
            let number = places.names.get(name).copied().unwrap_or(0);
            self.of_name.range(state_bytes(number, 1)..=state_bytes(number, u64::MAX))
        };
        let position = |entry: Option<fjall::Guard>| -> Result<Option<u64>> {
            entry.map(|entry| number_at(&entry.key()?, 4)).transpose()
        };
        let found = match query {
            Query::Type(event_type) => position(positions(event_type.as_str()).next())?,
            Query::BothTags(one, other) => {
                let (mut one, mut other) = (positions(one.as_str()), positions(other.as_str()));
                super::merge::first_in_both(|| position(one.next()), || position(other.next()))?
            }
        };
        match found {
            Some(position) => failed(format!("expected the condition to hold, found position {position}")),
            None => Ok(()),
        }
    }

    fn settle(&self) -> Result<()> {
        for keyspace in [&self.events, &self.streams, &self.of_stream, &self.ids, &self.names, &self.of_name]
        {
            keyspace.rotate_memtable_and_wait()?;
            keyspace.major_compact()?;
        }
        self.wait_until_idle();
        Ok(())
    }

    fn wait_until_idle(&self) {
        for _ in 0..2_000 {
            if self.database.active_compactions() == 0 && self.database.outstanding_flushes() == 0 {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}
