//! The files of read models: which of several builds of one is the current one, which was it before, and who keeps it.
//!
//! A read model is built anew beside the one that answers. Which one counts is said by a small file that is replaced in one
//! step, so that a crash at any moment leaves the one or the other, whole; the one that was replaced stays until the next
//! time, to go back to it. What is in the files is the business of the stores that use this.
//!
//! ```text
//! balances-v1.sqlite           build 0, which needs no word about it
//! balances-v1.build-3.sqlite   build 3
//! balances-v1.current          "current 3", "previous 0"
//! balances-v1.lock             locked by who keeps the read model
//! ```
//!
//! A build may as well be a folder; then its path is that of the folder.

mod builds;
mod folder;
mod open_builds;

pub use builds::{Builds, LeadLock, Mark, Standing};
pub use folder::{ModelFolder, NameProblem, check_name};
pub use open_builds::{Build, OpenBuilds, Opened, Problem, Rebuilding};
