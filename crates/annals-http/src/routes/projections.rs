//! `GET /projections` and `POST /projections/{name}/rebuild`.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};

use super::Service;
use crate::Problem;

pub(super) async fn list(State(service): State<Service>) -> Result<Response, Problem> {
    Ok(Json(service.app.projections().await?).into_response())
}

/// Answers when the rebuilt read model has taken the old one's place; the old one answers until then.
pub(super) async fn rebuild(
    State(service): State<Service>,
    path: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    let Path(name) = path?;
    service.app.rebuild(&name, &|_| {}).await?;
    let all = service.app.projections().await?;
    Ok(Json(all.into_iter().find(|status| status.name == name)).into_response())
}
