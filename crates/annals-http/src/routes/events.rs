//! `GET /streams`, `/streams/{name}` and `/events`: pages of events, or a live stream of them (server-sent events).

use std::sync::Arc;

use annals_core::{
    Category, CorrelationId, EventType, Filter, FilterItem, Position, ReadFrom, ReadRequest, RecordedEvent,
    StreamName, Subscription, SubscriptionMessage, Tag, Version, cloud_event, subscribe,
};
use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::sse::Event as SseEvent;
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, Stream, StreamExt};
use serde::Deserialize;

use super::sse::{live_response, wants_live};
use super::{ANNALS_POSITION, Service, number};
use crate::Problem;

const DEFAULT_PAGE: usize = 100;
const LARGEST_PAGE: usize = 1_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StreamsPage {
    after: Option<StreamName>,
    limit: Option<usize>,
}

pub(super) async fn list_streams(
    State(service): State<Service>,
    page: Result<Query<StreamsPage>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(page) = page?;
    Ok(Json(service.app.store().streams(page.after, page_size(page.limit)).await?).into_response())
}

fn page_size(limit: Option<usize>) -> usize {
    limit.unwrap_or(DEFAULT_PAGE).min(LARGEST_PAGE)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StreamPage {
    /// The version after which to begin.
    after: Option<Version>,
    limit: Option<usize>,
}

pub(super) async fn read_stream(
    State(service): State<Service>,
    path: Result<Path<String>, PathRejection>,
    page: Result<Query<StreamPage>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let Path(name) = path?;
    let Query(page) = page?;
    let stream = StreamName::new(&name).map_err(|error| Problem::malformed(error.to_string()))?;
    let filter = Filter::stream(stream.clone());
    let first = page.after.unwrap_or_default().next();
    if wants_live(&headers) {
        let after = match last_event_id(&headers)? {
            Some(position) => position,
            None => position_before(&service, &filter, first).await?,
        };
        return live(service, filter, after).await;
    }
    let request = ReadRequest::new(filter).from(ReadFrom::Version(first));
    let next = |last: &RecordedEvent| format!("/streams/{}?after={}", encode(&name), last.version());
    read_page(&service, request, page_size(page.limit), next).await
}

/// The position just before the event of a version, where a live stream of later ones begins.
async fn position_before(service: &Service, filter: &Filter, version: Version) -> Result<Position, Problem> {
    let request = ReadRequest::new(filter.clone()).from(ReadFrom::Version(version)).limit(1);
    let found = service.app.store().read(request).await?;
    Ok(found.events.first().map_or(found.head, |event| event.position().previous()))
}

/// What `/events` can be narrowed to. `type` and `tag` may come several times: any of the types, all of the tags.
#[derive(Default)]
struct EventsPage {
    item: FilterItem,
    after: Position,
    limit: Option<usize>,
}

impl EventsPage {
    fn parse(query: &str) -> Result<Self, Problem> {
        let mut page = Self::default();
        let pairs: Vec<(String, String)> = Query::try_from_uri(
            &format!("/?{query}").parse().map_err(|_| Problem::malformed("the query is no URI"))?,
        )
        .map(|Query(pairs)| pairs)?;
        for (name, value) in pairs {
            page.take(&name, &value)
                .map_err(|reason| Problem::malformed(format!("the parameter {name:?}: {reason}")))?;
        }
        Ok(page)
    }

    fn take(&mut self, name: &str, value: &str) -> Result<(), String> {
        let text = |error: annals_core::NameError| error.to_string();
        let digits = |error: std::num::ParseIntError| format!("expected a number, found {value:?} ({error})");
        match name {
            "category" => self.item.category = Some(Category::new(value).map_err(text)?),
            "stream" => self.item.stream = Some(StreamName::new(value).map_err(text)?),
            "correlation" => self.item.correlation_id = Some(CorrelationId::new(value).map_err(text)?),
            "type" => self.item.types.push(EventType::new(value).map_err(text)?),
            "tag" => self.item.tags.push(Tag::new(value).map_err(text)?),
            "after" => self.after = value.parse().map_err(digits)?,
            "limit" => self.limit = Some(value.parse().map_err(digits)?),
            _ => return Err("expected category, stream, type, tag, correlation, after or limit".to_owned()),
        }
        Ok(())
    }

    fn filter(&self) -> Filter {
        if self.item == FilterItem::default() { Filter::all() } else { self.item.clone().into() }
    }
}

/// Whether `/events` would take a query: for fuzz targets.
#[cfg(feature = "internals")]
pub fn is_events_query(query: &str) -> bool {
    EventsPage::parse(query).map(|page| page.filter()).is_ok()
}

pub(super) async fn read_events(
    State(service): State<Service>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let query = query.unwrap_or_default();
    let page = EventsPage::parse(&query)?;
    if wants_live(&headers) {
        let after = last_event_id(&headers)?.unwrap_or(page.after);
        return live(service, page.filter(), after).await;
    }
    let kept: Vec<&str> =
        query.split('&').filter(|pair| !pair.is_empty() && !pair.starts_with("after=")).collect();
    let next = |last: &RecordedEvent| {
        let after = format!("after={}", last.position());
        format!("/events?{}", kept.iter().copied().chain([after.as_str()]).collect::<Vec<_>>().join("&"))
    };
    let request = ReadRequest::new(page.filter()).after(page.after);
    read_page(&service, request, page_size(page.limit), next).await
}

/// A page as a JSON array of CloudEvents; a `Link` header leads to the next one.
async fn read_page(
    service: &Service,
    request: ReadRequest,
    size: usize,
    next: impl Fn(&RecordedEvent) -> String,
) -> Result<Response, Problem> {
    // One more than asked for tells whether there is a next page.
    let batch = service.app.store().read(request.limit(size as u64 + 1)).await?;
    let shown = batch.events.get(..size).unwrap_or(&batch.events);
    let lines = shown.iter().map(as_json).collect::<Result<Vec<_>, _>>()?;
    let mut response = format!("[{}]", lines.join(",\n")).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/cloudevents-batch+json"));
    headers.insert(ANNALS_POSITION, number(batch.head.get()));
    if let (true, Some(last)) = (batch.events.len() > size, shown.last())
        && let Ok(link) = HeaderValue::try_from(format!("<{}>; rel=\"next\"", next(last)))
    {
        headers.insert(header::LINK, link);
    }
    Ok(response)
}

fn as_json(event: &RecordedEvent) -> Result<String, Problem> {
    cloud_event(event).map_err(|error| {
        let status = axum::http::StatusCode::INTERNAL_SERVER_ERROR;
        Problem::new(status, "internal", format!("the event at position {}: {error}", event.position()))
    })
}

fn last_event_id(headers: &HeaderMap) -> Result<Option<Position>, Problem> {
    let Some(value) = headers.get("last-event-id") else { return Ok(None) };
    let position = value.to_str().ok().and_then(|text| text.parse().ok());
    let expected =
        || Problem::malformed(format!("the header last-event-id: expected a position, found {value:?}"));
    position.ok_or_else(expected).map(Some)
}

/// Events from a position on, then live, until the client leaves or the service stops.
async fn live(service: Service, filter: Filter, after: Position) -> Result<Response, Problem> {
    let head = service.app.store().head().await?;
    if after > head {
        let detail = format!(
            "position {after} is beyond the end of the log, which is {head}: was it of another store?"
        );
        return Err(Problem::malformed(detail));
    }
    let events = live_events(subscribe(Arc::clone(service.app.store()), filter, after));
    Ok(live_response(&service, events))
}

/// The messages of a subscription as server-sent events: each event with its position as id, and `caught-up` when
/// history has been handed over.
fn live_events(subscription: Subscription) -> impl Stream<Item = SseEvent> {
    let batches = stream::unfold((subscription, false), |(mut subscription, caught_up)| async move {
        let (batch, live) = match subscription.next().await {
            Ok(SubscriptionMessage::Events(events)) => {
                let events = events.iter().filter_map(|event| {
                    let json = cloud_event(event).ok()?;
                    Some(SseEvent::default().id(event.position().to_string()).data(json))
                });
                (events.collect(), caught_up)
            }
            Ok(SubscriptionMessage::CaughtUp(position)) if !caught_up => {
                let data = format!("{{\"position\":{position}}}");
                (vec![SseEvent::default().event("caught-up").data(data)], true)
            }
            Ok(SubscriptionMessage::CaughtUp(_)) => (Vec::new(), true),
            Ok(SubscriptionMessage::FellBehind) => {
                (vec![SseEvent::default().event("fell-behind").data("{}")], false)
            }
            Err(_) => return None,
        };
        Some((batch, (subscription, live)))
    });
    batches.flat_map(stream::iter)
}

/// Percent-encodes a path segment.
fn encode(segment: &str) -> String {
    let mut out = String::new();
    for byte in segment.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(byte.into()),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}
