//! The smallest domain that a web service can be tested with: jars that coins are put into.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use annals_app::{
    Action, Aggregate, App, Command, Context, DomainError, Event, Invalid, Projection, Query, QueryContext,
    QueryError, Reaction, ReactionContext, RetryPolicy, State, decode_event,
};
use annals_core::{BoxError, Filter, ReadModelTx, RecordedEvent, params};
use serde::{Deserialize, Serialize};

#[derive(Event, Serialize, Deserialize)]
#[event(unlocked)]
#[annals(crate = annals_app)]
pub(crate) enum JarEvent {
    CoinsPutIn { coins: u32 },
}

#[derive(Command, Serialize, Deserialize)]
#[annals(crate = annals_app)]
#[command(validate = can_be_carried)]
pub(crate) enum JarCommand {
    PutCoinsIn { coins: u32 },
}

fn can_be_carried(JarCommand::PutCoinsIn { coins }: &JarCommand) -> Result<(), Invalid> {
    let reason = || format!("must be at most a million, found {coins}");
    Invalid::new().unless(*coins <= 1_000_000, "coins", reason).into_result()
}

/// Coins for jars that stick are not put in before this is set.
pub(crate) static LOOSE: AtomicBool = AtomicBool::new(false);

#[derive(Debug, thiserror::Error, DomainError)]
#[annals(crate = annals_app)]
pub(crate) enum JarError {
    #[error("{coins} coins do not fit, there is room for {room}")]
    JarFull { coins: u32, room: u32 },
}

#[derive(Default, Clone, Serialize, Deserialize, State)]
#[annals(crate = annals_app)]
pub(crate) struct Jar {
    coins: u32,
}

impl Aggregate for Jar {
    const CATEGORY: &'static str = "jar";
    type Command = JarCommand;
    type Event = JarEvent;
    type Error = JarError;

    fn handle(&self, command: &JarCommand, context: &Context) -> Result<Vec<JarEvent>, JarError> {
        while context.id.starts_with("sticky") && !LOOSE.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(1));
        }
        let JarCommand::PutCoinsIn { coins } = *command;
        let room = 1_000 - self.coins;
        if coins > room {
            Err(JarError::JarFull { coins, room })
        } else {
            Ok(vec![JarEvent::CoinsPutIn { coins }])
        }
    }

    fn apply(&mut self, event: &JarEvent) {
        let JarEvent::CoinsPutIn { coins } = event;
        self.coins += coins;
    }
}

pub(crate) struct Jars;

impl Projection for Jars {
    const NAME: &'static str = "jars";
    const VERSION: u32 = 1;

    fn filter(&self) -> Filter {
        Filter::all()
    }

    async fn prepare(&self, tx: &mut dyn ReadModelTx) -> Result<(), BoxError> {
        tx.execute("CREATE TABLE IF NOT EXISTS jars (id TEXT PRIMARY KEY, coins BIGINT)", &[]).await?;
        Ok(())
    }

    async fn apply(&self, tx: &mut dyn ReadModelTx, events: &[RecordedEvent]) -> Result<(), BoxError> {
        for recorded in events {
            if recorded.entity_id() == "slow" {
                std::thread::sleep(std::time::Duration::from_millis(1_500));
            }
            for JarEvent::CoinsPutIn { coins } in decode_event(recorded)? {
                let sql =
                    "INSERT INTO jars VALUES ($1, $2) ON CONFLICT (id) DO UPDATE SET coins = jars.coins + $2";
                tx.execute(sql, params![recorded.entity_id(), coins]).await?;
            }
        }
        Ok(())
    }
}

#[derive(Query, Serialize, Deserialize)]
#[annals(crate = annals_app)]
#[query(output = u32, from = Jars)]
#[serde(deny_unknown_fields)]
pub(crate) struct CoinsIn {
    jar: String,
}

async fn coins_in(query: CoinsIn, mut context: QueryContext) -> Result<u32, QueryError> {
    let row = context.row("SELECT coins FROM jars WHERE id = $1", params![query.jar.as_str()]).await?;
    Ok(row.ok_or_else(|| QueryError::not_found(format!("jar {:?}", query.jar)))?.get("coins")?)
}

/// Tells somebody of coins. Those of jars whose id begins with `lost` are told with the third attempt, of which each is given up
/// at once.
#[derive(Default)]
struct CoinsTold {
    attempts: AtomicU32,
}

impl Reaction for CoinsTold {
    const NAME: &'static str = "coins-told";

    fn filter(&self) -> Filter {
        Filter::types(JarEvent::stored_types())
    }

    async fn react(&self, event: &RecordedEvent, _: &ReactionContext) -> Result<(), BoxError> {
        let is_lost = event.entity_id().starts_with("lost");
        if is_lost && self.attempts.fetch_add(1, Ordering::SeqCst) < 2 {
            return Err("nobody listens".into());
        }
        Ok(())
    }

    fn retry(&self) -> RetryPolicy {
        RetryPolicy { attempts: 1, ..RetryPolicy::default() }
    }
}

pub(crate) fn app() -> App {
    let jars = App::new("jars").aggregate::<Jar>().projection(Jars).query(coins_in);
    jars.reaction(CoinsTold::default()).permission(|_, action| match action {
        Action::React { what: "drop", .. } => Err("what was lost is kept".to_owned()),
        _ => Ok(()),
    })
}
