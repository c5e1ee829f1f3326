//! The domain: an account, what can be asked of it, what can happen to it.

use annals::{Aggregate, Command, Context, DomainError, Event, Invalid, State};
use serde::{Deserialize, Serialize};

use crate::money::{Amount, Currency, Money};

/// What can have happened to an account.
#[derive(Event, Serialize, Deserialize, Debug, Clone, PartialEq)]
#[serde(rename_all_fields = "snake_case")]
pub enum AccountEvent {
    /// It exists since.
    AccountOpened {
        /// Whose it is, where that is known.
        owner: Option<String>,
        /// What it is kept in.
        currency: Currency,
        /// How far below zero its owner may go.
        overdraft_limit: Amount,
    },
    /// Cash came in.
    MoneyDeposited {
        /// How much.
        amount: Amount,
    },
    /// Cash went out, or a card was used.
    MoneyWithdrawn {
        /// How much.
        amount: Amount,
        /// How.
        method: WithdrawalMethod,
    },
    /// Money came from another account.
    TransferReceived {
        /// How much.
        amount: Amount,
        /// From where, where that is known.
        from: Option<OtherAccount>,
        /// What for.
        purpose: Option<String>,
    },
    /// Money went to another account.
    TransferSent {
        /// How much.
        amount: Amount,
        /// Where to, where that is known.
        to: Option<OtherAccount>,
        /// What for.
        purpose: Option<String>,
    },
    /// The bank paid interest.
    InterestCredited {
        /// How much.
        amount: Amount,
    },
    /// The bank took a fee.
    FeeCharged {
        /// How much.
        amount: Amount,
        /// What for.
        reason: Option<String>,
    },
    /// The bank took interest on a negative balance.
    PenaltyInterestCharged {
        /// How much.
        amount: Amount,
    },
    /// Its owner may go further below zero, or less far.
    OverdraftLimitChanged {
        /// How far.
        limit: Amount,
    },
    /// It has a card.
    CardIssued {
        /// The number of the card.
        #[event(tag = "card")]
        card: String,
        /// The account.
        account: String,
    },
    /// It is no more.
    AccountClosed,
}

/// How money was withdrawn.
#[derive(Serialize, Deserialize, Debug, Clone, Copy, Default, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum WithdrawalMethod {
    /// At the counter or a machine.
    #[default]
    Cash,
    /// In a shop.
    Card,
}

/// An account at this bank or another.
#[derive(Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct OtherAccount {
    /// The bank's code.
    pub bank: String,
    /// The account's number there.
    pub account: String,
}

/// What can be asked of an account.
#[derive(Command, Serialize, Deserialize, Debug, Clone, PartialEq)]
#[command(validate = texts_can_be_kept)]
#[serde(rename_all_fields = "snake_case", deny_unknown_fields)]
pub enum AccountCommand {
    /// Open it.
    OpenAccount {
        /// Whose it is to be.
        owner: String,
        /// What it is to be kept in; crowns unless told otherwise.
        #[serde(default)]
        currency: Currency,
        /// How far below zero its owner may go; not at all unless told otherwise.
        #[serde(default)]
        overdraft_limit: Amount,
    },
    /// Take cash in.
    DepositMoney {
        /// How much.
        amount: Amount,
        /// In which currency; the account's own unless told otherwise.
        #[serde(default)]
        currency: Option<Currency>,
    },
    /// Give cash out, or pay by card.
    WithdrawMoney {
        /// How much.
        amount: Amount,
        /// In which currency; the account's own unless told otherwise.
        #[serde(default)]
        currency: Option<Currency>,
        /// How; in cash unless told otherwise.
        #[serde(default)]
        method: WithdrawalMethod,
    },
    /// Take in money from another account.
    ReceiveTransfer {
        /// How much.
        amount: Amount,
        /// From where.
        from: OtherAccount,
        /// What for.
        #[serde(default)]
        purpose: Option<String>,
        /// In which currency; the account's own unless told otherwise.
        #[serde(default)]
        currency: Option<Currency>,
    },
    /// Send money to another account.
    SendTransfer {
        /// How much.
        amount: Amount,
        /// Where to.
        to: OtherAccount,
        /// What for.
        #[serde(default)]
        purpose: Option<String>,
        /// In which currency; the account's own unless told otherwise.
        #[serde(default)]
        currency: Option<Currency>,
    },
    /// Pay interest.
    CreditInterest {
        /// How much.
        amount: Amount,
    },
    /// Take a fee.
    ChargeFee {
        /// How much.
        amount: Amount,
        /// What for.
        #[serde(default)]
        reason: Option<String>,
    },
    /// Take interest on a negative balance.
    ChargePenaltyInterest {
        /// How much.
        amount: Amount,
    },
    /// Let the owner go further below zero, or less far.
    ChangeOverdraftLimit {
        /// How far.
        limit: Amount,
    },
    /// Close it.
    CloseAccount,
}

/// The longest name of an owner, in characters.
const LONGEST_OWNER: usize = 200;
/// The longest text that says what something is for, in characters.
const LONGEST_PURPOSE: usize = 500;

/// Looks at what would not fit on a statement. What an account allows is decided by the account.
fn texts_can_be_kept(command: &AccountCommand) -> Result<(), Invalid> {
    use AccountCommand as C;
    let invalid = Invalid::new();
    match command {
        C::OpenAccount { owner, .. } => invalid.at_most_chars(LONGEST_OWNER, "owner", owner),
        C::ReceiveTransfer { purpose: Some(purpose), .. }
        | C::SendTransfer { purpose: Some(purpose), .. } => {
            invalid.at_most_chars(LONGEST_PURPOSE, "purpose", purpose)
        }
        C::ChargeFee { reason: Some(reason), .. } => invalid.at_most_chars(LONGEST_PURPOSE, "reason", reason),
        _ => invalid,
    }
    .into_result()
}

/// Why the bank says no.
#[derive(Debug, thiserror::Error, DomainError, PartialEq)]
pub enum AccountError {
    /// It was never opened.
    #[error("account {0} does not exist; open it first")]
    AccountNotOpen(String),
    /// It was opened before.
    #[error("account {0} is open already")]
    AccountAlreadyOpen(String),
    /// It was closed.
    #[error("account {0} is closed")]
    AccountIsClosed(String),
    /// There is not enough.
    #[error(
        "{asked} were asked for, but only {available} are available (balance {balance}, overdraft limit {limit})"
    )]
    InsufficientFunds {
        /// How much was asked for.
        asked: Money,
        /// How much there is, the overdraft limit included.
        available: Money,
        /// The balance.
        balance: Money,
        /// The overdraft limit.
        limit: Money,
    },
    /// An amount of nothing or less.
    #[error("an amount must be more than zero, found {0}")]
    AmountNotPositive(Amount),
    /// A limit below zero.
    #[error("an overdraft limit cannot be below zero, found {0}")]
    LimitNegative(Amount),
    /// Another currency than the account's.
    #[error("the account is kept in {expected}, found an amount in {found}")]
    CurrencyMismatch {
        /// The account's.
        expected: Currency,
        /// The one given.
        found: Currency,
    },
    /// The balance would be larger than can be counted.
    #[error("{0} more would make the balance larger than this bank can count")]
    BalanceTooLarge(Amount),
    /// There is money on it, or it is owed.
    #[error("the balance is {0}; it must be zero before the account can be closed")]
    BalanceNotZero(Money),
    /// No name.
    #[error("an account needs an owner, found an empty name")]
    OwnerMissing,
}

/// An account.
#[derive(Default, Clone, Serialize, Deserialize, State, Debug, PartialEq)]
pub struct Account {
    /// Whether it can be used.
    pub status: Status,
    /// Whose it is, where that is known.
    pub owner: Option<String>,
    /// What is on it.
    pub balance: Amount,
    /// What it is kept in.
    pub currency: Currency,
    /// How far below zero its owner may go.
    pub overdraft_limit: Amount,
    /// How many transactions there were.
    pub transactions: u64,
}

/// Whether an account can be used.
#[derive(Default, Clone, Copy, Serialize, Deserialize, State, Debug, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Not yet.
    #[default]
    Unopened,
    /// Yes.
    Open,
    /// No more.
    Closed,
}

impl Aggregate for Account {
    const CATEGORY: &'static str = "account";
    type Command = AccountCommand;
    type Event = AccountEvent;
    type Error = AccountError;

    fn handle(&self, command: &AccountCommand, context: &Context) -> Result<Vec<AccountEvent>, AccountError> {
        use AccountCommand as C;
        use AccountEvent as E;
        if let C::OpenAccount { owner, currency, overdraft_limit } = command {
            return self.open(owner, *currency, *overdraft_limit, context);
        }
        self.must_be_open(context)?;
        let event = match command.clone() {
            C::OpenAccount { .. } => return Ok(Vec::new()),
            C::DepositMoney { amount, currency } => {
                self.must_be_own(currency)?;
                self.can_receive(amount)?;
                E::MoneyDeposited { amount }
            }
            C::WithdrawMoney { amount, currency, method } => {
                self.must_be_own(currency)?;
                self.can_spend(amount)?;
                E::MoneyWithdrawn { amount, method }
            }
            C::ReceiveTransfer { amount, from, purpose, currency } => {
                self.must_be_own(currency)?;
                self.can_receive(amount)?;
                E::TransferReceived { amount, from: Some(from), purpose }
            }
            C::SendTransfer { amount, to, purpose, currency } => {
                self.must_be_own(currency)?;
                self.can_spend(amount)?;
                E::TransferSent { amount, to: Some(to), purpose }
            }
            C::CreditInterest { amount } => {
                self.can_receive(amount)?;
                E::InterestCredited { amount }
            }
            C::ChargeFee { amount, reason } => {
                self.can_be_charged(amount)?;
                E::FeeCharged { amount, reason }
            }
            C::ChargePenaltyInterest { amount } => {
                self.can_be_charged(amount)?;
                E::PenaltyInterestCharged { amount }
            }
            C::ChangeOverdraftLimit { limit } if limit < Amount::ZERO => {
                return Err(AccountError::LimitNegative(limit));
            }
            C::ChangeOverdraftLimit { limit } if limit == self.overdraft_limit => return Ok(Vec::new()),
            C::ChangeOverdraftLimit { limit } => E::OverdraftLimitChanged { limit },
            C::CloseAccount if self.balance != Amount::ZERO => {
                return Err(AccountError::BalanceNotZero(self.money(self.balance)));
            }
            C::CloseAccount => E::AccountClosed,
        };
        Ok(vec![event])
    }

    fn apply(&mut self, event: &AccountEvent) {
        use AccountEvent as E;
        if let Some(change) = event.change() {
            self.balance = self.balance.saturating_add(change);
            self.transactions += 1;
        }
        match event {
            // History that is imported may tell of an account that is open here already.
            E::AccountOpened { owner, currency, overdraft_limit } if self.status == Status::Unopened => {
                self.status = Status::Open;
                self.owner.clone_from(owner);
                self.currency = *currency;
                self.overdraft_limit = *overdraft_limit;
            }
            E::OverdraftLimitChanged { limit } => self.overdraft_limit = *limit,
            E::AccountClosed => self.status = Status::Closed,
            _ => {}
        }
    }
}

impl AccountEvent {
    /// By how much the event changes the balance; `None` for one that is no transaction.
    pub fn change(&self) -> Option<Amount> {
        match self {
            Self::MoneyDeposited { amount }
            | Self::TransferReceived { amount, .. }
            | Self::InterestCredited { amount } => Some(*amount),
            Self::MoneyWithdrawn { amount, .. }
            | Self::TransferSent { amount, .. }
            | Self::FeeCharged { amount, .. }
            | Self::PenaltyInterestCharged { amount } => Some(amount.negated()),
            Self::AccountOpened { .. }
            | Self::OverdraftLimitChanged { .. }
            | Self::CardIssued { .. }
            | Self::AccountClosed => None,
        }
    }
}

impl Account {
    fn open(
        &self,
        owner: &str,
        currency: Currency,
        overdraft_limit: Amount,
        context: &Context,
    ) -> Result<Vec<AccountEvent>, AccountError> {
        match self.status {
            Status::Open => return Err(AccountError::AccountAlreadyOpen(context.id.clone())),
            Status::Closed => return Err(AccountError::AccountIsClosed(context.id.clone())),
            Status::Unopened => {}
        }
        if owner.trim().is_empty() {
            return Err(AccountError::OwnerMissing);
        }
        if overdraft_limit < Amount::ZERO {
            return Err(AccountError::LimitNegative(overdraft_limit));
        }
        let owner = Some(owner.to_owned());
        Ok(vec![AccountEvent::AccountOpened { owner, currency, overdraft_limit }])
    }

    fn must_be_open(&self, context: &Context) -> Result<(), AccountError> {
        match self.status {
            Status::Open => Ok(()),
            Status::Unopened => Err(AccountError::AccountNotOpen(context.id.clone())),
            Status::Closed => Err(AccountError::AccountIsClosed(context.id.clone())),
        }
    }

    fn must_be_own(&self, currency: Option<Currency>) -> Result<(), AccountError> {
        match currency.filter(|found| *found != self.currency) {
            Some(found) => Err(AccountError::CurrencyMismatch { expected: self.currency, found }),
            None => Ok(()),
        }
    }

    fn can_receive(&self, amount: Amount) -> Result<(), AccountError> {
        must_be_positive(amount)?;
        self.balance.checked_add(amount).map(drop).ok_or(AccountError::BalanceTooLarge(amount))
    }

    /// The bank charges what is due, whatever is on the account.
    fn can_be_charged(&self, amount: Amount) -> Result<(), AccountError> {
        must_be_positive(amount)?;
        self.balance.checked_add(amount.negated()).map(drop).ok_or(AccountError::BalanceTooLarge(amount))
    }

    fn can_spend(&self, amount: Amount) -> Result<(), AccountError> {
        must_be_positive(amount)?;
        let available = self.balance.saturating_add(self.overdraft_limit);
        if amount <= available {
            return Ok(());
        }
        Err(AccountError::InsufficientFunds {
            asked: self.money(amount),
            available: self.money(available.max(Amount::ZERO)),
            balance: self.money(self.balance),
            limit: self.money(self.overdraft_limit),
        })
    }

    fn money(&self, amount: Amount) -> Money {
        Money { amount, currency: self.currency }
    }
}

fn must_be_positive(amount: Amount) -> Result<(), AccountError> {
    if amount > Amount::ZERO { Ok(()) } else { Err(AccountError::AmountNotPositive(amount)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use annals::given;

    fn amount(text: &str) -> Amount {
        text.parse().unwrap()
    }

    fn opened(limit: &str) -> AccountEvent {
        let (currency, overdraft_limit) = (Currency::default(), amount(limit));
        AccountEvent::AccountOpened { owner: Some("Ann".into()), currency, overdraft_limit }
    }

    fn deposited(text: &str) -> AccountEvent {
        AccountEvent::MoneyDeposited { amount: amount(text) }
    }

    fn withdraw(text: &str) -> AccountCommand {
        AccountCommand::WithdrawMoney { amount: amount(text), currency: None, method: WithdrawalMethod::Cash }
    }

    fn deposit(text: &str) -> AccountCommand {
        AccountCommand::DepositMoney { amount: amount(text), currency: None }
    }

    fn withdrawn(text: &str) -> AccountEvent {
        AccountEvent::MoneyWithdrawn { amount: amount(text), method: WithdrawalMethod::Cash }
    }

    #[test]
    fn money_comes_and_goes() {
        let state =
            given::<Account>([opened("0"), deposited("9")]).when(withdraw("4")).then([withdrawn("4")]);
        assert_eq!((state.balance, state.transactions), (amount("5"), 2));
    }

    #[test]
    fn the_overdraft_limit_is_a_limit() {
        given::<Account>([opened("100"), deposited("9")]).when(withdraw("109")).then([withdrawn("109")]);
        let error = given::<Account>([opened("100"), deposited("9")])
            .when(withdraw("109.01"))
            .then_refused("insufficient-funds");
        let expected = "109.01 CZK were asked for, but only 109.00 CZK are available (balance 9.00 CZK, overdraft \
                        limit 100.00 CZK)";
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn the_bank_takes_its_fee_whatever_is_left() {
        let fee = AccountCommand::ChargeFee { amount: amount("5"), reason: None };
        let state = given::<Account>([opened("0")])
            .when(fee)
            .then([AccountEvent::FeeCharged { amount: amount("5"), reason: None }]);
        assert_eq!(state.balance, amount("-5"));
    }

    #[test]
    fn nonsense_is_refused() {
        let open = || AccountCommand::OpenAccount {
            owner: "Ann".into(),
            currency: Currency::default(),
            overdraft_limit: Amount::ZERO,
        };
        let euro =
            AccountCommand::DepositMoney { amount: amount("1"), currency: Some("EUR".parse().unwrap()) };
        let limit = AccountCommand::ChangeOverdraftLimit { limit: amount("-1") };
        given::<Account>([]).when(deposit("1")).then_refused("account-not-open");
        given::<Account>([opened("0")]).when(open()).then_refused("account-already-open");
        given::<Account>([opened("0")]).when(deposit("0")).then_refused("amount-not-positive");
        given::<Account>([opened("0")]).when(deposit("-1")).then_refused("amount-not-positive");
        given::<Account>([opened("0")]).when(euro).then_refused("currency-mismatch");
        given::<Account>([opened("0")]).when(limit).then_refused("limit-negative");
        given::<Account>([opened("0"), deposited("1")])
            .when(AccountCommand::CloseAccount)
            .then_refused("balance-not-zero");
        given::<Account>([opened("0"), AccountEvent::AccountClosed])
            .when(deposit("1"))
            .then_refused("account-is-closed");
        given::<Account>([opened("0")])
            .when(AccountCommand::CloseAccount)
            .then([AccountEvent::AccountClosed]);
    }

    #[test]
    fn a_balance_never_overflows() {
        let balance = Amount::from_hundredths(i64::MAX - 50);
        let full = Account { status: Status::Open, balance, ..Account::default() };
        let context = Context {
            id: "1".into(),
            version: annals::Version::new(1),
            occurred_at: annals::Timestamp::default(),
            principal: annals::Principal::anonymous(),
        };
        assert_eq!(full.handle(&deposit("0.50"), &context), Ok(vec![deposited("0.50")]));
        let refused = full.handle(&deposit("0.51"), &context);
        assert_eq!(refused, Err(AccountError::BalanceTooLarge(amount("0.51"))));
    }
}
