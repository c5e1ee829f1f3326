//! Tests of a domain: aggregates and projections by given/when/then, whole applications in a simulation.

#![allow(clippy::panic)]

mod aggregate;
mod difference;
#[cfg(feature = "simulation")]
mod simulation;

pub use aggregate::{Decided, Given, given, given_stored};
#[cfg(feature = "simulation")]
pub use simulation::{Happening, Simulated, Simulation, SimulationReport, simulate};
