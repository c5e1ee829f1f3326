//! A thread that stays on one core.

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::failure::{Failure, Result, failed};

/// Does a work on a thread of its own that stays on the last of the cores that this process may use.
pub(super) fn on_one_core<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            stay_on_one_core()?;
            work()
        });
        thread.join().unwrap_or_else(|_| failed("the thread on one core panicked: see above"))
    })
}

fn stay_on_one_core() -> Result<()> {
    let cannot = |error| Failure::from(format!("cannot keep a thread on one core: {error}"));
    let allowed = sched_getaffinity(None).map_err(cannot)?;
    let last = (0..CpuSet::MAX_CPU).rev().find(|core| allowed.is_set(*core)).unwrap_or(0);
    let mut one = CpuSet::new();
    one.set(last);
    sched_setaffinity(None, &one).map_err(cannot)
}
