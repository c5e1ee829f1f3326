//! Commands from many callers at once to accounts of their own, on the log, beside appends of ready-made events.

use std::sync::Arc;

use annals_core::EventStore;
use annals_sqlite::SqliteReadModels;
use tokio::runtime::Runtime;

use super::Run;
use super::accounts::Accounts;
use super::appends::{Sample, append_on_threads, appenders, check};
use super::bank::{Teller, start};
use super::callers::{CALLERS, call, warm_up};
use super::cqrs_es::{CQRS_ES, Peer};
use crate::event_log::open_log;
use crate::failure::{Result, failed};
use crate::postgres::Postgres;
use crate::targets::ANNALS;
use crate::turns::{Turn, take_turns};

pub(super) const COMMANDS_DURABLE: &str = "commands_durable_64";
/// Those who append straight to the log: in tasks, and on threads.
pub(super) const LOG: &str = "log";
pub(super) const LOG_THREADS: &str = "log_threads";

/// Measures all in turn.
pub(super) fn run(run: &mut Run, runtime: &Runtime, server: Option<&Postgres>) -> Result<()> {
    let (accounts, slice) = (run.scale.accounts, run.scale.slice);
    eprintln!("{COMMANDS_DURABLE}: {CALLERS} callers, {accounts} accounts");
    let store = Arc::new(open_log(&run.scratch.fresh("commands"))?);
    let models = Arc::new(SqliteReadModels::in_folder(run.scratch.fresh("models"))?);
    let app = runtime.block_on(start(Arc::clone(&store) as Arc<dyn EventStore>, models))?;
    let teller = |caller| {
        let accounts = Accounts::of_caller(caller, CALLERS, accounts)?;
        Ok(Teller { app: app.clone(), accounts })
    };
    let mut tellers = (0..CALLERS).map(teller).collect::<Result<Vec<_>>>()?;
    warm_up(runtime, &mut tellers, slice)?;

    let sample = runtime.block_on(Sample::of(&*store))?;
    let log = Arc::new(open_log(&run.scratch.fresh("log"))?);
    let mut tasks = appenders(&log, &sample, accounts)?;
    warm_up(runtime, &mut tasks, slice)?;
    let log_of_threads = Arc::new(open_log(&run.scratch.fresh("log-of-threads"))?);
    let mut threads = appenders(&log_of_threads, &sample, accounts)?;
    warm_up(runtime, &mut threads, slice)?;

    let peer = server.map(|server| Peer::open(runtime, server, "durable")).transpose()?;
    let mut peers = peer.as_ref().map(|peer| peer.tellers(accounts)).transpose()?;
    if let Some(peers) = &mut peers {
        warm_up(runtime, peers, slice)?;
    }

    let mut turns = vec![
        Turn::new(ANNALS, || call(runtime, &mut tellers, slice)),
        Turn::new(LOG, || call(runtime, &mut tasks, slice)),
        Turn::new(LOG_THREADS, || append_on_threads(&mut threads, slice)),
    ];
    if let Some(peers) = &mut peers {
        turns.push(Turn::new(CQRS_ES, || call(runtime, peers, slice)));
    }
    take_turns(&mut run.report, run.scale.rounds, (COMMANDS_DURABLE, "commands/s"), turns)?;

    runtime.block_on(async {
        let given: u64 = tellers.iter().map(|teller| teller.accounts.events()).sum();
        let stored = store.head().await?.get();
        if stored != given {
            return failed(format!("{stored} events are stored, expected one for each of {given} commands"));
        }
        check(&log, &tasks).await?;
        check(&log_of_threads, &threads).await
    })?;
    if let (Some(peer), Some(peers)) = (&peer, &peers) {
        peer.check(runtime, peers)?;
    }
    note(run);
    Ok(())
}

fn note(run: &mut Run) {
    let value = |contender| run.report.value(COMMANDS_DURABLE, contender).unwrap_or(0.0);
    let best = value(LOG).max(value(LOG_THREADS));
    run.report.note(format!(
        "{COMMANDS_DURABLE}: {CALLERS} tasks on all cores, each on accounts of its own; snapshots in SQLite, no projection. {LOG} \
         appends ready-made events of the same form with the same expectation, from as many tasks; {LOG_THREADS} does so from as \
         many threads. annals is {:.2} x the best of both. {CQRS_ES} has a connection per caller, which it does not test before each use",
        value(ANNALS) / best
    ));
}
