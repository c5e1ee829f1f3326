//! `GET /state/{category}/{id}`, now or at a version, a position or a time, and `GET /diff/{category}/{id}`.

use annals_app::{At, Principal};
use annals_core::{Position, Timestamp, Version};
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::Deserialize;

use super::{ANNALS_POSITION, Service, entity_tag, number};
use crate::Problem;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct When {
    version: Option<Version>,
    position: Option<Position>,
    at: Option<Timestamp>,
    occurred_at: Option<Timestamp>,
}

impl When {
    fn at(self) -> Result<At, Problem> {
        match (self.version, self.position, self.at, self.occurred_at) {
            (None, None, None, None) => Ok(At::Now),
            (Some(version), None, None, None) => Ok(At::Version(version)),
            (None, Some(position), None, None) => Ok(At::Position(position)),
            (None, None, Some(moment), None) => Ok(At::RecordedAt(moment)),
            (None, None, None, Some(moment)) => Ok(At::OccurredAt(moment)),
            _ => Err(Problem::malformed("expected at most one of version, position, at and occurred_at")),
        }
    }
}

pub(super) async fn show(
    State(service): State<Service>,
    Extension(_): Extension<Principal>,
    path: Result<Path<(String, String)>, PathRejection>,
    when: Result<Query<When>, QueryRejection>,
) -> Result<Response, Problem> {
    let Path((category, id)) = path?;
    let Query(when) = when?;
    let view = service.app.state(&category, &id, when.at()?).await?;
    let headers = [(header::ETAG, entity_tag(view.version)), (ANNALS_POSITION, number(view.position.get()))];
    Ok((headers, Json(view)).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Range {
    #[serde(default)]
    from: Version,
    to: Option<Version>,
}

pub(super) async fn difference(
    State(service): State<Service>,
    Extension(_): Extension<Principal>,
    path: Result<Path<(String, String)>, PathRejection>,
    range: Result<Query<Range>, QueryRejection>,
) -> Result<Response, Problem> {
    let (Path((category, id)), Query(Range { from, to })) = (path?, range?);
    Ok(Json(service.app.difference(&category, &id, from, to).await?).into_response())
}
