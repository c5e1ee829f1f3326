//! Who may come in: tokens, and, where there are none, only programs of this machine.
//!
//! A service on loopback without tokens is still within reach of web pages that the user visits. So a request that a
//! browser sent on behalf of another site is refused, and so is one for another host name, by which a page could pass
//! itself off as the same site (DNS rebinding).

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use annals_app::Principal;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::{Problem, ServeError};

/// Who is known by which token. Only hashes of the tokens are kept.
#[derive(Clone, Default)]
pub struct Tokens {
    known: Arc<HashMap<blake3::Hash, Principal>>,
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} tokens", self.known.len())
    }
}

/// A shorter token could be guessed.
const SHORTEST_TOKEN_BYTES: usize = 16;

impl Tokens {
    /// Reads a file of lines `NAME TOKEN` or `NAME TOKEN ROLE,ROLE`; empty lines and those that begin with `#` are passed by.
    ///
    /// # Errors
    /// [`ServeError::Tokens`] names the line that is wrong, without its token.
    pub fn read(path: &Path) -> Result<Self, ServeError> {
        let wrong = |reason: String| ServeError::Tokens { path: path.to_owned(), reason };
        let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
        let mut known = HashMap::new();
        for (number, line) in (1..).zip(text.lines().map(str::trim)) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let mut words = line.split_whitespace();
            let (Some(name), Some(token), roles, None) =
                (words.next(), words.next(), words.next(), words.next())
            else {
                let found = line.split_whitespace().count();
                return Err(wrong(format!(
                    "line {number}: expected NAME TOKEN or NAME TOKEN ROLE,ROLE, found words: {found}"
                )));
            };
            if token.len() < SHORTEST_TOKEN_BYTES {
                return Err(wrong(format!(
                    "line {number}: the token of {name:?} has {} bytes, expected at least {SHORTEST_TOKEN_BYTES}",
                    token.len()
                )));
            }
            let roles = roles.into_iter().flat_map(|roles| roles.split(',')).filter(|role| !role.is_empty());
            let principal = Principal::named(name.to_owned()).with_roles(roles.map(str::to_owned));
            known.insert(blake3::hash(token.as_bytes()), principal);
        }
        if known.is_empty() {
            return Err(wrong("it has no tokens, expected lines NAME TOKEN".to_owned()));
        }
        Ok(Self { known: Arc::new(known) })
    }

    /// Whether anybody is known.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Looks a token up by its hash, whose comparison takes the same time whatever it holds.
    fn owner_of(&self, token: &str) -> Option<&Principal> {
        self.known.get(&blake3::hash(token.as_bytes()))
    }
}

/// What the guard goes by.
#[derive(Clone)]
pub(crate) struct Guard {
    pub(crate) tokens: Tokens,
    /// Whether requests may come for any host name: when the service was told to listen beyond loopback.
    pub(crate) any_host: bool,
}

pub(crate) async fn check(State(guard): State<Guard>, mut request: Request, next: Next) -> Response {
    match guard.admit(request.uri().path(), request.headers()) {
        Ok(principal) => {
            request.extensions_mut().insert(principal);
            next.run(request).await
        }
        Err(problem) => problem.into_response(),
    }
}

impl Guard {
    fn admit(&self, path: &str, headers: &HeaderMap) -> Result<Principal, Problem> {
        let text = |name| headers.get(name).and_then(|value: &axum::http::HeaderValue| value.to_str().ok());
        if matches!(path, "/healthz" | "/readyz") {
            return Ok(Principal::anonymous());
        }
        if !self.tokens.is_empty() {
            let token = text(header::AUTHORIZATION).and_then(|value| value.strip_prefix("Bearer "));
            let owner = token.and_then(|token| self.tokens.owner_of(token.trim()));
            let refused = || {
                let detail =
                    "expected the header \"authorization: Bearer TOKEN\" with a token that is known here";
                Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", detail)
            };
            return owner.cloned().ok_or_else(refused);
        }
        let host = text(header::HOST).unwrap_or_default();
        if !self.any_host && !is_loopback_host(host) {
            let detail = format!("this service answers requests for localhost only, found one for {host:?}");
            return Err(Problem::new(StatusCode::FORBIDDEN, "foreign-host", detail));
        }
        let origin =
            text(header::ORIGIN).map(|origin| origin.split_once("://").map_or(origin, |(_, host)| host));
        if let Some(origin) = origin.filter(|origin| *origin != host) {
            let detail = format!("requests on behalf of the site {origin:?} are not taken");
            return Err(Problem::new(StatusCode::FORBIDDEN, "foreign-origin", detail));
        }
        Ok(Principal::anonymous())
    }
}

fn is_loopback_host(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name == "localhost" || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_hosts_are_told_from_others() {
        for host in ["localhost", "localhost:4000", "127.0.0.1:4000", "127.8.9.1", "[::1]:4000"] {
            assert!(is_loopback_host(host), "{host}");
        }
        for host in
            ["", "evil.example", "localhost.evil.example:4000", "10.0.0.1", "[::2]:4000", "127.0.0.1.evil"]
        {
            assert!(!is_loopback_host(host), "{host}");
        }
    }

    #[test]
    fn token_files_are_checked_line_by_line() {
        let path = std::env::temp_dir().join(format!("annals-tokens-{}", std::process::id()));
        let read = |text: &str| {
            std::fs::write(&path, text).unwrap();
            Tokens::read(&path)
        };
        let tokens = read("# staff\nann 0123456789abcdef\n\nbob fedcba9876543210 teller,auditor\n").unwrap();
        let bob = Principal::named("bob").with_roles(["teller", "auditor"]);
        assert_eq!(tokens.owner_of("fedcba9876543210"), Some(&bob));
        assert_eq!(tokens.owner_of("0123456789abcdef"), Some(&Principal::named("ann")));
        assert_eq!(tokens.owner_of("guess"), None);
        let message = |text: &str| read(text).unwrap_err().to_string();
        assert!(message("ann short").contains("line 1") && !message("ann short").contains("\"short\""));
        assert!(message("ann").contains("expected NAME TOKEN"));
        let spread = message("ann 0123456789abcdef teller, auditor");
        assert!(spread.contains("found words: 4") && !spread.contains("0123456789abcdef"), "{spread}");
        assert!(message("").contains("no tokens"));
        std::fs::remove_file(&path).unwrap();
    }
}
