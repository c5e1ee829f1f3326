//! Live streams: [server-sent events](https://html.spec.whatwg.org/multipage/server-sent-events.html).

use std::convert::Infallible;
use std::time::Duration;

use axum::http::{HeaderMap, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{Stream, StreamExt};

use super::Service;

/// A comment is sent this often on a quiet stream, so that both ends notice when the other is gone.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Whether the client asks for a live stream.
pub(super) fn wants_live(headers: &HeaderMap) -> bool {
    let accepted = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    accepted.is_some_and(|types| types.contains("text/event-stream"))
}

/// A live stream, until the client leaves or the service stops.
pub(super) fn live_response(
    service: &Service,
    events: impl Stream<Item = Event> + Send + 'static,
) -> Response {
    let mut stopped = service.stopped.clone();
    let until_stopped = async move {
        let _ = stopped.wait_for(|stopped| *stopped).await;
    };
    let events = events.map(Ok::<_, Infallible>).take_until(Box::pin(until_stopped));
    Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response()
}
