//! The commands of the program `annals`, for stores without an application.

mod append;
mod transfer;

use annals_core::{Position, ReadFrom, StreamName, StreamSummary, Version};
use clap::{Args, Subcommand};

use crate::selection::{self, Selection, Span};
use crate::trace::Trace;
use crate::verification::{self, Verify};
use crate::{Failure, Session, compaction};

/// How many streams are asked for at once.
const STREAMS_AT_ONCE: usize = 10_000;

/// The commands for stores without an application.
#[derive(Debug, Subcommand)]
pub(crate) enum StoreCommands {
    /// Append an event to a stream
    Append(append::Append),
    /// Show events: of one stream, or of all
    Read(Read),
    /// List the streams by name
    Streams(Streams),
    /// Show events as they are stored, until Ctrl-C
    Tail(Tail),
    /// Show what came of what: the events of a correlation, each below the one that caused it
    Trace(Trace),
    /// Write all events, a CloudEvent in JSON a line
    Export(transfer::Export),
    /// Store events that `export` wrote; those that are stored already are passed by
    Import(transfer::Import),
    /// Read everything that is stored and check it
    Verify(Verify),
    /// Give back the space of events that were deleted or truncated
    Compact,
    /// Say what kind of store this is and what it holds
    Info,
}

#[derive(Debug, Args)]
pub(crate) struct Read {
    /// The stream, such as account-42
    name: Option<StreamName>,
    /// Begin with this version of the stream
    #[arg(long, value_name = "VERSION", requires = "name", conflicts_with_all = ["after", "from"])]
    from_version: Option<Version>,
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    span: Span,
}

#[derive(Debug, Args)]
pub(crate) struct Streams {
    /// Begin after this name
    #[arg(long, value_name = "NAME")]
    after: Option<StreamName>,
    /// At most so many
    #[arg(long, value_name = "COUNT", default_value_t = usize::MAX, hide_default_value = true)]
    limit: usize,
}

#[derive(Debug, Args)]
pub(crate) struct Tail {
    #[command(flatten)]
    selection: Selection,
    /// Begin after this position instead of at the end
    #[arg(long, value_name = "POSITION")]
    after: Option<Position>,
}

impl StoreCommands {
    pub(crate) async fn run(self, session: Session) -> Result<(), Failure> {
        match self {
            Self::Append(append) => append.run(session).await,
            Self::Read(read) => read.run(session).await,
            Self::Streams(Streams { after, limit }) => {
                let store = session.open_existing_store().await?.events;
                let mut listed: Vec<StreamSummary> = Vec::new();
                while listed.len() < limit {
                    let after = listed.last().map(|last| last.stream.clone()).or_else(|| after.clone());
                    let more = store.streams(after, (limit - listed.len()).min(STREAMS_AT_ONCE)).await?;
                    if more.is_empty() {
                        break;
                    }
                    listed.extend(more);
                }
                session.output().print(&listed)
            }
            Self::Tail(Tail { selection, after }) => {
                selection::follow(&session, selection.filter(), after).await
            }
            Self::Trace(trace) => trace.run(session).await,
            Self::Export(export) => export.run(session).await,
            Self::Import(import) => import.run(session).await,
            Self::Verify(verify) => verification::verify(&session, verify).await,
            Self::Compact => compaction::compact(&session).await,
            Self::Info => info(&session).await,
        }
    }
}

impl Read {
    async fn run(self, session: Session) -> Result<(), Failure> {
        let Self { name, from_version, selection, span } = self;
        let mut request = span.request(selection.named(name)?.filter());
        if let Some(version) = from_version {
            request.from = ReadFrom::Version(version);
        }
        selection::show(&session, request).await
    }
}

async fn info(session: &Session) -> Result<(), Failure> {
    let store = session.open_existing_store().await?.events;
    let last = store.read(annals_core::ReadRequest::last(annals_core::Filter::all())).await?;
    session.output().print(&serde_json::json!({
        "store": session.store_url(),
        "description": store.description(),
        "durability": store.durability(),
        "events": store.head().await?,
        "last_recorded_at": last.events.first().map(|event| event.recorded_at()),
    }))
}
