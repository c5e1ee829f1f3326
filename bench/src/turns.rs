//! Works that several do in turn, round after round, in rotated order.

use std::time::{Duration, Instant};

use crate::failure::Result;
use crate::report::Report;
use crate::statistics::{Latencies, median};

/// What was done in one turn.
pub(crate) struct Done {
    pub(crate) operations: u64,
    pub(crate) took: Duration,
    /// How long each operation took, where that was noted.
    pub(crate) times: Latencies,
}

impl Done {
    /// How many operations were done per second.
    pub(crate) fn rate(&self) -> f64 {
        self.operations as f64 / self.took.as_secs_f64()
    }
}

/// One who takes part in a work.
pub(crate) struct Turn<'a> {
    name: &'static str,
    work: Box<dyn FnMut() -> Result<Done> + 'a>,
    rates: Vec<f64>,
    times: Latencies,
}

impl<'a> Turn<'a> {
    /// One who says what it did in each turn.
    pub(crate) fn new(name: &'static str, work: impl FnMut() -> Result<Done> + 'a) -> Self {
        Self { name, work: Box::new(work), rates: Vec::new(), times: Latencies::default() }
    }

    /// One who does a work of so many operations in each turn.
    pub(crate) fn of(name: &'static str, operations: u64, mut work: impl FnMut() -> Result<()> + 'a) -> Self {
        Self::new(name, move || {
            let begun = Instant::now();
            work()?;
            Ok(Done { operations, took: begun.elapsed(), times: Latencies::default() })
        })
    }
}

/// Has each do its work in every round, and reports the median of the operations per second.
pub(crate) fn take_turns(
    report: &mut Report,
    rounds: usize,
    (work, unit): (&str, &str),
    mut turns: Vec<Turn<'_>>,
) -> Result<()> {
    for round in 0..rounds {
        let first = round % turns.len();
        let (before, from) = turns.split_at_mut(first);
        for turn in from.iter_mut().chain(before) {
            let mut done = (turn.work)()?;
            turn.rates.push(done.rate());
            turn.times.append(&mut done.times);
        }
        eprintln!("  {work}: round {} of {rounds}", round + 1);
    }
    for turn in &turns {
        let times = (turn.times.count() > 0).then_some(&turn.times);
        report.add(work, turn.name, median(&turn.rates), unit, times);
    }
    Ok(())
}
