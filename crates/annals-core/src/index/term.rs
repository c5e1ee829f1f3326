//! Terms and the terms of an event.

use crate::{EventId, RecordedEvent, Tags};

/// What a term says of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum TermKind {
    /// The name of its stream.
    Stream = 0,
    /// The category of its stream.
    Category = 1,
    /// Its type.
    Type = 2,
    /// One of its tags.
    Tag = 3,
    /// Its correlation id.
    Correlation = 4,
}

impl TermKind {
    /// All kinds, in order.
    pub const ALL: [Self; 5] = [Self::Stream, Self::Category, Self::Type, Self::Tag, Self::Correlation];
}

impl TryFrom<u8> for TermKind {
    type Error = ();

    fn try_from(number: u8) -> Result<Self, ()> {
        Self::ALL.get(usize::from(number)).copied().ok_or(())
    }
}

/// A term: events that have it share its list of positions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Term<'a> {
    /// What it says.
    pub kind: TermKind,
    /// The name, type, tag or id.
    pub name: &'a str,
}

impl<'a> Term<'a> {
    /// The stream `name`.
    pub fn stream(name: &'a str) -> Self {
        Self { kind: TermKind::Stream, name }
    }

    /// A hash that is the same on every machine: XXH3, 64 bits, seeded.
    pub fn hash(&self, seed: u64) -> u64 {
        xxhash_rust::xxh3::xxh3_64_with_seed(self.name.as_bytes(), seed ^ (self.kind as u64 + 1))
    }
}

/// What an index keeps of an event.
#[derive(Debug, Clone)]
pub struct EventTerms<'a> {
    /// Its id.
    pub id: EventId,
    /// Its stream.
    pub stream: &'a str,
    /// The category of its stream.
    pub category: &'a str,
    /// Its type.
    pub event_type: &'a str,
    /// Its tags.
    pub tags: Tags<'a>,
    /// Its correlation id.
    pub correlation_id: Option<&'a str>,
}

impl<'a> EventTerms<'a> {
    /// The terms of a stored event.
    pub fn of(event: &'a RecordedEvent) -> Self {
        Self {
            id: event.id(),
            stream: event.stream(),
            category: event.category(),
            event_type: event.event_type(),
            tags: event.tags(),
            correlation_id: event.correlation_id(),
        }
    }

    /// Of an event whose content was removed: it has no terms but its stream.
    pub fn removed(id: EventId, stream: &'a str) -> Self {
        Self { id, stream, category: "", event_type: "", tags: Tags::none(), correlation_id: None }
    }

    /// All of them but the stream.
    pub fn but_stream(&self) -> impl Iterator<Item = Term<'a>> + use<'a> {
        let term = |kind| move |name| Term { kind, name };
        [
            Term { kind: TermKind::Category, name: self.category },
            Term { kind: TermKind::Type, name: self.event_type },
        ]
        .into_iter()
        .filter(|term| !term.name.is_empty())
        .chain(self.tags.clone().map(term(TermKind::Tag)))
        .chain(self.correlation_id.map(term(TermKind::Correlation)))
    }
}

impl EventId {
    /// A hash that is the same on every machine: XXH3, 64 bits, seeded.
    pub fn hash_seeded(&self, seed: u64) -> u64 {
        xxhash_rust::xxh3::xxh3_64_with_seed(self.as_bytes(), seed)
    }
}
