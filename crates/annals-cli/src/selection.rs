//! Which events, as options of the command line.

use annals_core::{
    Category, CorrelationId, EventType, Filter, FilterItem, Position, ReadFrom, ReadRequest, RecordedEvent,
    StreamName, SubscriptionMessage, Tag, Timestamp, cloud_event, subscribe,
};
use clap::Args;
use serde::Serialize;

use crate::output::print_line;
use crate::{Failure, Output, Session};

/// Which events to show.
#[derive(Debug, Clone, Args)]
pub(crate) struct Selection {
    /// Only events of this stream, such as account-42
    #[arg(long, value_name = "NAME")]
    stream: Option<StreamName>,
    /// Only events of streams of this category, such as account
    #[arg(long, value_name = "NAME")]
    category: Option<Category>,
    /// Only events of this type; given several times, any of them
    #[arg(long = "type", value_name = "NAME")]
    types: Vec<EventType>,
    /// Only events with this tag; given several times, all of them
    #[arg(long = "tag", value_name = "KEY:VALUE")]
    tags: Vec<Tag>,
    /// Only events with this correlation id
    #[arg(long, value_name = "ID")]
    correlation: Option<CorrelationId>,
}

impl Selection {
    pub(crate) fn filter(self) -> Filter {
        let Self { stream, category, types, tags, correlation } = self;
        let item = FilterItem { stream, category, types, tags, correlation_id: correlation, event_id: None };
        if item == FilterItem::default() { Filter::all() } else { item.into() }
    }

    /// The same events, of one stream only where one is named beside the options.
    pub(crate) fn named(self, stream: Option<StreamName>) -> Result<Self, Failure> {
        match (&self.stream, stream) {
            (Some(_), Some(_)) => Err(Failure::usage("the stream is given twice")),
            (None, Some(stream)) => Ok(Self { stream: Some(stream), ..self }),
            (_, None) => Ok(self),
        }
    }

    /// The category that was asked for.
    pub(crate) fn category(&self) -> Option<&Category> {
        self.category.as_ref()
    }
}

/// Where to begin, which way and how many.
#[derive(Debug, Clone, Args)]
pub(crate) struct Span {
    /// Begin after this position
    #[arg(long, value_name = "POSITION", conflicts_with = "from")]
    after: Option<Position>,
    /// Begin with what was recorded at this time: 1993-03-31 or 1993-03-31T12:00:00Z
    #[arg(long, value_name = "TIME")]
    from: Option<Timestamp>,
    /// From new to old
    #[arg(long)]
    backwards: bool,
    /// At most so many
    #[arg(long, value_name = "COUNT")]
    limit: Option<u64>,
}

impl Span {
    pub(crate) fn request(&self, filter: Filter) -> ReadRequest {
        let from = match (self.after, self.from) {
            (Some(after), _) if self.backwards => ReadFrom::Position(after.previous()),
            (Some(after), _) => ReadFrom::Position(after.next()),
            (None, Some(moment)) => ReadFrom::RecordedAt(moment),
            (None, None) => ReadFrom::Start,
        };
        let request = ReadRequest { filter, from, limit: self.limit, ..ReadRequest::default() };
        if self.backwards { request.backwards() } else { request }
    }
}

#[derive(Serialize)]
struct EventRow<'a> {
    position: u64,
    stream: &'a str,
    version: u64,
    r#type: &'a str,
    occurred: String,
    data: String,
}

/// A payload is shown up to here in a table.
const SHOWN_CHARACTERS: usize = 72;

impl<'a> EventRow<'a> {
    fn new(event: &'a RecordedEvent) -> Self {
        let text = String::from_utf8_lossy(event.payload());
        let mut data: String = text.chars().take(SHOWN_CHARACTERS).collect();
        if data.len() < text.len() {
            data.push('…');
        }
        Self {
            position: event.position().get(),
            stream: event.stream(),
            version: event.version().get(),
            r#type: event.event_type(),
            occurred: event.occurred_at().to_string(),
            data,
        }
    }
}

fn print_events(output: Output, events: &[RecordedEvent]) -> Result<(), Failure> {
    match output {
        Output::Table => output.print(&events.iter().map(EventRow::new).collect::<Vec<_>>()),
        Output::Json => {
            events.iter().try_for_each(|event| print_line(&cloud_event(event).map_err(Failure::new)?))
        }
    }
}

/// Prints the events of a read: a table for each batch, or a CloudEvent a line.
pub(crate) async fn show(session: &Session, request: ReadRequest) -> Result<(), Failure> {
    let store = session.open_existing_store().await?.events;
    let mut reader = store.reader(request);
    let mut any = false;
    while let Some(events) = reader.next_batch().await? {
        any |= !events.is_empty();
        print_events(session.output(), &events)?;
    }
    if !any {
        session.say("no such events");
    }
    Ok(())
}

/// Prints events as they are stored, from a position or from now on, until Ctrl-C.
pub(crate) async fn follow(
    session: &Session,
    filter: Filter,
    after: Option<Position>,
) -> Result<(), Failure> {
    let store = session.open_existing_store().await?.events;
    let after = match after {
        Some(after) => after,
        None => store.head().await?,
    };
    let mut events = subscribe(store, filter, after);
    let stop = crate::stop_signal();
    tokio::pin!(stop);
    loop {
        tokio::select! {
            () = &mut stop => return Ok(()),
            message = events.next() => match message? {
                SubscriptionMessage::Events(events) => print_events(session.output(), &events)?,
                SubscriptionMessage::CaughtUp(_) | SubscriptionMessage::FellBehind => {}
            },
        }
    }
}
