//! Works that several do in turn, round after round, in rotated order.

use std::time::Instant;

use super::Run;
use crate::failure::Result;
use crate::statistics::median;

/// One who takes part in a work.
pub(super) struct Turn<'a> {
    name: &'static str,
    work: Box<dyn FnMut() -> Result<()> + 'a>,
    rates: Vec<f64>,
}

impl<'a> Turn<'a> {
    pub(super) fn new(name: &'static str, work: impl FnMut() -> Result<()> + 'a) -> Self {
        Self { name, work: Box::new(work), rates: Vec::new() }
    }
}

/// Has each do the work on so many events in every round, and reports the median of the events per second.
pub(super) fn take_turns(run: &mut Run, work: &str, events: u64, mut turns: Vec<Turn<'_>>) -> Result<()> {
    for round in 0..run.scale.rounds {
        let first = round % turns.len();
        let (before, from) = turns.split_at_mut(first);
        for turn in from.iter_mut().chain(before) {
            let begun = Instant::now();
            (turn.work)()?;
            turn.rates.push(events as f64 / begun.elapsed().as_secs_f64());
        }
        eprintln!("  {work}: round {} of {}", round + 1, run.scale.rounds);
    }
    for turn in &turns {
        run.report.add(work, turn.name, median(&turn.rates), "events/s", None);
    }
    Ok(())
}
