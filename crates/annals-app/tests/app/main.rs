//! The tests of the framework, on a store in memory and read models in SQLite.
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
mod test_kit;
mod upcasters;
mod what_if;
mod writing;
