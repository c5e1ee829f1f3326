//! An event before it is stored.

use bytes::Bytes;

use crate::{
    CausationId, ContentType, CorrelationId, EventId, EventType, StreamName, SystemEvent, Tag, Timestamp,
};

/// The most tags that one event may carry.
pub const MAX_TAGS: usize = 64;
/// The largest payload, in bytes.
pub const MAX_PAYLOAD_BYTES: usize = 16 << 20;
/// The largest metadata, in bytes.
pub const MAX_METADATA_BYTES: usize = 1 << 20;

/// A fact that is to be stored: what happened, in which stream, and the bytes that tell the rest.
///
/// ```
/// use annals_core::{EventType, NewEvent, StreamName, Tag};
/// let event = NewEvent::new(StreamName::new("account-42")?, EventType::new("MoneyDeposited")?)
///     .json(r#"{"amount":"12.50"}"#)
///     .tag(Tag::new("branch:7")?);
/// assert_eq!(event.content_type(), "application/json");
/// # Ok::<(), annals_core::NameError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEvent {
    id: EventId,
    stream: StreamName,
    event_type: EventType,
    content_type: Option<ContentType>,
    payload: Bytes,
    metadata: Option<Bytes>,
    tags: Vec<Tag>,
    occurred_at: Option<Timestamp>,
    correlation_id: Option<CorrelationId>,
    causation_id: Option<CausationId>,
}

impl NewEvent {
    /// An event with a fresh id and an empty payload.
    pub fn new(stream: StreamName, event_type: EventType) -> Self {
        Self {
            id: EventId::fresh(),
            stream,
            event_type,
            content_type: None,
            payload: Bytes::new(),
            metadata: None,
            tags: Vec::new(),
            occurred_at: None,
            correlation_id: None,
            causation_id: None,
        }
    }

    /// The event by which a store itself records what was done to `stream`.
    pub fn system(stream: StreamName, event: SystemEvent) -> Self {
        Self::new(stream, EventType::trusted(event.event_type())).json(event.to_payload())
    }

    /// Sets the id, by which a store recognises an event that it already has.
    #[must_use]
    pub fn id(mut self, id: EventId) -> Self {
        self.id = id;
        self
    }

    /// Sets a JSON payload. The text is stored as it is.
    #[must_use]
    pub fn json(mut self, payload: impl Into<Bytes>) -> Self {
        self.payload = payload.into();
        self.content_type = None;
        self
    }

    /// Sets a payload of any content type.
    #[must_use]
    pub fn payload(mut self, content_type: ContentType, payload: impl Into<Bytes>) -> Self {
        self.payload = payload.into();
        self.content_type = Some(content_type).filter(|given| given.as_str() != ContentType::JSON);
        self
    }

    /// Sets the metadata: what is known about the event's making, JSON by convention.
    #[must_use]
    pub fn metadata(mut self, metadata: impl Into<Bytes>) -> Self {
        self.metadata = Some(metadata.into()).filter(|bytes: &Bytes| !bytes.is_empty());
        self
    }

    /// Adds a tag; a tag that is there already changes nothing.
    #[must_use]
    pub fn tag(mut self, tag: Tag) -> Self {
        if let Err(place) = self.tags.binary_search(&tag) {
            self.tags.insert(place, tag);
        }
        self
    }

    /// Adds several tags.
    #[must_use]
    pub fn tags(self, tags: impl IntoIterator<Item = Tag>) -> Self {
        tags.into_iter().fold(self, Self::tag)
    }

    /// Sets when it happened in the world; without it, that is when the store takes it.
    #[must_use]
    pub fn occurred_at(mut self, moment: Timestamp) -> Self {
        self.occurred_at = Some(moment);
        self
    }

    /// Sets the correlation id.
    #[must_use]
    pub fn correlation_id(mut self, id: CorrelationId) -> Self {
        self.correlation_id = Some(id);
        self
    }

    /// Sets the causation id.
    #[must_use]
    pub fn causation_id(mut self, id: CausationId) -> Self {
        self.causation_id = Some(id);
        self
    }

    /// The id.
    pub fn event_id(&self) -> EventId {
        self.id
    }

    pub(crate) fn into_stream(self) -> StreamName {
        self.stream
    }

    /// The stream that it is for.
    pub fn stream(&self) -> &StreamName {
        &self.stream
    }

    /// What happened.
    pub fn event_type(&self) -> &EventType {
        &self.event_type
    }

    /// The media type of the payload.
    pub fn content_type(&self) -> &str {
        self.content_type.as_ref().map_or(ContentType::JSON, ContentType::as_str)
    }

    /// The content type where it is not JSON.
    pub(crate) fn other_content_type(&self) -> Option<&ContentType> {
        self.content_type.as_ref()
    }

    /// The payload.
    pub fn payload_bytes(&self) -> &Bytes {
        &self.payload
    }

    /// The metadata, if any.
    pub fn metadata_bytes(&self) -> Option<&Bytes> {
        self.metadata.as_ref()
    }

    /// The tags, sorted, each once.
    pub fn tag_list(&self) -> &[Tag] {
        &self.tags
    }

    /// When it happened, where that was given.
    pub fn given_occurred_at(&self) -> Option<Timestamp> {
        self.occurred_at
    }

    /// The correlation id, if any.
    pub fn given_correlation_id(&self) -> Option<&CorrelationId> {
        self.correlation_id.as_ref()
    }

    /// The causation id, if any.
    pub fn given_causation_id(&self) -> Option<&CausationId> {
        self.causation_id.as_ref()
    }
}
