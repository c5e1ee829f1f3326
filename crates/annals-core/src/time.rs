//! Moments, and the clock that a store takes them from.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A moment, in microseconds since 1970-01-01T00:00:00Z. Written as RFC 3339: `1993-01-01T00:00:00Z`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

/// Why a piece of text is not a moment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is not a time: expected RFC 3339, such as 1993-03-31T23:59:59Z, or a date, such as 1993-03-31"
)]
pub struct TimestampError {
    text: String,
}

const EPOCH: jiff::civil::DateTime = jiff::civil::DateTime::constant(1970, 1, 1, 0, 0, 0, 0);

impl Timestamp {
    /// From microseconds since 1970-01-01T00:00:00Z.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Microseconds since 1970-01-01T00:00:00Z.
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// This moment and `micros` microseconds, held within the range of the type.
    pub const fn plus_micros(self, micros: i64) -> Self {
        Self(self.0.saturating_add(micros))
    }

    /// The moment it is now, by this machine's clock.
    pub fn now() -> Self {
        let micros = match std::time::UNIX_EPOCH.elapsed() {
            Ok(since) => i64::try_from(since.as_micros()),
            Err(before) => i64::try_from(before.duration().as_micros()).map(|micros| -micros),
        };
        Self(micros.unwrap_or(i64::MAX))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let since = jiff::SignedDuration::from_micros(self.0);
        match EPOCH.checked_add(since) {
            Ok(moment) => write!(f, "{moment}Z"),
            Err(_) => write!(f, "{} µs since 1970", self.0),
        }
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::str::FromStr for Timestamp {
    type Err = TimestampError;

    fn from_str(text: &str) -> Result<Self, TimestampError> {
        if let Ok(moment) = text.parse::<jiff::Timestamp>() {
            return Ok(Self(moment.as_microsecond()));
        }
        // Dates stand for their first moment. The last hours of the year 9999, often written for "for ever", are
        // beyond what the library takes for a moment with an offset, but not beyond its calendar.
        let civil = match text.strip_suffix('Z') {
            Some(moment) => moment.parse::<jiff::civil::DateTime>(),
            None => text.parse::<jiff::civil::Date>().map(jiff::civil::DateTime::from),
        };
        let since = civil.map(|moment| moment.duration_since(EPOCH).as_micros());
        since
            .ok()
            .and_then(|micros| i64::try_from(micros).ok())
            .map(Self)
            .ok_or(TimestampError { text: text.to_owned() })
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Where a store takes the time from; tests bring their own.
pub trait Clock: Send + Sync + 'static {
    /// The moment it is now.
    fn now(&self) -> Timestamp;
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_goes_there_and_back() {
        let moment: Timestamp = "1993-03-31T23:59:59.25Z".parse().unwrap();
        assert_eq!(moment.to_string(), "1993-03-31T23:59:59.25Z");
        assert_eq!("1993-03-31".parse::<Timestamp>().unwrap().to_string(), "1993-03-31T00:00:00Z");
        for text in ["9999-12-31T23:59:59Z", "1969-12-31T23:59:59.999999Z", "-009999-01-02T00:00:00Z"] {
            assert_eq!(text.parse::<Timestamp>().unwrap().to_string(), text);
        }
        assert_eq!(
            "2024-05-01T12:00:00+02:00".parse::<Timestamp>().unwrap().to_string(),
            "2024-05-01T10:00:00Z"
        );
        assert!("yesterday".parse::<Timestamp>().unwrap_err().to_string().contains("RFC 3339"));
    }
}
