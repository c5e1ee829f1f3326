//! A transfer from one account of the bank to another: what was asked for, and what became of it.

use annals::{Aggregate, Command, Context, DomainError, Event, State};
use serde::{Deserialize, Serialize};

use crate::money::{Amount, Currency};

/// The longest that a transfer waits for money, or for an account to be opened: ten years.
const MOST_PATIENCE_SECONDS: u64 = 10 * 366 * 86_400;

/// What can have happened to a transfer.
#[derive(Event, Serialize, Deserialize, Debug, Clone, PartialEq)]
#[serde(rename_all_fields = "snake_case")]
pub enum TransferEvent {
    /// Somebody asked for it.
    TransferRequested {
        /// The account that it is taken from.
        from: String,
        /// The account that it goes to.
        to: String,
        /// How much.
        amount: Amount,
        /// In which currency.
        currency: Currency,
        /// How long it waits when there is too little money, or no such account yet.
        patience_seconds: u64,
    },
    /// The money has arrived.
    TransferCompleted,
    /// Nothing has changed hands.
    TransferFailed {
        /// Why not.
        reason: String,
    },
}

/// What can be asked of a transfer. The bank itself completes it or lets it fail: see [`transfers`](crate::transfers).
#[derive(Command, Serialize, Deserialize, Debug, Clone, PartialEq)]
#[serde(rename_all_fields = "snake_case", deny_unknown_fields)]
pub enum TransferCommand {
    /// Ask for it.
    RequestTransfer {
        /// The account that it is to be taken from.
        from: String,
        /// The account that it is to go to.
        to: String,
        /// How much.
        amount: Amount,
        /// In which currency; crowns unless told otherwise.
        #[serde(default)]
        currency: Currency,
        /// How long it may wait when there is too little money, or no such account yet; not at all unless told otherwise.
        #[serde(default)]
        patience_seconds: u64,
    },
    /// Note that the money has arrived.
    CompleteTransfer,
    /// Note that nothing has changed hands.
    FailTransfer {
        /// Why not.
        reason: String,
    },
}

/// Why the bank says no.
#[derive(Debug, thiserror::Error, DomainError, PartialEq)]
pub enum TransferError {
    /// The id was used before.
    #[error("transfer {0} was asked for before: give each transfer an id of its own")]
    TransferKnown(String),
    /// It was never asked for, or is over.
    #[error("transfer {0} is not under way")]
    TransferNotUnderWay(String),
    /// From and to are one.
    #[error("a transfer needs two accounts, found account {0} twice")]
    SameAccount(String),
    /// An account has no name.
    #[error("a transfer needs the number of both accounts, found an empty one")]
    AccountMissing,
    /// An amount of nothing or less.
    #[error("an amount must be more than zero, found {0}")]
    AmountNotPositive(Amount),
    /// Nobody waits so long.
    #[error("a transfer waits {MOST_PATIENCE_SECONDS} seconds at most, found {0}")]
    PatienceTooLong(u64),
}

/// A transfer.
#[derive(Default, Clone, Copy, Serialize, Deserialize, State, Debug, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Transfer {
    /// It was not asked for.
    #[default]
    Unknown,
    /// The bank is at it.
    UnderWay,
    /// The money has arrived.
    Completed,
    /// Nothing has changed hands.
    Failed,
}

impl Aggregate for Transfer {
    const CATEGORY: &'static str = "transfer";
    type Command = TransferCommand;
    type Event = TransferEvent;
    type Error = TransferError;

    fn handle(
        &self,
        command: &TransferCommand,
        context: &Context,
    ) -> Result<Vec<TransferEvent>, TransferError> {
        use TransferCommand as C;
        use TransferEvent as E;
        Ok(vec![match (self, command.clone()) {
            (Self::Unknown, C::RequestTransfer { from, to, amount, currency, patience_seconds }) => {
                check(&from, &to, amount, patience_seconds)?;
                E::TransferRequested { from, to, amount, currency, patience_seconds }
            }
            (_, C::RequestTransfer { .. }) => return Err(TransferError::TransferKnown(context.id.clone())),
            (Self::UnderWay, C::CompleteTransfer) => E::TransferCompleted,
            (Self::UnderWay, C::FailTransfer { reason }) => E::TransferFailed { reason },
            _ => return Err(TransferError::TransferNotUnderWay(context.id.clone())),
        }])
    }

    fn apply(&mut self, event: &TransferEvent) {
        *self = match event {
            TransferEvent::TransferRequested { .. } => Self::UnderWay,
            TransferEvent::TransferCompleted => Self::Completed,
            TransferEvent::TransferFailed { .. } => Self::Failed,
        }
    }
}

fn check(from: &str, to: &str, amount: Amount, patience_seconds: u64) -> Result<(), TransferError> {
    if from.trim().is_empty() || to.trim().is_empty() {
        return Err(TransferError::AccountMissing);
    }
    if from == to {
        return Err(TransferError::SameAccount(from.to_owned()));
    }
    if amount <= Amount::ZERO {
        return Err(TransferError::AmountNotPositive(amount));
    }
    if patience_seconds > MOST_PATIENCE_SECONDS {
        return Err(TransferError::PatienceTooLong(patience_seconds));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use annals::given;

    fn request(from: &str, to: &str, amount: &str) -> TransferCommand {
        let (from, to, amount) = (from.to_owned(), to.to_owned(), amount.parse().unwrap());
        TransferCommand::RequestTransfer {
            from,
            to,
            amount,
            currency: Currency::default(),
            patience_seconds: 0,
        }
    }

    fn requested() -> TransferEvent {
        TransferEvent::TransferRequested {
            from: "1".into(),
            to: "2".into(),
            amount: "5".parse().unwrap(),
            currency: Currency::default(),
            patience_seconds: 0,
        }
    }

    #[test]
    fn a_transfer_is_asked_for_and_comes_to_one_end() {
        given::<Transfer>([]).when(request("1", "2", "5")).then([requested()]);
        given::<Transfer>([requested()]).when(request("1", "2", "5")).then_refused("transfer-known");
        given::<Transfer>([requested()])
            .when(TransferCommand::CompleteTransfer)
            .then([TransferEvent::TransferCompleted]);
        let fail = TransferCommand::FailTransfer { reason: "no".into() };
        given::<Transfer>([requested(), TransferEvent::TransferCompleted])
            .when(fail.clone())
            .then_refused("transfer-not-under-way");
        given::<Transfer>([]).when(fail).then_refused("transfer-not-under-way");
    }

    #[test]
    fn nonsense_is_refused() {
        given::<Transfer>([]).when(request("1", "1", "5")).then_refused("same-account");
        given::<Transfer>([]).when(request("1", " ", "5")).then_refused("account-missing");
        given::<Transfer>([]).when(request("1", "2", "0")).then_refused("amount-not-positive");
        given::<Transfer>([]).when(request("1", "2", "-5")).then_refused("amount-not-positive");
        let TransferCommand::RequestTransfer { from, to, amount, currency, .. } = request("1", "2", "5")
        else {
            unreachable!()
        };
        let never =
            TransferCommand::RequestTransfer { from, to, amount, currency, patience_seconds: u64::MAX };
        given::<Transfer>([]).when(never).then_refused("patience-too-long");
    }
}
