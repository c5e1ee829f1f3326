//! The log on a simulated disk that loses power, fails, and damages what it holds.
//!
//! A violation names its place in environment variables; with them set, the same test tries only that, and
//! every crash after it: `ANNALS_SEED=… ANNALS_WORKLOAD=… ANNALS_CRASH_POINT=… ANNALS_CHOICE=… cargo test -p annals-log
//! no_crash`. With `ANNALS_LONG=1` there are ten times as many images.

pub(crate) mod check;
pub(crate) mod crashes;
pub(crate) mod disk;
pub(crate) mod engine;
pub(crate) mod errors;
pub(crate) mod faults;
pub(crate) mod found;
mod groups;
pub(crate) mod history;
pub(crate) mod images;
mod planted;
pub(crate) mod random;
pub(crate) mod tears;
pub(crate) mod tree;
mod unbegun;
pub(crate) mod workload;
