//! An append that was checked and laid out, on its caller's own thread.

use std::collections::HashSet;

use bytes::Bytes;

use crate::event::{MAX_METADATA_BYTES, MAX_PAYLOAD_BYTES, MAX_TAGS};
use crate::system::is_system_type;
use crate::{
    AppendCondition, AppendRequest, Checkpoint, EventId, ExpectedVersion, InvalidRequest, MAX_APPEND_BYTES,
    MAX_APPEND_EVENTS, NewEvent, StreamName, SystemEvent, encode_body,
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
#[derive(Debug)]
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
}

impl PreparedEvent {
    fn new(event: &NewEvent) -> Result<Self, InvalidRequest> {
        let id = event.event_id();
        let too_large = |what, found, limit| Err(InvalidRequest::TooLarge { what, found, limit });
        if event.payload_bytes().len() > MAX_PAYLOAD_BYTES {
            return too_large("a payload", event.payload_bytes().len(), MAX_PAYLOAD_BYTES);
        }
        if let Some(metadata) = event.metadata_bytes().filter(|metadata| metadata.len() > MAX_METADATA_BYTES)
        {
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
        let body = encode_body(event);
        let digest = crate::content_digest(&body).unwrap_or_default();
        Ok(Self { id, stream: event.stream().clone(), system, body, digest })
    }
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
        let mut ids = HashSet::with_capacity(events.len());
        let mut prepared = Vec::with_capacity(events.len());
        let mut body_bytes = 0;
        for event in &events {
            let id = event.event_id();
            if !ids.insert(id) {
                return Err(InvalidRequest::DuplicateId { id });
            }
            let event = PreparedEvent::new(event)?;
            body_bytes += event.body.len();
            prepared.push(event);
        }
        if body_bytes > MAX_APPEND_BYTES {
            return Err(InvalidRequest::TooLarge {
                what: "the append",
                found: body_bytes,
                limit: MAX_APPEND_BYTES,
            });
        }
        Ok(Self { events: prepared, expected, condition, checkpoint, body_bytes })
    }
}
