//! `bank replay`: the history of one bank, given to another.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::program::{Place, Serving, signal, synthetic};

/// A bank with a history of its own, of every kind of command; the service has stopped.
fn bank_with_history() -> Place {
    let place = Place::new();
    let serving = place.serve();
    let agent = ureq::Agent::new_with_defaults();
    let give = |account: u32, command: &str, body: &str, occurred_at: Option<String>| {
        let url = format!("{}/commands/account/{account}/{command}", serving.url);
        let call = agent.post(&url).header("annals-correlation-id", "batch 1");
        let call = occurred_at.iter().fold(call, |call, moment| call.header("annals-occurred-at", moment));
        assert_eq!(call.send(body).unwrap().status(), 200);
    };
    for account in 1..=12 {
        let euro = if account % 4 == 0 { r#","currency":"EUR""# } else { "" };
        let body = format!(r#"{{"owner":"Owner {account}","overdraft_limit":"50.00"{euro}}}"#);
        give(account, "OpenAccount", &body, Some(format!("2025-01-{account:02}T08:00:00Z")));
        for n in 1..=20 {
            let moment = Some(format!("2025-{:02}-{:02}T12:00:00Z", 2 + n % 9, 1 + account));
            let body = format!(r#"{{"amount":"{}.{account:02}"}}"#, n * 3);
            give(account, "DepositMoney", &body, moment);
            give(account, "WithdrawMoney", r#"{"amount":"1.50","method":"card"}"#, None);
        }
    }
    let other = r#"{"bank":"AB","account":"77"}"#;
    give(1, "ReceiveTransfer", &format!(r#"{{"amount":"5.00","from":{other},"purpose":"rent"}}"#), None);
    give(1, "SendTransfer", &format!(r#"{{"amount":"9.99","to":{other}}}"#), None);
    give(2, "CreditInterest", r#"{"amount":"0.42"}"#, None);
    give(2, "ChargeFee", r#"{"amount":"2.00","reason":"card"}"#, None);
    give(3, "ChargePenaltyInterest", r#"{"amount":"0.07"}"#, None);
    give(3, "ChangeOverdraftLimit", r#"{"limit":"80.00"}"#, None);
    give(99, "OpenAccount", r#"{"owner":"Eve"}"#, None);
    give(99, "CloseAccount", "{}", None);
    assert_eq!(serving.stop().0, Some(0));
    place
}

/// The number of events that [`bank_with_history`] has.
const EVENTS: u64 = 12 * 41 + 8;

fn replay(place: &Place, to: &Serving, more: &[&str]) -> Value {
    place.json(&[&["replay", "--to", &to.url], more].concat())
}

/// What is told of a bank: all balances, the statement of an account, a state without its times.
fn told(place: &Place) -> (Value, Value, Value) {
    let statement = place.json(&["query", "Statement", "account=1", "month=2025-04"]);
    let state = place.json(&["state", "account", "3"])["state"].clone();
    (place.json(&["query", "Balances"]), statement, state)
}

#[test]
fn a_history_given_to_an_empty_bank_leads_to_the_same_balances() {
    let (from, to) = (bank_with_history(), Place::new());
    let serving = to.serve();
    let first = replay(&from, &serving, &["--speed", "max"]);
    assert_eq!(
        (&first["events"], &first["sent"], &first["done"]),
        (&EVENTS.into(), &EVENTS.into(), &EVENTS.into())
    );
    assert_eq!((&first["refused"], &first["failed"]), (&0.into(), &0.into()), "{first}");
    let latency = &first["latency_ms"];
    let (half, most) = (latency["p50"].as_f64().unwrap(), latency["p99"].as_f64().unwrap());
    assert!(0.0 < half && half <= most && most <= latency["max"].as_f64().unwrap(), "{first}");
    assert!(first["per_second"].as_f64().unwrap() > 0.0, "{first}");
    assert_eq!(told(&to), told(&from));
    let correlated = to.run(&["events", "--correlation", "batch 1"]).stdout;
    assert_eq!(correlated.lines().count() as u64, EVENTS);

    // Again, and in parts: everything was done already.
    let again = replay(&from, &serving, &["--speed", "max", "--concurrency", "1"]);
    assert_eq!((&again["done"], &again["already_done"]), (&0.into(), &EVENTS.into()));
    let part = replay(
        &from,
        &serving,
        &["--speed", "1e9", "--from-position", "42", "--to-position", "60", "--type", "MoneyDeposited"],
    );
    assert_eq!((&part["events"], &part["already_done"]), (&9.into(), &9.into()), "{part}");
    let none = replay(&from, &serving, &["--from-position", "100000"]);
    assert_eq!((&none["events"], &none["sent"]), (&0.into(), &0.into()));
    assert_eq!(told(&to), told(&from));

    // One by one, the order is that of the log.
    let third = Place::new();
    let serving = third.serve();
    replay(&from, &serving, &["--speed", "max", "--concurrency", "1", "--to-position", "60"]);
    let streams = |place: &Place| {
        let lines = place.run(&["events", "--limit", "60"]).stdout;
        let event = |line: &str| serde_json::from_str::<Value>(line).unwrap();
        let subjects =
            lines.lines().map(event).map(|event| (event["subject"].clone(), event["data"].clone()));
        subjects.collect::<Vec<_>>()
    };
    assert_eq!(streams(&third), streams(&from));
}

#[test]
fn what_the_other_bank_refuses_is_counted_with_its_reason() {
    let (from, to) = (bank_with_history(), Place::new());
    // One account only, and that without its opening.
    let serving = to.serve();
    let run = from.run(&[
        "replay",
        "--to",
        &serving.url,
        "--speed",
        "max",
        "--stream",
        "account-1",
        "--from-position",
        "2",
    ]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let summary: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!((&summary["sent"], &summary["refused"]), (&42.into(), &42.into()));
    assert_eq!(summary["refused_because"], serde_json::json!({"account-not-open": 42}));
    assert!(
        run.stderr.contains("position 2: DepositMoney on account \"1\": account 1 does not exist"),
        "{}",
        run.stderr
    );
    assert!(run.stderr.contains("and more, which are counted only"), "{}", run.stderr);

    // An imported history does not keep the bank's rules; what can be done is.
    let imported = Place::new();
    imported.json(&["import", &synthetic()]);
    let summary = replay(&imported, &serving, &["--speed", "max"]);
    let count = |name: &str| summary[name].as_u64().unwrap();
    assert_eq!(count("events"), count("sent"));
    assert_eq!(count("sent"), count("done") + count("refused"), "{summary}");
    assert!(count("done") >= 11, "{summary}");
}

#[test]
fn a_replay_keeps_the_pace_that_it_is_told() {
    let (from, to) = (Place::new(), Place::new());
    let at = |n: u32, command: &str, field: &str| {
        let moment = format!("2025-01-01T00:{n:02}:00Z");
        from.json(&["execute", "account", "1", command, field, "--occurred-at", &moment]);
    };
    at(0, "OpenAccount", "owner=Ann");
    at(10, "DepositMoney", "amount=1.00");
    at(2, "DepositMoney", "amount=2.00");
    let serving = to.serve();
    // Ten minutes, 400 times as fast.
    let summary = replay(&from, &serving, &["--speed", "400", "--by", "occurred"]);
    let seconds = summary["seconds"].as_f64().unwrap();
    assert!((1.5..30.0).contains(&seconds), "{summary}");
    assert_eq!(to.json(&["query", "BalanceOf", "account=1"])["balance"], "3.00");
}

#[test]
fn a_replay_that_broke_off_goes_on_where_it_was() {
    let (from, to) = (bank_with_history(), Place::new());
    let serving = to.serve();
    // By the times of occurrence: eight months at this speed take some ten seconds.
    let arguments = ["replay", "--to", &serving.url, "--speed", "2000000", "--by", "occurred"];
    let mut child = from.command(&arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    wait_for_the_first(&to, &serving);
    drop(serving);
    let status = child.wait().unwrap();
    let said = std::io::read_to_string(child.stderr.take().unwrap()).unwrap();
    let printed = std::io::read_to_string(child.stdout.take().unwrap()).unwrap();
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(
        said.contains("cannot reach the service at http://127.0.0.1") && said.contains("is it running?"),
        "{said}"
    );
    let summary: Value = serde_json::from_str(&printed).unwrap();
    assert!(summary["done"].as_u64().unwrap() < EVENTS, "{summary}");
    let position = go_on_from(&said);

    let serving = to.serve();
    replay(&from, &serving, &["--speed", "max", "--from-position", &position]);
    assert_eq!(told(&to), told(&from));
}

/// Waits until the other bank has done the first of the commands.
fn wait_for_the_first(to: &Place, serving: &Serving) {
    let begun = Instant::now();
    while to.json(&["query", "Balances", "--server", &serving.url]).as_array().unwrap().is_empty() {
        assert!(begun.elapsed() < Duration::from_secs(60), "nothing is done");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The position that a replay says to go on from.
fn go_on_from(said: &str) -> String {
    let (_, rest) = said.split_once("go on with --from-position ").unwrap_or_else(|| panic!("{said}"));
    rest.split(';').next().unwrap().to_owned()
}

#[test]
fn an_interrupted_replay_says_where_to_go_on() {
    let (from, to) = (bank_with_history(), Place::new());
    let serving = to.serve();
    // Eight months at this speed take more than an hour.
    let arguments = ["replay", "--to", &serving.url, "--speed", "5000", "--by", "occurred"];
    let mut child = from.command(&arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    wait_for_the_first(&to, &serving);
    signal(child.id(), "INT");
    let said = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    let said = said.collect::<Vec<_>>().join("\n");
    assert_eq!(child.wait().unwrap().code(), Some(1), "{said}");
    assert!(said.contains("interrupted"), "{said}");
    replay(&from, &serving, &["--speed", "max", "--from-position", &go_on_from(&said)]);
    assert_eq!(told(&to), told(&from));
}

#[test]
fn nonsense_is_refused_before_anything_is_given() {
    let from = Place::new();
    from.json(&["execute", "account", "1", "OpenAccount", "owner=Ann"]);
    let serving = from.serve();
    let url = serving.url.as_str();
    let cases: [(&[&str], i32, &str); 19] = [
        (&[], 2, "--to <URL>"),
        (&["--to", "127.0.0.1:4000"], 2, "--to \"127.0.0.1:4000\": expected an address such as"),
        (&["--to", ""], 2, "expected an address such as"),
        (&["--to", "https://"], 2, "expected an address such as"),
        (&["--to", "http://127.0.0.1:1"], 1, "is it running?"),
        (&["--to", url], 2, "keeps this store or a copy of it"),
        (&["--to", url, "--speed", "0"], 2, "expected a number above zero, such as 10 or 0.5, or max"),
        (&["--to", url, "--speed", "fast"], 2, "expected a number above zero"),
        (&["--to", url, "--speed=-3"], 2, "expected a number above zero"),
        (&["--to", url, "--speed", "inf"], 2, "expected a number above zero"),
        (&["--to", url, "--by", "noon"], 2, "[possible values: recorded, occurred]"),
        (&["--to", url, "--concurrency", "0"], 2, "0 is not in 1..=256"),
        (&["--to", url, "--concurrency", "300"], 2, "300 is not in 1..=256"),
        (&["--to", url, "--from-position", "x"], 2, "--from-position"),
        (&["--to", url, "--from-position", "9", "--to-position", "8"], 2, "9 is behind --to-position 8"),
        (&["--to", url, "--category", "loan"], 2, "it does for: account"),
        (&["--to", url, "--stream", "a\u{7}"], 2, "control character"),
        (&["--to", url, "--tag", "untagged"], 2, "--tag"),
        (&["--to", url, "--store", "file:elsewhere"], 1, "there is no store at"),
    ];
    for (arguments, code, said) in cases {
        let stderr = from.fails(&[&["replay"], arguments].concat(), code);
        assert!(stderr.contains(said), "{arguments:?}: {stderr}");
    }
    assert_eq!(from.json(&["verify"])["events"], 1);

    // Something that listens and is no service of Annals.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let other = std::thread::spawn(move || {
        use std::io::Write;
        let (mut stream, _) = listener.accept().unwrap();
        BufReader::new(&stream).lines().map_while(Result::ok).find(String::is_empty);
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello").unwrap();
    });
    let said = from.fails(&["replay", "--to", &address], 1);
    assert!(said.contains("does not answer as a service of Annals does"), "{said}");
    other.join().unwrap();
}

#[test]
fn a_service_that_is_not_well_is_told_apart_from_a_refusal() {
    use std::io::{Read, Write};
    let from = Place::new();
    from.json(&["execute", "account", "1", "OpenAccount", "owner=Ann"]);
    from.json(&["execute", "account", "1", "DepositMoney", "amount=1.00"]);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    // It has no events, does the first command, and has no room for the second.
    let service = std::thread::spawn(move || {
        let full = r#"{"code":"disk-full","detail":"the disk is full"}"#;
        for (status, body) in [("200 OK", "[]"), ("200 OK", "{}"), ("503 Service Unavailable", full)] {
            let (mut stream, _) = listener.accept().unwrap();
            let mut input = BufReader::new(&stream);
            let head: Vec<String> =
                input.by_ref().lines().map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
            let length = head
                .iter()
                .find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
            std::io::copy(&mut input.take(length.unwrap_or(0)), &mut std::io::sink()).unwrap();
            let length = body.len();
            let answer =
                format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}");
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    let run = from.run(&["replay", "--to", &address, "--speed", "max"]);
    service.join().unwrap();
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    let summary: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(
        (&summary["done"], &summary["refused"], &summary["failed"]),
        (&1.into(), &0.into(), &1.into())
    );
    assert_eq!(summary["failed_because"], serde_json::json!({"disk-full": 1}));
    assert!(run.stderr.contains("failed to do 1 of the commands"), "{}", run.stderr);
    assert_eq!(go_on_from(&run.stderr), "2");
}
