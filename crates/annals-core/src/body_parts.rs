//! Lays an event out as bytes, in the form that [`body`](crate::body) reads.

use bytes::{BufMut, Bytes, BytesMut};

use crate::body::{HAS_CAUSATION, HAS_CONTENT_TYPE, HAS_CORRELATION, HAS_METADATA, HAS_OCCURRED_AT};
use crate::system::is_system_type;
use crate::{
    CausationId, ContentType, CorrelationId, EventId, EventType, NameError, NewEvent, StreamName, Tag,
    Timestamp,
};

/// What the body of an event is made of, borrowed from wherever it is kept.
#[derive(Debug, Clone)]
pub struct BodyParts<'a> {
    /// Its id.
    pub id: EventId,
    /// When it happened, where that was given.
    pub occurred_at: Option<Timestamp>,
    /// Its correlation id, if any.
    pub correlation_id: Option<&'a str>,
    /// Its causation id, if any.
    pub causation_id: Option<&'a str>,
    /// The name of its stream.
    pub stream: &'a str,
    /// What happened.
    pub event_type: &'a str,
    /// Its tags, sorted, each once.
    pub tags: Vec<&'a str>,
    /// The media type of the payload where it is not JSON.
    pub content_type: Option<&'a str>,
    /// The metadata, if any.
    pub metadata: Option<&'a [u8]>,
    /// The payload.
    pub payload: &'a [u8],
}

impl BodyParts<'_> {
    /// Checks all names, of which a type of the store's own is one too, and lays the parts out as bytes.
    ///
    /// # Errors
    /// [`NameError`] for the first that breaks a rule of names.
    pub fn encode(&self) -> Result<Bytes, NameError> {
        StreamName::check(self.stream)?;
        if !is_system_type(self.event_type) {
            EventType::check(self.event_type)?;
        }
        self.tags.iter().try_for_each(|tag| Tag::check(tag))?;
        self.content_type.map_or(Ok(()), ContentType::check)?;
        self.correlation_id.map_or(Ok(()), CorrelationId::check)?;
        self.causation_id.map_or(Ok(()), CausationId::check)?;
        let text = self.stream.len() + self.event_type.len();
        let tags: usize = self.tags.iter().map(|tag| tag.len() + 1).sum();
        let metadata = self.metadata.map_or(0, <[u8]>::len);
        let mut out = BytesMut::with_capacity(64 + text + tags + metadata + self.payload.len());
        self.lay_out(self.tags.iter().copied(), &mut out);
        Ok(out.freeze())
    }

    fn lay_out<'t>(&self, tags: impl ExactSizeIterator<Item = &'t str>, out: &mut BytesMut) {
        let flags = if self.occurred_at.is_some() { HAS_OCCURRED_AT } else { 0 }
            | if self.correlation_id.is_some() { HAS_CORRELATION } else { 0 }
            | if self.causation_id.is_some() { HAS_CAUSATION } else { 0 };
        out.put_u8(flags);
        out.put_slice(self.id.as_bytes());
        if let Some(moment) = self.occurred_at {
            out.put_i64_le(moment.as_micros());
        }
        [self.correlation_id, self.causation_id].into_iter().flatten().for_each(|id| put_text(out, id));

        put_text(out, self.stream);
        put_text(out, self.event_type);
        let flags = if self.content_type.is_some() { HAS_CONTENT_TYPE } else { 0 }
            | if self.metadata.is_some() { HAS_METADATA } else { 0 };
        out.put_u8(flags);
        out.put_u8(tags.len() as u8);
        tags.for_each(|tag| put_text(out, tag));
        self.content_type.into_iter().for_each(|text| put_text(out, text));
        if let Some(metadata) = self.metadata {
            out.put_u32_le(metadata.len() as u32);
            out.put_slice(metadata);
        }
        out.put_slice(self.payload);
    }
}

/// Lays an event out as bytes.
pub fn encode_body(event: &NewEvent) -> Bytes {
    let mut out = BytesMut::with_capacity(largest_body(event));
    encode_body_into(&mut out, event);
    out.freeze()
}

/// At most so many bytes does an event take.
pub(crate) fn largest_body(event: &NewEvent) -> usize {
    let names = [
        Some(event.stream().as_str()),
        Some(event.event_type().as_str()),
        event.given_correlation_id().map(CorrelationId::as_str),
        event.given_causation_id().map(CausationId::as_str),
        event.other_content_type().map(ContentType::as_str),
    ];
    let tags = event.tag_list().iter().map(Tag::as_str);
    let text: usize = names.into_iter().flatten().chain(tags).map(|text| text.len() + 1).sum();
    32 + text + event.metadata_bytes().map_or(0, |metadata| metadata.len() + 4) + event.payload_bytes().len()
}

/// Lays an event out behind what is in `out`.
pub(crate) fn encode_body_into(out: &mut BytesMut, event: &NewEvent) {
    let parts = BodyParts {
        id: event.event_id(),
        occurred_at: event.given_occurred_at(),
        correlation_id: event.given_correlation_id().map(CorrelationId::as_str),
        causation_id: event.given_causation_id().map(CausationId::as_str),
        stream: event.stream().as_str(),
        event_type: event.event_type().as_str(),
        tags: Vec::new(),
        content_type: event.other_content_type().map(ContentType::as_str),
        metadata: event.metadata_bytes().map(AsRef::as_ref),
        payload: event.payload_bytes(),
    };
    parts.lay_out(event.tag_list().iter().map(Tag::as_str), out);
}

/// Names are at most 255 bytes and checked when made, so their length fits one byte.
fn put_text(out: &mut BytesMut, text: &str) {
    debug_assert!(text.len() <= crate::MAX_NAME_BYTES);
    out.put_u8(text.len() as u8);
    out.put_slice(text.as_bytes());
}
