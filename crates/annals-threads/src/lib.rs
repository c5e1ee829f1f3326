//! Threads that block, for tasks that must not: what stores on a disk do their work on.
//!
//! A task of any executor hands a job to a thread and awaits the reply. No runtime is needed.

mod reply;
mod work;
mod work_threads;
mod worker;

pub use reply::{Answer, Reply, pair};
pub use work::run_work;
pub use work_threads::WorkThreads;
pub use worker::{Ended, Worker};
