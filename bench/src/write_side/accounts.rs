//! The accounts of one caller, and what the caller does with them: planned ahead, so that every answer can be checked.

use std::sync::Arc;

use crate::failure::{Result, failed};
use crate::random::Random;

/// A deposit is of at most so many cents.
const LARGEST_DEPOSIT: u64 = 100_000;

/// What is asked of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transaction {
    Open,
    Deposit { cents: u64 },
    Withdraw { cents: u64 },
}

/// A transaction on an account, and how the account is to stand after it.
pub(super) struct Step {
    pub(super) id: Arc<str>,
    pub(super) transaction: Transaction,
    version: u64,
    cents: u64,
}

impl Step {
    /// Checks how the account stands after it.
    pub(super) fn check(&self, version: u64, cents: u64) -> Result<()> {
        match (version, cents) == (self.version, self.cents) {
            true => Ok(()),
            false => failed(format!(
                "account {} has {cents} cents at version {version} after {:?}, expected {} at version {}",
                self.id, self.transaction, self.cents, self.version
            )),
        }
    }
}

/// The accounts of one caller. No two callers share one.
pub(super) struct Accounts {
    accounts: Vec<Known>,
    random: Random,
    opened: usize,
}

/// How an account stands once all that was planned is done.
struct Known {
    id: Arc<str>,
    version: u64,
    cents: u64,
}

impl Accounts {
    /// Those accounts, of so many in all, that belong to one of several callers.
    pub(super) fn of_caller(caller: usize, callers: usize, accounts: u64) -> Result<Self> {
        let own = (caller as u64..accounts).step_by(callers);
        let known = |number: u64| Known { id: number.to_string().into(), version: 0, cents: 0 };
        Ok(Self { accounts: own.map(known).collect(), random: Random::seeded()?, opened: 0 })
    }

    /// The opening of an account that is not open yet.
    pub(super) fn open(&mut self) -> Option<Step> {
        let account = self.accounts.get_mut(self.opened)?;
        self.opened += 1;
        Some(account.then(Transaction::Open))
    }

    /// A transaction on a random account that will not be refused: mostly deposits.
    pub(super) fn step(&mut self) -> Step {
        let place = self.random.below(self.accounts.len() as u64) as usize;
        let account = &mut self.accounts[place];
        let withdraws = account.cents > 0 && self.random.below(4) == 0;
        let cents = 1 + self.random.below(if withdraws { account.cents } else { LARGEST_DEPOSIT });
        account.then(match withdraws {
            true => Transaction::Withdraw { cents },
            false => Transaction::Deposit { cents },
        })
    }

    /// How many events there are once all that was planned is done.
    pub(super) fn events(&self) -> u64 {
        self.accounts.iter().map(|account| account.version).sum()
    }
}

impl Known {
    fn then(&mut self, transaction: Transaction) -> Step {
        self.version += 1;
        match transaction {
            Transaction::Open => {}
            Transaction::Deposit { cents } => self.cents += cents,
            Transaction::Withdraw { cents } => self.cents -= cents,
        }
        Step { id: Arc::clone(&self.id), transaction, version: self.version, cents: self.cents }
    }
}
