//! Tests of a domain: aggregates, decisions, processes and projections by given/when/then, whole applications in a simulation.

#![allow(clippy::panic)]

mod aggregate;
mod decided;
mod decision;
mod delivery;
mod difference;
mod given_events;
mod process;
mod projection;
#[cfg(feature = "simulation")]
mod simulation;

pub use aggregate::{Given, given, given_stored};
pub use decided::Decided;
pub use decision::{GivenDecision, given_decision};
pub use process::{GivenProcess, given_process};
pub use projection::{GivenProjection, given_projection};
#[cfg(feature = "simulation")]
pub use simulation::{Happening, Simulated, Simulation, SimulationReport, Unsettled, simulate};
