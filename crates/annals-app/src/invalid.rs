//! What is wrong with a command, field by field.

use std::borrow::Cow;
use std::fmt;

use serde::Serialize;

/// What is wrong with a command, field by field.
///
/// ```
/// # use annals_app::Invalid;
/// fn validate(amount: i64, purpose: &str) -> Result<(), Invalid> {
///     Invalid::new()
///         .unless(amount > 0, "amount", || format!("must be more than zero, found {amount}"))
///         .at_most_chars(140, "purpose", purpose)
///         .into_result()
/// }
/// assert_eq!(validate(5, "rent"), Ok(()));
/// let invalid = validate(0, &"x".repeat(141)).unwrap_err();
/// assert_eq!(
///     invalid.to_string(),
///     "amount: must be more than zero, found 0; purpose: must have at most 140 characters, found 141"
/// );
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Invalid {
    fields: Vec<InvalidField>,
}

/// A field that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InvalidField {
    /// Its name.
    pub field: Cow<'static, str>,
    /// What was expected, and what was found.
    pub reason: String,
}

impl Invalid {
    /// Nothing is wrong yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a field that is not as it should be: what was expected, and what was found.
    #[must_use]
    pub fn field(mut self, field: impl Into<Cow<'static, str>>, reason: impl Into<String>) -> Self {
        self.fields.push(InvalidField { field: field.into(), reason: reason.into() });
        self
    }

    /// Adds a field unless a condition holds.
    #[must_use]
    pub fn unless(self, holds: bool, field: &'static str, reason: impl FnOnce() -> String) -> Self {
        if holds { self } else { self.field(field, reason()) }
    }

    /// Adds a field whose text has more characters than this.
    #[must_use]
    pub fn at_most_chars(self, most: usize, field: &'static str, text: &str) -> Self {
        // A character has at least a byte: most texts need no counting.
        if text.len() <= most {
            return self;
        }
        let found = text.chars().count();
        self.unless(found <= most, field, || format!("must have at most {most} characters, found {found}"))
    }

    /// The fields that are not as they should be.
    pub fn fields(&self) -> &[InvalidField] {
        &self.fields
    }

    /// What a validation returns.
    ///
    /// # Errors
    /// Itself, when there is a field that is not as it should be.
    pub fn into_result(self) -> Result<(), Self> {
        if self.fields.is_empty() { Ok(()) } else { Err(self) }
    }
}

impl fmt::Display for InvalidField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.reason)
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut fields = self.fields.iter();
        if let Some(first) = fields.next() {
            first.fmt(f)?;
        }
        fields.try_for_each(|field| write!(f, "; {field}"))
    }
}

impl std::error::Error for Invalid {}
