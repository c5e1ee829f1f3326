//! `GET /queries/{query}?field=…`.

use annals_app::Principal;
use annals_core::Position;
use axum::Extension;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::{ANNALS_AT_LEAST, ANNALS_POSITION, Service, entity_tag, number};
use crate::Problem;

pub(super) async fn ask(
    State(service): State<Service>,
    Extension(principal): Extension<Principal>,
    path: Result<Path<String>, PathRejection>,
    RawQuery(form): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let Path(query) = path?;
    let at_least = match headers.get(ANNALS_AT_LEAST) {
        None => Position::ZERO,
        Some(value) => value.to_str().ok().and_then(|text| text.parse().ok()).ok_or_else(|| {
            Problem::malformed(format!("the header {ANNALS_AT_LEAST}: expected a position, found {value:?}"))
        })?,
    };
    let answer = service.app.answer(&query, form.unwrap_or_default(), at_least, &principal).await?;
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
    Ok(response)
}
