//! Deposits from many callers at once on one account.

use std::sync::Arc;

use annals_app::{At, CommandOptions, RunningApp};
use annals_sqlite::SqliteReadModels;
use tokio::runtime::Runtime;

use super::Run;
use super::bank::{Account, AccountCommand, start};
use super::callers::{CALLERS, Caller, call, warm_up};
use super::cqrs_es::{CQRS_ES, CQRS_ES_STORED, Peer};
use crate::event_log::open_log;
use crate::failure::{Failure, Result, failed};
use crate::postgres::Postgres;
use crate::random::Random;
use crate::targets::ANNALS;
use crate::turns::{Turn, take_turns};

pub(super) const COMMANDS_HOT: &str = "commands_hot";
pub(super) const HOT_CONFLICTS: &str = "commands_hot_conflicts";
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
pub(super) fn run(run: &mut Run, runtime: &Runtime, server: Option<&Postgres>) -> Result<()> {
    let slice = run.scale.slice;
    eprintln!("{COMMANDS_HOT}: {CALLERS} callers, one account");
    let (folder, models) = (run.scratch.fresh("hot"), run.scratch.fresh("hot-models"));
    let app = runtime.block_on(async {
        let models = Arc::new(SqliteReadModels::in_folder(&models)?);
        let app = start(Arc::new(open_log(&folder)?), models).await?;
        let open = AccountCommand::OpenAccount { owner: "Ann Fields".to_owned() };
        app.execute_with::<Account>(ACCOUNT, open, CommandOptions::default()).await?;
        Ok::<_, Failure>(app)
    })?;
    let depositor = |_| Ok(Depositor { app: app.clone(), deposits: Deposits::none()? });
    let mut depositors = (0..CALLERS).map(depositor).collect::<Result<Vec<_>>>()?;
    warm_up(runtime, &mut depositors, slice)?;

    let peer = server.map(|server| Peer::open(runtime, server, "hot")).transpose()?;
    let mut peers = Vec::new();
    for (name, stored) in [(CQRS_ES, false), (CQRS_ES_STORED, true)] {
        if let Some(peer) = &peer {
            let mut callers = peer.depositors(runtime, stored)?;
            warm_up(runtime, &mut callers, slice)?;
            peers.push((name, callers));
        }
    }

    let mut turns = vec![Turn::new(ANNALS, || call(runtime, &mut depositors, slice))];
    for (name, callers) in &mut peers {
        turns.push(Turn::new(name, || call(runtime, callers, slice)));
    }
    take_turns(&mut run.report, run.scale.rounds, (COMMANDS_HOT, "commands/s"), turns)?;

    let deposits = depositors.iter().map(|depositor| &depositor.deposits);
    let (count, cents) =
        deposits.fold((0, 0), |(count, cents), deposits| (count + deposits.count, cents + deposits.cents));
    runtime.block_on(check(&app, count, cents))?;
    // A conflict that came to a caller would have ended the run.
    run.report.add(HOT_CONFLICTS, ANNALS, 0.0, "/command", None);
    for (name, callers) in &peers {
        if let Some(peer) = &peer {
            let (conflicts, deposits) = peer.check_hot(runtime, callers)?;
            run.report.add(HOT_CONFLICTS, name, conflicts as f64 / deposits as f64, "/command", None);
        }
    }
    run.report.note(format!(
        "{COMMANDS_HOT}: deposits on one account, every one decided on the state that the one before left; at the end the account, \
         folded from the log, had all {count} of them, and their {cents} cents. {HOT_CONFLICTS}: conflicts that came to callers, who gave the command \
         again, per command. {CQRS_ES} folds all events of the account for each command, {CQRS_ES_STORED} keeps the account beside \
         them; both run on all the deposits of the rounds before"
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
