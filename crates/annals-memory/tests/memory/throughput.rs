//! How fast a state is made, beside the decoding of events.

use std::time::Instant;

use annals_core::{Position, ReadModelStore, block_on};
use annals_memory::{MemoryModels, imbl, state, view};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Balances {
    by_account: imbl::HashMap<u64, i64>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Named {
    by_account: imbl::HashMap<String, i64>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Plain {
    by_account: std::collections::HashMap<u64, i64>,
}

const EVENTS: u64 = 1_000_000;
const ACCOUNTS: u64 = 10_000;
/// As many as a read hands out at once.
const BATCH: u64 = 4096;

fn account(event: u64) -> u64 {
    event.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32
}

macro_rules! rebuild {
    ($state:ty, $key:expr) => {
        block_on(async {
            let folder = tempfile::tempdir().unwrap();
            let model = MemoryModels::in_folder(folder.path()).unwrap().open("balances", 1).await.unwrap();
            let built = model.begin_rebuild().await.unwrap();
            let began = Instant::now();
            let mut at = 0;
            while at < EVENTS {
                let to = (at + BATCH).min(EVENTS);
                let work: annals_core::TxWork = Box::new(move |tx| {
                    Box::pin(async move {
                        let balances: &mut $state = state(tx)?;
                        for event in at..to {
                            let key = $key(account(event) % ACCOUNTS);
                            *balances.by_account.entry(key).or_default() += 1;
                        }
                        Ok(())
                    })
                });
                built.write(Position::new(at), Position::new(to), work).await.unwrap();
                at = to;
            }
            let applied = began.elapsed();
            model.swap_in(built).await.unwrap();
            let swapped = began.elapsed() - applied;
            let mut tx = model.read().await.unwrap();
            assert_eq!(view::<$state>(&mut *tx).unwrap().by_account.values().sum::<i64>(), EVENTS as i64);
            let rate = EVENTS as f64 / applied.as_secs_f64();
            println!("{}: {rate:.0} events/s, swapped in after {swapped:?}", stringify!($state));
            rate
        })
    };
}

#[test]
#[ignore = "a measurement: run it with --release"]
fn a_million_events_into_ten_thousand_accounts() {
    let rate = rebuild!(Balances, |account| account);
    rebuild!(Named, |account: u64| format!("account-{account}"));
    rebuild!(Plain, |account| account);
    assert!(rate > 1_000_000.0, "{rate:.0}");
}
