//! What came of a replay: counts, reasons, latencies.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::lanes::Job;
use crate::Session;
use crate::remote::RemoteAnswer;

/// So many refusals are shown one by one; the rest is counted.
const SHOWN_REFUSALS: u64 = 20;

/// What came of a replay so far.
pub(crate) struct Tally {
    begun: Instant,
    events: u64,
    /// The types of the events that become no command.
    without_command: BTreeMap<String, u64>,
    done: u64,
    already_done: u64,
    refused: BTreeMap<String, u64>,
    failed: BTreeMap<String, u64>,
    latencies: Latencies,
    most_behind: Duration,
}

impl Tally {
    pub(crate) fn new() -> Self {
        Self {
            begun: Instant::now(),
            events: 0,
            without_command: BTreeMap::new(),
            done: 0,
            already_done: 0,
            refused: BTreeMap::new(),
            failed: BTreeMap::new(),
            latencies: Latencies::default(),
            most_behind: Duration::ZERO,
        }
    }

    /// An event was read, and became no command.
    pub(crate) fn event(&mut self, event_type: &str, becomes_nothing: bool) {
        self.events += 1;
        if becomes_nothing {
            *self.without_command.entry(event_type.to_owned()).or_default() += 1;
        }
    }

    /// A command is given now.
    pub(crate) fn given(&mut self, job: &Job) {
        let behind = job.due.map_or(Duration::ZERO, |due| due.elapsed());
        self.most_behind = self.most_behind.max(behind);
    }

    /// The service answered; true when it could not do what it was asked, for reasons of its own.
    pub(crate) fn answered(
        &mut self,
        session: &Session,
        job: &Job,
        answer: &RemoteAnswer,
        took: Duration,
    ) -> bool {
        self.latencies.add(took);
        if answer.is_success() {
            *(if answer.replayed { &mut self.already_done } else { &mut self.done }) += 1;
            return false;
        }
        let (code, detail) = answer.problem();
        let code = code.unwrap_or_else(|| format!("status-{}", answer.status));
        let fails = answer.status >= 500;
        let shown: u64 = self.refused.values().chain(self.failed.values()).sum();
        match shown {
            shown if shown < SHOWN_REFUSALS => session.say(format!(
                "position {}: {} on {} {:?}: {detail} ({code})",
                job.position, job.command.name, job.command.category, job.command.id
            )),
            SHOWN_REFUSALS => session.say("and more, which are counted only"),
            _ => {}
        }
        let counts = if fails { &mut self.failed } else { &mut self.refused };
        *counts.entry(code).or_default() += 1;
        fails
    }

    pub(crate) fn failed(&self) -> u64 {
        self.failed.values().sum()
    }

    /// The summary as it is printed.
    pub(crate) fn summary(&self) -> Value {
        let refused: u64 = self.refused.values().sum();
        let sent = self.latencies.count;
        let seconds = self.begun.elapsed().as_secs_f64();
        let mut summary = json!({
            "events": self.events,
            "sent": sent,
            "done": self.done,
            "already_done": self.already_done,
            "refused": refused,
            "failed": self.failed(),
            "seconds": rounded(seconds),
            "per_second": (sent as f64 / seconds.max(1e-9)).round(),
            "latency_ms": {
                "p50": self.latencies.percentile(50),
                "p99": self.latencies.percentile(99),
                "max": millis(self.latencies.longest),
            },
            "most_behind_seconds": rounded(self.most_behind.as_secs_f64()),
        });
        if let Value::Object(fields) = &mut summary {
            for (name, counts) in [
                ("refused_because", &self.refused),
                ("failed_because", &self.failed),
                ("without_command", &self.without_command),
            ] {
                if !counts.is_empty() {
                    fields.insert(name.to_owned(), json!(counts));
                }
            }
        }
        summary
    }
}

fn rounded(number: f64) -> f64 {
    (number * 1e3).round() / 1e3
}

fn millis(duration: Duration) -> f64 {
    rounded(duration.as_secs_f64() * 1e3)
}

/// Each doubling of a latency is parted into so many buckets: a percentile is exact to a thirty-second of itself.
const PARTS: u64 = 32;

/// How long answers took, in buckets of microseconds, so that millions of them take no memory.
#[derive(Default)]
struct Latencies {
    buckets: BTreeMap<u64, u64>,
    count: u64,
    longest: Duration,
}

impl Latencies {
    fn add(&mut self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        *self.buckets.entry(end_of_bucket(micros)).or_default() += 1;
        self.count += 1;
        self.longest = self.longest.max(took);
    }

    /// In milliseconds, as long as so many of a hundred answers took at most; 0 without any.
    fn percentile(&self, of_hundred: u64) -> f64 {
        let rank = (self.count * of_hundred).div_ceil(100);
        let mut seen = 0;
        let found = self.buckets.iter().find(|(_, count)| {
            seen += **count;
            seen >= rank
        });
        found.map_or(0.0, |(end, _)| millis(Duration::from_micros(*end).min(self.longest)))
    }
}

/// The longest latency in the bucket that a latency falls into.
fn end_of_bucket(micros: u64) -> u64 {
    let doublings = (micros / PARTS).checked_ilog2().map_or(0, |log| log + 1).saturating_sub(1);
    micros | ((1 << doublings) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_near_the_truth() {
        let mut latencies = Latencies::default();
        assert_eq!(latencies.percentile(50), 0.0);
        for micros in 1..=100_000 {
            latencies.add(Duration::from_micros(micros));
        }
        let (half, most) = (latencies.percentile(50), latencies.percentile(99));
        assert!((50.0..=51.6).contains(&half), "{half}");
        assert!((99.0..=100.0).contains(&most), "{most}");
        assert!(latencies.buckets.len() < 500, "{}", latencies.buckets.len());
        let mut one = Latencies::default();
        one.add(Duration::from_micros(1_500));
        assert_eq!((one.percentile(50), one.percentile(99)), (1.5, 1.5));
        one.add(Duration::MAX);
    }
}
