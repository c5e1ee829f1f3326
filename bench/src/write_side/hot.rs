//! Deposits from many callers at once on one account.

use std::sync::Arc;

use annals_app::{At, CommandOptions, RunningApp};
use annals_sqlite::SqliteReadModels;
use tokio::runtime::Runtime;

use super::Run;
use super::bank::{Account, AccountCommand, start};
use super::callers::{CALLERS, Caller, call, warm_up};
use crate::event_log::open_log;
use crate::failure::{Result, failed};
use crate::random::Random;
use crate::targets::ANNALS;
use crate::turns::{Turn, take_turns};

pub(super) const COMMANDS_HOT: &str = "commands_hot";
/// The account that all share.
pub(super) const ACCOUNT: &str = "1";
const LARGEST_DEPOSIT: u64 = 1_000;

/// What a caller paid in: how often, and how much in all.
pub(super) struct Deposits {
    random: Random,
    pub(super) count: u64,
    pub(super) cents: u64,
}

impl Deposits {
    /// None so far.
    pub(super) fn none() -> Result<Self> {
        Ok(Self { random: Random::seeded()?, count: 0, cents: 0 })
    }

    /// The amount that is paid in next.
    pub(super) fn next(&mut self) -> u64 {
        let cents = 1 + self.random.below(LARGEST_DEPOSIT);
        self.count += 1;
        self.cents += cents;
        cents
    }
}

/// A caller who pays in to the account that all share.
struct Depositor {
    app: RunningApp,
    deposits: Deposits,
}

impl Caller for Depositor {
    async fn begin(&mut self) -> Result<()> {
        Ok(())
    }

    async fn call(&mut self) -> Result<()> {
        let cents = self.deposits.next();
        let deposit = AccountCommand::DepositMoney { cents };
        self.app.execute_with::<Account>(ACCOUNT, deposit, CommandOptions::default()).await?;
        Ok(())
    }
}

/// Measures all in turn, and counts what is on the account at the end.
pub(super) fn run(run: &mut Run, runtime: &Runtime) -> Result<()> {
    let slice = run.scale.slice;
    eprintln!("{COMMANDS_HOT}: {CALLERS} callers, one account");
    let (folder, models) = (run.scratch.fresh("hot"), run.scratch.fresh("hot-models"));
    let app = runtime.block_on(async {
        let models = Arc::new(SqliteReadModels::in_folder(&models)?);
        let app = start(Arc::new(open_log(&folder)?), models).await?;
        let open = AccountCommand::OpenAccount { owner: "Ann Fields".to_owned() };
        app.execute_with::<Account>(ACCOUNT, open, CommandOptions::default()).await?;
        Ok::<_, crate::failure::Failure>(app)
    })?;
    let depositor = |_| Ok(Depositor { app: app.clone(), deposits: Deposits::none()? });
    let mut depositors = (0..CALLERS).map(depositor).collect::<Result<Vec<_>>>()?;
    warm_up(runtime, &mut depositors, slice)?;

    let turns = vec![Turn::new(ANNALS, || call(runtime, &mut depositors, slice))];
    take_turns(&mut run.report, run.scale.rounds, (COMMANDS_HOT, "commands/s"), turns)?;

    let deposits = depositors.iter().map(|depositor| &depositor.deposits);
    let (count, cents) =
        deposits.fold((0, 0), |(count, cents), deposits| (count + deposits.count, cents + deposits.cents));
    runtime.block_on(check(&app, count, cents))?;
    run.report.note(format!(
        "{COMMANDS_HOT}: deposits on one account, every one decided on the state that the one before left; at the end the account, \
         folded from the log, had all {count} of them, and their {cents} cents"
    ));
    Ok(())
}

/// Checks the account, folded anew from its events.
async fn check(app: &RunningApp, count: u64, cents: u64) -> Result<()> {
    let view = app.state("account", ACCOUNT, At::Now).await?;
    let found = serde_json::from_value::<Account>(view.state)?.cents;
    match (view.version.get(), found) == (count + 1, cents) {
        true => Ok(()),
        false => failed(format!(
            "the account has {found} cents at version {}, expected {cents} at version {}: deposits were lost or came twice",
            view.version,
            count + 1
        )),
    }
}
