//! The versions of one projection: the newest that is whole and was looked at answers.

use std::sync::Arc;
use std::time::Duration;

use crate::ProjectionError;
use crate::projector::{GapVerdict, Projector};

/// What is remembered of a version that is built while an earlier one answers.
pub(crate) const BEING_BUILT: &str = "it is being built for the first time";
/// What is remembered of a version after somebody went back to the one before.
const TAKEN_BACK: &str = "it was taken back";
/// How often is looked whether another process has seen to it.
const LOOK: Duration = Duration::from_millis(500);

/// The versions of one projection, oldest first; never none.
#[derive(Clone)]
pub(crate) struct Versions(Vec<Arc<Projector>>);

impl Versions {
    pub(crate) fn new(first: Arc<Projector>) -> Self {
        Self(vec![first])
    }

    /// Adds one; false when there is one with its number.
    pub(crate) fn add(&mut self, projector: Arc<Projector>) -> bool {
        let place = self.0.partition_point(|known| known.version() < projector.version());
        let is_known = self.0.get(place).is_some_and(|known| known.version() == projector.version());
        if !is_known {
            self.0.insert(place, projector);
        }
        !is_known
    }

    pub(crate) fn all(&self) -> &[Arc<Projector>] {
        &self.0
    }

    pub(crate) fn newest(&self) -> &Arc<Projector> {
        &self.0[self.0.len() - 1]
    }

    /// The one that answers: the newest that is whole and not withdrawn.
    pub(crate) fn answering(&self) -> &Arc<Projector> {
        let answers = |version: &&Arc<Projector>| version.is_usable() && version.withdrawn().is_none();
        let usable = |version: &&Arc<Projector>| version.is_usable();
        let found = self.0.iter().rev().find(answers).or_else(|| self.0.iter().rev().find(usable));
        found.unwrap_or(self.newest())
    }

    /// Lets the version before the one that answers take its place; where there is none, the build before.
    pub(crate) async fn roll_back(&self) -> Result<(), ProjectionError> {
        let answering = self.answering();
        let before = self.0.iter().rev().find(|version| version.version() < answering.version());
        match before.filter(|before| before.is_usable() && before.withdrawn().is_none()) {
            Some(_) => answering.withdraw(Some(TAKEN_BACK.to_owned())).await,
            None => answering.roll_back().await.map(drop),
        }
    }

    /// Lets the newest version answer again.
    pub(crate) async fn roll_forward(&self) -> Result<(), ProjectionError> {
        let newest = self.newest();
        if newest.withdrawn().is_none() {
            let (found, expected) = ("is not withdrawn", "a newer version that was taken back");
            let (found, expected) = (found.to_owned(), expected.to_owned());
            return Err(ProjectionError::NothingToMend { name: newest.name(), expected, found });
        }
        newest.withdraw(None).await
    }

    /// Looks at versions that were built for the first time while an earlier one answered, and lets them answer.
    pub(crate) async fn confirm(self) {
        for (older, newer) in self.0.iter().zip(self.0.iter().skip(1)) {
            while newer.withdrawn().as_deref() == Some(BEING_BUILT) {
                if newer.is_usable() {
                    let reason = why_not(older, newer).await.err();
                    match newer.withdraw(reason).await {
                        Ok(()) => break,
                        // The process that keeps it does so.
                        Err(ProjectionError::NotLeading { .. }) => {}
                        Err(error) => {
                            tracing::error!(projection = newer.name(), %error, "a new version is not confirmed");
                        }
                    }
                }
                tokio::time::sleep(LOOK).await;
            }
        }
    }
}

async fn why_not(older: &Projector, newer: &Projector) -> Result<(), String> {
    let proof = newer.prove().await.map_err(|error| error.to_string())?;
    if proof.verdict == GapVerdict::Gaps {
        return Err(format!("it has seen {:?} of {} events: rebuild it", proof.seen, proof.stored));
    }
    newer.check_against(older).await.map_err(|error| error.to_string())
}
