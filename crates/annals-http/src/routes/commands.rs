//! `POST /commands/{category}/{id}/{command}`.

use annals_app::{CommandOptions, CommandOutcome, CommandRequest, Principal};
use annals_core::{CausationId, CorrelationId, Timestamp, Version};
use axum::Extension;
use axum::extract::rejection::{BytesRejection, PathRejection};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;

use super::{ANNALS_POSITION, Service, entity_tag, number};
use crate::{Problem, trace_parent};

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const CORRELATION_ID: HeaderName = HeaderName::from_static("annals-correlation-id");
const OCCURRED_AT: HeaderName = HeaderName::from_static("annals-occurred-at");
/// Says that the answer is the first one to a command that came again.
const REPLAYED: HeaderName = HeaderName::from_static("annals-replayed");

#[derive(Serialize)]
struct Done<'a> {
    stream: &'a str,
    version: u64,
    position: u64,
    events: Vec<DoneEvent<'a>>,
}

#[derive(Serialize)]
struct DoneEvent<'a> {
    r#type: &'a str,
    version: u64,
    data: &'a RawValue,
}

pub(super) async fn execute(
    State(service): State<Service>,
    Extension(principal): Extension<Principal>,
    path: Result<Path<(String, String, String)>, PathRejection>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    let Path((category, id, name)) = path?;
    let options = options(&headers, principal)?;
    // What came as a header, or as a trace id, can be one.
    let correlation_id = options.correlation_id.as_ref();
    let correlation_id = correlation_id.and_then(|id| HeaderValue::try_from(id.as_str()).ok());
    let request = CommandRequest::json(&category, &id, &name, body?, options);
    let outcome = service.app.dispatch_within(request, service.app.limits().time).await;
    let mut response = outcome.map_err(Problem::from).and_then(|done| answer(&done)).into_response();
    if let Some(id) = correlation_id {
        response.headers_mut().insert(CORRELATION_ID, id);
    }
    Ok(response)
}

fn options(headers: &HeaderMap, principal: Principal) -> Result<CommandOptions, Problem> {
    let mut options = CommandOptions { principal, ..CommandOptions::default() };
    let wrong =
        |name: &HeaderName, reason: String| Problem::malformed(format!("the header {name}: {reason}"));
    if let Some(key) = text(headers, &IDEMPOTENCY_KEY)? {
        let id = CausationId::new(key).map_err(|error| wrong(&IDEMPOTENCY_KEY, error.to_string()))?;
        options.command_id = Some(id);
    }
    if let Some(id) = text(headers, &CORRELATION_ID)? {
        let id = CorrelationId::new(id).map_err(|error| wrong(&CORRELATION_ID, error.to_string()))?;
        options.correlation_id = Some(id);
    } else if let Some(id) = trace_parent::trace_id(headers) {
        options.correlation_id = CorrelationId::new(id).ok();
    }
    if let Some(moment) = text(headers, &OCCURRED_AT)? {
        let moment: Timestamp = moment.parse().map_err(|error| wrong(&OCCURRED_AT, format!("{error}")))?;
        options.occurred_at = Some(moment);
    }
    if let Some(tag) = text(headers, &header::IF_MATCH)? {
        let version =
            tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"')).and_then(|tag| tag.parse().ok());
        let expected =
            || wrong(&header::IF_MATCH, format!("expected a version in quotes, such as \"7\", found {tag}"));
        options.expected_version = Some(version.ok_or_else(expected)?);
    }
    if let Some(tag) = text(headers, &header::IF_NONE_MATCH)? {
        if tag != "*" {
            return Err(wrong(&header::IF_NONE_MATCH, format!("expected *, found {tag}")));
        }
        options.expected_version = Some(Version::ZERO);
    }
    Ok(options)
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, Problem> {
    let Some(value) = headers.get(name) else { return Ok(None) };
    let text = value
        .to_str()
        .map_err(|_| Problem::malformed(format!("the header {name} is not printable ASCII")))?;
    Ok(Some(text))
}

fn answer(outcome: &CommandOutcome) -> Result<Response, Problem> {
    let internal = |error: serde_json::Error| {
        let status = axum::http::StatusCode::INTERNAL_SERVER_ERROR;
        Problem::new(status, "internal", format!("the answer cannot be written: {error}"))
    };
    let events = outcome.events.iter().map(|event| {
        let data = serde_json::from_slice(&event.payload).map_err(internal)?;
        Ok(DoneEvent { r#type: event.event_type, version: event.version.get(), data })
    });
    let done = Done {
        stream: outcome.stream.as_str(),
        version: outcome.version.get(),
        position: outcome.position.get(),
        events: events.collect::<Result<_, Problem>>()?,
    };
    let body = serde_json::to_vec(&done).map_err(internal)?;
    let mut response = body.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::ETAG, entity_tag(outcome.version));
    headers.insert(ANNALS_POSITION, number(outcome.position.get()));
    if outcome.duplicate {
        headers.insert(REPLAYED, HeaderValue::from_static("true"));
    }
    Ok(response)
}
