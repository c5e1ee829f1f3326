//! The peer: cqrs-es with its store in PostgreSQL, set up as its documentation says.

use std::sync::Arc;
use std::time::Duration;

use cqrs_es::AggregateError;
use postgres_es::{PostgresCqrs, postgres_aggregate_cqrs, postgres_cqrs};
use sqlx::postgres::PgPoolOptions;
use sqlx::{Pool, Postgres as Database};
use tokio::runtime::Runtime;

use super::accounts::{Accounts, Transaction};
use super::callers::{CALLERS, Caller};
use super::hot::Deposits;
use super::peer_bank::{Account, AccountCommand};
use crate::failure::{Result, failed};
use crate::postgres::Postgres;

pub(super) const CQRS_ES: &str = "cqrs-es";
/// The same, with each aggregate stored beside its events, so that it need not be folded for every command.
pub(super) const CQRS_ES_STORED: &str = "cqrs-es_stored";

/// The tables that its documentation gives.
const TABLES: [&str; 2] = [
    "CREATE TABLE events (aggregate_type text NOT NULL, aggregate_id text NOT NULL, \
     sequence bigint CHECK (sequence >= 0) NOT NULL, event_type text NOT NULL, event_version text NOT NULL, \
     payload json NOT NULL, metadata json NOT NULL, PRIMARY KEY (aggregate_type, aggregate_id, sequence))",
    "CREATE TABLE snapshots (aggregate_type text NOT NULL, aggregate_id text NOT NULL, \
     last_sequence bigint CHECK (last_sequence >= 0) NOT NULL, \
     current_snapshot bigint CHECK (current_snapshot >= 0) NOT NULL, payload json NOT NULL, \
     PRIMARY KEY (aggregate_type, aggregate_id, last_sequence))",
];

/// A database with its tables.
pub(super) struct Peer {
    pool: Pool<Database>,
}

impl Peer {
    /// Makes a database of its own on the server, and as many connections to it as there are callers.
    pub(super) fn open(runtime: &Runtime, server: &Postgres, name: &str) -> Result<Self> {
        runtime.block_on(async {
            let url = server.create_database(name).await?;
            // Without this, each use of a connection begins with an empty question to the server.
            let options = PgPoolOptions::new().test_before_acquire(false);
            let options = options.min_connections(CALLERS as u32).max_connections(CALLERS as u32);
            let pool = options.acquire_timeout(Duration::from_secs(60)).connect(&url).await?;
            for table in TABLES {
                sqlx::query(table).execute(&pool).await?;
            }
            Ok(Self { pool })
        })
    }

    /// Callers with accounts of their own.
    pub(super) fn tellers(&self, accounts: u64) -> Result<Vec<PeerTeller>> {
        let cqrs = Arc::new(postgres_cqrs(self.pool.clone(), Vec::new(), ()));
        let teller = |caller| {
            let accounts = Accounts::of_caller(caller, CALLERS, accounts)?;
            Ok(PeerTeller { cqrs: Arc::clone(&cqrs), accounts })
        };
        (0..CALLERS).map(teller).collect()
    }

    /// Callers who share an account; the first of them opens it.
    pub(super) fn depositors(&self, runtime: &Runtime, stored: bool) -> Result<Vec<PeerDepositor>> {
        let pool = self.pool.clone();
        let (account, cqrs) = match stored {
            true => ("stored", postgres_aggregate_cqrs(pool, Vec::new(), ())),
            false => ("folded", postgres_cqrs(pool, Vec::new(), ())),
        };
        let cqrs = Arc::new(cqrs);
        runtime.block_on(cqrs.execute(account, command(Transaction::Open)))?;
        let depositor = |_| {
            let (cqrs, deposits) = (Arc::clone(&cqrs), Deposits::none()?);
            Ok(PeerDepositor { cqrs, account, deposits, conflicts: 0 })
        };
        (0..CALLERS).map(depositor).collect()
    }

    /// Checks that there is an event for each command.
    pub(super) fn check(&self, runtime: &Runtime, tellers: &[PeerTeller]) -> Result<()> {
        let expected: u64 = tellers.iter().map(|teller| teller.accounts.events()).sum();
        let count = sqlx::query_scalar("SELECT count(*) FROM events").fetch_one(&self.pool);
        let found: i64 = runtime.block_on(count)?;
        match found as u64 == expected {
            true => Ok(()),
            false => {
                failed(format!("{CQRS_ES} has {found} events, expected one for each of {expected} commands"))
            }
        }
    }

    /// Checks what was paid in to the account that all share, and tells how many conflicts came with how many deposits.
    pub(super) fn check_hot(&self, runtime: &Runtime, depositors: &[PeerDepositor]) -> Result<(u64, u64)> {
        let account = depositors.first().map_or("", |depositor| depositor.account);
        let deposits = || depositors.iter().map(|depositor| &depositor.deposits);
        let count = deposits().map(|deposits| deposits.count).sum::<u64>();
        let cents = deposits().map(|deposits| deposits.cents).sum::<u64>();
        let question = "SELECT count(*), coalesce(sum((payload->'MoneyDeposited'->>'cents')::bigint), 0)::bigint \
                        FROM events WHERE aggregate_id = $1";
        let answer = sqlx::query_as(question).bind(account).fetch_one(&self.pool);
        let found: (i64, i64) = runtime.block_on(answer)?;
        if (found.0 as u64, found.1 as u64) != (count + 1, cents) {
            return failed(format!(
                "the account {account:?} of {CQRS_ES} has {found:?} events and cents, expected {} and {cents}",
                count + 1
            ));
        }
        Ok((depositors.iter().map(|depositor| depositor.conflicts).sum(), count))
    }
}

fn command(transaction: Transaction) -> AccountCommand {
    match transaction {
        Transaction::Open => AccountCommand::OpenAccount { owner: "Ann Fields".to_owned() },
        Transaction::Deposit { cents } => AccountCommand::DepositMoney { cents },
        Transaction::Withdraw { cents } => AccountCommand::WithdrawMoney { cents },
    }
}

/// A caller who gives commands to accounts of its own.
pub(super) struct PeerTeller {
    cqrs: Arc<PostgresCqrs<Account>>,
    accounts: Accounts,
}

impl Caller for PeerTeller {
    async fn begin(&mut self) -> Result<()> {
        while let Some(step) = self.accounts.open() {
            self.cqrs.execute(&step.id, command(step.transaction)).await?;
        }
        Ok(())
    }

    async fn call(&mut self) -> Result<()> {
        let step = self.accounts.step();
        Ok(self.cqrs.execute(&step.id, command(step.transaction)).await?)
    }
}

/// A caller who pays in to the account that all share.
pub(super) struct PeerDepositor {
    cqrs: Arc<PostgresCqrs<Account>>,
    account: &'static str,
    deposits: Deposits,
    conflicts: u64,
}

impl Caller for PeerDepositor {
    async fn begin(&mut self) -> Result<()> {
        Ok(())
    }

    /// Conflicts come to the caller, who gives the command again.
    async fn call(&mut self) -> Result<()> {
        let cents = self.deposits.next();
        loop {
            match self.cqrs.execute(self.account, AccountCommand::DepositMoney { cents }).await {
                Err(AggregateError::AggregateConflict) => self.conflicts += 1,
                done => return Ok(done?),
            }
        }
    }
}
