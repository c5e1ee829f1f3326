//! Questions to a read model while it is built anew, beside questions while it is not.

use std::sync::Arc;
use std::time::{Duration, Instant};

use annals_app::{Projection, RunningApp};
use annals_sqlite::SqliteReadModels;
use bank::balances::{BalanceOf, Balances};
use tokio::runtime::Runtime;

use super::Run;
use super::bank_store::BankStore;
use crate::failure::{Result, failed};
use crate::random::Random;
use crate::report::number;
use crate::statistics::Latencies;
use crate::targets::ANNALS;

pub(super) const QUERY_DURING_REBUILD: &str = "query_during_rebuild";
/// Who answers while nothing is built.
pub(super) const ALONE: &str = "without";

/// Asks all the time, in each round once while the balances are built anew and once for as long without that.
pub(super) fn run(run: &mut Run, runtime: &Runtime, bank: &BankStore) -> Result<()> {
    eprintln!("{QUERY_DURING_REBUILD}: questions by one client, one after the other");
    let models = SqliteReadModels::in_folder(run.scratch.fresh("models"))?;
    let app = bank.start(runtime, Arc::new(models))?;
    let mut random = Random::seeded()?;
    let (mut alone, mut beside) = (Latencies::default(), Latencies::default());
    let mut building = Duration::ZERO;
    for round in 0..run.scale.rounds {
        let took = runtime.block_on(ask_during_a_rebuild(&app, &mut random, bank.accounts, &mut beside))?;
        let until = Instant::now() + took;
        runtime.block_on(ask(&app, &mut random, bank.accounts, &mut alone, || Instant::now() >= until))?;
        building += took;
        eprintln!("  round {} of {}", round + 1, run.scale.rounds);
    }
    for (name, times) in [(ANNALS, &beside), (ALONE, &alone)] {
        let p99 = times.percentile_us(0.99).unwrap_or(0.0);
        run.report.add(QUERY_DURING_REBUILD, name, p99, "us", Some(times));
    }
    let slowest = |times: &Latencies| number(times.percentile_us(1.0).unwrap_or(0.0));
    run.report.note(format!(
        "{QUERY_DURING_REBUILD}: one client asks for the balance of random accounts, one question after the other; the value is \
         the p99. {} questions were answered within {:.1} s of rebuilds, the slowest in {} us, and {} in as long without, the \
         slowest in {} us; none was refused",
        beside.count(),
        building.as_secs_f64(),
        slowest(&beside),
        alone.count(),
        slowest(&alone)
    ));
    Ok(())
}

/// Asks until the balances are built anew, and tells how long that took.
async fn ask_during_a_rebuild(
    app: &RunningApp,
    random: &mut Random,
    accounts: u64,
    times: &mut Latencies,
) -> Result<Duration> {
    let begun = Instant::now();
    let building = tokio::spawn({
        let app = app.clone();
        async move { app.rebuild(Balances::NAME, &|_| {}).await }
    });
    ask(app, random, accounts, times, || building.is_finished()).await?;
    building.await??;
    Ok(begun.elapsed())
}

/// Asks one question after the other until it is `enough`.
async fn ask(
    app: &RunningApp,
    random: &mut Random,
    accounts: u64,
    times: &mut Latencies,
    enough: impl Fn() -> bool,
) -> Result<()> {
    while !enough() {
        let account = random.below(accounts).to_string();
        let one = Instant::now();
        let answer = app.ask(BalanceOf { account: account.clone() }).await?;
        times.push(one.elapsed());
        if answer.account != account {
            return failed(format!("asked for account {account}, the answer is on {}", answer.account));
        }
    }
    Ok(())
}
