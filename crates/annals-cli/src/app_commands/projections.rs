//! `projections`, with what can be done about one, and `rebuild`.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use annals_app::{ProjectionState, ProjectionStatus, RebuildProgress, RunningApp};
use annals_core::Position;
use clap::{Args, Subcommand};

use crate::remote::{Remote, RemoteRequest, path};
use crate::{Failure, Session};

/// Projections are given this long to show where they stand.
const GLANCE: Duration = Duration::from_secs(2);
/// A projection may take this long until it comes to the event that it fails on.
const PATIENCE: Duration = Duration::from_secs(3600);

/// Where each projection stands, and what can be done about one.
#[derive(Debug, Args)]
#[command(
    after_help = "A projection is named by its name, or by name@version.\n\nExamples:\n  projections\n  projections skip balances \
                  500000\n  projections prove balances --server http://127.0.0.1:4000"
)]
pub(crate) struct Projections {
    #[command(subcommand)]
    care: Option<Care>,
    /// Ask a running service instead of opening the store
    #[arg(long, value_name = "URL", global = true)]
    server: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Care {
    /// Try one that has stopped again, at once
    Retry { projection: String },
    /// Go on without the event at which it stopped; the read model remembers it
    Skip {
        projection: String,
        /// Where it stopped
        position: Position,
    },
    /// Go on without the events of the key of the event at which it stopped; they wait
    Park {
        projection: String,
        /// Where it stopped
        position: Position,
    },
    /// Take in the events of a parked key, and then those that come
    Release { projection: String, key: String },
    /// Show whether the read model has seen every event that it needs
    Prove { projection: String },
    /// Let the version or build before take the place of the one that answers
    RollBack { projection: String },
    /// Let the newest version answer again
    RollForward { projection: String },
}

impl Projections {
    pub(crate) async fn run(self, mut session: Session) -> Result<(), Failure> {
        if let Some(server) = &self.server {
            let request = self.care.as_ref().map_or_else(list, Care::request);
            return session.output().print_json(&Remote::new(server)?.send(request).await?);
        }
        let app = session.start_on_existing().await?;
        let Some(care) = self.care else {
            // One that has stopped or is behind is just what is to be shown.
            return session.output().print(&settled(&app).await?);
        };
        // Where it stops shows when it gets there.
        let _ = app.catch_up_projection(care.projection(), PATIENCE).await;
        if let Care::Prove { projection } = &care {
            return session.output().print(&app.prove(projection).await?);
        }
        care.take(&app).await?;
        let _ = app.catch_up_projection(care.projection(), PATIENCE).await;
        let name = care.projection().split('@').next().unwrap_or_default().to_owned();
        let mut all = app.projections().await?;
        all.retain(|status| status.name == name);
        session.output().print(&all)
    }
}

/// Where projections stand when each is live, stands by or has stopped, if that comes soon.
async fn settled(app: &RunningApp) -> Result<Vec<ProjectionStatus>, Failure> {
    let begun = Instant::now();
    loop {
        let all = app.projections().await?;
        let is_settled = |status: &ProjectionStatus| status.state != ProjectionState::CatchingUp;
        if all.iter().all(is_settled) || begun.elapsed() >= GLANCE {
            return Ok(all);
        }
        tokio::time::sleep(GLANCE / 400).await;
    }
}

fn list() -> RemoteRequest {
    RemoteRequest { path: "/projections".to_owned(), ..RemoteRequest::default() }
}

impl Care {
    fn projection(&self) -> &str {
        match self {
            Self::Retry { projection }
            | Self::Skip { projection, .. }
            | Self::Park { projection, .. }
            | Self::Release { projection, .. }
            | Self::Prove { projection }
            | Self::RollBack { projection }
            | Self::RollForward { projection } => projection,
        }
    }

    async fn take(&self, app: &RunningApp) -> Result<(), Failure> {
        match self {
            Self::Retry { projection } => app.retry(projection)?,
            Self::Skip { projection, position } => app.skip(projection, *position).await?,
            Self::Park { projection, position } => app.park(projection, *position).await?,
            Self::Release { projection, key } => app.release(projection, key).await?,
            Self::RollBack { projection } => app.roll_back(projection).await?,
            Self::RollForward { projection } => app.roll_forward(projection).await?,
            Self::Prove { .. } => {}
        }
        Ok(())
    }

    fn request(&self) -> RemoteRequest {
        let (what, parameter) = match self {
            Self::Retry { .. } => ("retry", None),
            Self::Skip { position, .. } => ("skip", Some(("position", position.to_string()))),
            Self::Park { position, .. } => ("park", Some(("position", position.to_string()))),
            Self::Release { key, .. } => ("release", Some(("key", key.clone()))),
            Self::Prove { .. } => ("proof", None),
            Self::RollBack { .. } => ("roll-back", None),
            Self::RollForward { .. } => ("roll-forward", None),
        };
        let parameter = parameter.and_then(|pair| serde_urlencoded::to_string([pair]).ok());
        let parameter = parameter.map(|pair| format!("?{pair}")).unwrap_or_default();
        let body = (what != "proof").then(Vec::new);
        let path = format!("{}{parameter}", path(&["projections", self.projection(), what]));
        RemoteRequest { path, body, ..RemoteRequest::default() }
    }
}

/// Builds read models anew, several in one pass over the events.
#[derive(Debug, Args)]
pub(crate) struct Rebuild {
    /// The projections, as `projections` lists them
    #[arg(required = true, value_name = "PROJECTION")]
    projections: Vec<String>,
    /// Ask a running service instead of opening the store
    #[arg(long, value_name = "URL")]
    server: Option<String>,
}

impl Rebuild {
    pub(crate) async fn run(self, mut session: Session) -> Result<(), Failure> {
        let names: Vec<&str> = self.projections.iter().map(String::as_str).collect();
        if let Some(server) = &self.server {
            let path = path(&["projections", &names.join(","), "rebuild"]);
            let request = RemoteRequest { path, body: Some(Vec::new()), ..RemoteRequest::default() };
            return session.output().print_json(&Remote::new(server)?.send(request).await?);
        }
        let app = session.start_on_existing().await?;
        let progress = session.progress(&format!("rebuilding {}", names.join(", ")), "positions");
        let slowest = Slowest::default();
        let report = |now: RebuildProgress| {
            let (done, total) = slowest.update(&now);
            progress.set(done, total);
        };
        let rebuilt = app.rebuild_several(&names, &report).await;
        progress.finish();
        let rebuilt: Result<Vec<_>, _> = rebuilt?.into_iter().collect();
        match &rebuilt?[..] {
            [one] => session.output().print(one),
            several => session.output().print(&several),
        }
    }
}

/// How far the slowest of several rebuilds is.
#[derive(Default)]
struct Slowest(Mutex<std::collections::BTreeMap<&'static str, u64>>);

impl Slowest {
    fn update(&self, now: &RebuildProgress) -> (u64, u64) {
        let mut all = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        all.insert(now.projection, now.done);
        (all.values().copied().min().unwrap_or_default(), now.total)
    }
}
