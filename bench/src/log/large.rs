//! Stores of many events, whose conditions and memory are measured.

use std::path::PathBuf;
use std::sync::Arc;

use super::contender::Kind;
use super::loading::Filling;
use super::run::Run;
use super::workload::{Pool, Source, Spread};
use crate::failure::Result;
use crate::{log::conditions, log::memory};

/// A store of many events, closed.
pub(crate) struct Large {
    pub(crate) kind: Kind,
    pub(crate) folder: PathBuf,
}

/// Fills a store of each kind, then measures what is wanted of them.
pub(crate) fn run(run: &mut Run) -> Result<()> {
    let (events, streams) = (run.scale.large_events, run.scale.large_streams);
    eprintln!("stores of {events} events in {streams} streams");
    // Two tags that half of the events carry each, and none carries both.
    let pool = Arc::new(Pool::new(Spread { streams, regions: 2 })?);
    let mut stores = Vec::new();
    for kind in run.scale.kinds.clone() {
        let folder = run.scratch.fresh(kind.name());
        let store = kind.plain().open(&folder, &pool)?;
        let filling = Filling { events, run: per_stream(run), streams_per_append: 100 };
        filling.fill(&store, &mut Source::new(Arc::clone(&pool))?, kind.name())?;
        stores.push(Large { kind, folder });
    }
    if run.wants_any(&[conditions::CONDITION_TYPE, conditions::CONDITION_TAGS]) {
        conditions::run(run, &stores, &pool)?;
    }
    if run.wants(memory::MEMORY) {
        memory::run(run, &stores)?;
    }
    Ok(())
}

/// How many events each stream has.
pub(crate) fn per_stream(run: &Run) -> u32 {
    (run.scale.large_events / u64::from(run.scale.large_streams)) as u32
}
