//! Notices of large withdrawals: at least one for each, however often the service is killed.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::bad_days::until;
use crate::http::send;
use crate::program::{Place, Serving};

const PATIENCE: Duration = Duration::from_secs(20);

/// The lines of the file that were not broken off.
fn notices(place: &Place) -> Vec<Value> {
    let text = std::fs::read_to_string(place.path().join("notices.jsonl")).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

fn open_account(place: &Place, id: &str) {
    place.json(&["execute", "account", id, "OpenAccount", "owner=Ann"]);
    place.json(&["execute", "account", id, "DepositMoney", "amount=9000000.00"]);
}

#[test]
fn large_withdrawals_are_told_and_small_ones_are_not() {
    let place = Place::new().with_notices("notices.jsonl");
    open_account(&place, "1");
    for amount in ["9999.99", "10000.00", "12345.67"] {
        place.json(&["execute", "account", "1", "WithdrawMoney", &format!("amount={amount}"), "method=card"]);
    }
    let told = notices(&place);
    let amounts: Vec<_> = told.iter().map(|notice| notice["amount"].clone()).collect();
    assert_eq!(amounts, ["10000.00", "12345.67"], "before the command line ends");
    assert_eq!((&told[0]["account"], &told[0]["method"]), (&"1".into(), &"card".into()));

    let all = place.json(&["reactions"]);
    let status = &all[0];
    assert_eq!((&status["name"], &status["status"]), (&"large-withdrawals".into(), &"passive".into()));
    assert_eq!((&status["position"], &status["head"]), (&5.into(), &5.into()));
    let letters = ["reactions", "dead-letters", "large-withdrawals"];
    assert_eq!(place.json(&letters), json!([]));
    let none = place.fails(&["reactions", "retry", "large-withdrawals", "4"], 1);
    assert!(none.contains("no dead letter at position 4"), "{none}");
    let none = place.fails(&["reactions", "drop", "telegrams", "4"], 2);
    assert!(none.contains("there are: large-withdrawals"), "{none}");

    let serving = place.serve();
    let server = ["--server", serving.url.as_str()];
    until("it to be live", PATIENCE, || {
        let all = place.json(&[&["reactions", "list"], &server[..]].concat());
        (all[0]["status"] == "live").then_some(())
    });
    assert_eq!(place.json(&[&letters[..], &server].concat()), json!([]));
    let none = place.fails(&[&["reactions", "retry", "large-withdrawals", "4"], &server[..]].concat(), 2);
    assert!(none.contains("no dead letter at position 4"), "{none}");
    assert_eq!(notices(&place).len(), 2, "nothing is told again");
}

#[test]
fn without_a_file_nobody_is_told() {
    let place = Place::new();
    open_account(&place, "1");
    place.json(&["execute", "account", "1", "WithdrawMoney", "amount=10000.00"]);
    let names: Vec<_> =
        place.json(&["reactions"]).as_array().unwrap().iter().map(|one| one["name"].clone()).collect();
    assert_eq!((names, notices(&place)), (vec![json!("transfers")], vec![]));
}

#[test]
fn of_two_services_one_tells_and_the_other_takes_over_when_it_is_killed() {
    let place = Place::with_store("sqlite:two.sqlite").with_notices("notices.jsonl");
    open_account(&place, "1");
    let (first, second) = (place.serve(), place.serve());
    let state = |serving: &Serving| send(&format!("{}/reactions", serving.url), &[], None).2[0].clone();
    until("one to stand by", PATIENCE, || (state(&second)["status"] == "standing-by").then_some(()));
    let withdraw = |serving: &Serving| {
        let url = format!("{}/commands/account/1/WithdrawMoney", serving.url);
        assert_eq!(send(&url, &[], Some(r#"{"amount":"10000.00"}"#)).0, 200);
    };
    [&first, &second, &first, &second].into_iter().for_each(withdraw);
    until("all to be told", PATIENCE, || {
        let status = state(&second);
        (status["position"] == status["head"]).then_some(())
    });
    assert_eq!(notices(&place).len(), 4, "each by one of them");
    drop(first);
    withdraw(&second);
    until("the other to take over", PATIENCE, || (state(&second)["status"] == "live").then_some(()));
    until("the last to be told", PATIENCE, || (notices(&place).len() >= 5).then_some(()));
}

#[test]
fn every_large_withdrawal_is_told_however_often_the_service_is_killed() {
    let seed: u64 = std::env::var("ANNALS_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(5);
    let place = Place::new().with_notices("notices.jsonl");
    let accounts = ["1", "2", "3", "4"];
    accounts.iter().for_each(|id| open_account(&place, id));
    let withdrawn = AtomicU64::new(0);
    // On a slow machine it takes more of them until enough has happened.
    for round in 0..80_u64 {
        if round >= 8 && withdrawn.load(Ordering::Relaxed) >= 100 {
            break;
        }
        let mut serving = Some(place.serve());
        let url = serving.as_ref().map(|serving| serving.url.clone()).unwrap();
        std::thread::scope(|scope| {
            for id in accounts {
                let (url, withdrawn) = (format!("{url}/commands/account/{id}/WithdrawMoney"), &withdrawn);
                scope.spawn(move || {
                    // Every third is small. Whoever is answered no more ends.
                    for n in 0_u64.. {
                        let body =
                            if n % 3 == 2 { r#"{"amount":"1.00"}"# } else { r#"{"amount":"10000.00"}"# };
                        match ureq::post(&url).send(body) {
                            Ok(_) => withdrawn.fetch_add(1, Ordering::Relaxed),
                            Err(_) => break,
                        };
                    }
                });
            }
            let micros = (seed * 7_919 + round * 104_729) % 150_000;
            std::thread::sleep(Duration::from_micros(50_000 + micros));
            // Killed, in the middle of it all.
            serving.take();
        });
    }
    let serving = place.serve();
    until("all to be told", PATIENCE, || {
        let (_, _, all) = send(&format!("{}/reactions", serving.url), &[], None);
        (all[0]["status"] == "live" && all[0]["position"] == all[0]["head"]).then_some(())
    });
    serving.stop();
    let stored = place.run(&["events", "--type", "MoneyWithdrawn", "--json"]).stdout;
    let stored = stored.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let large: HashSet<String> = stored
        .filter(|event| event["data"]["amount"] == "10000.00")
        .map(|event| event["id"].as_str().unwrap().to_owned())
        .collect();
    let lines = notices(&place);
    let told: HashSet<String> =
        lines.iter().map(|notice| notice["event"].as_str().unwrap().to_owned()).collect();
    let acknowledged = withdrawn.load(Ordering::Relaxed);
    println!("{acknowledged} withdrawals, {} large, {} notices, seed {seed}", large.len(), lines.len());
    assert_eq!(told, large, "each is told, and no other");
    assert!(acknowledged >= 100, "{acknowledged} withdrawals were acknowledged, too few to tell");
}
