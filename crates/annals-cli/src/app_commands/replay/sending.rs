//! Gives commands to the other service, several at once, and notes what comes of them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use annals_app::{ReissueError, Reissues};
use annals_core::{Position, RecordedEvent};
use tokio::task::{JoinHandle, JoinSet};

use super::History;
use super::lanes::{Job, Lanes};
use super::pace::Pace;
use super::tally::Tally;
use crate::remote::{Remote, RemoteAnswer, RemoteRequest, path};
use crate::{Failure, Progress, Session, stop_signal};

/// No more is read while so many commands wait.
const MOST_WAITING: usize = 4_096;

/// How a replay ended.
pub(crate) enum Ended {
    /// Everything was given.
    Whole,
    /// Ctrl-C.
    Interrupted,
    /// The service could not be reached any more.
    Unreachable(String),
    /// An event becomes no command although it should.
    NoCommand(ReissueError),
}

/// A command that was given, and what came of it.
struct Answered {
    job: Job,
    answer: Result<RemoteAnswer, String>,
    took: Duration,
}

pub(crate) struct Sending<'a> {
    session: &'a Session,
    progress: Progress,
    remote: Remote,
    reissues: Reissues,
    concurrency: usize,
    lanes: Lanes,
    under_way: JoinSet<Answered>,
    /// The positions whose commands are not all answered, and how many are not.
    open: BTreeMap<Position, usize>,
    /// The last position that was read.
    read: Position,
    first_failed: Option<Position>,
    tally: Tally,
}

impl<'a> Sending<'a> {
    /// Begins to give history, of which `first` is the first position.
    pub(crate) fn new(
        session: &'a Session,
        remote: Remote,
        reissues: Reissues,
        concurrency: usize,
        first: Position,
    ) -> Self {
        Self {
            session,
            progress: session.progress("replaying", "positions"),
            remote,
            reissues,
            concurrency,
            lanes: Lanes::default(),
            under_way: JoinSet::new(),
            open: BTreeMap::new(),
            read: first.previous(),
            first_failed: None,
            tally: Tally::new(),
        }
    }

    /// Gives all of history, and waits for the answers.
    pub(crate) async fn all(&mut self, history: &mut History<'_>, pace: Pace) -> Result<Ended, Failure> {
        let mut stop = tokio::spawn(stop_signal());
        let ended = self.give(history, pace, &mut stop).await;
        stop.abort();
        self.progress.finish();
        ended
    }

    async fn give(
        &mut self,
        history: &mut History<'_>,
        mut pace: Pace,
        stop: &mut JoinHandle<()>,
    ) -> Result<Ended, Failure> {
        let mut ended = Ended::Whole;
        loop {
            while let Some(answered) = self.under_way.try_join_next() {
                self.take(answered, &mut ended)?;
            }
            if matches!(ended, Ended::Whole) && stop.is_finished() {
                ended = Ended::Interrupted;
            }
            let mut due = None;
            if !matches!(ended, Ended::Whole) {
                // What was begun is waited for; what was not is left for the next replay.
                self.lanes.clear();
            } else if self.lanes.waiting() < MOST_WAITING {
                history.fill().await?;
                due = history.next().map(|event| pace.due(event).unwrap_or_else(Instant::now));
            }
            self.begin();
            match due {
                Some(due) if due <= Instant::now() => {
                    if let Some(event) = history.take() {
                        let added = self.add(&event, pace.due(&event), history.to());
                        added.unwrap_or_else(|error| ended = Ended::NoCommand(error));
                    }
                    continue;
                }
                None if self.under_way.is_empty() => return Ok(ended),
                _ => {}
            }
            // One that was told to stop waits only for what is under way.
            let listens = matches!(ended, Ended::Whole);
            let due_later = async {
                match due {
                    Some(due) => tokio::time::sleep_until(due.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                Some(answered) = self.under_way.join_next() => self.take(answered, &mut ended)?,
                _ = &mut *stop, if listens => ended = Ended::Interrupted,
                () = due_later => {}
            }
        }
    }

    /// Takes the commands of an event up.
    fn add(&mut self, event: &RecordedEvent, due: Option<Instant>, to: Position) -> Result<(), ReissueError> {
        let commands = self.reissues.commands_of(event)?;
        self.tally.event(event.event_type(), commands.is_empty());
        self.read = event.position();
        self.progress.set(event.position().get(), to.get());
        for command in commands {
            *self.open.entry(event.position()).or_default() += 1;
            self.lanes.add(Job {
                position: event.position(),
                stream: event.stream().to_owned(),
                occurred_at: event.occurred_at(),
                correlation_id: event.correlation_id().map(str::to_owned),
                command,
                due,
            });
        }
        Ok(())
    }

    /// Gives as many commands as may be under way.
    fn begin(&mut self) {
        while self.under_way.len() < self.concurrency {
            let Some(job) = self.lanes.next() else { return };
            self.tally.given(&job);
            let remote = self.remote.clone();
            self.under_way.spawn_blocking(move || {
                let begun = Instant::now();
                let answer = remote.exchange(request(&job)).map_err(|error| error.to_string());
                Answered { job, answer, took: begun.elapsed() }
            });
        }
    }

    fn take(
        &mut self,
        answered: Result<Answered, tokio::task::JoinError>,
        ended: &mut Ended,
    ) -> Result<(), Failure> {
        let Answered { job, answer, took } = answered.map_err(Failure::new)?;
        let answer = match answer {
            Ok(answer) => answer,
            Err(reason) => {
                *ended = Ended::Unreachable(reason);
                return Ok(());
            }
        };
        if self.tally.answered(self.session, &job, &answer, took) {
            self.first_failed = Some(self.first_failed.map_or(job.position, |first| first.min(job.position)));
        }
        self.lanes.answered(&job.stream);
        if let Some(left) = self.open.get_mut(&job.position) {
            *left -= 1;
            if *left == 0 {
                self.open.remove(&job.position);
            }
        }
        Ok(())
    }

    pub(crate) fn summary(&self) -> serde_json::Value {
        self.tally.summary()
    }

    pub(crate) fn failed(&self) -> u64 {
        self.tally.failed()
    }

    /// Why not everything was done, and where to go on.
    pub(crate) fn failure(&self, ended: Ended, to: Position) -> Failure {
        let unanswered = self.open.keys().next().copied().unwrap_or(self.read.next());
        let from = self.first_failed.map_or(unanswered, |failed| failed.min(unanswered));
        let go_on = format!("go on with --from-position {from}; what was done is not done again");
        let server = self.remote.server();
        match ended {
            Ended::Unreachable(reason) => Failure::new(format!(
                "cannot reach the service at {server}: {reason}; is it running? {go_on}"
            )),
            Ended::NoCommand(error) => Failure::new(format!("{error}; {go_on}")),
            Ended::Interrupted if from > to => Failure::new("interrupted when everything was done"),
            Ended::Interrupted => Failure::new(format!("interrupted; {go_on}")),
            Ended::Whole => Failure::new(format!(
                "the service at {server} failed to do {} of the commands; when it is well again, {go_on}",
                self.failed()
            )),
        }
    }
}

fn request(job: &Job) -> RemoteRequest {
    let command = &job.command;
    let mut headers = vec![
        ("idempotency-key", command.command_id.to_string()),
        ("annals-occurred-at", job.occurred_at.to_string()),
    ];
    // Headers are ASCII; an id that is not cannot have come by HTTP, and cannot go by it.
    let id = job.correlation_id.as_ref().filter(|id| id.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
    headers.extend(id.map(|id| ("annals-correlation-id", id.clone())));
    RemoteRequest {
        path: path(&["commands", &command.category, &command.id, command.name]),
        headers,
        body: Some(command.json.to_vec()),
    }
}
