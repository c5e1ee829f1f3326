//! The index of the latest events, in memory.

use std::convert::Infallible;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use super::position_list::Distances;
use super::recent_streams::RecentStream;
use super::{EventTerms, SliceCursor, Term, TermKind, TermSource};
use crate::{EventId, Position, StreamState, SystemEvent};

/// The index of the events after a position, in memory.
///
/// Events may be taken back from its end, so that a store can enter them before it knows that they are kept; readers
/// then say up to which position they may see.
#[derive(Debug)]
pub struct RecentIndex {
    base: u64,
    seed: u64,
    /// The entries of each kind. Apart, so that the few streams are not scattered among the many correlation ids.
    terms: [HashTable<u32>; TermKind::ALL.len()],
    entries: Vec<TermEntry>,
    names: String,
    streams: Vec<RecentStream>,
    ids: HashTable<u32>,
    /// The id of each event, in order.
    id_of: Vec<EventId>,
    /// The entry of each kind that the last event had: the next often has the same.
    last_entry: [u32; TermKind::ALL.len()],
    heap_bytes: usize,
}

#[derive(Debug)]
struct TermEntry {
    hash: u64,
    name_start: u32,
    /// In `streams`, for a stream.
    stream: u32,
    name_length: u8,
    kind: TermKind,
    positions: Distances,
}

/// A term of a [`RecentIndex`] and its events.
#[derive(Debug, Clone, Copy)]
pub struct RecentTerm<'a> {
    /// The term.
    pub term: Term<'a>,
    /// Its positions, as distances from the base of the index.
    pub distances: &'a [u32],
    /// For a stream: its state before and after them.
    pub states: Option<(StreamState, StreamState)>,
}

const NONE: u32 = u32::MAX;
/// The memory of an event besides its lists: its id, and its place in the table of ids.
const BYTES_PER_EVENT: usize = size_of::<EventId>() + 6;
/// The memory of a term besides its name and list.
const BYTES_PER_TERM: usize = size_of::<TermEntry>() + 6;

impl RecentIndex {
    /// An empty index of the events after `base`.
    pub fn after(base: Position, seed: u64) -> Self {
        Self {
            base: base.get(),
            seed,
            terms: Default::default(),
            entries: Vec::new(),
            names: String::new(),
            streams: Vec::new(),
            ids: HashTable::new(),
            id_of: Vec::new(),
            last_entry: [NONE; TermKind::ALL.len()],
            heap_bytes: 0,
        }
    }

    /// The position after which it begins.
    pub fn base(&self) -> Position {
        Position::new(self.base)
    }

    /// The last position in it.
    pub fn last(&self) -> Position {
        Position::new(self.base + self.id_of.len() as u64)
    }

    /// How many events are in it.
    pub fn len(&self) -> usize {
        self.id_of.len()
    }

    /// Whether no event is in it.
    pub fn is_empty(&self) -> bool {
        self.id_of.is_empty()
    }

    /// About how many bytes of memory it takes.
    pub fn memory_bytes(&self) -> usize {
        self.id_of.len() * BYTES_PER_EVENT
            + self.entries.len() * BYTES_PER_TERM
            + self.names.len()
            + self.streams.len() * size_of::<RecentStream>()
            + self.heap_bytes
    }

    /// Makes room for so many more events.
    pub fn reserve_events(&mut self, count: usize) {
        let (seed, id_of) = (self.seed, &self.id_of);
        let rehash = |distance: &u32| id_of.get(*distance as usize - 1).map_or(0, |id| id.hash_seeded(seed));
        self.ids.reserve(count, rehash);
        self.id_of.reserve(count);
    }

    /// Adds the next event. `before` is asked for the state of a stream that is not in the index yet.
    ///
    /// # Errors
    /// What `before` reports; nothing was added then.
    pub fn insert<E>(
        &mut self,
        terms: &EventTerms<'_>,
        system: Option<SystemEvent>,
        before: impl FnOnce() -> Result<StreamState, E>,
    ) -> Result<(), E> {
        let stream = self.stream_entry(terms.stream, before)?;
        // Distances begin at 1, so that a distance is also a count of events.
        let distance = self.id_of.len() as u32 + 1;
        if let (Some(system), Some(entry)) = (system, self.entries.get(stream as usize)) {
            let count = entry.positions.as_slice().len();
            if let Some(known) = self.streams.get_mut(entry.stream as usize) {
                known.add_system(count, system);
                self.heap_bytes += size_of::<StreamState>();
            }
        }
        self.add_position(stream, distance);
        for term in terms.but_stream() {
            let entry = self.entry(term);
            self.add_position(entry, distance);
        }
        self.add_id(terms.id, distance);
        Ok(())
    }

    fn add_position(&mut self, entry: u32, distance: u32) {
        if let Some(entry) = self.entries.get_mut(entry as usize) {
            self.heap_bytes += entry.positions.push(distance);
        }
    }

    fn add_id(&mut self, id: EventId, distance: u32) {
        let (seed, id_of) = (self.seed, &self.id_of);
        let rehash = |distance: &u32| id_of.get(*distance as usize - 1).map_or(0, |id| id.hash_seeded(seed));
        self.ids.insert_unique(id.hash_seeded(seed), distance, rehash);
        self.id_of.push(id);
    }

    fn stream_entry<E>(
        &mut self,
        name: &str,
        before: impl FnOnce() -> Result<StreamState, E>,
    ) -> Result<u32, E> {
        let term = Term::stream(name);
        if let Some(entry) = self.find(term) {
            return Ok(entry);
        }
        let before = before()?;
        let entry = self.entry(term);
        if let Some(entry) = self.entries.get_mut(entry as usize) {
            entry.stream = self.streams.len() as u32;
            self.streams.push(RecentStream::new(before));
        }
        Ok(entry)
    }

    fn name_of(&self, entry: &TermEntry) -> &str {
        let start = entry.name_start as usize;
        self.names.get(start..start + usize::from(entry.name_length)).unwrap_or_default()
    }

    /// Whether an entry of its kind is that of a term.
    fn is(&self, entry: u32, term: Term<'_>) -> bool {
        self.entries.get(entry as usize).is_some_and(|entry| self.name_of(entry) == term.name)
    }

    fn find(&self, term: Term<'_>) -> Option<u32> {
        let last = self.last_entry[term.kind as usize];
        if self.is(last, term) {
            return Some(last);
        }
        self.terms[term.kind as usize].find(term.hash(self.seed), |entry| self.is(*entry, term)).copied()
    }

    /// The entry of a term, made if it is not there.
    fn entry(&mut self, term: Term<'_>) -> u32 {
        let kind = term.kind as usize;
        if self.is(self.last_entry[kind], term) {
            return self.last_entry[kind];
        }
        let hash = term.hash(self.seed);
        let (entries, names) = (&self.entries, &self.names);
        let is = |entry: &u32| {
            entries.get(*entry as usize).is_some_and(|entry| {
                let start = entry.name_start as usize;
                let name = names.get(start..start + usize::from(entry.name_length));
                entry.hash == hash && name == Some(term.name)
            })
        };
        let rehash = |entry: &u32| entries.get(*entry as usize).map_or(0, |entry| entry.hash);
        let index = match self.terms[kind].entry(hash, is, rehash) {
            Entry::Occupied(found) => *found.get(),
            Entry::Vacant(vacant) => {
                let index = self.entries.len() as u32;
                vacant.insert(index);
                self.entries.push(TermEntry {
                    hash,
                    name_start: self.names.len() as u32,
                    stream: NONE,
                    name_length: term.name.len() as u8,
                    kind: term.kind,
                    positions: Distances::default(),
                });
                self.names.push_str(term.name);
                index
            }
        };
        self.last_entry[kind] = index;
        index
    }

    /// Takes back all events after a position.
    pub fn undo_after(&mut self, position: Position) {
        let kept = position.get().saturating_sub(self.base) as usize;
        for (distance, id) in (1..).zip(&self.id_of).skip(kept) {
            if let Ok(found) = self.ids.find_entry(id.hash_seeded(self.seed), |known| *known == distance) {
                found.remove();
            }
        }
        for entry in &mut self.entries {
            while let Some(last) =
                entry.positions.as_slice().last().copied().filter(|last| *last as usize > kept)
            {
                entry.positions.pop(last);
            }
            if let Some(stream) = self.streams.get_mut(entry.stream as usize) {
                stream.truncate(entry.positions.as_slice().len());
            }
        }
        self.id_of.truncate(kept);
    }

    /// The state of a stream after its events up to a position; `None` when the index does not know the stream.
    pub fn stream_state(&self, name: &str, upto: Position) -> Option<StreamState> {
        let entry = self.entries.get(self.find(Term::stream(name))? as usize)?;
        let stream = self.streams.get(entry.stream as usize)?;
        Some(stream.after(self.count_upto(entry, upto)))
    }

    /// The positions of a stream, as distances from the base, and the state that it had before them.
    pub fn stream(&self, name: &str) -> Option<(&[u32], StreamState)> {
        let entry = self.entries.get(self.find(Term::stream(name))? as usize)?;
        let stream = self.streams.get(entry.stream as usize)?;
        Some((entry.positions.as_slice(), *stream.before()))
    }

    fn count_upto(&self, entry: &TermEntry, upto: Position) -> usize {
        let upto = upto.get().saturating_sub(self.base);
        let positions = entry.positions.as_slice();
        match positions.last() {
            Some(last) if u64::from(*last) > upto => {
                positions.partition_point(|distance| u64::from(*distance) <= upto)
            }
            _ => positions.len(),
        }
    }

    /// All terms that have events, in no order.
    pub fn terms(&self) -> impl Iterator<Item = RecentTerm<'_>> {
        self.entries.iter().filter_map(|entry| {
            let distances = entry.positions.as_slice();
            let stream = self.streams.get(entry.stream as usize);
            let states = stream.map(|stream| (*stream.before(), stream.after(distances.len())));
            let term = Term { kind: entry.kind, name: self.name_of(entry) };
            (!distances.is_empty()).then_some(RecentTerm { term, distances, states })
        })
    }

    /// The ids of its events, in order.
    pub fn ids(&self) -> &[EventId] {
        &self.id_of
    }
}

impl TermSource for RecentIndex {
    type Error = Infallible;
    type List<'a> = SliceCursor<'a>;

    fn list(&self, term: Term<'_>) -> Result<Option<SliceCursor<'_>>, Infallible> {
        let entry = self.find(term).and_then(|entry| self.entries.get(entry as usize));
        let list = entry.map(|entry| entry.positions.as_slice()).filter(|positions| !positions.is_empty());
        Ok(list.map(|positions| SliceCursor::new(self.base, positions)))
    }

    fn position_of(&self, id: &EventId) -> Result<Option<u64>, Infallible> {
        if self.id_of.is_empty() {
            return Ok(None);
        }
        let is = |distance: &u32| self.id_of.get(*distance as usize - 1) == Some(id);
        let found = self.ids.find(id.hash_seeded(self.seed), is);
        Ok(found.map(|distance| self.base + u64::from(*distance)))
    }
}

/// Runs what cannot fail.
pub fn infallible<T>(result: Result<T, Infallible>) -> T {
    match result {
        Ok(value) => value,
        Err(never) => match never {},
    }
}
