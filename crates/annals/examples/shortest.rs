//! The shortest bank: the example of the README.

// Short enough for one screen, which the usual layout is not.
#[rustfmt::skip]
mod bank {
// [begin]
use annals::{Aggregate, App, Command, Context, DomainError, Event, State};
use serde::{Deserialize, Serialize};

#[derive(Event, Serialize, Deserialize)]
enum AccountEvent { MoneyDeposited { cents: u32 }, MoneyWithdrawn { cents: u32 } }
#[derive(Command, Serialize, Deserialize)]
enum AccountCommand { DepositMoney { cents: u32 }, WithdrawMoney { cents: u32 } }
#[derive(Debug, thiserror::Error, DomainError)]
enum AccountError { #[error("only {0} cents are left")] InsufficientFunds(u64) }
#[derive(Default, Clone, Serialize, Deserialize, State)]
struct Account { cents: u64 }

impl Aggregate for Account {
    const CATEGORY: &'static str = "account";
    type Command = AccountCommand;
    type Event = AccountEvent;
    type Error = AccountError;

    fn handle(&self, command: &AccountCommand, _: &Context) -> Result<Vec<AccountEvent>, AccountError> {
        match *command {
            AccountCommand::WithdrawMoney { cents } if self.cents < cents.into() => Err(AccountError::InsufficientFunds(self.cents)),
            AccountCommand::WithdrawMoney { cents } => Ok(vec![AccountEvent::MoneyWithdrawn { cents }]),
            AccountCommand::DepositMoney { cents } => Ok(vec![AccountEvent::MoneyDeposited { cents }]),
        }
    }
    fn apply(&mut self, event: &AccountEvent) {
        match event {
            AccountEvent::MoneyDeposited { cents } => self.cents += u64::from(*cents),
            AccountEvent::MoneyWithdrawn { cents } => self.cents -= u64::from(*cents),
        }
    }
}

pub(super) fn main() -> std::process::ExitCode {
    annals::run(App::new("shortest").aggregate::<Account>())
}
// [end]
}

fn main() -> std::process::ExitCode {
    bank::main()
}
