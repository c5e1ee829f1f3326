//! `events`: what is stored, as lines, as a table or as a test.

use annals_core::StreamName;
use clap::Args;

use super::as_test;
use crate::selection::{self, Selection, Span};
use crate::{Failure, Session};

/// The events.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  events --limit 10\n  events account-42\n  events account-42 --as-test")]
pub(crate) struct Events {
    /// The stream to read, such as account-42
    name: Option<StreamName>,
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    span: Span,
    /// Print a Rust test of the stream: its events as they are stored, and the state that they come to
    #[arg(long, conflicts_with_all = ["after", "from", "backwards"])]
    as_test: bool,
}

impl Events {
    pub(crate) async fn run(self, session: Session) -> Result<(), Failure> {
        let request = self.span.request(self.selection.named(self.name)?.filter());
        match (self.as_test, request.filter.as_stream().cloned()) {
            (false, _) => selection::show(&session, request).await,
            (true, Some(stream)) => as_test::print(session, request, &stream).await,
            (true, None) => {
                let example = "name a stream and nothing else, as in `events account-42 --as-test`";
                Err(Failure::usage(format!("a test is made of the events of one entity: {example}")))
            }
        }
    }
}
