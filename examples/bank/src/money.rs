//! Money: whole hundredths of a currency, never floating point, written as a decimal string.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An amount in hundredths (cents, haléře) of some currency. Written `"31041.60"`.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Amount(i64);

/// Why a text is no amount.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AmountError {
    /// It is not of the form.
    #[error("{0:?} is no amount: expected digits and at most two decimals, such as \"31041.60\"")]
    Malformed(String),
    /// It is too large.
    #[error("{0:?} is too large an amount: expected at most {largest}", largest = Amount::LARGEST)]
    TooLarge(String),
}

impl Amount {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// The largest amount of one transaction: ten thousand millions. Nine million of them fit into a sum.
    pub const LARGEST: Self = Self(1_000_000_000_000);

    /// From hundredths.
    pub const fn from_hundredths(hundredths: i64) -> Self {
        Self(hundredths)
    }

    /// In hundredths.
    pub const fn hundredths(self) -> i64 {
        self.0
    }

    /// The sum, unless it is larger than can be counted.
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }

    /// The sum, or the largest or smallest that can be counted.
    #[must_use]
    pub fn saturating_add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// The same amount in the other direction.
    #[must_use]
    pub fn negated(self) -> Self {
        Self(self.0.saturating_neg())
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let hundredths = self.0.unsigned_abs();
        write!(f, "{sign}{}.{:02}", hundredths / 100, hundredths % 100)
    }
}

impl fmt::Debug for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Amount {
    type Err = AmountError;

    fn from_str(text: &str) -> Result<Self, AmountError> {
        let malformed = || AmountError::Malformed(text.chars().take(40).collect());
        let (negative, digits) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (whole, decimals) = digits.split_once('.').unwrap_or((digits, "0"));
        let all_digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        if !all_digits(whole) || !all_digits(decimals) || decimals.len() > 2 {
            return Err(malformed());
        }
        let too_large = || AmountError::TooLarge(text.chars().take(40).collect());
        let whole: i64 = whole.parse().map_err(|_| too_large())?;
        let decimals: i64 = format!("{decimals:0<2}").parse().map_err(|_| malformed())?;
        let hundredths = whole.checked_mul(100).and_then(|whole| whole.checked_add(decimals));
        let hundredths = hundredths.filter(|amount| *amount <= Self::LARGEST.0).ok_or_else(too_large)?;
        Ok(Self(if negative { -hundredths } else { hundredths }))
    }
}

impl Serialize for Amount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl serde::de::Visitor<'_> for Text {
            type Value = Amount;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an amount as a decimal string, such as \"31041.60\"")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Amount, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Text)
    }
}

/// A currency that has hundredths, by its ISO 4217 code.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Currency([u8; 3]);

/// Why a text is no currency that this bank keeps.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no currency that this bank keeps: expected one of {kept}", kept = KEPT.join(", "))]
pub struct CurrencyError(String);

/// The currencies that this bank keeps; each has hundredths.
const KEPT: [&str; 8] = ["CZK", "CHF", "DKK", "EUR", "GBP", "PLN", "SEK", "USD"];

impl Currency {
    /// Czech crowns.
    pub const CZK: Self = Self(*b"CZK");

    /// The code.
    pub fn code(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl Default for Currency {
    fn default() -> Self {
        Self::CZK
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl FromStr for Currency {
    type Err = CurrencyError;

    fn from_str(text: &str) -> Result<Self, CurrencyError> {
        let kept = KEPT.contains(&text).then(|| text.as_bytes().try_into().ok()).flatten();
        kept.map(Self).ok_or_else(|| CurrencyError(text.chars().take(40).collect()))
    }
}

impl Serialize for Currency {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.code())
    }
}

impl<'de> Deserialize<'de> for Currency {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// An amount of a currency.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Money {
    /// How much.
    pub amount: Amount,
    /// Of what.
    pub currency: Currency,
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.amount, self.currency)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn amounts_go_there_and_back(hundredths in -Amount::LARGEST.0..=Amount::LARGEST.0) {
            let amount = Amount::from_hundredths(hundredths);
            prop_assert_eq!(amount.to_string().parse(), Ok(amount));
            prop_assert_eq!(serde_json::from_str::<Amount>(&serde_json::to_string(&amount).unwrap()).unwrap(), amount);
        }

        #[test]
        fn no_text_makes_it_panic(text in ".{0,40}") {
            let _ = text.parse::<Amount>();
            let _ = text.parse::<Currency>();
        }
    }

    #[test]
    fn only_plain_decimals_are_amounts() {
        for (text, hundredths) in [("0", 0), ("12", 1200), ("12.5", 1250), ("12.50", 1250), ("-0.01", -1)] {
            assert_eq!(text.parse(), Ok(Amount(hundredths)), "{text}");
        }
        for text in ["", "-", ".5", "5.", "1.234", "1e400", "+1", " 1", "1,50", "0x1", "NaN", "١"] {
            assert!(matches!(text.parse::<Amount>(), Err(AmountError::Malformed(_))), "{text}");
        }
        for text in ["10000000000.01", "99999999999999999999", &"9".repeat(400)] {
            assert!(matches!(text.parse::<Amount>(), Err(AmountError::TooLarge(_))), "{text}");
        }
        assert!(serde_json::from_str::<Amount>("12.5").unwrap_err().to_string().contains("decimal string"));
    }
}
