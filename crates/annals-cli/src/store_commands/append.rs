//! `append`: one event to a stream.

use std::io::Read;

use annals_core::{
    AppendRequest, CausationId, ContentType, CorrelationId, EventId, EventType, ExpectedVersion, NewEvent,
    StreamName, Tag, Timestamp, Version,
};
use clap::Args;
use serde_json::json;

use crate::{Failure, Session};

/// An event to append.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  append account-42 AccountOpened '{\"owner\":\"ann\"}' --expect none\n  append \
                        account-42 StatementScanned - --content-type application/pdf < statement.pdf"
)]
pub(crate) struct Append {
    /// The stream, such as account-42
    stream: StreamName,
    /// What happened, such as AccountOpened
    #[arg(value_name = "TYPE")]
    event_type: EventType,
    /// The payload: text, or - to read it from stdin
    #[arg(default_value = "{}", allow_hyphen_values = true)]
    payload: String,
    /// The media type of the payload
    #[arg(long, value_name = "TYPE", default_value = ContentType::JSON)]
    content_type: ContentType,
    /// A tag; may be given several times
    #[arg(long = "tag", value_name = "KEY:VALUE")]
    tags: Vec<Tag>,
    /// Append only if the stream is at this version: a number, none or exists
    #[arg(long, value_name = "VERSION", value_parser = parse_expected)]
    expect: Option<ExpectedVersion>,
    /// The id of the event; the same event with the same id is stored once
    #[arg(long, value_name = "UUID")]
    id: Option<EventId>,
    /// When it happened in the world, if not now
    #[arg(long, value_name = "TIME")]
    occurred_at: Option<Timestamp>,
    /// What it belongs to
    #[arg(long, value_name = "ID")]
    correlation: Option<CorrelationId>,
    /// What caused it
    #[arg(long, value_name = "ID")]
    causation: Option<CausationId>,
}

fn parse_expected(text: &str) -> Result<ExpectedVersion, String> {
    match text {
        "none" => Ok(ExpectedVersion::NoStream),
        "exists" => Ok(ExpectedVersion::Exists),
        number => {
            let version: Result<Version, _> = number.parse();
            version.map(ExpectedVersion::Exact).map_err(|_| "expected a number, none or exists".to_owned())
        }
    }
}

impl Append {
    pub(crate) async fn run(self, session: Session) -> Result<(), Failure> {
        let mut payload = self.payload.into_bytes();
        if payload == b"-" {
            payload.clear();
            std::io::stdin().read_to_end(&mut payload)?;
        }
        if self.content_type.as_str() == ContentType::JSON
            && let Err(error) = serde_json::from_slice::<serde::de::IgnoredAny>(&payload)
        {
            return Err(Failure::usage(format!(
                "the payload is not JSON: {error}; give another --content-type for other bytes"
            )));
        }
        let mut event = NewEvent::new(self.stream.clone(), self.event_type)
            .payload(self.content_type, payload)
            .tags(self.tags);
        event = self.id.into_iter().fold(event, NewEvent::id);
        event = self.occurred_at.into_iter().fold(event, NewEvent::occurred_at);
        event = self.correlation.into_iter().fold(event, NewEvent::correlation_id);
        event = self.causation.into_iter().fold(event, NewEvent::causation_id);
        let id = event.event_id();
        let request = AppendRequest::new([event])
            .expect(self.stream.clone(), self.expect.unwrap_or(ExpectedVersion::Any));
        let receipt = session.open_store().await?.events.append(request).await?;
        session.output().print(&json!({
            "stream": self.stream,
            "version": receipt.version_of(self.stream.as_str()),
            "position": receipt.last_position,
            "id": id,
            "recorded_at": receipt.recorded_at,
            "already_present": receipt.duplicate,
            "chain": receipt.proof.map(|proof| proof.to_string()),
        }))
    }
}
