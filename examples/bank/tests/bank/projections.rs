//! What the read models of the bank come to, in whatever way the events come to them.

use annals::{GivenProjection, Projection, Value, given_projection};
use bank::account::{AccountEvent, WithdrawalMethod};
use bank::balances::{AccountBalance, BalanceOf, Balances, balance_of};
use bank::find::{FindTransactions, FoundTransaction, Transactions, find_transactions};
use bank::money::{Amount, Currency};
use bank::spending::{CanPay, Spending, SpendingPower, can_pay};
use bank::statements::Statements;

fn amount(text: &str) -> Amount {
    text.parse().unwrap()
}

fn opened(limit: &str) -> AccountEvent {
    let (currency, overdraft_limit) = (Currency::default(), amount(limit));
    AccountEvent::AccountOpened { owner: Some("Ann".to_owned()), currency, overdraft_limit }
}

fn deposited(text: &str) -> AccountEvent {
    AccountEvent::MoneyDeposited { amount: amount(text) }
}

fn withdrawn(text: &str, method: WithdrawalMethod) -> AccountEvent {
    AccountEvent::MoneyWithdrawn { amount: amount(text), method }
}

/// Two accounts, over two months.
fn given<P: Projection>(projection: P) -> GivenProjection {
    given_projection(projection)
        .at("1993-01-05".parse().unwrap())
        .events([("account-1", opened("100")), ("account-2", opened("0")), ("account-1", deposited("9"))])
        .at("1993-02-07".parse().unwrap())
        .events([("account-2", deposited("5")), ("account-1", withdrawn("2.50", WithdrawalMethod::Card))])
        .events([
            ("account-2", withdrawn("5", WithdrawalMethod::Cash)),
            ("account-2", AccountEvent::AccountClosed),
        ])
}

#[tokio::test]
async fn balances() {
    let ann = AccountBalance {
        account: "1".to_owned(),
        transactions: 2,
        balance: amount("6.50"),
        currency: "CZK".to_owned(),
        status: "open".to_owned(),
    };
    given(Balances).then(balance_of, BalanceOf { account: "1".to_owned() }, ann).await;
    let rows = given(Balances).rows("SELECT status FROM balances ORDER BY account").await;
    let states: Vec<String> = rows.iter().map(|row| row.get("status").unwrap()).collect();
    assert_eq!(states, ["open", "closed"]);
}

#[tokio::test]
async fn statements() {
    let sql = "SELECT account, month, credits, debits FROM statement_months ORDER BY account, month";
    let rows = given(Statements).rows(sql).await;
    let line = |account: &str, month: &str, credits: i64, debits: i64| {
        [account.into(), month.into(), credits.into(), debits.into()].to_vec() as Vec<Value>
    };
    let expected =
        [line("1", "1993-01", 900, 0), line("1", "1993-02", 0, 250), line("2", "1993-02", 500, 500)];
    assert_eq!(rows.iter().map(|row| row.values().to_vec()).collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn spending_is_in_memory() {
    let ann = SpendingPower {
        account: "1".to_owned(),
        can_pay: true,
        available: amount("106.50"),
        currency: "CZK".to_owned(),
    };
    let question = CanPay { account: "1".to_owned(), amount: amount("106.50") };
    given(Spending).then(can_pay, question, ann).await;
}

#[tokio::test]
async fn transactions_are_found_by_their_words() {
    let found = FoundTransaction {
        position: 5,
        account: "1".to_owned(),
        day: "1993-02-07".to_owned(),
        text: "card".to_owned(),
        amount: amount("-2.50"),
    };
    let question = FindTransactions { text: "card".to_owned(), limit: None };
    given(Transactions).then(find_transactions, question, vec![found]).await;
}
