//! How money gets from one account to another: out of the first, into the second, and back when that is not possible.

use std::time::Duration;

use annals::{Context, Happened, ProcessManager, RecordedEvent, State, Steps};
use serde::{Deserialize, Serialize};

use crate::account::{Account, AccountCommand, OtherAccount};
use crate::money::{Amount, Currency};
use crate::transfer::{Transfer, TransferCommand, TransferEvent};

/// The bank's own code.
const THIS_BANK: &str = "AN";
/// What cannot be done yet is tried again so often within the time that a transfer waits.
const ATTEMPTS: u64 = 10;
/// Money that cannot even go back is tried to be given back so often.
const TRY_TO_RETURN: Duration = Duration::from_secs(3_600);

// What the process calls its commands and timers.
const SEND: &str = "send";
const RECEIVE: &str = "receive";
const RETURN: &str = "return";
const NOTE: &str = "note";
const AGAIN: &str = "again";
const DEADLINE: &str = "deadline";

/// A transfer on its way.
#[derive(Default, Clone, Serialize, Deserialize, State, Debug, PartialEq)]
pub struct Transfers {
    /// What was asked for.
    pub order: Order,
    /// Where the money is.
    pub money: Money,
    /// Whether the time to wait is over.
    pub is_late: bool,
    /// Why it could not go on, the last time that it could not.
    pub reason: Option<String>,
}

/// What was asked for.
#[derive(Default, Clone, Serialize, Deserialize, State, Debug, PartialEq)]
pub struct Order {
    /// The account that it is taken from.
    pub from: String,
    /// The account that it goes to.
    pub to: String,
    /// How much.
    pub amount: Amount,
    /// In which currency.
    pub currency: Currency,
    /// How long it waits.
    pub patience_seconds: u64,
}

/// Where the money of a transfer is.
#[derive(Default, Clone, Copy, Serialize, Deserialize, State, Debug, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Money {
    /// On the first account.
    #[default]
    NotSent,
    /// On its way to the second.
    Sent,
    /// On its way back, because the second does not take it.
    Returning,
    /// Where it was.
    Returned,
    /// On the second account.
    Received,
}

impl ProcessManager for Transfers {
    const NAME: &'static str = "transfers";
    type Event = TransferEvent;

    fn key(event: &TransferEvent, recorded: &RecordedEvent) -> Option<String> {
        matches!(event, TransferEvent::TransferRequested { .. }).then(|| recorded.entity_id().to_owned())
    }

    fn apply(&mut self, happened: &Happened<TransferEvent>) {
        match happened {
            Happened::Event(TransferEvent::TransferRequested {
                from,
                to,
                amount,
                currency,
                patience_seconds,
            }) => {
                let (from, to, amount) = (from.clone(), to.clone(), *amount);
                let (currency, patience_seconds) = (*currency, *patience_seconds);
                self.order = Order { from, to, amount, currency, patience_seconds };
                self.is_late = patience_seconds == 0;
            }
            Happened::Done { label, .. } => match label.as_str() {
                SEND => self.money = Money::Sent,
                RECEIVE => self.money = Money::Received,
                RETURN => self.money = Money::Returned,
                _ => {}
            },
            Happened::Refused { label, code, message } => {
                self.reason = Some(message.clone());
                if label == RECEIVE && !self.may_wait(code) {
                    self.money = Money::Returning;
                }
            }
            Happened::TimerFired { timer } if timer == DEADLINE => self.is_late = true,
            _ => {}
        }
    }

    fn react(&self, happened: &Happened<TransferEvent>, context: &Context) -> Steps {
        match happened {
            Happened::Event(_) if self.is_late => self.go_on(context),
            Happened::Event(_) => {
                self.go_on(context).timer(DEADLINE, Duration::from_secs(self.order.patience_seconds))
            }
            Happened::Done { label, .. } if label == NOTE => Steps::none().end(),
            Happened::Done { .. } => self.go_on(context),
            // Not enough money, no such account: that may change.
            Happened::Refused { code, .. } if self.may_wait(code) => Steps::none().timer(AGAIN, self.pause()),
            Happened::Refused { label, .. } if label == SEND => self.note_failure(context),
            Happened::Refused { label, .. } if label == RECEIVE => self.go_on(context),
            // The first account was closed meanwhile. The money belongs to somebody, so the bank does not give up.
            Happened::Refused { label, .. } if label == RETURN => Steps::none().timer(AGAIN, TRY_TO_RETURN),
            Happened::Refused { .. } => Steps::none().end(),
            // When it is too late while a command is being decided, its answer says what is to be done: to give the money back
            // before it is known that it has not arrived would be to make money.
            Happened::TimerFired { timer } if timer == DEADLINE => Steps::none(),
            Happened::TimerFired { .. } => self.go_on(context),
        }
    }
}

impl Transfers {
    /// Does what comes next, by where the money is.
    fn go_on(&self, context: &Context) -> Steps {
        let Order { from, to, amount, currency, .. } = self.order.clone();
        let purpose = Some(format!("transfer {}", context.id));
        let currency = Some(currency);
        let at_this_bank = |account| OtherAccount { bank: THIS_BANK.to_owned(), account };
        match self.money {
            Money::NotSent => {
                let to = at_this_bank(to);
                let send = AccountCommand::SendTransfer { amount, to, purpose, currency };
                Steps::none().give::<Account>(SEND, &from, send)
            }
            Money::Sent => {
                let from = at_this_bank(from);
                let receive = AccountCommand::ReceiveTransfer { amount, from, purpose, currency };
                Steps::none().give::<Account>(RECEIVE, &to, receive)
            }
            Money::Returning => {
                let purpose = Some(format!("transfer {}, returned", context.id));
                let receive =
                    AccountCommand::ReceiveTransfer { amount, from: at_this_bank(to), purpose, currency };
                Steps::none().give::<Account>(RETURN, &from, receive)
            }
            Money::Received => {
                Steps::none().give::<Transfer>(NOTE, &context.id, TransferCommand::CompleteTransfer)
            }
            Money::Returned => self.note_failure(context),
        }
    }

    fn note_failure(&self, context: &Context) -> Steps {
        let reason = self.reason.clone().unwrap_or_default();
        Steps::none().give::<Transfer>(NOTE, &context.id, TransferCommand::FailTransfer { reason })
    }

    /// Whether a refusal is none for ever, and there is time.
    fn may_wait(&self, code: &str) -> bool {
        !self.is_late && matches!(code, "insufficient-funds" | "account-not-open")
    }

    fn pause(&self) -> Duration {
        Duration::from_secs(self.order.patience_seconds)
            .div_f64(ATTEMPTS as f64)
            .max(Duration::from_millis(100))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use annals::{GivenProcess, given_process};

    fn requested(patience_seconds: u64) -> TransferEvent {
        let (from, to, amount) = ("1".to_owned(), "2".to_owned(), "5".parse().unwrap());
        TransferEvent::TransferRequested { from, to, amount, currency: Currency::default(), patience_seconds }
    }

    fn transfer(patience_seconds: u64) -> GivenProcess<Transfers> {
        given_process::<Transfers>().when_recorded("transfer-7", requested(patience_seconds))
    }

    fn other(account: &str) -> OtherAccount {
        OtherAccount { bank: THIS_BANK.to_owned(), account: account.to_owned() }
    }

    fn send() -> AccountCommand {
        let (amount, to, purpose) = ("5".parse().unwrap(), other("2"), Some("transfer 7".to_owned()));
        AccountCommand::SendTransfer { amount, to, purpose, currency: Some(Currency::default()) }
    }

    fn receive(from: &str, purpose: &str) -> AccountCommand {
        let (amount, from, purpose) = ("5".parse().unwrap(), other(from), Some(purpose.to_owned()));
        AccountCommand::ReceiveTransfer { amount, from, purpose, currency: Some(Currency::default()) }
    }

    #[test]
    fn money_goes_out_and_in() {
        transfer(0)
            .then(Steps::none().give::<Account>(SEND, "1", send()))
            .answered(SEND)
            .then(Steps::none().give::<Account>(RECEIVE, "2", receive("1", "transfer 7")))
            .restarted()
            .answered(RECEIVE)
            .then_gives::<Transfer>(NOTE, "7", TransferCommand::CompleteTransfer)
            .answered(NOTE)
            .then_ends();
    }

    #[test]
    fn what_cannot_arrive_goes_back() {
        let way = transfer(0)
            .answered(SEND)
            .refused(RECEIVE, "account-is-closed")
            .then(Steps::none().give::<Account>(RETURN, "1", receive("2", "transfer 7, returned")))
            .answered(RETURN)
            .then_waits_for([NOTE]);
        assert_eq!(way.state().money, Money::Returned);
    }

    #[test]
    fn it_waits_until_its_deadline_and_not_longer() {
        let again = Duration::from_secs(10);
        transfer(100)
            .then_sets(DEADLINE, Duration::from_secs(100))
            .refused(SEND, "insufficient-funds")
            .then(Steps::none().timer(AGAIN, again))
            .turn_clock(again)
            .then_gives::<Account>(SEND, "1", send())
            .refused(SEND, "insufficient-funds")
            .turn_clock(Duration::from_secs(90))
            .then_fires([AGAIN, DEADLINE])
            // The answer that was waited for when it became too late decides.
            .refused(SEND, "insufficient-funds")
            .then_waits_for([NOTE]);
    }
}
