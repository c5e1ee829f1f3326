//! Looking after the read models of a running application.

use std::sync::Arc;
use std::time::Duration;

use annals_core::{Position, StoreError};

use crate::projector::{Projector, rebuild};
use crate::{
    GapProof, ProjectionError, ProjectionStatus, QueryError, RebuildProgress, Rebuilt, RunningApp, Unknown,
};

/// A projection is named by its name, which means its newest version, or by `name@version`.
impl RunningApp {
    /// Where each version of each projection stands.
    ///
    /// # Errors
    /// What the store reports.
    pub async fn projections(&self) -> Result<Vec<ProjectionStatus>, StoreError> {
        let mut all = Vec::new();
        for versions in self.all_versions() {
            let answering = versions.answering().version();
            for projector in versions.all() {
                all.push(projector.status(projector.version() == answering).await?);
            }
        }
        Ok(all)
    }

    /// One version of a projection.
    fn projector(&self, named: &str) -> Result<&Arc<Projector>, QueryError> {
        let Some((name, version)) = named.rsplit_once('@') else { return Ok(self.versions(named)?.newest()) };
        let versions = self.versions(name)?.all();
        let found = versions.iter().find(|known| version.parse().is_ok_and(|v: u32| known.version() == v));
        found.ok_or_else(|| {
            let known = versions.iter().map(|known| format!("{name}@{}", known.version())).collect();
            QueryError::Unknown(Unknown { kind: "projection", name: named.to_owned(), known })
        })
    }

    /// Builds a read model anew from all events, beside the one that answers meanwhile, and swaps it in when it has seen
    /// every event and its [`check`](crate::Projection::check) has nothing against it. The one before is kept until the next time.
    ///
    /// # Errors
    /// [`QueryError::Unknown`] when there is no such projection; what makes it stop, in which case the old one stays.
    pub async fn rebuild(
        &self,
        projection: &str,
        report: &(dyn Fn(RebuildProgress) + Send + Sync),
    ) -> Result<Rebuilt, QueryError> {
        let mut rebuilt = self.rebuild_several(&[projection], report).await?;
        let nothing = || self.versions(projection).err();
        match rebuilt.pop() {
            Some(rebuilt) => Ok(rebuilt?),
            None => {
                Err(nothing().unwrap_or_else(|| QueryError::not_found(format!("projection {projection:?}"))))
            }
        }
    }

    /// Builds several read models anew from one pass over the events. One that fails keeps the others from nothing; there are
    /// as many results as names, in their order.
    ///
    /// # Errors
    /// [`QueryError::Unknown`] when there is no such projection; what the store reports.
    pub async fn rebuild_several(
        &self,
        projections: &[&str],
        report: &(dyn Fn(RebuildProgress) + Send + Sync),
    ) -> Result<Vec<Result<Rebuilt, ProjectionError>>, QueryError> {
        let found: Result<Vec<_>, _> =
            projections.iter().map(|name| self.projector(name).map(Arc::clone)).collect();
        Ok(rebuild(&found?, report).await?)
    }

    /// Waits until a projection has taken in what the store holds now, or has stopped.
    ///
    /// # Errors
    /// As [`catch_up`](Self::catch_up), and [`QueryError::Unknown`] when there is no such projection.
    pub async fn catch_up_projection(&self, projection: &str, patience: Duration) -> Result<(), QueryError> {
        let head = self.store().head().await.map_err(ProjectionError::from)?;
        Ok(self.projector(projection)?.wait_for(head, patience).await?)
    }

    /// Tries a projection that has stopped again, at once.
    ///
    /// # Errors
    /// [`QueryError::Unknown`] when there is no such projection.
    pub fn retry(&self, projection: &str) -> Result<(), QueryError> {
        self.projector(projection)?.retry();
        Ok(())
    }

    /// Lets a projection go on without the event at which it stopped, which the read model remembers. A rebuild tries the event
    /// again, and passes it by again when it still fails.
    ///
    /// Given the first event of a parked key, that event is passed by and the others of the key are taken in.
    ///
    /// # Errors
    /// [`ProjectionError::NothingToMend`] when it has not stopped there, and other kinds of [`ProjectionError`].
    pub async fn skip(&self, projection: &str, position: Position) -> Result<(), QueryError> {
        Ok(self.projector(projection)?.skip(position).await?)
    }

    /// Lets a projection go on without the events of one key, that of the event at which it stopped: they wait until the key
    /// is released.
    ///
    /// # Errors
    /// As [`skip`](Self::skip).
    pub async fn park(&self, projection: &str, position: Position) -> Result<(), QueryError> {
        Ok(self.projector(projection)?.park(position).await?)
    }

    /// Takes in the events of a parked key, in order, and then those that come.
    ///
    /// # Errors
    /// [`ProjectionError::NothingToMend`] when there is no such key; [`ProjectionError::Stopped`] at the event that still fails,
    /// in which case the key waits on from there.
    pub async fn release(&self, projection: &str, key: &str) -> Result<(), QueryError> {
        Ok(self.projector(projection)?.release(key).await?)
    }

    /// Shows whether a read model has seen every event that it needs: compares which positions it was handed with those in
    /// the store, read in another order.
    ///
    /// # Errors
    /// [`QueryError::Unknown`] when there is no such projection; what the store and the read model report.
    pub async fn prove(&self, projection: &str) -> Result<GapProof, QueryError> {
        Ok(self.projector(projection)?.prove().await?)
    }

    /// Lets the version before the one that answers take its place; where there is no other version, the build before the last
    /// rebuild. Doing so twice goes back and forth between builds; [`roll_forward`](Self::roll_forward) does so for versions.
    ///
    /// # Errors
    /// [`ProjectionError::NothingBefore`] when there is nothing to go back to.
    pub async fn roll_back(&self, projection: &str) -> Result<(), QueryError> {
        Ok(self.versions(projection)?.roll_back().await?)
    }

    /// Lets the newest version answer again after it was taken back.
    ///
    /// # Errors
    /// [`ProjectionError::NothingToMend`] when it was not.
    pub async fn roll_forward(&self, projection: &str) -> Result<(), QueryError> {
        Ok(self.versions(projection)?.roll_forward().await?)
    }
}
