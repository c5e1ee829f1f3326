//! Medians and percentiles.

/// The median; 0 of no values.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => 0.0,
        count if count % 2 == 1 => sorted[count / 2],
        count => (sorted[count / 2 - 1] + sorted[count / 2]) / 2.0,
    }
}

/// How long single operations took.
#[derive(Default, Clone)]
pub(crate) struct Latencies {
    nanoseconds: Vec<u64>,
}

impl Latencies {
    /// Notes that one operation took this long.
    pub(crate) fn push(&mut self, took: std::time::Duration) {
        self.nanoseconds.push(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Takes over what another one noted.
    pub(crate) fn append(&mut self, other: &mut Self) {
        self.nanoseconds.append(&mut other.nanoseconds);
    }

    /// How many operations were noted.
    pub(crate) fn count(&self) -> usize {
        self.nanoseconds.len()
    }

    /// The time, in microseconds, that this share of the operations did not exceed.
    pub(crate) fn percentile_us(&self, share: f64) -> Option<f64> {
        let mut sorted = self.nanoseconds.clone();
        let last = sorted.len().checked_sub(1)?;
        let place = (last as f64 * share).round() as usize;
        let (_, found, _) = sorted.select_nth_unstable(place.min(last));
        Some(*found as f64 / 1e3)
    }
}
