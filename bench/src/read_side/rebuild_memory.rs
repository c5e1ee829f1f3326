//! Building the bank's balances anew from all events, in memory.

use std::borrow::Cow;
use std::sync::Arc;

use annals_app::{App, KeyedProjection, Projection, Query, QueryContext, QueryError};
use annals_core::{BoxError, EventStore, Filter, ModelKind, ReadModelTx, RecordedEvent};
use annals_log::EventLog;
use annals_memory::{MemoryModels, imbl, state, view};
use bank::account::Account;
use bank::balances::{Balances, Change};
use bank::money::Amount;
use serde::{Deserialize, Serialize};
use tokio::runtime::Runtime;

use super::Run;
use super::bank_store::{BankStore, PATIENCE};
use crate::failure::{Result, failed};
use crate::targets::ANNALS;
use crate::turns::{Turn, take_turns};

pub(super) const REBUILD_MEMORY: &str = "rebuild_memory";

/// The bank's balances, kept in memory: all that the bank keeps in SQLite.
struct BalancesInMemory;

#[derive(Clone, Default, Serialize, Deserialize)]
struct Accounts(imbl::HashMap<String, Line>);

#[derive(Clone, Default, Serialize, Deserialize)]
struct Line {
    transactions: i64,
    credits: Amount,
    debits: Amount,
    currency: String,
    status: String,
}

impl KeyedProjection for BalancesInMemory {
    const NAME: &'static str = "balances-in-memory";
    const VERSION: u32 = 1;
    const KIND: ModelKind = ModelKind::Memory;
    type Change = Change;

    fn filter(&self) -> Filter {
        Projection::filter(&Balances)
    }

    async fn prepare(&self, tx: &mut dyn ReadModelTx) -> std::result::Result<(), BoxError> {
        state::<Accounts>(tx)?;
        Ok(())
    }

    fn take(&self, change: &mut Change, event: &RecordedEvent) -> std::result::Result<(), BoxError> {
        KeyedProjection::take(&Balances, change, event)
    }

    async fn write(
        &self,
        tx: &mut dyn ReadModelTx,
        changes: Vec<(Cow<'_, str>, Change)>,
    ) -> std::result::Result<(), BoxError> {
        let Accounts(accounts) = state::<Accounts>(tx)?;
        for (account, change) in changes {
            let line = accounts.entry(account.into_owned()).or_default();
            line.transactions += change.transactions;
            line.credits = line.credits.saturating_add(change.credits);
            line.debits = line.debits.saturating_add(change.debits);
            if let Some(currency) = change.opened {
                (line.currency, line.status) = (currency, "open".to_owned());
            }
            if let Some(status) = change.status {
                status.clone_into(&mut line.status);
            }
        }
        Ok(())
    }
}

/// What is there in all?
#[derive(Query, Serialize, Deserialize)]
#[annals(crate = annals_app)]
#[query(output = (u64, u64, Amount), from = BalancesInMemory)]
struct Sum {}

async fn sum(_: Sum, mut context: QueryContext) -> std::result::Result<(u64, u64, Amount), QueryError> {
    let Accounts(accounts) = view::<Accounts>(context.tx())
        .map_err(|error| QueryError::Failed { query: Sum::NAME, source: error.into() })?;
    let all = accounts.values().fold((0, Amount::ZERO), |(transactions, balance), line| {
        let change = line.credits.saturating_add(line.debits.negated());
        (transactions + line.transactions as u64, balance.saturating_add(change))
    });
    Ok((accounts.len() as u64, all.0, all.1))
}

/// Builds the balances anew, beside those who do a part of that.
pub(super) fn run(run: &mut Run, runtime: &Runtime, bank: &BankStore) -> Result<()> {
    let app = runtime.block_on(async {
        let store: Arc<dyn EventStore> = Arc::<EventLog>::clone(&bank.log);
        let app = App::new("bank").aggregate::<Account>().query(sum);
        let app = app.projection_in(Arc::new(MemoryModels::new()), BalancesInMemory);
        let app = app.start(store, Arc::new(MemoryModels::new())).await?;
        app.catch_up(PATIENCE).await?;
        Ok::<_, crate::failure::Failure>(app)
    })?;
    let rebuild = || {
        runtime.block_on(async {
            app.rebuild(<BalancesInMemory as Projection>::NAME, &|_| {}).await?;
            let found = app.ask(Sum {}).await?;
            let expected = (bank.accounts, bank.events - bank.accounts, bank.balance());
            match found == expected {
                true => Ok(()),
                false => failed(format!("the sums are {found:?}, expected {expected:?}")),
            }
        })
    };
    let turns = vec![
        Turn::of(ANNALS, bank.events, rebuild),
        Turn::of("floor_decode", bank.events, || bank.decode()),
        Turn::of("floor_read", bank.events, || bank.read()),
    ];
    take_turns(&mut run.report, run.scale.rounds, (REBUILD_MEMORY, "events/s"), turns)?;
    run.report.note(format!(
        "{REBUILD_MEMORY}: as rebuild_sqlite, with all that the bank's balances hold, in a map that shares structure; \
         floor_decode reads and decodes the events on one thread, floor_read reads them"
    ));
    Ok(())
}
