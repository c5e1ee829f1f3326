//! The same domain as that of `small_bank`, as one writes it for cqrs-es.

use cqrs_es::event_sink::EventSink;
use cqrs_es::{Aggregate, DomainEvent};
use serde::{Deserialize, Serialize};

// The domain begins here.

/// What can have happened to an account.
#[derive(Serialize, Deserialize, Debug, Clone, PartialEq)]
pub(super) enum AccountEvent {
    AccountOpened { owner: String },
    MoneyDeposited { cents: u64 },
    MoneyWithdrawn { cents: u64 },
}

impl DomainEvent for AccountEvent {
    fn event_type(&self) -> String {
        let event_type = match self {
            AccountEvent::AccountOpened { .. } => "AccountOpened",
            AccountEvent::MoneyDeposited { .. } => "MoneyDeposited",
            AccountEvent::MoneyWithdrawn { .. } => "MoneyWithdrawn",
        };
        event_type.to_string()
    }

    fn event_version(&self) -> String {
        "1.0".to_string()
    }
}

/// What can be asked of an account.
#[derive(Debug, Deserialize)]
pub(super) enum AccountCommand {
    OpenAccount { owner: String },
    DepositMoney { cents: u64 },
    WithdrawMoney { cents: u64 },
}

/// Why an account refuses.
#[derive(Debug, thiserror::Error)]
pub(super) enum AccountError {
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
#[derive(Default, Serialize, Deserialize)]
pub(super) struct Account {
    open: bool,
    cents: u64,
}

impl Aggregate for Account {
    const TYPE: &'static str = "account";
    type Command = AccountCommand;
    type Event = AccountEvent;
    type Error = AccountError;
    type Services = ();

    async fn handle(
        &mut self,
        command: Self::Command,
        _: &Self::Services,
        sink: &EventSink<Self>,
    ) -> Result<(), Self::Error> {
        use AccountCommand::*;
        use AccountError::*;
        use AccountEvent::*;

        let event = match command {
            OpenAccount { .. } if self.open => Err(OpenAlready),
            OpenAccount { owner } => Ok(AccountOpened { owner }),
            _ if !self.open => Err(NotOpen),
            DepositMoney { cents: 0 } | WithdrawMoney { cents: 0 } => Err(InvalidAmount(0)),
            DepositMoney { cents } if cents > u64::MAX - self.cents => Err(InvalidAmount(cents)),
            DepositMoney { cents } => Ok(MoneyDeposited { cents }),
            WithdrawMoney { cents } if cents > self.cents => Err(InsufficientFunds(self.cents)),
            WithdrawMoney { cents } => Ok(MoneyWithdrawn { cents }),
        }?;
        sink.write(event, self).await;
        Ok(())
    }

    fn apply(&mut self, event: Self::Event) {
        use AccountEvent::*;

        match event {
            AccountOpened { .. } => self.open = true,
            MoneyDeposited { cents } => self.cents = self.cents.saturating_add(cents),
            MoneyWithdrawn { cents } => self.cents = self.cents.saturating_sub(cents),
        }
    }
}

// The domain ends here.
