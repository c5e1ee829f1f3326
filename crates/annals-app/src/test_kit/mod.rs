//! Tests of a domain: aggregates and projections by given/when/then, whole applications in a simulation.

#![allow(clippy::panic)]

mod aggregate;
mod difference;

pub use aggregate::{Decided, Given, given, given_stored};
