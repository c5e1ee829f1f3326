//! `bank flags`: accounts with more than three withdrawals within ten minutes.

use std::pin::pin;
use std::time::Duration;

use annals::cli::{AppCommand, Failure, Session};
use annals::{
    Category, DecodeExt, DeriveExt, Derived, DerivedError, Filter, Position, RecordedEvent, Timestamp,
    derive_from, derive_from_history,
};
use clap::Args;
use futures_util::{Stream, StreamExt};
use serde::Serialize;

use crate::account::AccountEvent;

const WINDOW: Duration = Duration::from_secs(600);
const MOST_WITHDRAWALS: usize = 3;

/// Show accounts with more than three withdrawals within ten minutes
#[derive(Args)]
pub struct Flags {
    /// Begin behind this position
    #[arg(long, value_name = "POSITION", default_value = "0")]
    after: Position,
    /// Go on with what happens from now on, until interrupted
    #[arg(long)]
    follow: bool,
}

/// An account to be looked at.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Flag {
    /// The account.
    pub account: String,
    /// When the last of the withdrawals happened.
    pub at: Timestamp,
    /// The position of its event.
    pub position: Position,
    /// How many withdrawals there were within the ten minutes.
    pub withdrawals: usize,
}

/// The flags that follow from a bank's events.
pub fn flags(
    events: impl Stream<Item = Result<Derived<RecordedEvent>, DerivedError>> + Send,
) -> impl Stream<Item = Result<Derived<Flag>, DerivedError>> + Send {
    let withdrawals = events.decoded::<AccountEvent>().filter_map_values(|item| {
        let (account, event) = &item.value;
        matches!(event, AccountEvent::MoneyWithdrawn { .. }).then(|| account.clone())
    });
    let windows = withdrawals.windows_by(WINDOW, Clone::clone);
    windows.filter_map_values(|item| {
        let withdrawals = item.value.items.len();
        (withdrawals > MOST_WITHDRAWALS).then(|| Flag {
            account: item.value.key.clone(),
            at: item.occurred_at,
            position: item.position,
            withdrawals,
        })
    })
}

impl AppCommand for Flags {
    const NAME: &'static str = "flags";

    async fn run(self, session: Session) -> Result<(), Failure> {
        let store = session.open_existing_store().await?.events;
        let accounts = Filter::category(Category::new("account")?);
        if self.follow {
            let mut flags = pin!(flags(derive_from(store, accounts, self.after)));
            while let Some(flag) = flags.next().await {
                session.output().print(&flag.map_err(Failure::new)?.value)?;
            }
            return Ok(());
        }
        let flags =
            flags(derive_from_history(store, accounts, self.after)).map(|flag| flag.map(|flag| flag.value));
        let found: Result<Vec<Flag>, _> = flags.collect::<Vec<_>>().await.into_iter().collect();
        session.output().print(&found.map_err(Failure::new)?)
    }
}
