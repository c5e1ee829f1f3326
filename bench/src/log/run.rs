//! How large a run of the log's benchmarks is, and who takes part.

use std::time::Duration;

use super::contender::Kind;

/// A run under way.
pub(crate) type Run = crate::run::Run<Scale>;

/// How large a run is.
#[derive(Debug, Clone)]
pub(crate) struct Scale {
    /// Who takes part.
    pub(crate) kinds: Vec<Kind>,
    pub(crate) rounds: usize,
    /// How long a contender is measured in a round.
    pub(crate) slice: Duration,
    /// The streams that appends go to.
    pub(crate) streams: u32,
    /// The events that are read.
    pub(crate) read_events: u64,
    /// The events of stores that are opened, and whose size on disk is measured.
    pub(crate) open_events: u64,
    /// The events and streams of stores whose memory and conditions are measured.
    pub(crate) large_events: u64,
    pub(crate) large_streams: u32,
    /// The events of the two stores that are compared.
    pub(crate) growth: (u64, u64),
    /// These come last, and are left out when the run has taken longer than this.
    pub(crate) growth_within: Duration,
}

impl Scale {
    /// The scale that the targets are for.
    pub(crate) const FULL: Self = Self {
        kinds: Vec::new(),
        rounds: 7,
        slice: Duration::from_millis(1_000),
        streams: 10_000,
        read_events: 1_000_000,
        open_events: 1_000_000,
        large_events: 10_000_000,
        large_streams: 1_000_000,
        growth: (1_000_000, 50_000_000),
        growth_within: Duration::MAX,
    };

    /// A scale for a look in between.
    pub(crate) const QUICK: Self = Self {
        kinds: Vec::new(),
        rounds: 7,
        slice: Duration::from_millis(200),
        streams: 10_000,
        read_events: 300_000,
        open_events: 250_000,
        large_events: 500_000,
        large_streams: 50_000,
        growth: (1_000_000, 10_000_000),
        growth_within: Duration::from_secs(420),
    };
}

impl Run {
    /// The bytes on disk that the largest of the wanted works needs, with room to spare.
    pub(crate) fn room(&self) -> u64 {
        let kinds = self.scale.kinds.len() as u64;
        let growth = if self.wants_any(&super::GROWTH_WORKS) { self.scale.growth.1 } else { 0 };
        let large = if self.wants_any(&super::LARGE_WORKS) { self.scale.large_events * kinds } else { 0 };
        // A store is there as it was left, closed, and once more while it is opened.
        let opened = self.scale.open_events * 3 * kinds;
        6_000_000_000 + (growth * 450).max(large * 900).max(opened * 900)
    }
}
