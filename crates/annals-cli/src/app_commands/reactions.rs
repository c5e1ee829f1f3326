//! `reactions`, with what can be done about their dead letters.

use annals_app::RunningApp;
use annals_core::{Opening, Position};
use clap::{Args, Subcommand};

use crate::remote::{Remote, RemoteRequest, path};
use crate::{Failure, Session};

/// Where each reaction stands, and what can be done about the events that one has given up.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  reactions\n  reactions dead-letters welcome-mail\n  reactions retry welcome-mail 500000 \
                        --server http://127.0.0.1:4000"
)]
pub(crate) struct Reactions {
    #[command(subcommand)]
    care: Option<Care>,
    /// Ask a running service instead of opening the store
    #[arg(long, value_name = "URL", global = true)]
    server: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Care {
    /// Show where each reaction stands
    List,
    /// Show the events that one has given up
    DeadLetters { reaction: String },
    /// Have it handle one of them once more, now
    Retry {
        reaction: String,
        /// The position of the event
        position: Position,
    },
    /// Do nothing about one of them any more
    Drop {
        reaction: String,
        /// The position of the event
        position: Position,
    },
}

impl Reactions {
    pub(crate) async fn run(self, mut session: Session) -> Result<(), Failure> {
        let care = self.care.unwrap_or(Care::List);
        if let Some(server) = &self.server {
            return session.output().print_json(&Remote::new(server)?.send(care.request()).await?);
        }
        // What is settled is noted in the store.
        let app = session.start_passive(care.opening()).await?;
        match care.take(&app).await? {
            None => session.output().print(&app.reactions().await?),
            Some(reaction) => session.output().print(&app.dead_letters(reaction).await?),
        }
    }
}

impl Care {
    fn opening(&self) -> Opening {
        match self {
            Self::List | Self::DeadLetters { .. } => Opening::ToRead,
            Self::Retry { .. } | Self::Drop { .. } => Opening::ToWrite,
        }
    }

    /// Does it, and tells the reaction whose dead letters are to be shown then.
    async fn take(&self, app: &RunningApp) -> Result<Option<&str>, Failure> {
        Ok(match self {
            Self::List => None,
            Self::DeadLetters { reaction } => Some(reaction),
            Self::Retry { reaction, position } => {
                app.retry_dead_letter(reaction, *position).await?;
                Some(reaction)
            }
            Self::Drop { reaction, position } => {
                app.drop_dead_letter(reaction, *position).await?;
                Some(reaction)
            }
        })
    }

    fn request(&self) -> RemoteRequest {
        let settle = |reaction: &str, position: &Position, what: &str| RemoteRequest {
            path: path(&["reactions", reaction, "dead-letters", &position.to_string(), what]),
            body: Some(Vec::new()),
            ..RemoteRequest::default()
        };
        let show = |path: String| RemoteRequest { path, ..RemoteRequest::default() };
        match self {
            Self::List => show(path(&["reactions"])),
            Self::DeadLetters { reaction } => show(path(&["reactions", reaction, "dead-letters"])),
            Self::Retry { reaction, position } => settle(reaction, position, "retry"),
            Self::Drop { reaction, position } => settle(reaction, position, "drop"),
        }
    }
}
