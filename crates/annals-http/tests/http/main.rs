//! The tests of the web service, over real connections.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod as_of;
mod client;
mod domain;
mod guard;
mod live;
mod middleware;
mod requests;
