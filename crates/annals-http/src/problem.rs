//! Errors as [problem details (RFC 9457)](https://www.rfc-editor.org/rfc/rfc9457), `application/problem+json`.

use annals_app::{Error, ProjectionError, QueryError, ReactionError, Rejection, Unknown};
use annals_core::{ReadModelError, StoreError};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

/// An error as a client sees it.
#[derive(Debug)]
pub struct Problem {
    status: StatusCode,
    code: String,
    detail: String,
    more: Vec<(&'static str, Value)>,
}

impl Problem {
    /// A problem with a code for programs and a text for people.
    pub(crate) fn new(status: StatusCode, code: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { status, code: code.into(), detail: detail.into(), more: Vec::new() }
    }

    pub(crate) fn malformed(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "malformed", detail)
    }

    /// What was asked for ended in the middle.
    pub(crate) fn unanswered(error: tokio::task::JoinError) -> Self {
        let detail = format!("what was asked for ended without an answer: {error}");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail)
    }

    /// The problem as a document.
    pub(crate) fn to_json(&self) -> String {
        let mut body = json!({
            "type": format!("urn:annals:problem:{}", self.code),
            "title": self.status.canonical_reason().unwrap_or_default(),
            "status": self.status.as_u16(),
            "code": self.code,
            "detail": self.detail,
        });
        if let Value::Object(members) = &mut body {
            members.extend(self.more.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
        }
        body.to_string()
    }

    fn with(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.more.push((name, value.into()));
        self
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        if self.status == StatusCode::INTERNAL_SERVER_ERROR {
            tracing::error!(status = self.status.as_u16(), code = self.code, "{}", self.detail);
        }
        let mut response = (self.status, self.to_json()).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<Unknown> for Problem {
    fn from(unknown: Unknown) -> Self {
        let detail = unknown.to_string();
        Self::new(StatusCode::NOT_FOUND, format!("unknown-{}", unknown.kind), detail)
            .with("known", unknown.known)
    }
}

impl From<Error<Rejection>> for Problem {
    fn from(error: Error<Rejection>) -> Self {
        let detail = error.to_string();
        match error {
            Error::Domain(rejection) => Self::new(StatusCode::UNPROCESSABLE_ENTITY, rejection.code, detail),
            Error::RefusedBefore { code, message } => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, code, message)
            }
            Error::Panicked { .. } => Self::new(StatusCode::INTERNAL_SERVER_ERROR, "panicked", detail),
            Error::Invalid { invalid, .. } => Self::new(StatusCode::BAD_REQUEST, "invalid", detail)
                .with("fields", invalid.fields().iter().map(|field| json!(field)).collect::<Vec<_>>()),
            Error::Overloaded { .. } => Self::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", detail),
            Error::TimedOut { .. } => Self::new(StatusCode::SERVICE_UNAVAILABLE, "timed-out", detail),
            Error::Middleware { .. } => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "middleware-failed", detail)
            }
            Error::Conflict { .. } => Self::new(StatusCode::CONFLICT, "conflict", detail),
            Error::VersionMismatch { expected, actual, .. } => {
                Self::new(StatusCode::PRECONDITION_FAILED, "version-mismatch", detail)
                    .with("expected", expected.get())
                    .with("actual", actual.get())
            }
            Error::CommandIdReused { .. } => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "idempotency-key-reused", detail)
            }
            Error::Unknown(unknown) => unknown.into(),
            Error::NotFound { .. } => Self::new(StatusCode::NOT_FOUND, "not-found", detail),
            Error::Denied { .. } => Self::new(StatusCode::FORBIDDEN, "denied", detail),
            Error::Malformed { .. } => Self::malformed(detail),
            Error::Store(error) => error.into(),
            Error::Unreadable(event) => {
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "event-unreadable", detail)
                    .with("position", event.position.get())
            }
            _ => Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail),
        }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        let detail = error.to_string();
        let code = match error {
            StoreError::Invalid(_) => return Self::malformed(detail),
            StoreError::DiskFull { .. } => "disk-full",
            StoreError::ReadOnly { .. } => "read-only",
            StoreError::OutcomeUnknown { .. } => "outcome-unknown",
            StoreError::Closed => "closed",
            StoreError::Damaged(_) => "damaged",
            _ => return Self::new(StatusCode::INTERNAL_SERVER_ERROR, "store-failed", detail),
        };
        Self::new(StatusCode::SERVICE_UNAVAILABLE, code, detail)
    }
}

impl From<ReactionError> for Problem {
    fn from(error: ReactionError) -> Self {
        let detail = error.to_string();
        match error {
            ReactionError::Unknown(unknown) => unknown.into(),
            ReactionError::NoSuchLetter { .. } => Self::new(StatusCode::NOT_FOUND, "not-found", detail),
            ReactionError::Gone { .. } => Self::new(StatusCode::GONE, "event-gone", detail),
            ReactionError::FailedAgain { .. } => {
                Self::new(StatusCode::BAD_GATEWAY, "reaction-failed", detail)
            }
            ReactionError::Store(error) => error.into(),
            _ => Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail),
        }
    }
}

impl From<QueryError> for Problem {
    fn from(error: QueryError) -> Self {
        let detail = error.to_string();
        match error {
            QueryError::NotFound { .. } => Self::new(StatusCode::NOT_FOUND, "not-found", detail),
            QueryError::Malformed { .. } => Self::malformed(detail),
            QueryError::Unknown(unknown) => unknown.into(),
            QueryError::Denied { .. } => Self::new(StatusCode::FORBIDDEN, "denied", detail),
            QueryError::Projection(ProjectionError::Store(error)) => error.into(),
            QueryError::Projection(ProjectionError::Behind { position, at_least, .. }) => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "read-model-behind", detail)
                    .with("position", position.get())
                    .with("at_least", at_least.get())
            }
            QueryError::Projection(ProjectionError::Stopped { position, .. }) => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "projection-stopped", detail)
                    .with("position", position.get())
            }
            QueryError::Projection(ProjectionError::NotRebuilt { source, .. }) => {
                Self { detail, ..QueryError::Projection(*source).into() }
            }
            QueryError::Projection(ProjectionError::ReadModel(ReadModelError::Database { .. })) => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "read-model-failed", detail)
            }
            QueryError::Projection(
                ProjectionError::NothingToMend { .. }
                | ProjectionError::StaysParked { .. }
                | ProjectionError::NothingBefore { .. }
                | ProjectionError::TooManyExceptions { .. }
                | ProjectionError::NotVerified { .. },
            ) => Self::new(StatusCode::CONFLICT, "projection-not-so", detail),
            QueryError::Projection(ProjectionError::NotLeading { .. }) => {
                Self::new(StatusCode::CONFLICT, "not-leading", detail)
            }
            QueryError::Projection(ProjectionError::NotOfThisStore { .. }) => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "read-model-unusable", detail)
            }
            _ => Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail),
        }
    }
}

macro_rules! from_rejection {
    ($($rejection:path),* $(,)?) => {$(
        impl From<$rejection> for Problem {
            fn from(rejection: $rejection) -> Self {
                let code = match rejection.status() {
                    StatusCode::PAYLOAD_TOO_LARGE => "too-large",
                    _ => "malformed",
                };
                Self::new(rejection.status(), code, rejection.body_text())
            }
        }
    )*};
}

from_rejection! {
    axum::extract::rejection::PathRejection,
    axum::extract::rejection::QueryRejection,
    axum::extract::rejection::BytesRejection,
}
