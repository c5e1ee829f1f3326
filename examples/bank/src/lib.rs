//! A bank on Annals. Read `account.rs` first: it is the domain, and all that a bank must decide.

pub mod account;
pub mod balances;
pub mod card;
pub mod demo;
#[cfg(feature = "search")]
pub mod find;
pub mod flags;
pub mod import;
pub mod money;
pub mod month;
pub mod notices;
pub mod reissue;
pub mod spending;
pub mod statements;
pub mod transfer;
pub mod transfers;

use annals::App;

/// The bank: one kind of aggregate, three read models, five questions; with the feature `search` one more of each; and where the
/// environment names a file for them, notices of large withdrawals.
pub fn app() -> App {
    let bank = App::new("bank")
        .aggregate::<account::Account>()
        .aggregate::<transfer::Transfer>()
        .process_manager::<transfers::Transfers>()
        .decision::<card::CardIssuing>()
        .reissue::<account::Account>(reissue::command_of)
        .reissue_decision::<card::CardIssuing>(reissue::card_command_of)
        .projection(balances::Balances)
        .projection(statements::Statements)
        .query(balances::balance_of)
        .query(balances::all_balances)
        .query(balances::totals)
        .projection(spending::Spending)
        .query(statements::statement)
        .query(spending::can_pay);
    let bank = match std::env::var_os(notices::FILE_VARIABLE) {
        Some(file) => bank.reaction(notices::Notices::to(file)),
        None => bank,
    };
    #[cfg(feature = "search")]
    let bank = bank.projection(find::Transactions).query(find::find_transactions);
    bank
}
