//! The bank as a program: what a person at a terminal, or another program, gets from it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[rustfmt::skip]
mod account_2;
mod as_of;
mod as_test;
mod bad_days;
mod bad_input;
mod bad_rebuilds;
mod demo;
mod events;
mod http;
mod import;
mod notices;
mod program;
mod projections;
mod read_models;
mod real_data;
mod replay;
mod simulation;
mod transfers;
