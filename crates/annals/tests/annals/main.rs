//! The program `annals`, and the face crate.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod face;
mod program;
