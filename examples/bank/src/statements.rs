//! The read model of monthly statements, and the question that it answers.

use std::collections::BTreeMap;

use annals::{
    BoxError, Category, Filter, Projection, Query, QueryContext, QueryError, ReadModelTx, RecordedEvent,
    decode_events, params,
};
use serde::{Deserialize, Serialize};

use crate::account::{AccountEvent, OtherAccount, WithdrawalMethod};
use crate::money::Amount;
use crate::month::{Month, day_of};

/// Keeps a line for each transaction and the sums of each month. A transaction belongs to the month in which it
/// happened, whenever the bank learnt of it.
pub struct Statements;

impl Projection for Statements {
    const NAME: &'static str = "statements";
    const VERSION: u32 = 1;

    fn filter(&self) -> Filter {
        Category::new("account").map(Filter::category).unwrap_or_default()
    }

    async fn prepare(&self, tx: &mut dyn ReadModelTx) -> Result<(), BoxError> {
        let tables = [
            "CREATE TABLE IF NOT EXISTS statement_accounts (
                account TEXT PRIMARY KEY,
                currency TEXT NOT NULL
            )",
            "CREATE TABLE IF NOT EXISTS statement_months (
                account TEXT NOT NULL,
                month TEXT NOT NULL,
                credits BIGINT NOT NULL,
                debits BIGINT NOT NULL,
                PRIMARY KEY (account, month)
            )",
            "CREATE TABLE IF NOT EXISTS statement_lines (
                account TEXT NOT NULL,
                month TEXT NOT NULL,
                day TEXT NOT NULL,
                position BIGINT NOT NULL,
                kind TEXT NOT NULL,
                details TEXT,
                amount BIGINT NOT NULL,
                PRIMARY KEY (account, month, day, position)
            )",
        ];
        for table in tables {
            tx.execute(table, &[]).await?;
        }
        Ok(())
    }

    async fn apply(&self, tx: &mut dyn ReadModelTx, events: &[RecordedEvent]) -> Result<(), BoxError> {
        let mut sums: BTreeMap<(&str, String), (Amount, Amount)> = BTreeMap::new();
        for decoded in decode_events::<AccountEvent>(events) {
            let (recorded, event) = decoded?;
            let account = recorded.entity_id();
            if let AccountEvent::AccountOpened { currency, .. } = &event {
                let sql = "INSERT INTO statement_accounts VALUES ($1, $2) ON CONFLICT (account) DO NOTHING";
                tx.execute(sql, params![account, currency.to_string()]).await?;
            }
            let Some(change) = event.change() else { continue };
            let day = day_of(recorded.occurred_at());
            let month = Month::of(day).to_string();
            let (kind, details) = describe(&event);
            let sql = "INSERT INTO statement_lines VALUES ($1, $2, $3, $4, $5, $6, $7)";
            let position = recorded.position();
            let line = params![
                account,
                month.as_str(),
                day.to_string(),
                position,
                kind,
                details,
                change.hundredths()
            ];
            tx.execute(sql, line).await?;
            let (credits, debits) = sums.entry((account, month)).or_default();
            if change > Amount::ZERO {
                *credits = credits.saturating_add(change);
            } else {
                *debits = debits.saturating_add(change.negated());
            }
        }
        for ((account, month), (credits, debits)) in sums {
            let sql = "INSERT INTO statement_months VALUES ($1, $2, $3, $4)
                       ON CONFLICT (account, month) DO UPDATE SET
                          credits = statement_months.credits + $3, debits = statement_months.debits + $4";
            tx.execute(sql, params![account, month, credits.hundredths(), debits.hundredths()]).await?;
        }
        Ok(())
    }
}

/// What a customer reads on the statement.
pub(crate) fn describe(event: &AccountEvent) -> (&'static str, Option<String>) {
    let other = |direction: &str, account: &Option<OtherAccount>, purpose: &Option<String>| {
        let account =
            account.as_ref().map(|account| format!("{direction} {} {}", account.bank, account.account));
        let parts: Vec<String> = account.into_iter().chain(purpose.clone()).collect();
        (!parts.is_empty()).then(|| parts.join(", "))
    };
    match event {
        AccountEvent::MoneyDeposited { .. } => ("deposit", None),
        AccountEvent::MoneyWithdrawn { method: WithdrawalMethod::Cash, .. } => ("withdrawal", None),
        AccountEvent::MoneyWithdrawn { method: WithdrawalMethod::Card, .. } => ("card", None),
        AccountEvent::TransferReceived { from, purpose, .. } => ("transfer in", other("from", from, purpose)),
        AccountEvent::TransferSent { to, purpose, .. } => ("transfer out", other("to", to, purpose)),
        AccountEvent::InterestCredited { .. } => ("interest", None),
        AccountEvent::FeeCharged { reason, .. } => ("fee", reason.clone()),
        AccountEvent::PenaltyInterestCharged { .. } => ("penalty interest", None),
        AccountEvent::AccountOpened { .. }
        | AccountEvent::OverdraftLimitChanged { .. }
        | AccountEvent::CardIssued { .. }
        | AccountEvent::AccountClosed => ("", None),
    }
}

/// What happened on an account in a month?
#[derive(Query, Serialize, Deserialize)]
#[query(output = MonthlyStatement, from = Statements)]
#[serde(deny_unknown_fields)]
pub struct Statement {
    /// The account.
    pub account: String,
    /// The month.
    pub month: Month,
}

/// What happened on an account in a month.
#[derive(Serialize, Debug, Clone, PartialEq)]
pub struct MonthlyStatement {
    /// The account.
    pub account: String,
    /// The month.
    pub month: Month,
    /// What the account is kept in.
    pub currency: String,
    /// What was on it before: the closing balance of the month before.
    pub opening: Amount,
    /// What came in.
    pub credits: Amount,
    /// What went out.
    pub debits: Amount,
    /// What was on it after.
    pub closing: Amount,
    /// The transactions, by day.
    pub lines: Vec<StatementLine>,
}

/// A transaction on a statement.
#[derive(Serialize, Debug, Clone, PartialEq)]
pub struct StatementLine {
    /// When it happened.
    pub day: String,
    /// What it was.
    pub kind: String,
    /// From where, where to, what for.
    pub details: Option<String>,
    /// By how much it changed the balance.
    pub amount: Amount,
    /// What was on the account after it.
    pub balance: Amount,
}

/// Answers [`Statement`].
pub async fn statement(query: Statement, mut context: QueryContext) -> Result<MonthlyStatement, QueryError> {
    let (account, month) = (query.account.as_str(), query.month.to_string());
    let known =
        context.row("SELECT currency FROM statement_accounts WHERE account = $1", params![account]).await?;
    let known = known.ok_or_else(|| QueryError::not_found(format!("account {account:?}")))?;
    let before = "SELECT COALESCE(SUM(credits), 0) - COALESCE(SUM(debits), 0) AS opening
                  FROM statement_months WHERE account = $1 AND month < $2";
    let before = context.row(before, params![account, month.as_str()]).await?;
    let opening = Amount::from_hundredths(before.map_or(Ok(0), |row| row.get("opening"))?);
    let lines = "SELECT day, kind, details, amount FROM statement_lines
                 WHERE account = $1 AND month = $2 ORDER BY day, position";
    let rows = context.rows(lines, params![account, month]).await?;
    let mut statement = MonthlyStatement {
        account: query.account,
        month: query.month,
        currency: known.get("currency")?,
        opening,
        credits: Amount::ZERO,
        debits: Amount::ZERO,
        closing: opening,
        lines: Vec::with_capacity(rows.len()),
    };
    for row in rows {
        let amount = Amount::from_hundredths(row.get("amount")?);
        if amount > Amount::ZERO {
            statement.credits = statement.credits.saturating_add(amount);
        } else {
            statement.debits = statement.debits.saturating_add(amount.negated());
        }
        statement.closing = statement.closing.saturating_add(amount);
        let (day, kind, details) = (row.get("day")?, row.get("kind")?, row.get("details")?);
        statement.lines.push(StatementLine { day, kind, details, amount, balance: statement.closing });
    }
    Ok(statement)
}
