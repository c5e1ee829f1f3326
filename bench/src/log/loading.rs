//! Filling stores before something is measured on them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::contender::Contender;
use super::workload::Source;
use crate::failure::Result;

/// How a store is filled: in passes over all streams, in random order.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Filling {
    pub(crate) events: u64,
    /// How many events of a stream follow each other.
    pub(crate) run: u32,
    /// How many streams an append writes.
    pub(crate) streams_per_append: usize,
}

impl Filling {
    /// Events of a stream lie far from each other, as they do when many streams are written in turn.
    pub(crate) fn scattered(events: u64) -> Self {
        Self { events, run: 1, streams_per_append: 1_000 }
    }

    /// Appends of 100 events to one stream each.
    pub(crate) fn hundreds(events: u64) -> Self {
        Self { events, run: 100, streams_per_append: 1 }
    }

    /// Fills the store.
    pub(crate) fn fill(self, store: &Arc<dyn Contender>, source: &mut Source, name: &str) -> Result<()> {
        let begun = Instant::now();
        let mut told = begun;
        let mut left = self.events;
        while left > 0 {
            for streams in source.shuffled_streams().chunks(self.streams_per_append) {
                if left == 0 {
                    break;
                }
                let append = source.append_to_each(streams, self.run)?;
                Arc::clone(store).prepare(append)()?;
                left = left.saturating_sub(streams.len() as u64 * u64::from(self.run));
                if told.elapsed() > Duration::from_secs(5) {
                    told = Instant::now();
                    eprintln!("  filling {name}: {} of {} events", self.events - left, self.events);
                }
            }
        }
        let seconds = begun.elapsed().as_secs_f64();
        eprintln!("  filled {name} with {} events in {seconds:.1} s", self.events);
        Ok(())
    }
}
