//! Which command each event becomes when the bank's history is given to another one (`bank replay`).

use annals::RecordedEvent;

use crate::account::{AccountCommand, AccountEvent, OtherAccount};
use crate::card::IssueCard;

/// Stands for what an imported history does not tell and a command must.
const UNKNOWN: &str = "unknown";

/// The command that has such an event as its outcome.
pub fn command_of(event: &AccountEvent, _: &RecordedEvent) -> Option<AccountCommand> {
    use AccountCommand as C;
    use AccountEvent as E;
    Some(match event.clone() {
        E::AccountOpened { owner, currency, overdraft_limit } => {
            let owner = owner.unwrap_or_else(|| UNKNOWN.to_owned());
            C::OpenAccount { owner, currency, overdraft_limit }
        }
        E::MoneyDeposited { amount } => C::DepositMoney { amount, currency: None },
        E::MoneyWithdrawn { amount, method } => C::WithdrawMoney { amount, currency: None, method },
        E::TransferReceived { amount, from, purpose } => {
            C::ReceiveTransfer { amount, from: from.unwrap_or_else(unknown_account), purpose, currency: None }
        }
        E::TransferSent { amount, to, purpose } => {
            C::SendTransfer { amount, to: to.unwrap_or_else(unknown_account), purpose, currency: None }
        }
        E::InterestCredited { amount } => C::CreditInterest { amount },
        E::FeeCharged { amount, reason } => C::ChargeFee { amount, reason },
        E::PenaltyInterestCharged { amount } => C::ChargePenaltyInterest { amount },
        E::OverdraftLimitChanged { limit } => C::ChangeOverdraftLimit { limit },
        E::AccountClosed => C::CloseAccount,
        // A rule across accounts decides about cards.
        E::CardIssued { .. } => return None,
    })
}

/// The command by which a card was given.
pub fn card_command_of(event: &AccountEvent, _: &RecordedEvent) -> Option<IssueCard> {
    match event {
        AccountEvent::CardIssued { card, .. } => Some(IssueCard { card: card.clone() }),
        _ => None,
    }
}

fn unknown_account() -> OtherAccount {
    OtherAccount { bank: UNKNOWN.to_owned(), account: UNKNOWN.to_owned() }
}
