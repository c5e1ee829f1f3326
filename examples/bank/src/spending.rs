//! What may be spent now: kept in memory, because every card terminal asks for it at every payment.

use std::borrow::Cow;

use annals::memory::{imbl, state, view};
use annals::{
    BoxError, Category, Filter, KeyedProjection, ModelKind, Query, QueryContext, QueryError, ReadModelTx,
    RecordedEvent, decode_event,
};
use serde::{Deserialize, Serialize};

use crate::account::AccountEvent;
use crate::money::Amount;

/// Keeps what is on each account, and how far below zero it may go.
pub struct Spending;

/// All accounts.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct Accounts {
    by_number: imbl::HashMap<String, Purse>,
}

/// What decides whether an account can pay.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Purse {
    balance: Amount,
    overdraft_limit: Amount,
    currency: String,
    is_closed: bool,
}

/// What a batch of events changes on one account.
#[derive(Default)]
pub struct Change {
    sum: Amount,
    overdraft_limit: Option<Amount>,
    currency: Option<String>,
    is_closed: bool,
}

impl KeyedProjection for Spending {
    const NAME: &'static str = "spending";
    const VERSION: u32 = 1;
    const KIND: ModelKind = ModelKind::Memory;
    type Change = Change;

    fn filter(&self) -> Filter {
        Category::new("account").map(Filter::category).unwrap_or_default()
    }

    async fn prepare(&self, tx: &mut dyn ReadModelTx) -> Result<(), BoxError> {
        state::<Accounts>(tx)?;
        Ok(())
    }

    fn take(&self, change: &mut Change, recorded: &RecordedEvent) -> Result<(), BoxError> {
        for event in decode_event::<AccountEvent>(recorded)? {
            match &event {
                // Only the first opening counts, as in the account itself.
                AccountEvent::AccountOpened { currency, overdraft_limit, .. } => {
                    change.currency.get_or_insert_with(|| currency.to_string());
                    change.overdraft_limit.get_or_insert(*overdraft_limit);
                }
                AccountEvent::OverdraftLimitChanged { limit } => change.overdraft_limit = Some(*limit),
                AccountEvent::AccountClosed => change.is_closed = true,
                _ => {}
            }
            if let Some(sum) = event.change() {
                change.sum = change.sum.saturating_add(sum);
            }
        }
        Ok(())
    }

    async fn write(
        &self,
        tx: &mut dyn ReadModelTx,
        changes: Vec<(Cow<'_, str>, Change)>,
    ) -> Result<(), BoxError> {
        let accounts = state::<Accounts>(tx)?;
        for (number, change) in changes {
            let purse = accounts.by_number.entry(number.into_owned()).or_default();
            purse.balance = purse.balance.saturating_add(change.sum);
            purse.overdraft_limit = change.overdraft_limit.unwrap_or(purse.overdraft_limit);
            purse.is_closed |= change.is_closed;
            if let Some(currency) = change.currency.filter(|_| purse.currency.is_empty()) {
                purse.currency = currency;
            }
        }
        Ok(())
    }
}

/// Can this be paid from an account now? The account itself decides when the money is withdrawn.
#[derive(Query, Serialize, Deserialize)]
#[query(output = SpendingPower, from = Spending)]
#[serde(deny_unknown_fields)]
pub struct CanPay {
    /// The account.
    pub account: String,
    /// How much.
    pub amount: Amount,
}

/// What can be paid from an account.
#[derive(Serialize, Debug, Clone, PartialEq)]
pub struct SpendingPower {
    /// The account.
    pub account: String,
    /// Whether what was asked for can be paid.
    pub can_pay: bool,
    /// How much can be paid at most; nothing from a closed account.
    pub available: Amount,
    /// What the account is kept in.
    pub currency: String,
}

/// Answers [`CanPay`].
pub async fn can_pay(query: CanPay, mut context: QueryContext) -> Result<SpendingPower, QueryError> {
    let CanPay { account, amount } = query;
    let accounts = view::<Accounts>(context.tx())
        .map_err(|error| QueryError::Failed { query: CanPay::NAME, source: error.into() })?;
    let purse = accounts.by_number.get(&account);
    let purse = purse.ok_or_else(|| QueryError::not_found(format!("account {account:?}")))?;
    let available = match purse.is_closed {
        true => Amount::ZERO,
        false => purse.balance.saturating_add(purse.overdraft_limit).max(Amount::ZERO),
    };
    let (can_pay, currency) = (Amount::ZERO < amount && amount <= available, purse.currency.clone());
    Ok(SpendingPower { account, can_pay, available, currency })
}
