//! The check of an append condition that holds, from the first position on.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::contender::{Contender, Kind};
use super::large::Large;
use super::run::Run;
use super::workload::{Pool, Query};
use crate::failure::{Result, failed};
use crate::statistics::Latencies;

pub(crate) const CONDITION_TYPE: &str = "condition_type_10m";
pub(crate) const CONDITION_TAGS: &str = "condition_tags_10m";
/// No contender makes more checks than this in a round.
const MOST_CHECKS: usize = 2_000;

struct Checking {
    kind: Kind,
    store: Arc<dyn Contender>,
    times: Latencies,
}

/// Opens the stores, and makes the checks in turn.
pub(crate) fn run(run: &mut Run, stores: &[Large], pool: &Arc<Pool>) -> Result<()> {
    let open = |store: &Large| -> Result<Checking> {
        let opened = store.kind.plain().open(&store.folder, pool)?;
        // A check that finds nothing quickly proves nothing unless it finds what is there.
        if opened.check(&pool.common_type()).is_ok() {
            return failed(format!("{} let a condition pass that does not hold", store.kind.name()));
        }
        Ok(Checking { kind: store.kind, store: opened, times: Latencies::default() })
    };
    let mut checking = stores.iter().map(open).collect::<Result<Vec<_>>>()?;
    // A condition on two tags may take seconds, so it is checked in fewer rounds.
    if run.wants(CONDITION_TYPE) {
        measure(run, &mut checking, CONDITION_TYPE, &pool.absent_type()?, run.scale.rounds)?;
    }
    if run.wants(CONDITION_TAGS) {
        measure(run, &mut checking, CONDITION_TAGS, &pool.tags_that_never_meet()?, 3)?;
    }
    run.report.note(
        "conditions: the time of the check alone. Annals: an append with the condition and a wrong expected version, \
         which reports both and writes nothing; peers: the same lookup in a transaction that is not committed",
    );
    Ok(())
}

fn measure(run: &mut Run, checking: &mut [Checking], work: &str, query: &Query, rounds: usize) -> Result<()> {
    for _ in 0..rounds {
        checking.rotate_left(1);
        for one in checking.iter_mut() {
            check_until(&*one.store, query, run.scale.slice / 2, &mut one.times)?;
        }
    }
    checking.sort_by_key(|one| one.kind as u8);
    for one in checking.iter_mut() {
        let p50 = one.times.percentile_us(0.5).unwrap_or(0.0);
        run.report.add(work, one.kind.name(), p50, "us", Some(&one.times));
        one.times = Latencies::default();
    }
    Ok(())
}

fn check_until(store: &dyn Contender, query: &Query, budget: Duration, times: &mut Latencies) -> Result<()> {
    let begun = Instant::now();
    for _ in 0..MOST_CHECKS {
        let one = Instant::now();
        store.check(query)?;
        times.push(one.elapsed());
        if begun.elapsed() > budget {
            break;
        }
    }
    Ok(())
}
