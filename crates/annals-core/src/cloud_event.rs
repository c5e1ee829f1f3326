//! An event as JSON that other systems understand: [CloudEvents 1.0](https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md)
//! in its JSON format, one object a line. What CloudEvents has no attribute for are extension attributes.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{
    CausationId, ContentType, CorrelationId, EventId, EventType, NameError, NewEvent, RecordedEvent,
    StreamName, SystemEvent, Tag, Timestamp,
};

/// Why a JSON object is not an event that can be stored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CloudEventError {
    /// Not JSON, or an attribute is missing or of the wrong type.
    #[error("not a CloudEvent in JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// An attribute breaks a rule of names.
    #[error(transparent)]
    Name(#[from] NameError),
    /// An attribute has a value that cannot be used.
    #[error("attribute {attribute:?}: {reason}")]
    Attribute {
        /// The attribute.
        attribute: &'static str,
        /// What is wrong with it.
        reason: String,
    },
}

#[derive(Serialize, Deserialize)]
struct CloudEvent<'a> {
    specversion: &'a str,
    id: std::borrow::Cow<'a, str>,
    source: std::borrow::Cow<'a, str>,
    r#type: std::borrow::Cow<'a, str>,
    subject: std::borrow::Cow<'a, str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    time: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    datacontenttype: Option<std::borrow::Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    position: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    streamversion: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    recordedtime: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    correlationid: Option<std::borrow::Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    causationid: Option<std::borrow::Cow<'a, str>>,
    /// Separated by commas; a comma or a percent sign within a tag is percent-encoded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tags: Option<std::borrow::Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    metadata: Option<std::borrow::Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    metadatabase64: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none", borrow)]
    data: Option<&'a RawValue>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    data_base64: Option<String>,
}

/// Writes an event as one line of JSON, without the line's end. Payload and metadata come back byte for byte from
/// [`parse_cloud_event`]: a JSON payload as it is, any other (and one with a line break in it) in base64.
///
/// # Errors
/// [`CloudEventError::Json`] only when JSON itself fails.
pub fn cloud_event(event: &RecordedEvent) -> Result<String, CloudEventError> {
    let payload = event.payload();
    let tags = event.tags().map(|tag| tag.replace('%', "%25").replace(',', "%2C")).collect::<Vec<_>>();
    let data = (event.content_type() == ContentType::JSON).then(|| json_on_one_line(payload)).flatten();
    let metadata = event.metadata().map(std::str::from_utf8);
    let event = CloudEvent {
        specversion: "1.0",
        id: event.id().to_string().into(),
        source: "annals".into(),
        r#type: event.event_type().into(),
        subject: event.stream().into(),
        time: Some(event.occurred_at()),
        datacontenttype: Some(event.content_type().into()),
        position: Some(event.position().get()),
        streamversion: Some(event.version().get()),
        recordedtime: Some(event.recorded_at()),
        correlationid: event.correlation_id().map(Into::into),
        causationid: event.causation_id().map(Into::into),
        tags: (!tags.is_empty()).then(|| tags.join(",").into()),
        metadata: metadata.and_then(Result::ok).map(Into::into),
        metadatabase64: metadata
            .and_then(Result::err)
            .and(event.metadata())
            .map(|bytes| BASE64.encode(bytes)),
        data,
        data_base64: data.is_none().then(|| BASE64.encode(payload)),
    };
    Ok(serde_json::to_string(&event)?)
}

fn json_on_one_line(payload: &[u8]) -> Option<&RawValue> {
    let text = std::str::from_utf8(payload).ok().filter(|text| !text.contains(['\n', '\r']))?;
    let raw: &RawValue = serde_json::from_str(text).ok()?;
    // A null would be read back as no data at all.
    (raw.get().len() == text.len() && text != "null").then_some(raw)
}

/// Reads an event from its JSON. An `id` that is no UUID is turned into one that is always the same for that id and
/// `source`; `subject` is the stream.
///
/// # Errors
/// [`CloudEventError`] names the attribute that is wrong.
pub fn parse_cloud_event(json: &str) -> Result<NewEvent, CloudEventError> {
    let wrong = |attribute, reason: String| CloudEventError::Attribute { attribute, reason };
    let given: CloudEvent<'_> = serde_json::from_str(json)?;
    if given.specversion != "1.0" {
        return Err(wrong("specversion", format!("expected \"1.0\", found {:?}", given.specversion)));
    }
    let stream = StreamName::new(&given.subject)?;
    let payload = match (given.data, given.data_base64) {
        (Some(_), Some(_)) => {
            return Err(wrong("data_base64", "expected either this or data, found both".into()));
        }
        (Some(data), None) => data.get().as_bytes().to_vec(),
        (None, Some(text)) => {
            BASE64.decode(text).map_err(|error| wrong("data_base64", format!("not base64: {error}")))?
        }
        (None, None) => Vec::new(),
    };
    let mut event = if given.r#type.starts_with('$') {
        let system = SystemEvent::parse(&given.r#type, &payload);
        let reason = || format!("{:?} with this data is none of the store's own events", given.r#type);
        NewEvent::system(stream, system.ok_or_else(|| wrong("type", reason()))?)
    } else {
        NewEvent::new(stream, EventType::new(&given.r#type)?)
    };
    event = match given.datacontenttype {
        Some(content_type) => event.payload(ContentType::new(&content_type)?, payload),
        None => event.json(payload),
    };
    event = event.id(match given.id.parse() {
        Ok(id) => id,
        Err(_) if given.id.is_empty() => return Err(wrong("id", "is empty".into())),
        Err(_) => EventId::derived(&given.source, &given.id),
    });
    if let Some(moment) = given.time {
        event = event.occurred_at(moment);
    }
    if let Some(id) = given.correlationid {
        event = event.correlation_id(CorrelationId::new(&id)?);
    }
    if let Some(id) = given.causationid {
        event = event.causation_id(CausationId::new(&id)?);
    }
    if let Some(metadata) = given.metadata {
        event = event.metadata(metadata.into_owned().into_bytes());
    }
    if let Some(text) = given.metadatabase64 {
        let bytes = BASE64.decode(text).map_err(|e| wrong("metadatabase64", format!("not base64: {e}")))?;
        event = event.metadata(bytes);
    }
    for tag in given.tags.as_deref().into_iter().flat_map(|tags| tags.split(',')) {
        event = event.tag(Tag::new(tag.replace("%2C", ",").replace("%25", "%"))?);
    }
    Ok(event)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Position, Version, encode_body};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn export_and_import_keep_every_byte(
            payload in prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..40),
                Just(br#"{"a": 1,  "b":"\u00e9"}"#.to_vec()), Just(b"{\n}".to_vec()), Just(b" 1 ".to_vec()),
                Just(b"null".to_vec()), Just(b"1e400".to_vec()),
            ],
            metadata in proptest::option::of(proptest::collection::vec(any::<u8>(), 1..20)),
            tags in proptest::collection::vec("[a-z%,]{1,3}:[a-z%,]{1,3}", 0..4),
        ) {
            let mut event = NewEvent::new(StreamName::new("a-1").unwrap(), EventType::new("Happened").unwrap())
                .json(payload).tags(tags.iter().map(|t| Tag::new(t).unwrap())).occurred_at(Timestamp::from_micros(12));
            if let Some(m) = metadata { event = event.metadata(m); }
            let stored = RecordedEvent::view(Position::new(1), Version::new(1), Timestamp::from_micros(9), encode_body(&event)).unwrap();
            let line = cloud_event(&stored).unwrap();
            prop_assert!(!line.contains('\n'));
            prop_assert_eq!(parse_cloud_event(&line).unwrap(), event);
        }
    }

    #[test]
    fn foreign_ids_are_taken_and_bad_attributes_named() {
        let line =
            r#"{"specversion":"1.0","id":"abc","source":"s","type":"T","subject":"x-1","data":{"k":1}}"#;
        assert_eq!(parse_cloud_event(line).unwrap().event_id(), EventId::derived("s", "abc"));
        let message = |line: &str| parse_cloud_event(line).unwrap_err().to_string();
        assert!(message("{").contains("not a CloudEvent"));
        assert!(message(&line.replace("1.0", "0.3")).contains("specversion"));
        assert!(message(&line.replace("\"T\"", "\"$StreamTruncated\"")).contains("type"));
    }
}
