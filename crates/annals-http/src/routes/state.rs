//! `GET /state/{category}/{id}`, now or at a version, a position or a time.

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
}

impl When {
    fn at(self) -> Result<At, Problem> {
        match (self.version, self.position, self.at) {
            (None, None, None) => Ok(At::Now),
            (Some(version), None, None) => Ok(At::Version(version)),
            (None, Some(position), None) => Ok(At::Position(position)),
            (None, None, Some(moment)) => Ok(At::RecordedAt(moment)),
            _ => Err(Problem::malformed("expected at most one of version, position and at")),
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
