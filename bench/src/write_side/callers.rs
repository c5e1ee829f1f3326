//! Many callers at once: tasks that each ask for one thing after the other, and wait for each answer.

use std::future::Future;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;

use crate::failure::Result;
use crate::statistics::Latencies;
use crate::turns::Done;

/// So many callers are at work at once.
pub(super) const CALLERS: usize = 64;

/// One who asks for one thing after the other.
pub(super) trait Caller: Sized + Send + 'static {
    /// What must be done before anything is measured.
    fn begin(&mut self) -> impl Future<Output = Result<()>> + Send;

    /// Asks for one thing, and waits for the answer.
    fn call(&mut self) -> impl Future<Output = Result<()>> + Send;
}

/// Has all callers begin, each in a task of its own, and then call for the same time as in a turn.
pub(super) fn warm_up<C: Caller>(runtime: &Runtime, callers: &mut Vec<C>, slice: Duration) -> Result<()> {
    runtime.block_on(at_once(callers, begin))?;
    call(runtime, callers, slice).map(drop)
}

/// Has all callers call, each in a task of its own, until the time is over.
pub(super) fn call<C: Caller>(runtime: &Runtime, callers: &mut Vec<C>, slice: Duration) -> Result<Done> {
    let begun = Instant::now();
    let lanes = runtime.block_on(at_once(callers, |caller| call_until(caller, begun + slice)))?;
    Ok(done_by(lanes, begun.elapsed()))
}

async fn call_until<C: Caller>(mut caller: C, end: Instant) -> Result<(C, Latencies)> {
    let mut times = Latencies::default();
    let mut at = Instant::now();
    while at < end {
        caller.call().await?;
        let answered = Instant::now();
        times.push(answered - at);
        at = answered;
    }
    Ok((caller, times))
}

async fn begin<C: Caller>(mut caller: C) -> Result<(C, Latencies)> {
    caller.begin().await?;
    Ok((caller, Latencies::default()))
}

/// Does a work with each caller, in tasks of their own.
async fn at_once<C, F>(callers: &mut Vec<C>, work: impl Fn(C) -> F) -> Result<Vec<Latencies>>
where
    C: Caller,
    F: Future<Output = Result<(C, Latencies)>> + Send + 'static,
{
    let tasks: Vec<_> = callers.drain(..).map(|caller| tokio::spawn(work(caller))).collect();
    let mut lanes = Vec::with_capacity(tasks.len());
    for task in tasks {
        let (caller, times) = task.await??;
        callers.push(caller);
        lanes.push(times);
    }
    Ok(lanes)
}

/// What all did together in a turn.
pub(super) fn done_by(lanes: Vec<Latencies>, took: Duration) -> Done {
    let mut times = Latencies::default();
    lanes.into_iter().for_each(|mut lane| times.append(&mut lane));
    Done { operations: times.count() as u64, took, times }
}
