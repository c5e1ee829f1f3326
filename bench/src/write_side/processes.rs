//! Processes that take their steps: payments from one account to another, all ordered before the process manager is started.

use std::sync::Arc;
use std::time::{Duration, Instant};

use annals_app::{
    App, Begin, CommandOptions, Context, Event, Happened, ProcessManager, RunningApp, State, Steps,
};
use annals_core::{
    AppendRequest, Category, EventStore, EventType, Filter, NewEvent, ReadRequest, RecordedEvent, StreamName,
};
use annals_sqlite::SqliteReadModels;
use serde::{Deserialize, Serialize};
use tokio::runtime::Runtime;

use super::Run;
use super::bank::{Account, AccountCommand};
use crate::event_log::open_log;
use crate::failure::{Result, failed};
use crate::random::Random;
use crate::statistics::Latencies;
use crate::targets::ANNALS;
use crate::turns::{Done, Turn, take_turns};

pub(super) const PROCESS_STEPS: &str = "process_steps";
const ACCOUNTS: u64 = 1_000;
/// What is on each account: enough for all payments.
const CENTS: u64 = 1_000_000_000;
/// Ordered, withdrawn, deposited.
const STEPS_EACH: u64 = 3;
const PATIENCE: Duration = Duration::from_secs(600);

/// What a payment begins with.
#[derive(Event, Serialize, Deserialize, Debug)]
#[event(unlocked)]
#[annals(crate = annals_app)]
struct PaymentOrdered {
    from: String,
    to: String,
    cents: u64,
}

/// A payment on its way.
#[derive(Default, Clone, Serialize, Deserialize, State)]
#[annals(crate = annals_app)]
struct Payment {
    from: String,
    to: String,
    cents: u64,
}

impl ProcessManager for Payment {
    const NAME: &'static str = "payment";
    const BEGIN: Begin = Begin::History;
    type Event = PaymentOrdered;

    fn key(_: &PaymentOrdered, event: &RecordedEvent) -> Option<String> {
        Some(event.entity_id().to_owned())
    }

    fn apply(&mut self, happened: &Happened<PaymentOrdered>) {
        if let Happened::Event(PaymentOrdered { from, to, cents }) = happened {
            (self.from, self.to, self.cents) = (from.clone(), to.clone(), *cents);
        }
    }

    fn react(&self, happened: &Happened<PaymentOrdered>, _: &Context) -> Steps {
        let cents = self.cents;
        match happened {
            Happened::Event(_) => {
                Steps::none().give::<Account>("withdraw", &self.from, AccountCommand::WithdrawMoney { cents })
            }
            Happened::Done { label, .. } if label == "withdraw" => {
                Steps::none().give::<Account>("deposit", &self.to, AccountCommand::DepositMoney { cents })
            }
            _ => Steps::none().end(),
        }
    }
}

/// Measures payments, each round on a log of its own.
pub(super) fn run(run: &mut Run, runtime: &Runtime) -> Result<()> {
    let payments = run.scale.payments;
    eprintln!("{PROCESS_STEPS}: {payments} payments");
    let scratch = &run.scratch;
    let turns = vec![Turn::new(ANNALS, || {
        let (folder, models) = (scratch.fresh("processes"), scratch.fresh("processes-models"));
        runtime.block_on(async {
            let store: Arc<dyn EventStore> = Arc::new(open_log(&folder)?);
            let models = Arc::new(SqliteReadModels::in_folder(&models)?);
            prepare(&store, &models, payments).await?;
            let begun = Instant::now();
            let app = App::new("payments").aggregate::<Account>().process_manager::<Payment>();
            let app = app.start(Arc::clone(&store), models).await?;
            app.settle(PATIENCE).await?;
            let took = begun.elapsed();
            check(&app, payments).await?;
            Ok(Done { operations: payments * STEPS_EACH, took, times: Latencies::default() })
        })
    })];
    take_turns(&mut run.report, run.scale.process_rounds, (PROCESS_STEPS, "steps/s"), turns)?;
    run.report.note(format!(
        "{PROCESS_STEPS}: each payment takes {STEPS_EACH} steps and gives 2 commands between them; every step and every command is an append of \
         its own, acknowledged after its barrier; the read model of open processes is kept meanwhile. At the end, every payment was over \
         and no cent was missing"
    ));
    Ok(())
}

/// Opens the accounts, and orders all payments.
async fn prepare(store: &Arc<dyn EventStore>, models: &Arc<SqliteReadModels>, payments: u64) -> Result<()> {
    let app = App::new("payments").aggregate::<Account>();
    let app = app.start(Arc::clone(store), Arc::clone(models) as _).await?;
    for account in 0..ACCOUNTS {
        let id = account.to_string();
        let open = AccountCommand::OpenAccount { owner: "Ann Fields".to_owned() };
        app.execute_with::<Account>(&id, open, CommandOptions::default()).await?;
        let deposit = AccountCommand::DepositMoney { cents: CENTS };
        app.execute_with::<Account>(&id, deposit, CommandOptions::default()).await?;
    }
    let mut random = Random::seeded()?;
    let event_type = EventType::new("PaymentOrdered")?;
    let mut orders = Vec::new();
    for payment in 0..payments {
        let from = random.below(ACCOUNTS);
        let to = (from + 1 + random.below(ACCOUNTS - 1)) % ACCOUNTS;
        let ordered =
            PaymentOrdered { from: from.to_string(), to: to.to_string(), cents: 1 + random.below(1_000) };
        let stream = StreamName::new(format!("order-{payment}"))?;
        orders.push(NewEvent::new(stream, event_type.clone()).json(serde_json::to_vec(&ordered)?));
    }
    for some in orders.chunks(1_000) {
        store.append(AppendRequest::new(some.iter().cloned())).await?;
    }
    Ok(())
}

/// Checks that every payment is over, and that no cent is missing.
async fn check(app: &RunningApp, payments: u64) -> Result<()> {
    let of_payments = Filter::category(Category::new("payment")?);
    let mut reader = app.store().reader(ReadRequest::new(of_payments));
    let (mut steps, mut ends) = (0, 0);
    while let Some(events) = reader.next_batch().await? {
        steps += events.len() as u64;
        ends += events.iter().filter(|event| event.version().get() == STEPS_EACH).count() as u64;
    }
    let mut cents = 0;
    for account in 0..ACCOUNTS {
        let view = app.state("account", &account.to_string(), annals_app::At::Now).await?;
        cents += serde_json::from_value::<Account>(view.state)?.cents;
    }
    if (steps, ends, cents) != (payments * STEPS_EACH, payments, ACCOUNTS * CENTS) {
        return failed(format!(
            "{steps} steps were taken, {ends} payments are over, and there are {cents} cents, expected {}, {payments} and {}",
            payments * STEPS_EACH,
            ACCOUNTS * CENTS
        ));
    }
    Ok(())
}
