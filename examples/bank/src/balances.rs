//! The read model of balances, and the questions that it answers.

use std::borrow::Cow;

use annals::{
    BoxError, Category, Filter, KeyedProjection, Query, QueryContext, QueryError, ReadModelError,
    ReadModelTx, RecordedEvent, Row, Value, decode_event, params,
};
use serde::{Deserialize, Serialize};

use crate::account::AccountEvent;
use crate::money::Amount;

/// Keeps a row for each account.
pub struct Balances;

/// What a batch of events changes on one account.
#[derive(Default)]
pub struct Change {
    /// How many transactions there were.
    pub transactions: i64,
    /// What came in.
    pub credits: Amount,
    /// What went out.
    pub debits: Amount,
    /// What it is kept in, when it was opened.
    pub opened: Option<String>,
    /// What it became.
    pub status: Option<&'static str>,
}

impl KeyedProjection for Balances {
    const NAME: &'static str = "balances";
    const VERSION: u32 = 1;
    type Change = Change;

    fn filter(&self) -> Filter {
        Category::new("account").map(Filter::category).unwrap_or_default()
    }

    async fn prepare(&self, tx: &mut dyn ReadModelTx) -> Result<(), BoxError> {
        tx.execute(
            "CREATE TABLE IF NOT EXISTS balances (
                account TEXT PRIMARY KEY,
                currency TEXT NOT NULL,
                status TEXT NOT NULL,
                transactions BIGINT NOT NULL,
                credits BIGINT NOT NULL,
                debits BIGINT NOT NULL,
                balance BIGINT NOT NULL
            )",
            &[],
        )
        .await?;
        Ok(())
    }

    fn take(&self, change: &mut Change, recorded: &RecordedEvent) -> Result<(), BoxError> {
        decode_event::<AccountEvent>(recorded)?.for_each(|event| change.take(&event));
        Ok(())
    }

    async fn write(
        &self,
        tx: &mut dyn ReadModelTx,
        changes: Vec<(Cow<'_, str>, Change)>,
    ) -> Result<(), BoxError> {
        let row = |(account, change): (Cow<'_, str>, Change)| {
            let balance = change.credits.saturating_add(change.debits.negated());
            params![
                &*account,
                change.opened,
                change.status,
                change.transactions,
                change.credits.hundredths(),
                change.debits.hundredths(),
                balance.hundredths(),
            ]
            .to_vec()
        };
        let rows: Vec<Vec<Value>> = changes.into_iter().map(row).collect();
        tx.execute_many(
            "INSERT INTO balances (account, currency, status, transactions, credits, debits, balance)
                 VALUES ($1, COALESCE($2, 'CZK'), COALESCE($3, 'open'), $4, $5, $6, $7)
                 ON CONFLICT (account) DO UPDATE SET
                    status = COALESCE($3, balances.status),
                    transactions = balances.transactions + $4,
                    credits = balances.credits + $5,
                    debits = balances.debits + $6,
                    balance = balances.balance + $7",
            &rows,
        )
        .await?;
        Ok(())
    }

    /// No build takes over in which the bank would owe more, or less, than in the one before.
    async fn check(&self, before: &mut dyn ReadModelTx, built: &mut dyn ReadModelTx) -> Result<(), BoxError> {
        let (before, built) = (owed(before).await?, owed(built).await?);
        if before != built {
            return Err(format!("the balances come to {built}, expected {before} as before").into());
        }
        Ok(())
    }
}

/// What is on all accounts together.
async fn owed(tx: &mut dyn ReadModelTx) -> Result<Amount, BoxError> {
    let rows = tx.query("SELECT COALESCE(SUM(balance), 0) AS owed FROM balances", &[]).await?;
    let owed = rows.first().map(|row| row.get("owed")).transpose()?;
    Ok(Amount::from_hundredths(owed.unwrap_or(0)))
}

impl Change {
    fn take(&mut self, event: &AccountEvent) {
        match event {
            AccountEvent::AccountOpened { currency, .. } => {
                // Only the first opening counts, as in the account itself.
                self.opened.get_or_insert_with(|| currency.to_string());
            }
            AccountEvent::AccountClosed => self.status = Some("closed"),
            _ => {}
        }
        if let Some(change) = event.change() {
            self.transactions += 1;
            if change > Amount::ZERO {
                self.credits = self.credits.saturating_add(change);
            } else {
                self.debits = self.debits.saturating_add(change.negated());
            }
        }
    }
}

/// What is on one account?
#[derive(Query, Serialize, Deserialize)]
#[query(output = AccountBalance, from = Balances)]
#[serde(deny_unknown_fields)]
pub struct BalanceOf {
    /// The account.
    pub account: String,
}

/// What is on an account.
#[derive(Serialize, Debug, Clone, PartialEq)]
pub struct AccountBalance {
    /// The account.
    pub account: String,
    /// How many transactions it had.
    pub transactions: u64,
    /// What is on it.
    pub balance: Amount,
    /// What it is kept in.
    pub currency: String,
    /// Whether it is open or closed.
    pub status: String,
}

/// Answers [`BalanceOf`].
pub async fn balance_of(query: BalanceOf, mut context: QueryContext) -> Result<AccountBalance, QueryError> {
    let found =
        context.row("SELECT * FROM balances WHERE account = $1", params![query.account.as_str()]).await?;
    let row = found.ok_or_else(|| QueryError::not_found(format!("account {:?}", query.account)))?;
    Ok(AccountBalance {
        account: row.get("account")?,
        transactions: row.get("transactions")?,
        balance: amount(&row, "balance")?,
        currency: row.get("currency")?,
        status: row.get("status")?,
    })
}

fn amount(row: &Row, column: &str) -> Result<Amount, ReadModelError> {
    row.get(column).map(Amount::from_hundredths)
}

/// What is on all accounts? By number and all of them, unless told otherwise.
#[derive(Query, Serialize, Deserialize, Default)]
#[query(name = "Balances", output = Vec<BalanceLine>, from = Balances)]
#[serde(default, deny_unknown_fields)]
pub struct AllBalances {
    /// By what to sort.
    pub sort: SortBy,
    /// Which way.
    pub order: Order,
    /// How many at most.
    pub limit: Option<u32>,
    /// How many to leave out first.
    pub offset: u32,
}

/// By what balances are sorted.
#[derive(Serialize, Deserialize, Clone, Copy, Default)]
#[serde(rename_all = "lowercase")]
pub enum SortBy {
    /// The account's number.
    #[default]
    Account,
    /// What is on it.
    Balance,
    /// How many transactions it had.
    Transactions,
}

/// Which way to sort.
#[derive(Serialize, Deserialize, Clone, Copy, Default)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// The smallest first.
    #[default]
    Asc,
    /// The largest first.
    Desc,
}

/// What is on one of all accounts.
#[derive(Serialize, Debug, Clone, PartialEq)]
pub struct BalanceLine {
    /// The account.
    pub account: String,
    /// How many transactions it had.
    pub transactions: u64,
    /// What is on it.
    pub balance: Amount,
}

/// Answers [`AllBalances`].
pub async fn all_balances(
    query: AllBalances,
    mut context: QueryContext,
) -> Result<Vec<BalanceLine>, QueryError> {
    let way = match query.order {
        Order::Asc => "ASC",
        Order::Desc => "DESC",
    };
    // Numbers without leading zeros are in order when the shorter ones come first.
    let by_number = format!("LENGTH(account) {way}, account {way}");
    let by = match query.sort {
        SortBy::Account => by_number,
        SortBy::Balance => format!("balance {way}, {by_number}"),
        SortBy::Transactions => format!("transactions {way}, {by_number}"),
    };
    let sql = format!("SELECT account, transactions, balance FROM balances ORDER BY {by} LIMIT $1 OFFSET $2");
    let limit = query.limit.map_or(i64::MAX, i64::from);
    let rows = context.rows(&sql, params![limit, query.offset]).await?;
    let lines = rows.iter().map(|row| {
        Ok(BalanceLine {
            account: row.get("account")?,
            transactions: row.get("transactions")?,
            balance: amount(row, "balance")?,
        })
    });
    lines.collect()
}

/// What is there in all, by currency?
#[derive(Query, Serialize, Deserialize)]
#[query(output = Vec<CurrencyTotal>, from = Balances)]
#[serde(deny_unknown_fields)]
pub struct Totals {}

/// What there is in one currency.
#[derive(Serialize, Debug, Clone, PartialEq)]
pub struct CurrencyTotal {
    /// The currency.
    pub currency: String,
    /// How many accounts are kept in it.
    pub accounts: u64,
    /// How many transactions they had.
    pub transactions: u64,
    /// What came in.
    pub credits: Amount,
    /// What went out.
    pub debits: Amount,
    /// What is on them.
    pub balance: Amount,
}

/// Answers [`Totals`].
pub async fn totals(_: Totals, mut context: QueryContext) -> Result<Vec<CurrencyTotal>, QueryError> {
    let sql =
        "SELECT currency, COUNT(*) AS accounts, SUM(transactions) AS transactions, SUM(credits) AS credits,
                      SUM(debits) AS debits, SUM(balance) AS balance
               FROM balances GROUP BY currency ORDER BY currency";
    let rows = context.rows(sql, &[]).await?;
    let totals = rows.iter().map(|row| {
        Ok(CurrencyTotal {
            currency: row.get("currency")?,
            accounts: row.get("accounts")?,
            transactions: row.get("transactions")?,
            credits: amount(row, "credits")?,
            debits: amount(row, "debits")?,
            balance: amount(row, "balance")?,
        })
    });
    totals.collect()
}
