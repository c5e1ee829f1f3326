//! A bank on Annals. Read `account.rs` first: it is the domain, and all that a bank must decide.

pub mod account;
pub mod balances;
pub mod demo;
pub mod flags;
pub mod import;
pub mod money;
pub mod month;
pub mod reissue;
pub mod statements;

use annals::App;

/// The bank: one kind of aggregate, two read models, four questions.
pub fn app() -> App {
    App::new("bank")
        .aggregate::<account::Account>()
        .reissue::<account::Account>(reissue::command_of)
        .projection(balances::Balances)
        .projection(statements::Statements)
        .query(balances::balance_of)
        .query(balances::all_balances)
        .query(balances::totals)
        .query(statements::statement)
}
