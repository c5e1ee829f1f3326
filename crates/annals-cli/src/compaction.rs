//! `compact`: gives back the space of events that are hidden for ever.

use std::sync::Arc;

use annals_core::Opening;

use crate::{Failure, Session};

/// Compacts the store and prints what that changed.
pub(crate) async fn compact(session: &Session) -> Result<(), Failure> {
    let store = session.open_existing(Opening::ToWrite).await?.events;
    let progress = Arc::new(session.progress("compacting", "segments"));
    let shown = Arc::clone(&progress);
    let report = store.compact(Box::new(move |done, total| shown.set(done, total))).await?;
    progress.finish();
    session.output().print(&report)
}
