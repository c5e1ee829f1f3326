//! `state`: an entity, now or then. `diff`: what its events changed.

use annals_app::At;
use annals_core::{Position, Timestamp, Version};
use clap::Args;

use crate::remote::{Remote, RemoteRequest, path};
use crate::{Failure, Session};

/// The state of an entity.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  state account 42\n  state account 42 --version 10\n  state account 42 --at \
                        1993-03-31T12:00:00Z\n  state account 42 --occurred-at 1993-03-31T12:00:00Z"
)]
pub(crate) struct State {
    /// The kind of entity, such as account
    category: String,
    /// Which one, such as 42
    id: String,
    /// After its event of this version
    #[arg(long, value_name = "VERSION", conflicts_with_all = ["position", "at", "occurred_at"])]
    version: Option<Version>,
    /// After the event at this position of the log
    #[arg(long, value_name = "POSITION", conflicts_with_all = ["at", "occurred_at"])]
    position: Option<Position>,
    /// As it was known at this time
    #[arg(long, value_name = "TIME", conflicts_with = "occurred_at")]
    at: Option<Timestamp>,
    /// As it was in the world at this time, as far as is known now
    #[arg(long, value_name = "TIME")]
    occurred_at: Option<Timestamp>,
    /// Ask a running service instead of opening the store
    #[arg(long, value_name = "URL")]
    server: Option<String>,
}

impl State {
    pub(crate) async fn run(self, mut session: Session) -> Result<(), Failure> {
        if let Some(server) = &self.server {
            let version = self.version.map(|version| ("version", version.to_string()));
            let position = self.position.map(|position| ("position", position.to_string()));
            let at = self.at.map(|moment| ("at", moment.to_string()));
            let occurred_at = self.occurred_at.map(|moment| ("occurred_at", moment.to_string()));
            let when: Vec<_> = version.into_iter().chain(position).chain(at).chain(occurred_at).collect();
            let when = serde_urlencoded::to_string(when).map_err(Failure::usage)?;
            let path = format!("{}?{when}", path(&["state", &self.category, &self.id]));
            let answer =
                Remote::new(server)?.send(RemoteRequest { path, ..RemoteRequest::default() }).await?;
            return session.output().print_json(&answer);
        }
        let at = match (self.version, self.position, self.at, self.occurred_at) {
            (Some(version), ..) => At::Version(version),
            (_, Some(position), ..) => At::Position(position),
            (.., Some(moment), _) => At::RecordedAt(moment),
            (.., Some(moment)) => At::OccurredAt(moment),
            _ => At::Now,
        };
        let app = session.start_on_existing().await?;
        session.output().print(&app.state(&self.category, &self.id, at).await?)
    }
}

/// What the events of an entity changed in its state.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  diff account 42\n  diff account 42 --from 3 --to 7")]
pub(crate) struct Diff {
    /// The kind of entity, such as account
    category: String,
    /// Which one, such as 42
    id: String,
    /// From the state after its event of this version
    #[arg(long, value_name = "VERSION", default_value = "0")]
    from: Version,
    /// To the state after its event of this version; without it, to the newest
    #[arg(long, value_name = "VERSION")]
    to: Option<Version>,
    /// Ask a running service instead of opening the store
    #[arg(long, value_name = "URL")]
    server: Option<String>,
}

impl Diff {
    pub(crate) async fn run(self, mut session: Session) -> Result<(), Failure> {
        if let Some(server) = &self.server {
            let to = self.to.map(|version| format!("&to={version}")).unwrap_or_default();
            let path = format!("{}?from={}{to}", path(&["diff", &self.category, &self.id]), self.from);
            let answer =
                Remote::new(server)?.send(RemoteRequest { path, ..RemoteRequest::default() }).await?;
            return session.output().print_json(&answer);
        }
        let app = session.start_on_existing().await?;
        session.output().print(&app.difference(&self.category, &self.id, self.from, self.to).await?)
    }
}
