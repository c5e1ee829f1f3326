//! `verify`: reads everything that is stored and checks it.

use std::sync::Arc;

use annals_core::Opening;
use clap::Args;

use crate::{Failure, Session};

#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// Throw the indexes away first and build them again from the events
    #[arg(long)]
    repair_index: bool,
}

/// Checks every event of the store and prints what was checked.
pub(crate) async fn verify(session: &Session, Verify { repair_index }: Verify) -> Result<(), Failure> {
    let opening = if repair_index { Opening::Repairing } else { Opening::ToRead };
    let store = session.open_existing(opening).await?.events;
    if repair_index {
        session.say("the indexes were built again from the events");
    }
    session.say(format!("verifying {}", store.description()));
    let progress = Arc::new(session.progress("verifying", "bytes"));
    let shown = Arc::clone(&progress);
    let report = store.verify(Box::new(move |done, total| shown.set(done, total))).await?;
    progress.finish();
    let checked: serde_json::Map<_, _> =
        report.checked.iter().map(|(what, count)| (what.clone(), (*count).into())).collect();
    session.output().print(&serde_json::json!({
        "sound": report.is_sound(),
        "events": report.events,
        "checked": checked,
        "readable_to": report.readable_to,
        "chain": report.chain,
        "problems": report.problems,
    }))?;
    if report.is_sound() {
        session.say("all is well");
        return Ok(());
    }
    Err(Failure::new(format!(
        "{} problems were found; events up to position {} can be read; restore the store from a copy, or export what \
         can be read with `annals export`",
        report.problems.len(),
        report.readable_to
    )))
}
