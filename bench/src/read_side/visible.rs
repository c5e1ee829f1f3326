//! How soon a command is seen in the read model, beside what a barrier takes.

use std::sync::Arc;
use std::time::Instant;

use annals_app::RunningApp;
use annals_sqlite::SqliteReadModels;
use bank::account::{Account, AccountCommand};
use bank::balances::BalanceOf;
use bank::money::Amount;
use tokio::runtime::Runtime;

use super::Run;
use super::bank_store::BankStore;
use crate::event_log::written_bytes;
use crate::failure::{Result, failed};
use crate::floor::Prewritten;
use crate::random::Random;
use crate::statistics::Latencies;
use crate::targets::{ANNALS, FLOOR};

pub(super) const VISIBLE: &str = "visible_p99_ms";
pub(super) const BARRIER: &str = "barrier_p99_ms";
/// So many commands are given before as many barriers are made.
const SLICE: usize = 50;
/// The accounts that commands are given to, and the events that they have before.
const ACCOUNTS: u64 = 1_000;
const EVENTS: u64 = 10_000;

/// Gives commands one at a time, and waits for each in the read model; in between, makes barriers.
pub(super) fn run(run: &mut Run, runtime: &Runtime) -> Result<()> {
    let commands = run.scale.commands;
    eprintln!("{VISIBLE}: {commands} commands, one at a time");
    let bank = BankStore::fill(&run.scratch.fresh("bank"), ACCOUNTS, EVENTS)?;
    let models = SqliteReadModels::in_folder(run.scratch.fresh("models"))?;
    let app = bank.start(runtime, Arc::new(models))?;
    let mut random = Random::seeded()?;
    let mut file = Prewritten::create(&run.scratch.fresh("floor"))?;
    let (mut visible, mut stored, mut barriers) =
        (Latencies::default(), Latencies::default(), Latencies::default());

    let before = written_bytes(&bank.folder)?;
    // Not measured: the first commands find nothing in memory.
    runtime.block_on(give(&app, &mut random, SLICE, &mut Latencies::default(), &mut Latencies::default()))?;
    let frame_bytes = (written_bytes(&bank.folder)? - before) as usize / SLICE;
    for slice in 0..commands.div_ceil(SLICE) {
        runtime.block_on(give(&app, &mut random, SLICE, &mut visible, &mut stored))?;
        for _ in 0..SLICE {
            barriers.push(file.write_frame(frame_bytes)?);
        }
        if slice % 14 == 13 {
            eprintln!("  {} of {commands} commands", (slice + 1) * SLICE);
        }
    }
    let p99_ms = |times: &Latencies| times.percentile_us(0.99).unwrap_or(0.0) / 1e3;
    run.report.add(VISIBLE, ANNALS, p99_ms(&visible), "ms", Some(&visible));
    run.report.add(VISIBLE, "command_alone", p99_ms(&stored), "ms", Some(&stored));
    run.report.add(BARRIER, FLOOR, p99_ms(&barriers), "ms", Some(&barriers));
    run.report.note(format!(
        "{VISIBLE}: from giving a command until a question that asks for at least its position is answered with it, one client; \
         command_alone: until the command's receipt. {BARRIER}: {frame_bytes} bytes, as a command's frame has, and a barrier, \
         {SLICE} after each {SLICE} commands"
    ));
    Ok(())
}

/// Gives so many commands, notes when each was seen in the read model, and when it was stored.
async fn give(
    app: &RunningApp,
    random: &mut Random,
    commands: usize,
    visible: &mut Latencies,
    stored: &mut Latencies,
) -> Result<()> {
    for _ in 0..commands {
        let account = random.below(ACCOUNTS).to_string();
        let amount = Amount::from_hundredths(1 + random.below(100_000) as i64);
        let deposit = AccountCommand::DepositMoney { amount, currency: None };
        let begun = Instant::now();
        let done = app.execute::<Account>(&account, deposit).await?;
        let took = begun.elapsed();
        let answer = app.ask(BalanceOf { account }).at_least(done.position).await?;
        visible.push(begun.elapsed());
        stored.push(took);
        if answer.balance != done.state.balance || answer.transactions != done.state.transactions {
            return failed(format!(
                "the read model answered {answer:?} after a command that left {:?}",
                done.state
            ));
        }
    }
    Ok(())
}
