//! An event as it is stored.

use std::fmt;

use bytes::Bytes;

use crate::body::{self, Layout, MalformedBody, Tags};
use crate::name::category_of;
use crate::{ContentType, EventId, NewEvent, Position, StreamName, SystemEvent, Timestamp, Version};

/// A stored event: its place in the log and a cheap view of its bytes, which many events may share. Cloning copies no
/// payload.
#[derive(Clone)]
pub struct RecordedEvent {
    position: Position,
    version: Version,
    recorded_at: Timestamp,
    layout: Layout,
    body: Bytes,
}

impl RecordedEvent {
    /// Views `body`, laid out by [`encode_body`](crate::encode_body), as the event at `position`.
    ///
    /// # Errors
    /// [`MalformedBody`] when the bytes are not of that layout.
    #[inline]
    pub fn view(
        position: Position,
        version: Version,
        recorded_at: Timestamp,
        body: Bytes,
    ) -> Result<Self, MalformedBody> {
        let layout = Layout::parse(&body)?;
        Ok(Self::laid_out(position, version, recorded_at, layout, body))
    }

    /// Views `body`, whose layout is known.
    #[inline]
    pub(crate) fn laid_out(
        position: Position,
        version: Version,
        recorded_at: Timestamp,
        layout: Layout,
        body: Bytes,
    ) -> Self {
        Self { position, version, recorded_at, layout, body }
    }

    /// Its place in the log.
    pub fn position(&self) -> Position {
        self.position
    }

    /// Its place in its stream.
    pub fn version(&self) -> Version {
        self.version
    }

    /// When the store took it.
    pub fn recorded_at(&self) -> Timestamp {
        self.recorded_at
    }

    /// When it happened in the world: as given by the application, else when the store took it.
    pub fn occurred_at(&self) -> Timestamp {
        self.given_occurred_at().unwrap_or(self.recorded_at)
    }

    /// When it happened, where the application gave that.
    pub fn given_occurred_at(&self) -> Option<Timestamp> {
        self.layout.occurred_at(&self.body).map(Timestamp::from_micros)
    }

    /// Its identity.
    pub fn id(&self) -> EventId {
        EventId::from_bytes(self.layout.id(&self.body))
    }

    /// The name of its stream.
    pub fn stream(&self) -> &str {
        self.slice(self.layout.content_start + 1, self.layout.stream_end)
    }

    /// The name of its stream, to keep.
    pub fn stream_name(&self) -> StreamName {
        StreamName::trusted(self.stream())
    }

    /// The category of its stream.
    pub fn category(&self) -> &str {
        category_of(self.stream())
    }

    /// The id part of its stream's name.
    pub fn entity_id(&self) -> &str {
        self.stream().split_once('-').map_or("", |(_, id)| id)
    }

    /// What happened.
    pub fn event_type(&self) -> &str {
        self.slice(self.layout.stream_end + 1, self.layout.type_end)
    }

    /// Its tags, sorted.
    pub fn tags(&self) -> Tags<'_> {
        self.layout.tags(&self.body)
    }

    /// The media type of the payload.
    pub fn content_type(&self) -> &str {
        self.layout.content_type(&self.body).unwrap_or(ContentType::JSON)
    }

    /// The payload.
    pub fn payload(&self) -> &[u8] {
        self.body.get(self.layout.payload_start as usize..).unwrap_or_default()
    }

    /// The payload, shared with the event.
    pub fn payload_bytes(&self) -> Bytes {
        self.body.slice(self.layout.payload_start as usize..)
    }

    /// The metadata, if any.
    pub fn metadata(&self) -> Option<&[u8]> {
        let start = self.layout.metadata_start(&self.body)?;
        self.body.get(start..self.layout.payload_start as usize)
    }

    /// The correlation id, if any.
    pub fn correlation_id(&self) -> Option<&str> {
        self.layout.correlation(&self.body)
    }

    /// The causation id, if any.
    pub fn causation_id(&self) -> Option<&str> {
        self.layout.causation(&self.body)
    }

    /// What the store recorded of the stream, when this is one of the store's own events.
    pub fn system_event(&self) -> Option<SystemEvent> {
        SystemEvent::parse(self.event_type(), self.payload())
    }

    /// The bytes of the event, as [`encode_body`](crate::encode_body) lays them out.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// The first part of the body: id, given times, correlation and causation. What follows it is the content.
    pub fn head(&self) -> &[u8] {
        self.body.get(..self.layout.content_start as usize).unwrap_or_default()
    }

    /// The digest of what makes two events the same; see [`content_digest`](crate::content_digest).
    pub fn content_digest(&self) -> [u8; 32] {
        crate::digest::digest_of(self.body.get(self.layout.content_start as usize..).unwrap_or_default())
    }

    /// The event as it was before it was stored, with the same id: to write it to another store.
    pub fn to_new_event(&self) -> NewEvent {
        use crate::{CausationId, CorrelationId, EventType, Tag};
        let mut event = NewEvent::new(self.stream_name(), EventType::trusted(self.event_type()))
            .id(self.id())
            .payload(ContentType::trusted(self.content_type()), self.payload_bytes())
            .occurred_at(self.occurred_at())
            .tags(self.tags().map(Tag::trusted));
        if let Some(metadata) = self.metadata() {
            event = event.metadata(Bytes::copy_from_slice(metadata));
        }
        if let Some(id) = self.correlation_id() {
            event = event.correlation_id(CorrelationId::trusted(id));
        }
        if let Some(id) = self.causation_id() {
            event = event.causation_id(CausationId::trusted(id));
        }
        event
    }

    fn slice(&self, start: u32, end: u32) -> &str {
        body::text(self.body.get(start as usize..end as usize).unwrap_or_default())
    }
}

impl fmt::Debug for RecordedEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordedEvent")
            .field("position", &self.position.get())
            .field("stream", &self.stream())
            .field("version", &self.version.get())
            .field("event_type", &self.event_type())
            .field("id", &self.id())
            .field("payload_bytes", &self.payload().len())
            .finish_non_exhaustive()
    }
}

impl PartialEq for RecordedEvent {
    fn eq(&self, other: &Self) -> bool {
        self.position == other.position
            && self.version == other.version
            && self.recorded_at == other.recorded_at
            && self.body == other.body
    }
}

impl Eq for RecordedEvent {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CausationId, CorrelationId, EventType, Tag, encode_body};
    use proptest::prelude::*;

    fn view(event: &NewEvent) -> RecordedEvent {
        RecordedEvent::view(Position::new(1), Version::new(1), Timestamp::from_micros(7), encode_body(event))
            .unwrap()
    }

    fn optional_name() -> impl Strategy<Value = Option<String>> {
        proptest::option::of("[a-z:]{1,255}")
    }

    proptest! {
        #[test]
        fn every_field_survives(
            stream in "[a-z]{1,9}-[a-z0-9]{1,20}", event_type in "[A-Z][a-z]{0,40}",
            correlation in optional_name(), causation in optional_name(),
            content_type in proptest::option::of("[a-z]{1,9}/[a-z]{1,9}"),
            metadata in proptest::option::of(proptest::collection::vec(any::<u8>(), 1..50)),
            payload in proptest::collection::vec(any::<u8>(), 0..300),
            tags in proptest::collection::vec("[a-c]:[a-c]", 0..5),
            occurred_at in proptest::option::of(any::<i64>()),
        ) {
            let mut event = NewEvent::new(StreamName::new(&stream).unwrap(), EventType::new(&event_type).unwrap())
                .json(payload.clone())
                .tags(tags.iter().map(|t| Tag::new(t).unwrap()));
            if let Some(t) = &content_type { event = event.payload(ContentType::new(t).unwrap(), payload.clone()); }
            if let Some(m) = &metadata { event = event.metadata(m.clone()); }
            if let Some(c) = &correlation { event = event.correlation_id(CorrelationId::new(c).unwrap()); }
            if let Some(c) = &causation { event = event.causation_id(CausationId::new(c).unwrap()); }
            if let Some(t) = occurred_at { event = event.occurred_at(Timestamp::from_micros(t)); }
            let seen = view(&event);
            prop_assert_eq!(seen.stream(), stream);
            prop_assert_eq!(seen.event_type(), event_type);
            prop_assert_eq!(seen.id(), event.event_id());
            prop_assert_eq!(seen.correlation_id(), correlation.as_deref());
            prop_assert_eq!(seen.causation_id(), causation.as_deref());
            prop_assert_eq!(seen.content_type(), event.content_type());
            prop_assert_eq!(seen.metadata(), metadata.as_deref());
            prop_assert_eq!(seen.payload(), payload);
            prop_assert_eq!(seen.tags().collect::<Vec<_>>(), event.tag_list().iter().map(Tag::as_str).collect::<Vec<_>>());
            prop_assert_eq!(seen.given_occurred_at(), event.given_occurred_at());
            prop_assert_eq!(seen.to_new_event().occurred_at(seen.occurred_at()), event.occurred_at(seen.occurred_at()));
        }

        #[test]
        fn no_bytes_make_a_view_panic(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
            if let Ok(event) = RecordedEvent::view(Position::new(1), Version::new(1), Timestamp::default(), bytes.into()) {
                let _ = (event.stream(), event.event_type(), event.payload(), event.metadata(), event.tags().count());
                let _ = (event.correlation_id(), event.causation_id(), event.content_type(), event.occurred_at());
            }
        }
    }

    #[test]
    fn the_digest_knows_content_but_neither_times_nor_ids() {
        let event = NewEvent::new(StreamName::new("a-1").unwrap(), EventType::new("B").unwrap()).json("{}");
        let other = event.clone().id(EventId::fresh()).occurred_at(Timestamp::from_micros(5));
        assert_eq!(view(&event).content_digest(), view(&other).content_digest());
        assert_ne!(view(&event).content_digest(), view(&event.json("{ }")).content_digest());
    }
}
