//! `state`: an entity, now or then.

use annals_app::At;
use annals_core::{Position, Timestamp, Version};
use clap::Args;

use crate::remote::{Remote, RemoteRequest, path};
use crate::{Failure, Session};

/// The state of an entity.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  state account 42\n  state account 42 --version 10\n  state account 42 --at \
                        1993-03-31T12:00:00Z"
)]
pub(crate) struct State {
    /// The kind of entity, such as account
    category: String,
    /// Which one, such as 42
    id: String,
    /// After its event of this version
    #[arg(long, value_name = "VERSION", conflicts_with_all = ["position", "at"])]
    version: Option<Version>,
    /// After the event at this position of the log
    #[arg(long, value_name = "POSITION", conflicts_with = "at")]
    position: Option<Position>,
    /// As it was known at this time
    #[arg(long, value_name = "TIME")]
    at: Option<Timestamp>,
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
            let when: Vec<_> = version.into_iter().chain(position).chain(at).collect();
            let when = serde_urlencoded::to_string(when).map_err(Failure::usage)?;
            let path = format!("{}?{when}", path(&["state", &self.category, &self.id]));
            let answer =
                Remote::new(server)?.send(RemoteRequest { path, ..RemoteRequest::default() }).await?;
            return session.output().print_json(&answer);
        }
        let at = match (self.version, self.position, self.at) {
            (Some(version), ..) => At::Version(version),
            (_, Some(position), _) => At::Position(position),
            (.., Some(moment)) => At::RecordedAt(moment),
            _ => At::Now,
        };
        let app = session.start_on_existing().await?;
        session.output().print(&app.state(&self.category, &self.id, at).await?)
    }
}
