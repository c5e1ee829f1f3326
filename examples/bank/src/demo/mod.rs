//! `bank demo`: a year at a bank that needs no file.

mod show;
mod year;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use annals::cli::{AppCommand, Failure, Session};
use annals::{CausationId, CommandOptions, Filter, ReadRequest, RunningApp, StreamName};
use clap::Args;

use crate::account::Account;
use year::{ACCOUNTS, Planned, TRANSACTIONS_EACH, plan};

/// How many callers give commands at the same time.
const CALLERS: usize = 64;
/// How long the read models may take to catch up.
const PATIENCE: Duration = Duration::from_secs(3600);

/// Make up a year of 1,000 accounts and 100,000 transactions, show it, and serve it
#[derive(Args)]
pub struct Demo {
    /// End after showing the year, instead of serving it
    #[arg(long)]
    once: bool,
    /// The seed of the year; another seed needs another --store
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    listening: annals::cli::Listening,
}

/// What became of the commands.
#[derive(Default)]
struct Counts {
    commands: AtomicU64,
    events: AtomicU64,
    already_done: AtomicU64,
}

impl AppCommand for Demo {
    const NAME: &'static str = "demo";

    async fn run(self, mut session: Session) -> Result<(), Failure> {
        session.set_default_store("file:bank-demo");
        let place = session.store_url().to_owned();
        let app = session.start().await?;
        must_be_this_year(&app, &place, self.seed).await?;
        session.say(format!(
            "A year at a bank: {} accounts, {} transactions, in {place}",
            show::thousands(ACCOUNTS),
            show::thousands(ACCOUNTS * TRANSACTIONS_EACH)
        ));
        let begun = Instant::now();
        let counts = live_through(&app, &session, self.seed).await?;
        let seconds = begun.elapsed().as_secs_f64();
        app.catch_up(PATIENCE).await?;
        let visible_after = begun.elapsed().as_secs_f64();
        show::year(&app, &session, &counts, seconds, visible_after).await?;
        if self.once {
            return Ok(());
        }
        let server = self.listening.bind(&app).await?;
        show::requests(&app, &session, server.address()).await?;
        server.run(annals::cli::stop_signal()).await?;
        session.say("stopped; nothing was lost");
        Ok(())
    }
}

/// Gives the commands of the year, from many callers at once. A command that was given in an earlier run is known by
/// its id and not done again.
async fn live_through(app: &RunningApp, session: &Session, seed: u64) -> Result<Counts, Failure> {
    let counts = Arc::new(Counts::default());
    let next_account = Arc::new(AtomicU64::new(1));
    let progress = Arc::new(session.progress("living through the year", "commands"));
    let total = ACCOUNTS * (TRANSACTIONS_EACH + 1);
    let callers = (0..CALLERS).map(|_| {
        let (app, counts, next_account) = (app.clone(), Arc::clone(&counts), Arc::clone(&next_account));
        let progress = Arc::clone(&progress);
        tokio::spawn(async move {
            loop {
                let account = next_account.fetch_add(1, Ordering::Relaxed);
                if account > ACCOUNTS {
                    return Ok::<(), Failure>(());
                }
                live_on(&app, seed, account, plan(seed, account), &counts).await?;
                let done = &counts.commands;
                progress
                    .set(done.load(Ordering::Relaxed) + counts.already_done.load(Ordering::Relaxed), total);
            }
        })
    });
    for caller in callers.collect::<Vec<_>>() {
        caller.await.map_err(Failure::new)??;
    }
    progress.finish();
    Arc::into_inner(counts).ok_or_else(|| Failure::new("a caller is still at work"))
}

fn command_id(seed: u64, number: usize) -> Result<CausationId, Failure> {
    Ok(CausationId::new(format!("demo-{seed}-{number}"))?)
}

/// Refuses a store in which another year, or another bank, has begun.
async fn must_be_this_year(app: &RunningApp, place: &str, seed: u64) -> Result<(), Failure> {
    let first = app.store().read(ReadRequest::new(Filter::all()).limit(1)).await?;
    let expected = command_id(seed, 0)?;
    match first.events.first() {
        Some(event) if event.causation_id() != Some(expected.as_str()) => Err(Failure::usage(format!(
            "{place} holds other events than the year of seed {seed}: choose another place with --store"
        ))),
        _ => Ok(()),
    }
}

async fn live_on(
    app: &RunningApp,
    seed: u64,
    account: u64,
    planned: Vec<Planned>,
    counts: &Counts,
) -> Result<(), Failure> {
    let stream = StreamName::new(format!("account-{account}"))?;
    let known = app.store().stream_state(&stream).await?.version.get();
    if known >= planned.len() as u64 {
        counts.already_done.fetch_add(planned.len() as u64, Ordering::Relaxed);
        return Ok(());
    }
    for (number, Planned { command, occurred_at }) in planned.into_iter().enumerate() {
        let options = CommandOptions {
            command_id: Some(command_id(seed, number)?),
            occurred_at: Some(occurred_at),
            ..CommandOptions::default()
        };
        let done = app.execute_with::<Account>(&account.to_string(), command, options).await;
        let done = done.map_err(|error| Failure::new(format!("account {account}: {error}")))?;
        if done.duplicate {
            counts.already_done.fetch_add(1, Ordering::Relaxed);
        } else {
            counts.commands.fetch_add(1, Ordering::Relaxed);
            counts.events.fetch_add(done.events.len() as u64, Ordering::Relaxed);
        }
    }
    Ok(())
}
