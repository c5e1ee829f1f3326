//! `query`: a question, answered here or by a running service. `as-of`: the same, from a read model as it was.

use std::time::Duration;

use annals_app::{At, Freshness, Principal, RunningApp};
use annals_core::{Position, Timestamp};
use clap::Args;

use crate::remote::{Remote, RemoteRequest, path};
use crate::{Failure, Session};

/// How long a read model may take to catch up before the question is given up.
const PATIENCE: Duration = Duration::from_secs(3600);

/// A read model that takes longer than this to catch up shows how far it is.
const SILENCE: Duration = Duration::from_millis(500);

/// Waits until the read model behind a question has all events.
async fn catch_up(app: &RunningApp, session: &Session, query: &str) -> Result<(), Failure> {
    let caught_up = app.catch_up_for(query, PATIENCE);
    tokio::pin!(caught_up);
    if let Ok(done) = tokio::time::timeout(SILENCE, &mut caught_up).await {
        return Ok(done?);
    }
    let progress = session.progress("catching up", "positions");
    loop {
        let behind = app.projections().await?;
        let slowest = behind.iter().min_by_key(|status| status.position);
        slowest.into_iter().for_each(|status| progress.set(status.position.get(), status.head.get()));
        if let Ok(done) = tokio::time::timeout(SILENCE / 5, &mut caught_up).await {
            progress.finish();
            return Ok(done?);
        }
    }
}

/// A question.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  query Balances\n  query BalanceOf account=42\n  query BalanceOf account=42 \
                        --server http://127.0.0.1:4000"
)]
pub(crate) struct Query {
    /// The question, such as Balances
    query: String,
    /// Its fields: NAME=TEXT
    #[arg(value_name = "FIELDS")]
    fields: Vec<String>,
    /// Do not wait for the read model: count what it has not got yet for this answer alone
    #[arg(long)]
    fresh: bool,
    /// Ask a running service instead of opening the store
    #[arg(long, value_name = "URL")]
    server: Option<String>,
}

impl Query {
    pub(crate) async fn run(self, mut session: Session) -> Result<(), Failure> {
        let form = form_of(&self.fields)?;
        if let Some(server) = &self.server {
            let path = format!("{}?{form}", path(&["queries", &self.query]));
            let headers = self.fresh.then(|| ("annals-fresh", "true".to_owned())).into_iter().collect();
            let request = RemoteRequest { path, headers, ..RemoteRequest::default() };
            return session.output().print_json(&Remote::new(server)?.send(request).await?);
        }
        let app = session.start_on_existing().await?;
        let freshness = if self.fresh {
            Freshness::Fresh
        } else {
            catch_up(&app, &session, &self.query).await?;
            Freshness::AtLeast(Position::ZERO)
        };
        let answer = app.answer(&self.query, form, freshness, &Principal::anonymous()).await?;
        session.output().print_json(&answer.json)
    }
}

/// The fields of a question as a form.
fn form_of(fields: &[String]) -> Result<String, Failure> {
    let pairs = fields.iter().map(|field| {
        field.split_once('=').ok_or_else(|| Failure::usage(format!("{field:?}: expected NAME=TEXT")))
    });
    serde_urlencoded::to_string(pairs.collect::<Result<Vec<_>, _>>()?).map_err(Failure::usage)
}

/// A question to a read model as it was.
#[derive(Debug, Args)]
#[command(
    after_help = "The read model is built anew from the events up to there, apart from the live one.\n\nExamples:\n  as-of 1000 \
                  Balances\n  as-of 2026-03-31T12:00:00Z BalanceOf account=42\n  as-of --occurred 2026-03-31 BalanceOf \
                  account=42\n  as-of 1000 Balances --server http://127.0.0.1:4000"
)]
pub(crate) struct AsOf {
    /// A position of the log, or a time: as it was when everything up to then was recorded
    #[arg(value_name = "POSITION|TIME")]
    when: String,
    /// The question, such as Balances
    query: String,
    /// Its fields: NAME=TEXT
    #[arg(value_name = "FIELDS")]
    fields: Vec<String>,
    /// The time is one of occurrence: of what had happened by then, whenever it was recorded
    #[arg(long)]
    occurred: bool,
    /// Ask a running service instead of opening the store
    #[arg(long, value_name = "URL")]
    server: Option<String>,
}

impl AsOf {
    fn at(&self) -> Result<At, Failure> {
        let when = &self.when;
        match (when.parse::<Position>(), when.parse::<Timestamp>()) {
            (Ok(_), _) if self.occurred => {
                Err(Failure::usage(format!("{when:?}: expected a time with --occurred, found a position")))
            }
            (Ok(position), _) => Ok(At::Position(position)),
            (_, Ok(moment)) if self.occurred => Ok(At::OccurredAt(moment)),
            (_, Ok(moment)) => Ok(At::RecordedAt(moment)),
            (_, Err(error)) => {
                Err(Failure::usage(format!("{when:?}: expected a position or a time: {error}")))
            }
        }
    }

    pub(crate) async fn run(self, mut session: Session) -> Result<(), Failure> {
        let at = self.at()?;
        let form = form_of(&self.fields)?;
        if let Some(server) = &self.server {
            let moment = match at {
                At::Position(position) => ("annals-position", position.to_string()),
                At::OccurredAt(moment) => ("annals-occurred-at", moment.to_string()),
                _ => ("annals-at", self.when.clone()),
            };
            let moment = serde_urlencoded::to_string([moment]).map_err(Failure::usage)?;
            let path = format!("{}?{form}&{moment}", path(&["queries", &self.query]));
            let request = RemoteRequest { path, ..RemoteRequest::default() };
            return session.output().print_json(&Remote::new(server)?.send(request).await?);
        }
        let app = session.start_on_existing().await?;
        let progress = session.progress("building", "positions");
        let report = |done: annals_app::RebuildProgress| progress.set(done.done, done.total);
        let answer = app.answer_as_of(&self.query, form, at, &Principal::anonymous(), &report).await;
        progress.finish();
        session.output().print_json(&answer?.json)
    }
}
