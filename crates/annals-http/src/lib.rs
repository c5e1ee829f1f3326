//! An Annals application as a web service: commands, queries, states and events over HTTP, errors as
//! `application/problem+json`.

mod guard;
mod problem;
mod routes;
mod server;
mod trace_parent;

pub use guard::Tokens;
pub use problem::Problem;
#[cfg(feature = "internals")]
#[doc(hidden)]
pub use routes::is_events_query;
pub use server::{ServeError, ServeOptions, Server};
