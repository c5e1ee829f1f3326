//! What ends a benchmark early.

/// What went wrong: one sentence that names the thing and says what to do.
pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

/// A result of this program.
pub(crate) type Result<T, E = Failure> = std::result::Result<T, E>;

/// A failure of one sentence.
pub(crate) fn failed<T>(message: impl Into<String>) -> Result<T> {
    Err(Failure::from(message.into()))
}
