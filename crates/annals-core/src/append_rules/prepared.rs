//! An append that was checked and laid out, on its caller's own thread.

use bytes::{Bytes, BytesMut};
use hashbrown::HashTable;

use crate::body::Layout;
use crate::body_parts::{encode_body_into, largest_body};
use crate::digest::{digest_of, digests_of};
use crate::event::{MAX_METADATA_BYTES, MAX_PAYLOAD_BYTES, MAX_TAGS};
use crate::index::EventTerms;
use crate::name::category_of;
use crate::system::is_system_type;
use crate::{
    AppendCondition, AppendRequest, Checkpoint, EventId, ExpectedVersion, InvalidRequest, MAX_APPEND_BYTES,
    MAX_APPEND_EVENTS, NewEvent, Position, RecordedEvent, StreamName, SystemEvent, Timestamp, Version,
};

/// An append whose events are laid out and hashed, so that the writer has little left to do.
#[derive(Debug)]
pub struct PreparedAppend {
    /// The events.
    pub events: Vec<PreparedEvent>,
    /// Conditions on streams.
    pub expected: Vec<(StreamName, ExpectedVersion)>,
    /// The condition across streams.
    pub condition: Option<AppendCondition>,
    /// The checkpoint to store with it.
    pub checkpoint: Option<Checkpoint>,
    /// The bytes of all event bodies.
    pub body_bytes: usize,
}

/// An event that is laid out and hashed.
#[derive(Debug, Clone)]
pub struct PreparedEvent {
    /// Its id.
    pub id: EventId,
    /// Its stream.
    pub stream: StreamName,
    /// What it does to its stream, if it is one of the store's own.
    pub system: Option<SystemEvent>,
    /// Its bytes.
    pub body: Bytes,
    /// The digest of its content.
    pub digest: [u8; 32],
    layout: Layout,
}

impl PreparedEvent {
    /// What an index keeps of it.
    pub fn terms(&self) -> EventTerms<'_> {
        let (body, stream) = (&self.body, self.stream.as_str());
        EventTerms {
            id: self.id,
            stream,
            category: category_of(stream),
            event_type: self.layout.event_type(body),
            tags: self.layout.tags(body),
            correlation_id: self.layout.correlation(body),
        }
    }

    /// The first part of the body: id, given times, correlation and causation. What follows it is the content.
    pub fn head(&self) -> &[u8] {
        self.body.get(..self.layout.content_start as usize).unwrap_or_default()
    }

    fn content(&self) -> &[u8] {
        self.body.get(self.layout.content_start as usize..).unwrap_or_default()
    }

    /// The event as it is stored in a place of the log.
    pub(crate) fn at(self, position: Position, version: Version, recorded_at: Timestamp) -> RecordedEvent {
        RecordedEvent::laid_out(position, version, recorded_at, self.layout, self.body)
    }
}

/// The limits of one event, and what it does to its stream.
fn check_event(event: &NewEvent) -> Result<Option<SystemEvent>, InvalidRequest> {
    let id = event.event_id();
    let too_large = |what, found, limit| Err(InvalidRequest::TooLarge { what, found, limit });
    if event.payload_bytes().len() > MAX_PAYLOAD_BYTES {
        return too_large("a payload", event.payload_bytes().len(), MAX_PAYLOAD_BYTES);
    }
    if let Some(metadata) = event.metadata_bytes().filter(|metadata| metadata.len() > MAX_METADATA_BYTES) {
        return too_large("the metadata of an event", metadata.len(), MAX_METADATA_BYTES);
    }
    if event.tag_list().len() > MAX_TAGS {
        return Err(InvalidRequest::TooManyTags { id, found: event.tag_list().len(), limit: MAX_TAGS });
    }
    let system = super::system_event_of(event);
    let event_type = event.event_type().as_str();
    if system.is_none() && is_system_type(event_type) {
        return Err(InvalidRequest::MalformedSystemEvent { id, event_type: event_type.to_owned() });
    }
    Ok(system)
}

/// The first id that is there twice.
fn repeated_id(events: &[NewEvent]) -> Option<EventId> {
    let mut seen: HashTable<EventId> = HashTable::with_capacity(events.len());
    let hash = |id: &EventId| id.hash_seeded(0);
    events.iter().map(NewEvent::event_id).find(|id| {
        let known = seen.find(hash(id), |known| known == id).is_some();
        if !known {
            seen.insert_unique(hash(id), *id, hash);
        }
        known
    })
}

impl PreparedAppend {
    /// Checks a request against the limits and lays its events out.
    ///
    /// # Errors
    /// [`InvalidRequest`] names the rule that it breaks.
    pub fn new(request: AppendRequest) -> Result<Self, InvalidRequest> {
        let AppendRequest { events, expected, condition, checkpoint } = request;
        if events.is_empty() && checkpoint.is_none() {
            return Err(InvalidRequest::NothingToAppend);
        }
        if events.len() > MAX_APPEND_EVENTS {
            return Err(InvalidRequest::TooManyEvents { found: events.len(), limit: MAX_APPEND_EVENTS });
        }
        if let Some(condition) = &condition {
            super::check_filter(&condition.query)?;
        }
        if events.len() > 1
            && let Some(id) = repeated_id(&events)
        {
            return Err(InvalidRequest::DuplicateId { id });
        }
        // All bodies share one piece of memory.
        let mut bodies = BytesMut::with_capacity(events.iter().map(largest_body).sum());
        let mut prepared = Vec::with_capacity(events.len());
        for event in events {
            let system = check_event(&event)?;
            encode_body_into(&mut bodies, &event);
            let body = bodies.split().freeze();
            // What was just laid out is well formed.
            let layout = Layout::parse(&body).unwrap_or_default();
            let (id, stream) = (event.event_id(), event.into_stream());
            prepared.push(PreparedEvent { id, stream, system, body, digest: [0; 32], layout });
        }
        let body_bytes = prepared.iter().map(|event| event.body.len()).sum();
        if body_bytes > MAX_APPEND_BYTES {
            return Err(InvalidRequest::TooLarge {
                what: "the append",
                found: body_bytes,
                limit: MAX_APPEND_BYTES,
            });
        }
        hash(&mut prepared);
        Ok(Self { events: prepared, expected, condition, checkpoint, body_bytes })
    }
}

/// Fills in the digests.
fn hash(events: &mut [PreparedEvent]) {
    if let [event] = events {
        event.digest = digest_of(event.content());
        return;
    }
    let contents: Vec<&[u8]> = events.iter().map(PreparedEvent::content).collect();
    let digests = digests_of(&contents);
    events.iter_mut().zip(digests).for_each(|(event, digest)| event.digest = digest);
}
