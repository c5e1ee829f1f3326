//! `GET /queries/{query}?field=…`: the answer, now or of the past, or all answers as it changes (server-sent events).

use annals_app::{Answer, Freshness, Principal, QueryError};
use annals_core::Position;
use axum::Extension;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::sse::Event as SseEvent;
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;

use super::sse::{live_response, wants_live};
use super::{ANNALS_AT_LEAST, ANNALS_FRESH, ANNALS_POSITION, Service, as_of, entity_tag, number};
use crate::Problem;

pub(super) async fn ask(
    State(service): State<Service>,
    Extension(principal): Extension<Principal>,
    path: Result<Path<String>, PathRejection>,
    RawQuery(form): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let Path(query) = path?;
    let (at, form) = as_of::split(&form.unwrap_or_default())?;
    if let Some(at) = at {
        let answer = as_of::answer(&service, &query, form, at, &principal, &headers).await?;
        return Ok(respond(answer, &headers));
    }
    let at_least = match headers.get(ANNALS_AT_LEAST) {
        None => Position::ZERO,
        Some(value) => value.to_str().ok().and_then(|text| text.parse().ok()).ok_or_else(|| {
            Problem::malformed(format!("the header {ANNALS_AT_LEAST}: expected a position, found {value:?}"))
        })?,
    };
    let answer = service.app.answer(&query, form.clone(), freshness(&headers, at_least)?, &principal).await;
    // Whoever asks in the wrong way is told so at once; what is not there yet may come.
    if wants_live(&headers) && matches!(answer, Ok(_) | Err(QueryError::NotFound { .. })) {
        return Ok(live(&service, &query, form, at_least, &principal));
    }
    Ok(respond(answer?, &headers))
}

/// How new the answer must be.
fn freshness(headers: &HeaderMap, at_least: Position) -> Result<Freshness, Problem> {
    match headers.get(ANNALS_FRESH) {
        None => Ok(Freshness::AtLeast(at_least)),
        Some(value) if value == "true" => Ok(Freshness::Fresh),
        Some(value) => {
            Err(Problem::malformed(format!("the header {ANNALS_FRESH}: expected true, found {value:?}")))
        }
    }
}

/// The answer, unless the client has it already.
fn respond(answer: Answer, headers: &HeaderMap) -> Response {
    let tag = entity_tag(&blake3::hash(&answer.json).to_hex()[..32]);
    let unchanged = headers.get(header::IF_NONE_MATCH).is_some_and(|known| *known == tag);
    let mut response = if unchanged {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        let mut response = answer.json.into_response();
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response
    };
    response.headers_mut().insert(header::ETAG, tag);
    response.headers_mut().insert(ANNALS_POSITION, number(answer.position.get()));
    response
}

/// Each answer with its position as id; `problem` in its place while there is none.
fn live(service: &Service, query: &str, form: String, at_least: Position, principal: &Principal) -> Response {
    let answers = service.app.live_answers(query, form, at_least, principal);
    let events = answers.map(|answer| match answer {
        Ok(answer) => SseEvent::default()
            .id(answer.position.to_string())
            .data(String::from_utf8_lossy(&answer.json).replace(['\r', '\n'], " ")),
        Err(error) => SseEvent::default().event("problem").data(Problem::from(error).to_json()),
    });
    live_response(service, events)
}
