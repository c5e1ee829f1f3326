//! What a person wants to see of the year.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;

use annals::cli::{Failure, Output, Session};
use annals::{At, Durability, RunningApp, Version};
use serde::Serialize;
use serde_json::json;

use super::Counts;
use crate::balances::{AllBalances, Order, SortBy, Totals};
use crate::statements::Statement;

/// The account and the month that are shown.
const SHOWN_ACCOUNT: &str = "17";
const SHOWN_MONTH: &str = "2025-03";
const SHOWN_VERSIONS: [u64; 3] = [2, 25, 75];

#[derive(Serialize)]
struct PastBalance {
    version: u64,
    balance: serde_json::Value,
    transactions: serde_json::Value,
}

pub(super) async fn year(
    app: &RunningApp,
    session: &Session,
    counts: &Counts,
    seconds: f64,
    visible_after: f64,
) -> Result<(), Failure> {
    let commands = counts.commands.load(Ordering::Relaxed);
    let events = counts.events.load(Ordering::Relaxed);
    let already_done = counts.already_done.load(Ordering::Relaxed);
    let per_second = |count: u64| (count as f64 / seconds.max(1e-9)).round() as u64;
    let largest = AllBalances { sort: SortBy::Balance, order: Order::Desc, limit: Some(5), offset: 0 };
    let largest = app.ask(largest).await?;
    let month = SHOWN_MONTH.parse().map_err(Failure::new)?;
    let statement = app.ask(Statement { account: SHOWN_ACCOUNT.to_owned(), month }).await?;
    let totals = app.ask(Totals {}).await?;
    let mut past = Vec::new();
    for version in SHOWN_VERSIONS {
        let state = app.state("account", SHOWN_ACCOUNT, At::Version(Version::new(version))).await?.state;
        let field = |name: &str| state.get(name).cloned().unwrap_or_default();
        past.push(PastBalance { version, balance: field("balance"), transactions: field("transactions") });
    }
    if session.output() == Output::Json {
        return session.output().print(&json!({
            "commands": commands,
            "events": events,
            "already_done": already_done,
            "seconds": seconds,
            "commands_per_second": per_second(commands),
            "events_per_second": per_second(events),
            "seconds_until_visible": visible_after,
            "totals": totals,
            "largest_balances": largest,
            "statement": statement,
            "past_balances": past,
        }));
    }
    if commands == 0 {
        println!("\nThe year is here already: {} commands, nothing added.", thousands(already_done));
    } else {
        let kept = match app.store().durability() {
            Durability::Disk => "each on disk before it was acknowledged",
            Durability::Memory => "none of them on disk",
        };
        println!(
            "\n{} commands, {} events, {kept}, in {seconds:.1} s:",
            thousands(commands),
            thousands(events)
        );
        println!(
            "{} commands per second from {} callers at once.",
            thousands(per_second(commands)),
            super::CALLERS
        );
        println!("{:.1} ms later every read model had them.", (visible_after - seconds) * 1e3);
        if already_done > 0 {
            println!(
                "{} commands had been done by an earlier run and were not done again.",
                thousands(already_done)
            );
        }
    }
    println!("\nAll accounts:");
    Output::Table.print(&totals)?;
    println!("\nThe largest balances:");
    Output::Table.print(&largest)?;
    println!("\nThe statement of account {SHOWN_ACCOUNT} for {SHOWN_MONTH}:");
    Output::Table.print(&statement)?;
    println!("\nThe same account as it was after its 2nd, 25th and 75th event:");
    Output::Table.print(&past)
}

/// Requests that a person can copy.
pub(super) async fn requests(
    app: &RunningApp,
    session: &Session,
    address: SocketAddr,
) -> Result<(), Failure> {
    let head = app.store().head().await?;
    session.say(format!("\nThe bank listens on http://{address} until Ctrl-C. Try, in another terminal:\n"));
    for request in [
        format!("curl -s 'http://{address}/queries/BalanceOf?account={SHOWN_ACCOUNT}'"),
        format!(
            "curl -s -d '{{\"amount\":\"100.00\"}}' http://{address}/commands/account/{SHOWN_ACCOUNT}/DepositMoney"
        ),
        format!("curl -s 'http://{address}/queries/Statement?account={SHOWN_ACCOUNT}&month={SHOWN_MONTH}'"),
        format!("curl -s 'http://{address}/state/account/{SHOWN_ACCOUNT}?version=10'"),
        format!(
            "curl -sN -m 10 -H 'accept: text/event-stream' 'http://{address}/events?after={}'",
            head.get() - 3
        ),
    ] {
        session.say(format!("  {request}"));
    }
    session.say("");
    Ok(())
}

/// Digits in groups of three.
pub(super) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}
