//! Building the bank's balances anew from all events, in SQLite.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use annals_app::decode_events;
use annals_core::MAX_BATCH_EVENTS;
use annals_sqlite::SqliteReadModels;
use bank::account::AccountEvent;
use bank::money::Amount;
use rusqlite::{Connection, params};
use tokio::runtime::Runtime;

use super::Run;
use super::bank_store::BankStore;
use crate::event_log::read_to_end;
use crate::failure::{Result, failed};
use crate::targets::ANNALS;
use crate::turns::{Turn, take_turns};

pub(super) const REBUILD_SQLITE: &str = "rebuild_sqlite";

/// What a batch of events changes on an account, as the balances keep it.
#[derive(Default)]
struct Change {
    transactions: i64,
    credits: i64,
    debits: i64,
}

/// Builds the balances anew, beside those who do a part of that.
pub(super) fn run(run: &mut Run, runtime: &Runtime, bank: &BankStore) -> Result<()> {
    let models = SqliteReadModels::in_folder(run.scratch.fresh("models"))?;
    let app = bank.start(runtime, Arc::new(models))?;
    runtime.block_on(bank.check(&app))?;
    let upserts = upserts_of(bank)?;
    let (scratch, count) = (run.scratch.path().to_owned(), upserts.iter().map(Vec::len).sum::<usize>());
    let turns = vec![
        Turn::of(ANNALS, bank.events, || bank.rebuild(runtime, &app)),
        Turn::of("floor_upserts", bank.events, || write(&scratch.join("floor.sqlite"), &upserts, bank)),
        Turn::of("floor_decode", bank.events, || bank.decode()),
        Turn::of("floor_read", bank.events, || bank.read()),
    ];
    take_turns(&mut run.report, run.scale.rounds, (REBUILD_SQLITE, "events/s"), turns)?;
    run.report.note(format!(
        "{REBUILD_SQLITE}: from the call until the new balances have taken the place of the old ones, which are durable then, \
         and their totals were asked for. \
         floor_upserts writes with rusqlite alone what becomes of the events in batches of {MAX_BATCH_EVENTS}, folded before \
         ({:.2} upserts per event); floor_decode reads and decodes the events, floor_read reads them. Published by others, on \
         other machines: Marten 8,700 events/s in its sample, 110,000 in bulk",
        count as f64 / bank.events as f64
    ));
    Ok(())
}

/// What is to be written, transaction by transaction.
fn upserts_of(bank: &BankStore) -> Result<Vec<Vec<(String, Change)>>> {
    let mut transactions = Vec::new();
    read_to_end(&bank.log, bank.request(), |batch| {
        let mut changes: BTreeMap<&str, Change> = BTreeMap::new();
        for decoded in decode_events::<AccountEvent>(&batch.events) {
            let (recorded, event) = decoded?;
            let change = changes.entry(recorded.entity_id()).or_default();
            if let Some(amount) = event.change().map(Amount::hundredths) {
                change.transactions += 1;
                change.credits += amount.max(0);
                change.debits -= amount.min(0);
            }
        }
        transactions
            .push(changes.into_iter().map(|(account, change)| (account.to_owned(), change)).collect());
        Ok(())
    })?;
    Ok(transactions)
}

/// Writes it into a new database, set up as a read model is, and makes that durable.
fn write(path: &Path, transactions: &[Vec<(String, Change)>], bank: &BankStore) -> Result<()> {
    let connection = Connection::open(path)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.pragma_update(None, "cache_size", -32_768)?;
    connection.pragma_update(None, "wal_autocheckpoint", 8_192)?;
    connection.execute_batch(
        "CREATE TABLE balances (account TEXT PRIMARY KEY, currency TEXT NOT NULL, status TEXT NOT NULL,
         transactions BIGINT NOT NULL, credits BIGINT NOT NULL, debits BIGINT NOT NULL, balance BIGINT NOT NULL)",
    )?;
    for changes in transactions {
        connection.execute_batch("BEGIN IMMEDIATE")?;
        let mut upsert = connection.prepare_cached(
            "INSERT INTO balances VALUES (?1, 'CZK', 'open', ?2, ?3, ?4, ?5)
             ON CONFLICT (account) DO UPDATE SET transactions = balances.transactions + ?2,
             credits = balances.credits + ?3, debits = balances.debits + ?4, balance = balances.balance + ?5",
        )?;
        for (account, Change { transactions, credits, debits }) in changes {
            upsert.execute(params![account, transactions, credits, debits, credits - debits])?;
        }
        drop(upsert);
        connection.execute_batch("COMMIT")?;
    }
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "journal_mode", "DELETE")?;
    let count: i64 = connection.query_row("SELECT COUNT(*) FROM balances", [], |row| row.get(0))?;
    drop(connection);
    std::fs::File::open(path)?.sync_all()?;
    std::fs::remove_file(path)?;
    match count == bank.accounts as i64 {
        true => Ok(()),
        false => failed(format!("{count} balances were written, expected {}", bank.accounts)),
    }
}
