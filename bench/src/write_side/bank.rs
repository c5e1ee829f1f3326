//! The bank that is given commands: the domain of the example `small_bank` of the crate `annals`, as it is there.

use std::sync::Arc;

use annals_app::{Action, App, CommandOptions, RunningApp};
use annals_core::{EventStore, ReadModelStore};

use super::accounts::{Accounts, Step, Transaction};
use super::callers::Caller;
pub(super) use super::small_bank::{Account, AccountCommand};
use crate::failure::Result;

/// Starts the bank, with a check of who may do what.
pub(super) async fn start(store: Arc<dyn EventStore>, models: Arc<dyn ReadModelStore>) -> Result<RunningApp> {
    let app = App::new("small-bank").aggregate::<Account>();
    let app = app.permission(|principal, action| match action {
        Action::Command { category: "account", .. } if !principal.name.is_empty() => Ok(()),
        _ => Err("tellers give commands to accounts, and have names".to_owned()),
    });
    Ok(app.start(store, models).await?)
}

/// The command that asks for a transaction.
fn command(transaction: Transaction) -> AccountCommand {
    match transaction {
        Transaction::Open => AccountCommand::OpenAccount { owner: "Ann Fields".to_owned() },
        Transaction::Deposit { cents } => AccountCommand::DepositMoney { cents },
        Transaction::Withdraw { cents } => AccountCommand::WithdrawMoney { cents },
    }
}

/// Gives one command, and checks what it left.
pub(super) async fn give(app: &RunningApp, step: &Step, options: CommandOptions) -> Result<()> {
    let done = app.execute_with::<Account>(&step.id, command(step.transaction), options).await?;
    step.check(done.version.get(), done.state.cents)
}

/// Opens all accounts of a caller.
pub(super) async fn open_all(app: &RunningApp, accounts: &mut Accounts) -> Result<()> {
    while let Some(step) = accounts.open() {
        give(app, &step, CommandOptions::default()).await?;
    }
    Ok(())
}

/// A caller who gives commands to accounts of its own.
pub(super) struct Teller {
    pub(super) app: RunningApp,
    pub(super) accounts: Accounts,
}

impl Caller for Teller {
    async fn begin(&mut self) -> Result<()> {
        open_all(&self.app, &mut self.accounts).await
    }

    async fn call(&mut self) -> Result<()> {
        let step = self.accounts.step();
        give(&self.app, &step, CommandOptions::default()).await
    }
}
