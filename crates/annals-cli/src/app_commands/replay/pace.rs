//! How fast history is given again, and when each event is due.

use std::str::FromStr;
use std::time::{Duration, Instant};

use annals_core::{RecordedEvent, Timestamp};
use clap::ValueEnum;

/// Nobody waits longer than this for the next event: ten years.
const LONGEST_WAIT: Duration = Duration::from_secs(10 * 365 * 86_400);

/// How many times as fast as history happened.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Speed {
    /// As fast as the service answers.
    Max,
    /// So many times.
    Times(f64),
}

impl FromStr for Speed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse::<f64>() {
            _ if text == "max" => Ok(Self::Max),
            Ok(times) if times.is_finite() && times > 0.0 => Ok(Self::Times(times)),
            _ => Err("expected a number above zero, such as 10 or 0.5, or max".to_owned()),
        }
    }
}

/// Which times the pace is taken from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum By {
    /// When the store took the events
    Recorded,
    /// When they happened; one that happened before its predecessors follows them at once
    Occurred,
}

/// Tells when each event is due, counted from the first.
pub(crate) struct Pace {
    speed: Speed,
    by: By,
    first: Option<(Instant, Timestamp)>,
}

impl Pace {
    pub(crate) fn new(speed: Speed, by: By) -> Self {
        Self { speed, by, first: None }
    }

    /// When an event is to be given; at once when it is `None`.
    pub(crate) fn due(&mut self, event: &RecordedEvent) -> Option<Instant> {
        self.due_at(match self.by {
            By::Recorded => event.recorded_at(),
            By::Occurred => event.occurred_at(),
        })
    }

    fn due_at(&mut self, moment: Timestamp) -> Option<Instant> {
        let Speed::Times(times) = self.speed else { return None };
        let (begun, first) = *self.first.get_or_insert_with(|| (Instant::now(), moment));
        let since = moment.as_micros().saturating_sub(first.as_micros()).max(0);
        let wait = Duration::try_from_secs_f64(since as f64 / 1e6 / times).unwrap_or(LONGEST_WAIT);
        begun.checked_add(wait.min(LONGEST_WAIT))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speeds_are_numbers_above_zero_or_max() {
        assert_eq!("max".parse(), Ok(Speed::Max));
        assert_eq!("2.5".parse(), Ok(Speed::Times(2.5)));
        for wrong in ["", "0", "-1", "inf", "nan", "1e999", "fast", "Max", "2x"] {
            assert!(wrong.parse::<Speed>().unwrap_err().contains("above zero"), "{wrong}");
        }
    }

    #[test]
    fn history_is_stretched_or_pressed_together() {
        let at = Timestamp::from_micros;
        let mut pace = Pace::new(Speed::Times(10.0), By::Recorded);
        let first = pace.due_at(at(5_000_000)).unwrap();
        assert_eq!(pace.due_at(at(25_000_000)).unwrap() - first, Duration::from_secs(2));
        assert_eq!(pace.due_at(at(1)), Some(first), "what lies before the first is due at once");
        assert_eq!(pace.due_at(at(i64::MAX)).unwrap() - first, LONGEST_WAIT);
        assert_eq!(Pace::new(Speed::Max, By::Occurred).due_at(at(7)), None);
    }
}
