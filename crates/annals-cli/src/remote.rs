//! A running service, asked over HTTP with `--server`.

use std::time::Duration;

use annals_core::BoxError;
use serde_json::Value;

use crate::Failure;

/// The service at an address such as `http://127.0.0.1:4000`.
#[derive(Clone)]
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

/// What a service answered.
pub(crate) struct RemoteAnswer {
    pub(crate) status: u16,
    /// Whether it is the first answer to a command that came again.
    pub(crate) replayed: bool,
    pub(crate) body: Vec<u8>,
}

impl Remote {
    pub(crate) fn new(server: &str) -> Result<Self, Failure> {
        Ok(Self { server: address("--server", server)?, agent: config().build().into() })
    }

    /// A service that is asked many things at once, over so many connections, each of which it must answer in time.
    pub(crate) fn with_connections(
        option: &str,
        server: &str,
        connections: usize,
        patience: Duration,
    ) -> Result<Self, Failure> {
        let config = config()
            .max_idle_connections(connections)
            .max_idle_connections_per_host(connections)
            .timeout_global(Some(patience));
        Ok(Self { server: address(option, server)?, agent: config.build().into() })
    }

    /// Its address.
    pub(crate) fn server(&self) -> &str {
        &self.server
    }

    /// Sends a request and returns the body of the answer.
    pub(crate) async fn send(self, request: RemoteRequest) -> Result<Vec<u8>, Failure> {
        let server = self.server.clone();
        let sent = tokio::task::spawn_blocking(move || self.exchange(request)).await;
        let answer = sent.map_err(BoxError::from)?.map_err(|error| {
            Failure::new(format!("cannot reach the service at {server}: {error}; is it running?"))
        })?;
        if answer.is_success() {
            return Ok(answer.body);
        }
        let (code, detail) = answer.problem();
        if let Some(fields) = answer.invalid_fields() {
            return Err(Failure::invalid("the command", &fields));
        }
        Err(match (answer.status, code) {
            (422, Some(code)) => Failure::refused(format!("{detail} ({code})")),
            (400 | 404, Some(_)) => Failure::usage(detail),
            _ => Failure::new(detail),
        })
    }

    /// Sends a request and waits for the answer, whatever it is.
    pub(crate) fn exchange(&self, request: RemoteRequest) -> Result<RemoteAnswer, ureq::Error> {
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
        let replayed = answer.headers().contains_key("annals-replayed");
        Ok(RemoteAnswer { status: answer.status().as_u16(), replayed, body })
    }
}

impl RemoteAnswer {
    pub(crate) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The fields that are not as they should be, where that is the problem.
    fn invalid_fields(&self) -> Option<Vec<String>> {
        let problem: Value = serde_json::from_slice(&self.body).ok()?;
        let fields = problem.get("fields").filter(|_| problem.get("code") == Some(&"invalid".into()))?;
        let text = |field: &Value, name: &str| Some(field.get(name)?.as_str()?.to_owned());
        let line = |field| Some(format!("{}: {}", text(field, "field")?, text(field, "reason")?));
        fields.as_array()?.iter().map(line).collect()
    }

    /// The code of the problem, where it has one, and what it says.
    pub(crate) fn problem(&self) -> (Option<String>, String) {
        let problem: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        let text = |name: &str| problem.get(name).and_then(Value::as_str).map(str::to_owned);
        let status = self.status;
        (text("code"), text("detail").unwrap_or_else(|| format!("the service answered with status {status}")))
    }
}

fn config() -> ureq::config::ConfigBuilder<ureq::typestate::AgentScope> {
    ureq::Agent::config_builder().http_status_as_error(false)
}

/// Checks the address of a service, given with an option.
fn address(option: &str, server: &str) -> Result<String, Failure> {
    let trimmed = server.trim_end_matches('/');
    let host = trimmed.strip_prefix("http://").or(trimmed.strip_prefix("https://"));
    match host.filter(|host| !host.is_empty()) {
        Some(_) => Ok(trimmed.to_owned()),
        None => Err(Failure::usage(format!(
            "{option} {server:?}: expected an address such as http://127.0.0.1:4000"
        ))),
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
