//! A month of a year, written `1993-03`.

use std::fmt;
use std::str::FromStr;

use annals::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A month of a year.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Month {
    year: i16,
    month: i8,
}

/// Why a text is no month.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no month: expected year and month, such as 1993-03")]
pub struct MonthError(String);

/// The day on which something happened, by universal time.
pub fn day_of(moment: Timestamp) -> Date {
    let moment = jiff::Timestamp::from_microsecond(moment.as_micros()).unwrap_or_default();
    moment.to_zoned(TimeZone::UTC).date()
}

/// The first moment of a day, by universal time.
pub fn start_of(day: Date) -> Timestamp {
    let start = day.to_zoned(TimeZone::UTC).map(|start| start.timestamp().as_microsecond());
    Timestamp::from_micros(start.unwrap_or_default())
}

impl Month {
    /// The month that a day is in.
    pub fn of(day: Date) -> Self {
        Self { year: day.year(), month: day.month() }
    }
}

impl fmt::Display for Month {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}", self.year, self.month)
    }
}

impl FromStr for Month {
    type Err = MonthError;

    fn from_str(text: &str) -> Result<Self, MonthError> {
        let day = (text.len() == 7).then(|| format!("{text}-01").parse::<Date>().ok()).flatten();
        day.map(Self::of).ok_or_else(|| MonthError(text.chars().take(40).collect()))
    }
}

impl Serialize for Month {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Month {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months_go_there_and_back() {
        let month: Month = "1993-03".parse().unwrap();
        assert_eq!(month.to_string(), "1993-03");
        assert_eq!(Month::of(day_of("1993-03-31T23:59:59Z".parse().unwrap())), month);
        assert_eq!(
            start_of(day_of("1993-03-31T23:59:59Z".parse().unwrap())).to_string(),
            "1993-03-31T00:00:00Z"
        );
        for text in ["", "1993", "1993-13", "1993-3", "1993-03-01", "march"] {
            assert!(text.parse::<Month>().is_err(), "{text}");
        }
    }
}
