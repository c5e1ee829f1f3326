//! Commands one after the other on a store in memory: what the framework itself takes, on one core.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use annals_app::{CommandOptions, RunningApp};
use annals_core::{CausationId, CorrelationId, EventStore, MemoryStore};
use annals_memory::MemoryModels;

use super::Run;
use super::accounts::Accounts;
use super::bank::{give, open_all, start};
use super::one_core::on_one_core;
use crate::failure::{Result, failed};
use crate::statistics::{Latencies, median};
use crate::targets::ANNALS;
use crate::turns::Done;

pub(super) const COMMANDS_MEMORY: &str = "commands_memory";
pub(super) const COMMANDS_MEMORY_COLD: &str = "commands_memory_cold";
pub(super) const COMMANDS_MEMORY_IDS: &str = "commands_memory_ids";
pub(super) const WORKS: [&str; 3] = [COMMANDS_MEMORY, COMMANDS_MEMORY_COLD, COMMANDS_MEMORY_IDS];

/// So many commands are made ready before the clock goes on.
const SLICE: u64 = 10_000;

/// Whether a command comes with an id, which makes it idempotent.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ids {
    With,
    Without,
}

/// Gives the commands, round after round on stores of their own.
pub(super) fn run(run: &mut Run) -> Result<()> {
    let (accounts, commands) = (run.scale.accounts, run.scale.memory_commands);
    eprintln!("{COMMANDS_MEMORY}: {commands} commands, {accounts} accounts, one core");
    let mut figures: BTreeMap<usize, (Vec<f64>, Latencies)> = BTreeMap::new();
    for round in 0..run.scale.memory_rounds {
        let done = on_one_core(|| round_of(accounts, commands, WORKS.map(|work| run.wants(work))))?;
        for (place, done) in done.into_iter().enumerate() {
            let Some(mut done) = done else { continue };
            let (rates, times) = figures.entry(place).or_default();
            rates.push(done.rate());
            times.append(&mut done.times);
        }
        eprintln!("  round {} of {}", round + 1, run.scale.memory_rounds);
    }
    for (place, (rates, times)) in &figures {
        run.report.add(WORKS[*place], ANNALS, median(rates), "commands/s", Some(times));
    }
    run.report.note(format!(
        "{COMMANDS_MEMORY}: one thread that stays on one core, {commands} commands one after the other on {accounts} accounts, each \
         with a correlation id, asked for by one check of permissions; {COMMANDS_MEMORY_COLD}: as many more by an application \
         started anew on that store, which loads each account from its {} events first; {COMMANDS_MEMORY_IDS}: with a command \
         id on each",
        commands / accounts + 1
    ));
    Ok(())
}

/// One round of those works that are wanted, in their order.
fn round_of(accounts: u64, commands: u64, wanted: [bool; 3]) -> Result<[Option<Done>; 3]> {
    let [wants_warm, wants_cold, wants_ids] = wanted;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    runtime.block_on(async {
        let (mut warm, mut cold, mut with_ids) = (None, None, None);
        if wants_warm || wants_cold {
            let mut bank = Opened::with(accounts).await?;
            warm = Some(bank.give(commands, Ids::Without).await?);
            if wants_cold {
                bank.app = start_on(&bank.store).await?;
                cold = Some(bank.give(commands, Ids::Without).await?);
            }
            bank.check().await?;
        }
        if wants_ids {
            let mut bank = Opened::with(accounts).await?;
            with_ids = Some(bank.give(commands, Ids::With).await?);
            bank.check().await?;
        }
        Ok([warm.filter(|_| wants_warm), cold, with_ids])
    })
}

/// Nothing is kept but events: without rows there are no snapshots.
async fn start_on(store: &Arc<dyn EventStore>) -> Result<RunningApp> {
    start(Arc::clone(store), Arc::new(MemoryModels::new())).await
}

/// A bank in memory, all of whose accounts are open.
struct Opened {
    store: Arc<dyn EventStore>,
    app: RunningApp,
    accounts: Accounts,
}

impl Opened {
    async fn with(accounts: u64) -> Result<Self> {
        let store: Arc<dyn EventStore> = Arc::new(MemoryStore::default());
        let app = start_on(&store).await?;
        let mut accounts = Accounts::of_caller(0, 1, accounts)?;
        open_all(&app, &mut accounts).await?;
        Ok(Self { store, app, accounts })
    }

    /// Gives so many commands. Making them ready is not measured.
    async fn give(&mut self, commands: u64, ids: Ids) -> Result<Done> {
        let mut done = Done { operations: commands, took: Duration::ZERO, times: Latencies::default() };
        for first in (0..commands).step_by(SLICE as usize) {
            let numbers = first..commands.min(first + SLICE);
            let ready = numbers.map(|number| Ok((self.accounts.step(), options(number, ids)?)));
            let ready = ready.collect::<Result<Vec<_>>>()?;
            let begun = Instant::now();
            let mut at = begun;
            for (step, options) in ready {
                give(&self.app, &step, options).await?;
                let answered = Instant::now();
                done.times.push(answered - at);
                at = answered;
            }
            done.took += at - begun;
        }
        Ok(done)
    }

    /// Checks that the store has an event for each command.
    async fn check(&self) -> Result<()> {
        let (found, expected) = (self.store.head().await?.get(), self.accounts.events());
        match found == expected {
            true => Ok(()),
            false => {
                failed(format!("{found} events are stored, expected one for each of {expected} commands"))
            }
        }
    }
}

fn options(number: u64, ids: Ids) -> Result<CommandOptions> {
    let command_id = match ids {
        Ids::With => Some(CausationId::new(format!("command-{number:012}"))?),
        Ids::Without => None,
    };
    let correlation_id = Some(CorrelationId::new(format!("request-{number:012}"))?);
    Ok(CommandOptions { command_id, correlation_id, ..CommandOptions::default() })
}
