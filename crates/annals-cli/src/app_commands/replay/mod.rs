//! `replay`: gives history to another service again, as the commands that its events become.

mod lanes;
mod pace;
mod sending;
mod tally;

use std::time::Duration;

use annals_app::{App, Reissues};
use annals_core::{EventStore, Filter, Position, ReadFrom, ReadRequest, Reader, RecordedEvent};
use clap::Args;
use serde_json::Value;

use self::pace::{By, Pace, Speed};
use self::sending::{Ended, Sending};
use crate::remote::{Remote, RemoteRequest};
use crate::selection::Selection;
use crate::{Failure, Session};

/// A service that takes longer to answer than this does not answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// History, given again.
#[derive(Debug, Args)]
#[command(
    after_help = "Each event becomes a command, as the application says. A command that the service was given before, by a \
                  replay of the same event, is not done again; so a replay that broke off can be begun again.\n\nExamples:\n  \
                  replay --to http://127.0.0.1:4001 --speed max\n  replay --to http://127.0.0.1:4001 --speed 60 --stream \
                  account-42"
)]
pub(crate) struct Replay {
    /// The service to give history to
    #[arg(long = "to", value_name = "URL")]
    server: String,
    /// How many times as fast as history happened; max is as fast as the service answers
    #[arg(long, value_name = "N|max", default_value = "1")]
    speed: Speed,
    /// The times that the pace is taken from
    #[arg(long, value_name = "TIMES", value_enum, default_value = "recorded")]
    by: By,
    /// How many commands may be under way at once, each for another entity; 1 keeps the order of the log
    #[arg(long, value_name = "COUNT", default_value = "16", value_parser = clap::value_parser!(u16).range(1..=256))]
    concurrency: u16,
    #[command(flatten)]
    selection: Selection,
    /// Begin with the event at this position
    #[arg(long, value_name = "POSITION")]
    from_position: Option<Position>,
    /// End with the event at this position
    #[arg(long, value_name = "POSITION")]
    to_position: Option<Position>,
}

impl Replay {
    pub(crate) async fn run(self, session: Session) -> Result<(), Failure> {
        let concurrency = usize::from(self.concurrency);
        let remote = Remote::with_connections("--to", &self.server, concurrency, PATIENCE)?;
        let reissues = session.app().map(App::reissues).unwrap_or_default();
        let (from, to) = (self.from_position.unwrap_or_default(), self.to_position);
        self.check(&reissues)?;
        let store = session.open_existing_store().await?.events;
        let head = store.head().await?;
        let to = to.map_or(head, |to| to.min(head));
        let mut history = History::new(&*store, self.selection.filter(), from, to);
        history.fill().await?;
        let Some(first) = history.next() else {
            session.say("no such events");
            return session.output().print(&tally::Tally::new().summary());
        };
        refuse_the_same_history(&remote, first).await?;
        let first = first.position();
        let pace = Pace::new(self.speed, self.by);
        let mut sending = Sending::new(&session, remote, reissues, concurrency, first);
        let ended = sending.all(&mut history, pace).await;
        session.output().print(&sending.summary())?;
        match ended? {
            Ended::Whole if sending.failed() == 0 => Ok(()),
            ended => Err(sending.failure(ended, to)),
        }
    }

    fn check(&self, reissues: &Reissues) -> Result<(), Failure> {
        let known: Vec<_> = reissues.categories().collect();
        if known.is_empty() {
            return Err(Failure::new(
                "the application does not say which commands its events become: say it with App::reissue",
            ));
        }
        if let Some(category) = self.selection.category().filter(|name| !known.contains(&name.as_str())) {
            return Err(Failure::usage(format!(
                "--category {category}: the application does not say which commands its events become; it does for: {}",
                known.join(", ")
            )));
        }
        match (self.from_position, self.to_position) {
            (Some(from), Some(to)) if from > to => Err(Failure::usage(format!(
                "--from-position {from} is behind --to-position {to}: expected at most {to}"
            ))),
            _ => Ok(()),
        }
    }
}

/// The events to be given, in order.
pub(crate) struct History<'a> {
    reader: Reader<'a>,
    batch: std::iter::Peekable<std::vec::IntoIter<RecordedEvent>>,
    to: Position,
}

impl<'a> History<'a> {
    fn new(store: &'a dyn EventStore, filter: Filter, from: Position, to: Position) -> Self {
        let from = ReadFrom::Position(from.max(Position::new(1)));
        let reader = Reader::new(store, ReadRequest::new(filter).from(from));
        Self { reader, batch: Vec::new().into_iter().peekable(), to }
    }

    /// Reads on, where nothing is at hand.
    pub(crate) async fn fill(&mut self) -> Result<(), Failure> {
        if self.batch.peek().is_none()
            && let Some(mut events) = self.reader.next_batch().await?
        {
            events.retain(|event| event.position() <= self.to);
            self.batch = events.into_iter().peekable();
        }
        Ok(())
    }

    /// The next event at hand.
    pub(crate) fn next(&mut self) -> Option<&RecordedEvent> {
        self.batch.peek()
    }

    pub(crate) fn take(&mut self) -> Option<RecordedEvent> {
        self.batch.next()
    }

    /// The last position that is to be given.
    pub(crate) fn to(&self) -> Position {
        self.to
    }
}

/// A service that has the event itself keeps this store or a copy of it, and would do everything twice.
async fn refuse_the_same_history(remote: &Remote, first: &RecordedEvent) -> Result<(), Failure> {
    let path = format!("/events?after={}&limit=1", first.position().previous());
    let answer = remote.clone().send(RemoteRequest { path, ..RemoteRequest::default() }).await?;
    let server = remote.server();
    let Ok(events) = serde_json::from_slice::<Vec<Value>>(&answer) else {
        return Err(Failure::new(format!(
            "{server} does not answer as a service of Annals does: expected its events at /events"
        )));
    };
    let has_it = |event: &Value| event.get("id").and_then(Value::as_str) == Some(&first.id().to_string());
    if !events.first().is_some_and(has_it) {
        return Ok(());
    }
    let position = first.position();
    Err(Failure::usage(format!(
        "the service at {server} has the event at position {position} itself: it keeps this store or a copy of it, and \
         would do everything twice; replay to a service with a store of its own"
    )))
}
