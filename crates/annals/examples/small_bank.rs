//! A small bank: a whole domain with everything that a real one has, its tests, and a few commands.
//!
//! `cargo run -p annals --example small_bank` gives the commands, `cargo test -p annals --example small_bank` tests it.

use std::sync::Arc;

use annals::memory::MemoryModels;
use annals::{Aggregate, App, BoxError, Command, Context, DomainError, Event, MemoryStore, State};
use serde::{Deserialize, Serialize};

// The domain begins here.

/// What can have happened to an account.
#[derive(Event, Serialize, Deserialize, Debug, Clone, PartialEq)]
#[event(unlocked)]
pub(crate) enum AccountEvent {
    AccountOpened { owner: String },
    MoneyDeposited { cents: u64 },
    MoneyWithdrawn { cents: u64 },
}

/// What can be asked of an account.
#[derive(Command, Serialize, Deserialize, Debug, Clone)]
pub(crate) enum AccountCommand {
    OpenAccount { owner: String },
    DepositMoney { cents: u64 },
    WithdrawMoney { cents: u64 },
}

/// Why an account refuses.
#[derive(Debug, thiserror::Error, DomainError)]
pub(crate) enum AccountError {
    #[error("the account is not open")]
    NotOpen,
    #[error("the account is open already")]
    OpenAlready,
    #[error("the amount is {0} cents, expected one above zero that the account can hold")]
    InvalidAmount(u64),
    #[error("only {0} cents are left")]
    InsufficientFunds(u64),
}

/// An account, as far as decisions need it.
#[derive(Default, Clone, Serialize, Deserialize, State, Debug, PartialEq)]
pub(crate) struct Account {
    pub(crate) open: bool,
    pub(crate) cents: u64,
}

impl Aggregate for Account {
    const CATEGORY: &'static str = "account";
    type Command = AccountCommand;
    type Event = AccountEvent;
    type Error = AccountError;

    fn handle(&self, asked: &Self::Command, _: &Context) -> Result<Vec<Self::Event>, Self::Error> {
        use AccountCommand::*;
        use AccountError::*;
        use AccountEvent::*;

        match asked.clone() {
            OpenAccount { .. } if self.open => Err(OpenAlready),
            OpenAccount { owner } => Ok(vec![AccountOpened { owner }]),
            _ if !self.open => Err(NotOpen),
            DepositMoney { cents: 0 } | WithdrawMoney { cents: 0 } => Err(InvalidAmount(0)),
            DepositMoney { cents } if cents > u64::MAX - self.cents => Err(InvalidAmount(cents)),
            DepositMoney { cents } => Ok(vec![MoneyDeposited { cents }]),
            WithdrawMoney { cents } if cents > self.cents => Err(InsufficientFunds(self.cents)),
            WithdrawMoney { cents } => Ok(vec![MoneyWithdrawn { cents }]),
        }
    }

    fn apply(&mut self, event: &Self::Event) {
        use AccountEvent::*;

        match event {
            AccountOpened { .. } => self.open = true,
            MoneyDeposited { cents } => self.cents = self.cents.saturating_add(*cents),
            MoneyWithdrawn { cents } => self.cents = self.cents.saturating_sub(*cents),
        }
    }
}

// The domain ends here.

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let app = App::new("small-bank").aggregate::<Account>();
    let app = app.start(Arc::new(MemoryStore::default()), Arc::new(MemoryModels::new())).await?;
    let commands = [
        AccountCommand::OpenAccount { owner: "ann".to_owned() },
        AccountCommand::DepositMoney { cents: 500 },
        AccountCommand::WithdrawMoney { cents: 120 },
        AccountCommand::WithdrawMoney { cents: 900 },
    ];
    for command in commands {
        let asked = format!("{command:?}");
        match app.execute::<Account>("42", command).await {
            Ok(done) => println!("{asked}: {} cents at version {}", done.state.cents, done.version),
            Err(error) => println!("{asked}: refused, {error}"),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use annals::{Given, given};

    use super::AccountCommand::{DepositMoney, OpenAccount, WithdrawMoney};
    use super::AccountEvent::{AccountOpened, MoneyDeposited, MoneyWithdrawn};
    use super::*;

    fn account_with(cents: u64) -> Given<Account> {
        given([AccountOpened { owner: "ann".to_owned() }, MoneyDeposited { cents }])
    }

    #[test]
    fn an_account_is_opened_once() {
        let open = || OpenAccount { owner: "ann".to_owned() };
        let opened = given::<Account>([]).when(open()).then([AccountOpened { owner: "ann".to_owned() }]);
        assert_eq!(opened, Account { open: true, cents: 0 });
        account_with(5).when(open()).then_refused("open-already");
    }

    #[test]
    fn what_is_paid_in_can_be_taken_out() {
        let after = account_with(5).when(DepositMoney { cents: 4 }).then([MoneyDeposited { cents: 4 }]);
        assert_eq!(after.cents, 9);
        let after = account_with(5).when(WithdrawMoney { cents: 5 }).then([MoneyWithdrawn { cents: 5 }]);
        assert_eq!(after.cents, 0);
    }

    #[test]
    fn no_more_than_there_is_can_be_taken_out() {
        let refusal = account_with(5).when(WithdrawMoney { cents: 6 }).then_refused("insufficient-funds");
        assert_eq!(refusal.to_string(), "only 5 cents are left");
    }

    #[test]
    fn no_more_than_can_be_counted_can_be_paid_in() {
        account_with(u64::MAX).when(DepositMoney { cents: 1 }).then_refused("invalid-amount");
    }

    #[test]
    fn nothing_is_not_an_amount() {
        account_with(5).when(DepositMoney { cents: 0 }).then_refused("invalid-amount");
        account_with(5).when(WithdrawMoney { cents: 0 }).then_refused("invalid-amount");
    }

    #[test]
    fn an_account_that_is_not_open_moves_no_money() {
        given::<Account>([]).when(DepositMoney { cents: 1 }).then_refused("not-open");
        given::<Account>([]).when(WithdrawMoney { cents: 1 }).then_refused("not-open");
    }
}
