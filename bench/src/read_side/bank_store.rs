//! The store of a bank: the events of the example `bank`, made as its commands make them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use annals_app::{Aggregate, App, Projection, QueryError, RunningApp, decode_events};
use annals_core::{EventStore, ReadModelStore, ReadRequest, StreamName};
use annals_log::EventLog;
use bank::account::{Account, AccountEvent, OtherAccount, WithdrawalMethod};
use bank::balances::{Balances, CurrencyTotal, Totals, balance_of, totals};
use bank::money::{Amount, Currency};
use tokio::runtime::Runtime;

use super::filling::Filling;
use crate::event_log::{open_log, read_to_end};
use crate::failure::{Result, failed};
use crate::random::Random;

/// How long the read model may take to catch up with what a store was filled with.
pub(super) const PATIENCE: Duration = Duration::from_secs(600);

/// A log with the events of a bank.
pub(super) struct BankStore {
    pub(super) log: Arc<EventLog>,
    pub(super) folder: PathBuf,
    pub(super) events: u64,
    pub(super) accounts: u64,
    /// What came in and what went out in all.
    credits: Amount,
    debits: Amount,
}

impl BankStore {
    /// Opens all accounts, then makes transactions on random ones.
    pub(super) fn fill(folder: &Path, accounts: u64, events: u64) -> Result<Self> {
        eprintln!("a bank of {accounts} accounts and {events} events");
        let log = open_log(folder)?;
        let mut random = Random::seeded()?;
        let mut filling = Filling::new(&log);
        let streams = (0..accounts).map(stream).collect::<Result<Vec<_>>>()?;
        for name in &streams {
            let (owner, currency) = (Some("Ann Fields".to_owned()), Currency::CZK);
            let overdraft_limit = Amount::from_hundredths(1_000_000);
            filling.push(name, &AccountEvent::AccountOpened { owner, currency, overdraft_limit })?;
        }
        let (mut credits, mut debits) = (Amount::ZERO, Amount::ZERO);
        for _ in accounts..events {
            let event = transaction(&mut random);
            match event.change() {
                Some(change) if change > Amount::ZERO => credits = credits.saturating_add(change),
                change => debits = debits.saturating_add(change.unwrap_or_default().negated()),
            }
            filling.push(&streams[random.below(accounts) as usize], &event)?;
        }
        filling.store()?;
        log.seal_blocking()?;
        Ok(Self { log: Arc::new(log), folder: folder.to_owned(), events, accounts, credits, debits })
    }

    /// Starts the bank's accounts and balances on the store, and waits until the balances are those of all events.
    pub(super) fn start(&self, runtime: &Runtime, models: Arc<dyn ReadModelStore>) -> Result<RunningApp> {
        let app = App::new("bank").aggregate::<Account>().projection(Balances);
        let app = app.query(balance_of).query(totals);
        runtime.block_on(async {
            let store: Arc<dyn EventStore> = Arc::<EventLog>::clone(&self.log);
            let app = app.start(store, models).await?;
            app.catch_up(PATIENCE).await?;
            Ok(app)
        })
    }

    /// Checks that the balances are those that the events of the filled store make.
    pub(super) async fn check(&self, app: &RunningApp) -> Result<()> {
        let found: Result<Vec<CurrencyTotal>, QueryError> = app.ask(Totals {}).await;
        let expected = CurrencyTotal {
            currency: "CZK".to_owned(),
            accounts: self.accounts,
            transactions: self.events - self.accounts,
            credits: self.credits,
            debits: self.debits,
            balance: self.balance(),
        };
        match found?.as_slice() {
            [found] if *found == expected => Ok(()),
            found => failed(format!("the balances are {found:?}, expected {expected:?}")),
        }
    }

    /// What is on all accounts.
    pub(super) fn balance(&self) -> Amount {
        self.credits.saturating_add(self.debits.negated())
    }

    /// Builds the balances anew through the application.
    pub(super) fn rebuild(&self, runtime: &Runtime, app: &RunningApp) -> Result<()> {
        runtime.block_on(async {
            app.rebuild(Balances::NAME, &|_| {}).await?;
            self.check(app).await
        })
    }

    /// The events that the balances are made from.
    pub(super) fn request(&self) -> ReadRequest {
        ReadRequest::new(Projection::filter(&Balances))
    }

    /// Only reads and decodes the events: what no rebuild can do without.
    pub(super) fn decode(&self) -> Result<()> {
        let mut decoded = 0;
        read_to_end(&self.log, self.request(), |batch| {
            decode_events::<AccountEvent>(&batch.events).try_for_each(|event| {
                std::hint::black_box(event?);
                decoded += 1;
                Ok(())
            })
        })?;
        self.check_count("decoded", decoded)
    }

    /// Only reads the events.
    pub(super) fn read(&self) -> Result<()> {
        let mut read = 0;
        read_to_end(&self.log, self.request(), |batch| {
            read += std::hint::black_box(batch).events.len() as u64;
            Ok(())
        })?;
        self.check_count("read", read)
    }

    fn check_count(&self, done: &str, count: u64) -> Result<()> {
        match count == self.events {
            true => Ok(()),
            false => failed(format!("{count} events were {done}, expected {}", self.events)),
        }
    }
}

/// The stream of an account.
fn stream(number: u64) -> Result<StreamName> {
    Ok(StreamName::new(format!("{}-{number}", Account::CATEGORY))?)
}

/// Something that happens to an account: as in real banks, mostly withdrawals and transfers.
fn transaction(random: &mut Random) -> AccountEvent {
    let amount = Amount::from_hundredths(100 + random.below(2_000_000) as i64);
    let mut other = || {
        let bank = random.choose(&["AB", "CD", "QR", "YZ"]).to_owned();
        Some(OtherAccount { bank, account: (10_000_000 + random.below(90_000_000)).to_string() })
    };
    match amount.hundredths() % 10 {
        0..=3 => AccountEvent::MoneyWithdrawn { amount, method: WithdrawalMethod::Cash },
        4..=5 => AccountEvent::TransferSent { amount, to: other(), purpose: Some("rent".to_owned()) },
        6 => AccountEvent::TransferReceived { amount, from: other(), purpose: None },
        7..=8 => AccountEvent::MoneyDeposited { amount },
        _ => AccountEvent::InterestCredited { amount },
    }
}
