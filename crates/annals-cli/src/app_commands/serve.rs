//! `serve`: the application over HTTP.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;

use annals_app::RunningApp;
use annals_http::{ServeOptions, Server, Tokens};
use clap::Args;

use crate::{Failure, Session, stop_signal};

/// How to serve.
#[derive(Debug, Args)]
pub(crate) struct Serve {
    #[command(flatten)]
    listening: Listening,
}

/// Where to listen, and for whom.
#[derive(Debug, Clone, Args)]
pub struct Listening {
    /// Where to listen; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:4000", value_parser = parse_address)]
    listen: SocketAddr,
    /// A file of lines NAME TOKEN [ROLE,ROLE]: whoever sends `authorization: Bearer TOKEN` is let in as NAME
    #[arg(long, value_name = "FILE")]
    tokens: Option<PathBuf>,
    /// Listen beyond this machine although no tokens are set
    #[arg(long)]
    open_to_everyone: bool,
}

fn parse_address(text: &str) -> Result<SocketAddr, String> {
    let expected = || "expected HOST:PORT, such as 127.0.0.1:4000".to_owned();
    text.to_socket_addrs().map_err(|_| expected())?.next().ok_or_else(expected)
}

impl Serve {
    pub(crate) async fn run(self, mut session: Session) -> Result<(), Failure> {
        let app = session.start().await?;
        let server = self.listening.bind(&app).await?;
        session.say(format!("{} listens on http://{}; Ctrl-C stops it", app.name(), server.address()));
        session.say(format!("it keeps {}", app.store().description()));
        server.run(stop_signal()).await?;
        session.say("stopped; nothing was lost");
        Ok(())
    }
}

impl Listening {
    /// Listens for an application, and notes with its store where it is served.
    ///
    /// # Errors
    /// [`annals_http::ServeError`] when the address cannot be listened on.
    pub async fn bind(self, app: &RunningApp) -> Result<Server, Failure> {
        let tokens = self.tokens.as_deref().map(Tokens::read).transpose()?.unwrap_or_default();
        let options = ServeOptions { tokens, open_to_everyone: self.open_to_everyone };
        let server = Server::bind(app.clone(), self.listen, options).await?;
        app.store().announce(&format!("http://{}", server.address()));
        Ok(server)
    }
}
