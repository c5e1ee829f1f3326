//! How a program ends: what it says on stderr, and its exit code.

use std::process::ExitCode;

use annals_app::{Error, ProjectionError, QueryError, ReactionError, Rejection, StartError};
use annals_core::{AppendError, BoxError, NameError, StoreError};
use annals_http::ServeError;

/// Why a command of the command line failed.
#[derive(Debug)]
pub struct Failure {
    kind: Kind,
    message: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// It could not be done.
    Failed,
    /// It was asked for in a way that makes no sense.
    Usage,
    /// The domain refused it.
    Refused,
    /// Nobody reads what is printed.
    NobodyReads,
}

impl Failure {
    /// It could not be done.
    pub fn new(message: impl std::fmt::Display) -> Self {
        Self { kind: Kind::Failed, message: message.to_string() }
    }

    /// It was asked for in a way that makes no sense.
    pub fn usage(message: impl std::fmt::Display) -> Self {
        Self { kind: Kind::Usage, message: message.to_string() }
    }

    /// The domain refused it.
    pub(crate) fn refused(message: impl std::fmt::Display) -> Self {
        Self { kind: Kind::Refused, message: message.to_string() }
    }

    /// A command was not as it should be: the fields one by one.
    pub(crate) fn invalid(command: &str, fields: &[impl std::fmt::Display]) -> Self {
        let fields: String = fields.iter().map(|field| format!("\n  {field}")).collect();
        Self::usage(format!("{command} is not valid:{fields}"))
    }

    /// Says it on stderr and gives the exit code: 1 failed, 2 wrong usage, 3 refused by the domain.
    pub(crate) fn report(self) -> ExitCode {
        if self.kind == Kind::NobodyReads {
            return ExitCode::SUCCESS;
        }
        eprintln!("error: {}", self.message);
        ExitCode::from(match self.kind {
            Kind::Usage => 2,
            Kind::Refused => 3,
            Kind::Failed | Kind::NobodyReads => 1,
        })
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        let kind =
            if error.kind() == std::io::ErrorKind::BrokenPipe { Kind::NobodyReads } else { Kind::Failed };
        Self { kind, message: error.to_string() }
    }
}

impl From<Error<Rejection>> for Failure {
    fn from(error: Error<Rejection>) -> Self {
        match error {
            Error::Domain(rejection) => Self::refused(format!("{} ({})", rejection.message, rejection.code)),
            Error::Invalid { command, invalid } => Self::invalid(&command, invalid.fields()),
            Error::Unknown(_) | Error::Malformed { .. } => Self::usage(error),
            other => Self::new(other),
        }
    }
}

impl From<QueryError> for Failure {
    fn from(error: QueryError) -> Self {
        match error {
            QueryError::Unknown(_) | QueryError::Malformed { .. } => Self::usage(error),
            other => Self::new(other),
        }
    }
}

impl From<ReactionError> for Failure {
    fn from(error: ReactionError) -> Self {
        match error {
            ReactionError::Unknown(_) => Self::usage(error),
            other => Self::new(other),
        }
    }
}

impl From<NameError> for Failure {
    fn from(error: NameError) -> Self {
        Self::usage(error)
    }
}

macro_rules! plain {
    ($($error:ty),* $(,)?) => {$(
        impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                Self::new(error)
            }
        }
    )*};
}

plain!(StoreError, AppendError, StartError, ProjectionError, ServeError, serde_json::Error, BoxError);
