//! The tests of the framework, on read models in SQLite; what writes is tested on every store of events (`stores.rs`), the rest
//! on the one in memory.
#![allow(unreachable_pub)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod bad_days;
mod commands;
mod decisions;
mod derived;
mod domain;
mod keeping;
mod middleware;
mod odd_store;
mod past;
mod processes;
mod projections;
mod reactions;
mod reissue;
mod simulation;
mod snapshots;
mod standing_by;
mod stores;
mod test_kit;
mod upcasters;
mod what_if;
mod writing;
