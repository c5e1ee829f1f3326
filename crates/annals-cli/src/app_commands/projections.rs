//! `projections` and `rebuild`.

use std::time::{Duration, Instant};

use clap::Args;

use crate::remote::{Remote, RemoteRequest, path};
use crate::{Failure, Session};

/// Projections are given this long to show where they stand.
const GLANCE: Duration = Duration::from_millis(500);

/// Where each projection stands.
#[derive(Debug, Args)]
pub(crate) struct Projections {
    /// Ask a running service instead of opening the store
    #[arg(long, value_name = "URL")]
    server: Option<String>,
}

impl Projections {
    pub(crate) async fn run(self, mut session: Session) -> Result<(), Failure> {
        if let Some(server) = &self.server {
            let request = RemoteRequest { path: "/projections".to_owned(), ..RemoteRequest::default() };
            return session.output().print_json(&Remote::new(server)?.send(request).await?);
        }
        let app = session.start_on_existing().await?;
        // One that has stopped or is behind is just what is to be shown.
        let _ = app.catch_up(GLANCE).await;
        session.output().print(&app.projections().await?)
    }
}

/// Builds a read model anew.
#[derive(Debug, Args)]
pub(crate) struct Rebuild {
    /// The projection, as `projections` lists it
    projection: String,
    /// Ask a running service instead of opening the store
    #[arg(long, value_name = "URL")]
    server: Option<String>,
}

impl Rebuild {
    pub(crate) async fn run(self, mut session: Session) -> Result<(), Failure> {
        if let Some(server) = &self.server {
            let path = path(&["projections", &self.projection, "rebuild"]);
            let request = RemoteRequest { path, body: Some(Vec::new()), ..RemoteRequest::default() };
            return session.output().print_json(&Remote::new(server)?.send(request).await?);
        }
        let app = session.start_on_existing().await?;
        let progress = session.progress(&format!("rebuilding {}", self.projection), "positions");
        let begun = Instant::now();
        let total = std::sync::atomic::AtomicU64::new(0);
        let report = |now: annals_app::RebuildProgress| {
            total.store(now.total, std::sync::atomic::Ordering::Relaxed);
            progress.set(now.done, now.total);
        };
        let rebuilt = app.rebuild(&self.projection, &report).await;
        progress.finish();
        rebuilt?;
        let positions = total.into_inner();
        let seconds = begun.elapsed().as_secs_f64();
        session.output().print(&serde_json::json!({
            "projection": self.projection,
            "positions": positions,
            "seconds": (seconds * 1e3).round() / 1e3,
            "positions_per_second": (positions as f64 / seconds.max(1e-9)).round(),
        }))
    }
}
