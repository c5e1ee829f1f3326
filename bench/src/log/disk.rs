//! The room that stores take on disk.

use std::path::Path;
use std::sync::Arc;

use super::annals;
use super::contender::Kind;
use super::opening::Left;
use super::run::Run;
use super::workload::Pool;
use crate::failure::Result;
use crate::machine::{allocated_bytes, copy_folder, write_back};

pub(crate) const DISK_PER_EVENT: &str = "disk_per_event";
pub(crate) const DISK_COMPRESSED: &str = "disk_per_event_compressed";
pub(crate) const DISK_EMPTY: &str = "disk_empty_store";

/// Measures stores that are no longer written to, and empty ones.
pub(crate) fn run(run: &mut Run, stores: &[Left], pool: &Arc<Pool>) -> Result<()> {
    for store in stores.iter().filter(|_| run.wants(DISK_PER_EVENT)).collect::<Vec<_>>() {
        let events = settle(store.kind, &store.closed, pool)?;
        let bytes = allocated(&store.closed)? as f64 / events as f64;
        run.report.add(DISK_PER_EVENT, store.kind.name(), bytes, "bytes", None);
    }
    if run.wants(DISK_COMPRESSED) {
        compressed(run, stores, pool)?;
    }
    for kind in run.scale.kinds.clone().into_iter().filter(|_| run.wants(DISK_EMPTY)).collect::<Vec<_>>() {
        let folder = run.scratch.fresh("empty");
        drop(kind.plain().open(&folder, pool)?);
        run.report.add(DISK_EMPTY, kind.name(), allocated(&folder)? as f64, "bytes", None);
    }
    run.report.note(
        "disk: allocated blocks with all indexes; before, Annals is sealed, SQLite vacuumed, redb and fjall compacted; \
         no two payloads are the same",
    );
    Ok(())
}

/// Makes a store small, closes it, and tells how many events it has.
fn settle(kind: Kind, folder: &Path, pool: &Arc<Pool>) -> Result<u64> {
    let store = kind.plain().open(folder, pool)?;
    store.settle()?;
    Ok(store.read_all()?.events)
}

fn compressed(run: &mut Run, stores: &[Left], pool: &Arc<Pool>) -> Result<()> {
    let Some(store) = stores.iter().find(|store| store.kind == Kind::Annals) else { return Ok(()) };
    let folder = run.scratch.fresh("compressed");
    copy_folder(&store.closed, &folder)?;
    annals::compress(&folder)?;
    let events = settle(Kind::Annals, &folder, pool)?;
    let bytes = allocated(&folder)? as f64 / events as f64;
    run.report.add(DISK_COMPRESSED, Kind::Annals.name(), bytes, "bytes", None);
    Ok(())
}

/// The allocated blocks, once all that was written has some.
fn allocated(folder: &Path) -> Result<u64> {
    write_back(folder)?;
    allocated_bytes(folder)
}
