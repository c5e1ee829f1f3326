//! `GET /projections`, `GET /projections/{name}/proof`, and `POST /projections/{name}/…` to look after one.

use annals_app::{Action, Principal};
use annals_core::Position;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::Deserialize;

use super::Service;
use crate::Problem;

/// What is to be done is about this event or this key.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct About {
    position: Option<Position>,
    key: Option<String>,
}

pub(super) async fn list(State(service): State<Service>) -> Result<Response, Problem> {
    Ok(Json(service.app.projections().await?).into_response())
}

pub(super) async fn prove(
    State(service): State<Service>,
    Extension(principal): Extension<Principal>,
    path: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    let Path(projection) = path?;
    service.app.permit(&principal, &Action::Keep { projection: &projection, what: "proof" })?;
    Ok(Json(service.app.prove(&projection).await?).into_response())
}

/// Does what is asked for, and answers with where the projection stands then; a rebuild answers with what it did, when the new
/// build has taken the old one's place. Several are rebuilt in one pass with their names set apart by commas.
pub(super) async fn keep(
    State(service): State<Service>,
    Extension(principal): Extension<Principal>,
    path: Result<Path<(String, String)>, PathRejection>,
    about: Result<Query<About>, QueryRejection>,
) -> Result<Response, Problem> {
    let (Path((projection, what)), Query(about), app) = (path?, about?, &service.app);
    if what == "rebuild" {
        return rebuild(&service, &principal, &projection).await;
    }
    app.permit(&principal, &Action::Keep { projection: &projection, what: &what })?;
    let position = || about.position.ok_or(Problem::malformed("expected the parameter position=<number>"));
    match what.as_str() {
        "retry" => app.retry(&projection)?,
        "skip" => app.skip(&projection, position()?).await?,
        "park" => app.park(&projection, position()?).await?,
        "release" => {
            let key = about.key.ok_or_else(|| Problem::malformed("expected the parameter key=<text>"))?;
            app.release(&projection, &key).await?;
        }
        "roll-back" => app.roll_back(&projection).await?,
        "roll-forward" => app.roll_forward(&projection).await?,
        other => {
            let expected = "expected rebuild, retry, skip, park, release, roll-back or roll-forward";
            return Err(Problem::malformed(format!("{expected}, found {other:?}")));
        }
    }
    let mut all = app.projections().await?;
    let name = projection.split('@').next().unwrap_or_default();
    all.retain(|status| status.name == name);
    Ok(Json(all).into_response())
}

async fn rebuild(service: &Service, principal: &Principal, named: &str) -> Result<Response, Problem> {
    let names: Vec<&str> = named.split(',').collect();
    for projection in &names {
        service.app.permit(principal, &Action::Keep { projection, what: "rebuild" })?;
    }
    if let [name] = names[..] {
        return Ok(Json(service.app.rebuild(name, &|_| {}).await?).into_response());
    }
    let rebuilt = service.app.rebuild_several(&names, &|_| {}).await?;
    let rebuilt: Result<Vec<_>, _> = rebuilt.into_iter().collect();
    Ok(Json(rebuilt.map_err(annals_app::QueryError::from)?).into_response())
}
