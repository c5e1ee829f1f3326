//! `GET /`, `/healthz` and `/readyz`.

use annals_app::ProjectionState;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::Service;
use crate::Problem;

/// What can be asked here.
pub(super) async fn index(State(service): State<Service>) -> Json<serde_json::Value> {
    let catalogue = service.app.catalogue();
    let commands = catalogue.iter().flat_map(|(category, commands, _)| {
        commands.iter().map(move |command| format!("POST /commands/{category}/{{id}}/{command}"))
    });
    let queries = service.app.query_names().into_iter().map(|name| format!("GET /queries/{name}"));
    let states = service.app.aggregates().into_iter();
    let states =
        states.flat_map(|category| ["state", "diff"].map(|route| format!("GET /{route}/{category}/{{id}}")));
    Json(json!({
        "application": service.app.name(),
        "store": service.app.store().description(),
        "commands": commands.collect::<Vec<_>>(),
        "queries": queries.collect::<Vec<_>>(),
        "states": states.collect::<Vec<_>>(),
        "events": ["GET /events", "GET /streams", "GET /streams/{stream}"],
        "past": "GET /queries/… also with annals-position=, annals-at= or annals-occurred-at=",
        "projections": [
            "GET /projections",
            "GET /projections/{projection}/proof",
            "POST /projections/{projection}/rebuild",
            "POST /projections/{projection}/retry",
            "POST /projections/{projection}/skip?position=",
            "POST /projections/{projection}/park?position=",
            "POST /projections/{projection}/release?key=",
            "POST /projections/{projection}/roll-back",
            "POST /projections/{projection}/roll-forward",
        ],
        "reactions": [
            "GET /reactions",
            "GET /reactions/{reaction}/dead-letters",
            "POST /reactions/{reaction}/dead-letters/{position}/retry",
            "POST /reactions/{reaction}/dead-letters/{position}/drop",
        ],
        "health": ["GET /healthz", "GET /readyz"],
    }))
}

/// The process is there.
pub(super) async fn alive() -> Json<serde_json::Value> {
    Json(json!({ "status": "ok" }))
}

/// The store answers and every read model has caught up.
pub(super) async fn ready(State(service): State<Service>) -> Result<Response, Problem> {
    let projections = service.app.projections().await?;
    let is_ready =
        |state: &ProjectionState| matches!(state, ProjectionState::Live | ProjectionState::StandingBy);
    // A version that does not answer yet keeps nobody waiting.
    let ready = projections.iter().all(|status| !status.answers || is_ready(&status.state));
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    Ok((status, Json(json!({ "ready": ready, "projections": projections }))).into_response())
}
