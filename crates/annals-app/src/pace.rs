//! How fast something gets on, and how long it will take.

use std::time::{Duration, Instant};

/// A speed is looked at anew after so long.
const LOOK: Duration = Duration::from_millis(250);
/// How much the newest look counts.
const WEIGHT: f64 = 0.4;

/// The speed of something that counts up.
#[derive(Debug, Clone)]
pub(crate) struct Pace {
    looked: Instant,
    done: u64,
    per_second: Option<f64>,
}

impl Pace {
    pub(crate) fn begin(done: u64) -> Self {
        Self { looked: Instant::now(), done, per_second: None }
    }

    /// Takes in how far it is now.
    pub(crate) fn update(&mut self, done: u64) {
        let took = self.looked.elapsed();
        if took < LOOK {
            return;
        }
        let now = done.saturating_sub(self.done) as f64 / took.as_secs_f64();
        self.per_second = Some(self.per_second.map_or(now, |before| before + (now - before) * WEIGHT));
        (self.looked, self.done) = (Instant::now(), done);
    }

    /// How much is done in a second; what was done so far over its time, before it was looked at twice.
    pub(crate) fn per_second(&self, done: u64) -> f64 {
        let since = || done.saturating_sub(self.done) as f64 / self.looked.elapsed().as_secs_f64().max(1e-6);
        self.per_second.unwrap_or_else(since)
    }

    /// How long the rest will take at this speed; nothing while it stands still.
    pub(crate) fn left(&self, done: u64, total: u64) -> Option<Duration> {
        let rest = total.saturating_sub(done) as f64;
        Duration::try_from_secs_f64(rest / self.per_second(done)).ok()
    }
}
