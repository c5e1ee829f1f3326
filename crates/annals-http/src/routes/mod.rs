//! The routes of the service.

mod as_of;
mod commands;
mod events;
mod health;
mod projections;
mod queries;
mod reactions;
mod sse;
mod state;

#[cfg(feature = "internals")]
pub use events::is_events_query;

use std::sync::Arc;

use annals_app::RunningApp;
use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, Uri};
use axum::routing::{get, post};
use axum::{Router, middleware};
use tokio::sync::{Semaphore, watch};

use crate::Problem;
use crate::guard::{self, Guard};

/// The position of a write, or up to which an answer counts.
const ANNALS_POSITION: HeaderName = HeaderName::from_static("annals-position");
/// Whether an answer must count every event stored by now: `true`.
const ANNALS_FRESH: HeaderName = HeaderName::from_static("annals-fresh");
/// The position that an answer must count up to.
const ANNALS_AT_LEAST: HeaderName = HeaderName::from_static("annals-at-least");

/// What the routes share.
#[derive(Clone)]
pub(crate) struct Service {
    app: RunningApp,
    /// Becomes true when live streams are to end.
    stopped: watch::Receiver<bool>,
    /// The turns of questions about the past.
    as_of: Arc<Semaphore>,
}

pub(crate) fn router(app: RunningApp, guard: Guard, stopped: watch::Receiver<bool>) -> Router {
    let most_bytes = app.limits().body_bytes;
    let as_of = Arc::new(Semaphore::new(as_of::AT_ONCE));
    Router::new()
        .route("/", get(health::index))
        .route("/healthz", get(health::alive))
        .route("/readyz", get(health::ready))
        .route("/commands/{category}/{id}/{command}", post(commands::execute))
        .route("/queries/{query}", get(queries::ask))
        .route("/state/{category}/{id}", get(state::show))
        .route("/diff/{category}/{id}", get(state::difference))
        .route("/streams", get(events::list_streams))
        .route("/streams/{stream}", get(events::read_stream))
        .route("/events", get(events::read_events))
        .route("/projections", get(projections::list))
        .route("/projections/{projection}/proof", get(projections::prove))
        .route("/projections/{projection}/{what}", post(projections::keep))
        .route("/reactions", get(reactions::list))
        .route("/reactions/{reaction}/dead-letters", get(reactions::dead_letters))
        .route("/reactions/{reaction}/dead-letters/{position}/{what}", post(reactions::settle))
        .fallback(no_such_route)
        .method_not_allowed_fallback(no_such_method)
        .layer(DefaultBodyLimit::max(most_bytes))
        .layer(middleware::from_fn_with_state(guard, guard::check))
        .with_state(Service { app, stopped, as_of })
}

async fn no_such_route(uri: Uri) -> Problem {
    let detail = format!("there is nothing at {}; GET / lists what there is", uri.path());
    Problem::new(StatusCode::NOT_FOUND, "unknown-route", detail)
}

async fn no_such_method(method: Method, uri: Uri) -> Problem {
    let detail = format!("{method} is not possible at {}; GET / lists what is", uri.path());
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "unknown-method", detail)
}

/// A number as a header's value.
fn number(number: u64) -> HeaderValue {
    HeaderValue::from(number)
}

/// A strong entity tag: the text in double quotes. The texts used here are digits.
fn entity_tag(text: impl std::fmt::Display) -> HeaderValue {
    HeaderValue::try_from(format!("\"{text}\"")).unwrap_or(HeaderValue::from_static("\"\""))
}
