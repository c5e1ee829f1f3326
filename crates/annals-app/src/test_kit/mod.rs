//! Tests of a domain: aggregates and projections by given/when/then, whole applications in a simulation.

#![allow(clippy::panic)]

mod aggregate;
mod delivery;
mod difference;
mod projection;
#[cfg(feature = "simulation")]
mod simulation;

pub use aggregate::{Decided, Given, given, given_stored};
pub use projection::{GivenProjection, given_projection};
#[cfg(feature = "simulation")]
pub use simulation::{Happening, Simulated, Simulation, SimulationReport, simulate};
