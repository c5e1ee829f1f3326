//! The bank while everything goes wrong that can: no money is lost, and none comes from nowhere.

use annals::{App, BoxError, Error, Simulated, simulate};
use bank::account::{Account, AccountCommand, AccountError, OtherAccount, WithdrawalMethod};
use bank::balances::{Balances, Totals, totals};
use bank::money::{Amount, Currency};
use bank::spending::{Spending, can_pay};

const SEEDS: std::ops::Range<u64> = 0..200;

/// The bank without what takes long to open: hundreds of banks are opened here.
fn small_bank() -> App {
    let bank = App::new("bank").aggregate::<Account>();
    bank.projection(Balances).query(totals).projection(Spending).query(can_pay)
}

async fn open(bank: &Simulated, account: &str) -> Result<(), BoxError> {
    let (currency, overdraft_limit) = (Currency::default(), Amount::ZERO);
    let open = AccountCommand::OpenAccount { owner: "Ann".to_owned(), currency, overdraft_limit };
    bank.execute::<Account>(account, open).await?;
    Ok(())
}

/// Whether it was done: what an account does not have, nobody gets.
async fn spend(bank: &Simulated, account: &str, command: AccountCommand) -> Result<bool, BoxError> {
    match bank.execute::<Account>(account, command).await {
        Ok(_) => Ok(true),
        Err(Error::Domain(AccountError::InsufficientFunds { .. })) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Pays in and draws on one account; says what came in less what went out.
async fn pay_in_and_out(bank: Simulated, account: &str) -> Result<i64, BoxError> {
    let mut left = 0;
    for round in 1..=4 {
        let amount = Amount::from_hundredths(round * 100);
        let deposit = AccountCommand::DepositMoney { amount, currency: None };
        bank.execute::<Account>(account, deposit).await?;
        left += round * 100;
        let (amount, method) = (Amount::from_hundredths(round * 150), WithdrawalMethod::Cash);
        let withdraw = AccountCommand::WithdrawMoney { amount, currency: None, method };
        if spend(&bank, account, withdraw).await? {
            left -= round * 150;
        }
    }
    Ok(left)
}

/// Moves money from one account to another, by two commands.
async fn transfer(bank: Simulated, from: &str, to: &str) -> Result<(), BoxError> {
    let other = |account: &str| OtherAccount { bank: "AN".to_owned(), account: account.to_owned() };
    for round in 1..=3 {
        let amount = Amount::from_hundredths(round * 70);
        let send = AccountCommand::SendTransfer { amount, to: other(to), purpose: None, currency: None };
        if spend(&bank, from, send).await? {
            let receive =
                AccountCommand::ReceiveTransfer { amount, from: other(from), purpose: None, currency: None };
            bank.execute::<Account>(to, receive).await?;
        }
    }
    Ok(())
}

#[test]
fn no_money_is_lost_and_none_comes_from_nowhere() {
    simulate(SEEDS, small_bank, async |bank| {
        open(&bank, "1").await?;
        open(&bank, "2").await?;
        let (one, two, again, there, back) = tokio::join!(
            pay_in_and_out(bank.clone(), "1"),
            pay_in_and_out(bank.clone(), "2"),
            pay_in_and_out(bank.clone(), "1"),
            transfer(bank.clone(), "1", "2"),
            transfer(bank.clone(), "2", "1"),
        );
        there.and(back)?;
        let expected = Amount::from_hundredths(one? + two? + again?);
        bank.settle().await?;
        let totals = bank.ask(Totals {}).await?;
        assert_eq!((totals.len(), totals[0].accounts, totals[0].balance), (1, 2, expected));
        Ok(())
    });
}
