//! A running service, asked over HTTP with `--server`.

use annals_core::BoxError;
use serde_json::Value;

use crate::Failure;

/// The service at an address such as `http://127.0.0.1:4000`.
pub(crate) struct Remote {
    server: String,
    agent: ureq::Agent,
}

/// The environment variable that holds the token for a service that asks for one.
const TOKEN_VARIABLE: &str = "ANNALS_TOKEN";

/// One request.
#[derive(Default)]
pub(crate) struct RemoteRequest {
    pub(crate) path: String,
    pub(crate) headers: Vec<(&'static str, String)>,
    /// Sent with `POST`; without it, the request is a `GET`.
    pub(crate) body: Option<Vec<u8>>,
}

impl Remote {
    pub(crate) fn new(server: &str) -> Result<Self, Failure> {
        if !server.starts_with("http://") && !server.starts_with("https://") {
            return Err(Failure::usage(format!(
                "--server {server:?}: expected an address such as http://127.0.0.1:4000"
            )));
        }
        let config = ureq::Agent::config_builder().http_status_as_error(false).build();
        Ok(Self { server: server.trim_end_matches('/').to_owned(), agent: config.into() })
    }

    /// Sends a request and returns the body of the answer.
    pub(crate) async fn send(self, request: RemoteRequest) -> Result<Vec<u8>, Failure> {
        let server = self.server.clone();
        let sent = tokio::task::spawn_blocking(move || self.send_blocking(request)).await;
        let (status, body) = sent.map_err(BoxError::from)?.map_err(|error| {
            Failure::new(format!("cannot reach the service at {server}: {error}; is it running?"))
        })?;
        if (200..300).contains(&status) {
            return Ok(body);
        }
        let problem: Value = serde_json::from_slice(&body).unwrap_or_default();
        let text = |name: &str| problem.get(name).and_then(Value::as_str).map(str::to_owned);
        let detail = text("detail").unwrap_or_else(|| format!("the service answered with status {status}"));
        Err(match (status, text("code")) {
            (422, Some(code)) => Failure::refused(format!("{detail} ({code})")),
            (400 | 404, Some(_)) => Failure::usage(detail),
            _ => Failure::new(detail),
        })
    }

    fn send_blocking(&self, request: RemoteRequest) -> Result<(u16, Vec<u8>), ureq::Error> {
        let url = format!("{}{}", self.server, request.path);
        let mut headers = request.headers;
        if let Ok(token) = std::env::var(TOKEN_VARIABLE) {
            headers.push(("authorization", format!("Bearer {token}")));
        }
        let mut answer = match request.body {
            None => headers
                .iter()
                .fold(self.agent.get(&url), |call, (name, value)| call.header(*name, value))
                .call()?,
            Some(body) => {
                let call = self.agent.post(&url).header("content-type", "application/json");
                headers.iter().fold(call, |call, (name, value)| call.header(*name, value)).send(&body)?
            }
        };
        let body = answer.body_mut().with_config().limit(1 << 30).read_to_vec()?;
        Ok((answer.status().as_u16(), body))
    }
}

/// Joins the segments of a path, percent-encoded.
pub(crate) fn path(segments: &[&str]) -> String {
    segments.iter().fold(String::new(), |path, segment| {
        let pair = serde_urlencoded::to_string([("", segment)]).unwrap_or_default();
        // In a path a space is %20; the form encoding writes a plus.
        path + "/" + &pair.trim_start_matches('=').replace('+', "%20")
    })
}
