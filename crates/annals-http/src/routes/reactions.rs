//! `GET /reactions`, `GET /reactions/{name}/dead-letters`, and `POST /reactions/{name}/dead-letters/{position}/…` to settle one.

use annals_app::{Action, Principal};
use annals_core::Position;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};

use super::Service;
use crate::Problem;

pub(super) async fn list(State(service): State<Service>) -> Result<Response, Problem> {
    Ok(Json(service.app.reactions().await?).into_response())
}

pub(super) async fn dead_letters(
    State(service): State<Service>,
    Extension(principal): Extension<Principal>,
    path: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    let Path(reaction) = path?;
    service.app.permit(&principal, &Action::React { reaction: &reaction, what: "list" })?;
    Ok(Json(service.app.dead_letters(&reaction).await?).into_response())
}

/// Retries or drops a dead letter, and answers with those that are left.
pub(super) async fn settle(
    State(service): State<Service>,
    Extension(principal): Extension<Principal>,
    path: Result<Path<(String, Position, String)>, PathRejection>,
) -> Result<Response, Problem> {
    let Path((reaction, position, what)) = path?;
    service.app.permit(&principal, &Action::React { reaction: &reaction, what: &what })?;
    // What was begun is finished, even when the client goes away meanwhile.
    let app = service.app.clone();
    let settled = tokio::spawn(async move {
        match what.as_str() {
            "retry" => app.retry_dead_letter(&reaction, position).await?,
            "drop" => app.drop_dead_letter(&reaction, position).await?,
            other => return Err(Problem::malformed(format!("expected retry or drop, found {other:?}"))),
        }
        Ok(Json(app.dead_letters(&reaction).await?).into_response())
    });
    settled.await.map_err(Problem::unanswered)?
}
