//! The bad days of `docs/bad-days.md`: events that cannot be read, two services at once, read models that are deleted.

use std::time::{Duration, Instant};

use annals::{AppendRequest, EventType, NewEvent, StreamName};
use serde_json::Value;

use crate::http::send;
use crate::program::{Place, Serving, signal, synthetic};

/// The event that no version of the bank could read.
const POISON: u64 = 212;

/// Waits for something that comes by itself.
#[track_caller]
pub(crate) fn until<T>(what: &str, patience: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < patience, "waited {patience:?} for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A bank with history, and behind it an event that it knows by name but cannot read: as `annals append account-2
/// MoneyDeposited '{"amount":"lots"}'` writes it. Its id.
fn poisoned() -> (Place, String) {
    let place = Place::new();
    place.json(&["import", &synthetic()]);
    let url = format!("file:{}", place.path().join("bank-data").display());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let id = runtime.block_on(async {
        let store = annals::open_store(&url).await.unwrap().events;
        let (stream, of) = (StreamName::new("account-2").unwrap(), EventType::new("MoneyDeposited").unwrap());
        let event = NewEvent::new(stream, of).json(r#"{"amount":"lots"}"#);
        let receipt = store.append(AppendRequest::new([event])).await.unwrap();
        assert_eq!(receipt.last_position.get(), POISON);
        let all = annals::ReadRequest::new(annals::Filter::all()).after((POISON - 1).into());
        store.read(all).await.unwrap().events[0].id().to_string()
    });
    (place, id)
}

#[track_caller]
fn has_all(said: &str, parts: &[&str]) {
    for part in parts {
        assert!(said.contains(part), "expected {part:?} in {said}");
    }
}

fn projection(all: &Value, name: &str) -> Value {
    all.as_array().unwrap().iter().find(|status| status["name"] == name).unwrap().clone()
}

const UNREADABLE: &str =
    "the event MoneyDeposited at position 212, of account-2, cannot be read: \"lots\" is no amount";

#[test]
fn an_event_that_cannot_be_read_is_named_and_can_be_passed_by() {
    let (place, id) = poisoned();
    let account = ["BalanceOf", "account=2"];
    let stopped = format!("\"balances\" stopped at position 212, MoneyDeposited of account-2 (id {id})");
    let said = place.fails(&[&["query"], &account[..]].concat(), 1);
    has_all(
        &said,
        &[&stopped, UNREADABLE, "`projections skip balances 212`", "`projections park balances 212`"],
    );
    assert_eq!(said.lines().count(), 1, "once: {said}");
    has_all(&place.fails(&[&["query", "--fresh"], &account[..]].concat(), 1), &[&stopped, UNREADABLE]);

    let all = place.json(&["projections"]);
    for name in ["balances", "statements"] {
        let status = projection(&all, name);
        let event = &status["event"];
        assert_eq!(
            (&status["status"], &status["stopped_at"]),
            (&"failed".into(), &POISON.into()),
            "{status}"
        );
        assert_eq!(
            (&status["position"], &status["head"]),
            (&(POISON - 1).into(), &POISON.into()),
            "{status}"
        );
        assert_eq!((&event["position"], &event["id"]), (&POISON.into(), &id.as_str().into()), "{status}");
        assert_eq!((&event["stream"], &event["type"]), (&"account-2".into(), &"MoneyDeposited".into()));
        has_all(status["error"].as_str().unwrap(), &[UNREADABLE]);
    }
    // Commands to that account are refused, and write nothing; the others are as before.
    has_all(&place.fails(&["execute", "account", "2", "DepositMoney", "amount=1.00"], 1), &[UNREADABLE]);
    has_all(&place.fails(&["state", "account", "2"], 1), &[UNREADABLE]);
    assert_eq!(place.json(&["state", "account", "2", "--version", "15"])["version"], 15);
    assert_eq!(
        place.json(&["execute", "account", "new", "OpenAccount", "owner=Ann"])["position"],
        POISON + 1
    );

    has_all(&place.fails(&["projections", "skip", "balances", "211"], 1), &["stopped at position 212"]);
    let skipped = projection(&place.json(&["projections", "skip", "balances", "212"]), "balances");
    assert_eq!((&skipped["status"], &skipped["skipped"][0]["id"]), (&"live".into(), &id.as_str().into()));
    assert_eq!(place.json(&[&["query"], &account[..]].concat())["transactions"], 14);
    assert_eq!(place.json(&["query", "BalanceOf", "account=new"])["status"], "open");

    let parked = projection(&place.json(&["projections", "park", "statements", "212"]), "statements");
    let (key, waiting) = (&parked["parked"][0]["key"], &parked["parked"][0]["waiting"]);
    assert_eq!((&parked["status"], key, waiting), (&"live".into(), &"account-2".into(), &1.into()));
    place.json(&["query", "Statement", "account=2", "month=1993-03"]);
    let said = place.fails(&["projections", "release", "statements", "account-2"], 1);
    has_all(
        &said,
        &["the key \"account-2\" of \"statements\" stays parked", &id, "`projections skip statements 212`"],
    );
    let skipped = projection(&place.json(&["projections", "skip", "statements", "212"]), "statements");
    assert_eq!((&skipped["parked"], &skipped["skipped"][0]["position"]), (&Value::Null, &POISON.into()));
    for name in ["balances", "statements"] {
        assert_eq!(place.json(&["projections", "prove", name])["verdict"], "complete");
        place.json(&["rebuild", name]);
    }
}

#[test]
fn a_service_names_the_event_too() {
    let (place, id) = poisoned();
    let serving = place.serve();
    let server = ["--server", serving.url.as_str()];
    let status = |name: &str| projection(&place.json(&[&["projections"], &server[..]].concat()), name);
    let patience = Duration::from_secs(5);
    let found = until("it to stop", patience, || {
        Some(status("balances")).filter(|found| found["status"] == "failed")
    });
    assert_eq!((&found["stopped_at"], &found["event"]["id"]), (&POISON.into(), &id.as_str().into()));

    // What was before is answered; who asks for more is told why not.
    let url = format!("{}/queries/BalanceOf?account=2", serving.url);
    assert_eq!(send(&url, &[], None).0, 200);
    let (code, _, problem) = send(&url, &[("annals-at-least", "212")], None);
    assert_eq!(
        (code, &problem["code"], &problem["position"]),
        (503, &"projection-stopped".into(), &POISON.into())
    );
    has_all(problem["detail"].as_str().unwrap(), &[&id, UNREADABLE, "`projections skip balances 212`"]);
    let fresh = ["query", "BalanceOf", "account=2", "--fresh"];
    has_all(&place.fails(&[&fresh[..], &server].concat(), 1), &[&id, UNREADABLE]);
    let deposit = format!("{}/commands/account/2/DepositMoney", serving.url);
    let (code, _, problem) = send(&deposit, &[], Some(r#"{"amount":"1.00"}"#));
    assert_eq!(
        (code, &problem["code"], &problem["position"]),
        (500, &"event-unreadable".into(), &POISON.into())
    );

    let locked = place.fails(&["projections", "skip", "balances", "212"], 1);
    has_all(&locked, &["another process keeps the read model \"balances\"", "--server"]);
    place.json(&[&["projections", "skip", "balances", "212"], &server[..]].concat());
    until("it to go on", patience, || (status("balances")["status"] == "live").then_some(()));
    until("it to stop", patience, || (status("statements")["status"] == "failed").then_some(()));
    place.json(&[&["projections", "park", "statements", "212"], &server[..]].concat());
    let release = ["projections", "release", "statements", "account-2"];
    has_all(&place.fails(&[&release[..], &server].concat(), 1), &["stays parked", &id]);
    assert_eq!(send(&url, &[("annals-at-least", "212")], None).0, 200);
}

/// The balance's number of transactions, as a service has it now, with everything up to a position.
fn transactions(serving: &Serving, position: &str) -> Value {
    let url = format!("{}/queries/BalanceOf?account=2", serving.url);
    let (code, _, answer) = send(&url, &[("annals-at-least", position)], None);
    assert_eq!(code, 200, "{answer}");
    answer["transactions"].clone()
}

fn deposit(serving: &Serving) -> String {
    let url = format!("{}/commands/account/2/DepositMoney", serving.url);
    let (code, headers, answer) = send(&url, &[], Some(r#"{"amount":"1.00"}"#));
    assert_eq!(code, 200, "{answer}");
    headers["annals-position"].to_str().unwrap().to_owned()
}

/// Waits until all projections of a service have this status.
fn until_all_are(status: &str, serving: &Serving) {
    let are = || {
        let (_, _, all) = send(&format!("{}/projections", serving.url), &[], None);
        all.as_array().unwrap().iter().all(|found| found["status"] == status).then_some(())
    };
    until(status, Duration::from_secs(20), are);
}

#[test]
fn a_second_process_stands_by_and_takes_over_when_the_first_is_killed() {
    let place = Place::with_store("sqlite:two.sqlite");
    place.json(&["import", &synthetic()]);
    let first = place.serve();
    until_all_are("live", &first);
    let second = place.serve();
    until_all_are("standing-by", &second);
    for (n, by) in [&first, &second, &first, &second].into_iter().enumerate() {
        let position = deposit(by);
        for serving in [&first, &second] {
            assert_eq!(transactions(serving, &position), 15 + n);
        }
    }
    // A third one looks on, and answers.
    let all = place.json(&["projections"]);
    assert!(all.as_array().unwrap().iter().all(|status| status["status"] == "standing-by"), "{all}");
    assert_eq!(place.json(&["query", "BalanceOf", "account=2"])["transactions"], 18);
    let refused = place.fails(&["rebuild", "balances", "--server", &second.url], 1);
    has_all(&refused, &["another process keeps the read model \"balances\"", "end it first"]);

    signal(first.process_id(), "KILL");
    let begun = Instant::now();
    until_all_are("live", &second);
    println!("took over after {:?}", begun.elapsed());
    let position = deposit(&second);
    assert_eq!(transactions(&second, &position), 19, "nothing is counted twice, nothing is missed");
    for name in ["balances", "statements", "spending", "transactions"] {
        let proof = place.json(&["projections", "prove", name, "--server", &second.url]);
        assert_eq!((&proof["verdict"], &proof["seen"]), (&"complete".into(), &proof["stored"]));
    }
    place.json(&["rebuild", "balances", "--server", &second.url]);
}

#[test]
fn beside_a_service_a_reader_stands_by_and_answers() {
    let place = Place::new();
    place.json(&["import", &synthetic()]);
    let serving = place.serve();
    until_all_are("live", &serving);
    let position = deposit(&serving);
    assert_eq!(transactions(&serving, &position), 15);
    let all = place.json(&["projections"]);
    assert!(all.as_array().unwrap().iter().all(|status| status["status"] == "standing-by"), "{all}");
    assert_eq!(place.json(&["query", "BalanceOf", "account=2"])["transactions"], 15);
}

#[test]
fn a_deleted_read_model_is_built_anew_while_the_service_runs() {
    let place = Place::new();
    place.json(&["import", &synthetic()]);
    let before = place.json(&["query", "Balances"]);
    let serving = place.serve();
    let url = format!("{}/queries/Balances", serving.url);
    assert_eq!(send(&url, &[], None).2, before);
    for asked in [true, false, true] {
        std::fs::remove_file(place.path().join("bank-data/read-models/balances-v1.sqlite")).unwrap();
        // Asked or not, it is built anew; whoever asks meanwhile gets all or a clear problem, never a part.
        let (mut answers, mut problems) = (0, 0);
        let begun = Instant::now();
        while asked && answers < 20 {
            let (code, headers, answer) = send(&url, &[], None);
            match code {
                200 => assert_eq!(answer, before),
                _ => {
                    // The file may go in the middle of a write as well; then it is tried again in a second.
                    let known = ["read-model-behind", "read-model-failed", "projection-stopped"];
                    assert!(code == 503 && known.iter().any(|known| answer["code"] == *known), "{answer}");
                    assert!(headers.contains_key("retry-after"));
                    assert!(begun.elapsed() < Duration::from_secs(10), "{answer}");
                    problems += 1;
                    std::thread::sleep(Duration::from_millis(10));
                }
            }
            answers += u64::from(code == 200);
        }
        let whole = || place.path().join("bank-data/read-models/balances-v1.sqlite").exists().then_some(());
        until("the read model to be made anew", Duration::from_secs(5), whole);
        println!("asked: {asked}, {answers} whole answers, {problems} problems");
    }
    assert_eq!(send(&url, &[], None).2, before);
    let proof = place.json(&["projections", "prove", "balances", "--server", &serving.url]);
    assert_eq!((&proof["verdict"], &proof["seen"]), (&"complete".into(), &211.into()));
}
