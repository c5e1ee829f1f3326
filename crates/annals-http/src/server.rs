//! Listening, and stopping without losing anything.

use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use annals_app::RunningApp;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::guard::Guard;
use crate::{Tokens, routes};

/// After this long, a stopping service waits no more for clients that do not finish their requests.
const GRACE: Duration = Duration::from_secs(10);

/// How a service listens.
#[derive(Debug, Clone, Default)]
pub struct ServeOptions {
    /// Who is known by which token; none means that no token is asked for.
    pub tokens: Tokens,
    /// Listen beyond loopback although no token is asked for.
    pub open_to_everyone: bool,
}

/// Why a service does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}; choose another address with --listen")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The address is beyond loopback and nobody would have to say who they are.
    #[error(
        "{address} can be reached from other machines, and no tokens are set: give a file of NAME TOKEN lines with \
         --tokens FILE, listen on 127.0.0.1, or say --open-to-everyone"
    )]
    Unprotected {
        /// The address.
        address: SocketAddr,
    },
    /// The tokens cannot be read.
    #[error("cannot read the tokens in {}: {reason}", path.display())]
    Tokens {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Serving failed.
    #[error("serving failed: {0}")]
    Serve(#[from] std::io::Error),
}

/// An application that listens and has not begun to answer.
pub struct Server {
    app: RunningApp,
    listener: TcpListener,
    guard: Guard,
    address: SocketAddr,
}

impl Server {
    /// Listens on `address`; port 0 takes a free one.
    ///
    /// # Errors
    /// [`ServeError::Unprotected`] for an address beyond loopback without tokens, [`ServeError::Listen`].
    pub async fn bind(
        app: RunningApp,
        address: SocketAddr,
        options: ServeOptions,
    ) -> Result<Self, ServeError> {
        let loopback = address.ip().is_loopback();
        if !loopback && options.tokens.is_empty() && !options.open_to_everyone {
            return Err(ServeError::Unprotected { address });
        }
        let listener =
            TcpListener::bind(address).await.map_err(|source| ServeError::Listen { address, source })?;
        let address = listener.local_addr()?;
        let guard = Guard { tokens: options.tokens, any_host: !loopback };
        Ok(Self { app, listener, guard, address })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until `stop` is done; then takes no new requests, ends live streams and finishes what was begun.
    ///
    /// # Errors
    /// [`ServeError::Serve`] when the system fails.
    pub async fn run(self, stop: impl Future<Output = ()> + Send + 'static) -> Result<(), ServeError> {
        let (stopping, stopped) = watch::channel(false);
        let router = routes::router(self.app, self.guard, stopped);
        let mut told = stopping.subscribe();
        let signal = async move {
            stop.await;
            stopping.send_replace(true);
        };
        let patience = async move {
            let _ = told.wait_for(|stopping| *stopping).await;
            tokio::time::sleep(GRACE).await;
        };
        let serving = axum::serve(self.listener, router).with_graceful_shutdown(signal);
        tokio::select! {
            served = serving => Ok(served?),
            () = patience => Ok(()),
        }
    }
}
