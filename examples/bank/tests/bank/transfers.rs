//! Transfers between accounts: through to the end, back, given up, and under random kills.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::bad_days::until;
use crate::http::send;
use crate::program::Place;

const PATIENCE: Duration = Duration::from_secs(60);

fn open_account(place: &Place, id: &str, amount: &str) {
    place.json(&["execute", "account", id, "OpenAccount", "owner=Ann"]);
    place.json(&["execute", "account", id, "DepositMoney", &format!("amount={amount}")]);
}

fn balance(place: &Place, id: &str) -> Value {
    place.json(&["state", "account", id])["state"]["balance"].clone()
}

#[test]
fn money_goes_from_one_account_to_another_or_stays() {
    let place = Place::new();
    open_account(&place, "1", "100.00");
    open_account(&place, "2", "1.00");
    let request = |id: &str, from: &str, to: &str, amount: &str| {
        let fields = [format!("from={from}"), format!("to={to}"), format!("amount={amount}")];
        let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
        place.json(&[&["execute", "transfer", id, "RequestTransfer"], &fields[..]].concat());
        place.json(&["state", "transfer", id])["state"].clone()
    };
    assert_eq!(request("t1", "1", "2", "30.00"), "completed");
    assert_eq!((balance(&place, "1"), balance(&place, "2")), (json!("70.00"), json!("31.00")));
    assert_eq!(request("t2", "1", "2", "70.01"), "failed", "too little money");
    assert_eq!(request("t3", "1", "nobody", "5.00"), "failed", "no such account: it went back");
    assert_eq!((balance(&place, "1"), balance(&place, "2")), (json!("70.00"), json!("31.00")));
    let way = place.json(&["state", "transfers", "t3"])["state"]["state"].clone();
    assert_eq!(
        (&way["money"], &way["reason"]),
        (&json!("returned"), &json!("account nobody does not exist; open it first"))
    );
    let events = place.run(&["events", "transfer-t3", "--json"]).stdout;
    let last: Value = serde_json::from_str(events.lines().last().unwrap()).unwrap();
    assert_eq!(last["data"]["reason"], "account nobody does not exist; open it first");
    let again =
        place.fails(&["execute", "transfer", "t1", "RequestTransfer", "from=1", "to=2", "amount=1.00"], 3);
    assert!(again.contains("give each transfer an id of its own"), "{again}");
}

#[test]
fn a_transfer_waits_for_money_and_for_an_account_until_its_deadline() {
    let place = Place::new();
    open_account(&place, "1", "10.00");
    open_account(&place, "2", "1.00");
    let serving = place.serve();
    let give = |path: &str, body: &str| {
        let (status, _, answer) = send(&format!("{}/commands/{path}", serving.url), &[], Some(body));
        assert_eq!(status, 200, "{answer}");
    };
    let state =
        |id: &str| send(&format!("{}/state/transfer/{id}", serving.url), &[], None).2["state"].clone();
    let waits = |id: &str| {
        let url = format!("{}/queries/OpenProcesses?process=transfers&id={id}", serving.url);
        let open = send(&url, &[], None).2;
        let timers = open[0]["timers"].as_array().cloned().unwrap_or_default();
        timers.iter().map(|timer| timer["timer"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    give("transfer/rich/RequestTransfer", r#"{"from":"1","to":"2","amount":"50.00","patience_seconds":30}"#);
    give("transfer/new/RequestTransfer", r#"{"from":"2","to":"3","amount":"1.00","patience_seconds":30}"#);
    give("transfer/late/RequestTransfer", r#"{"from":"1","to":"2","amount":"5000.00","patience_seconds":1}"#);
    until("them to wait", PATIENCE, || (waits("rich").len() == 2 && waits("new").len() == 2).then_some(()));
    assert_eq!(state("rich"), "under_way");
    give("account/1/DepositMoney", r#"{"amount":"40.00"}"#);
    give("account/3/OpenAccount", r#"{"owner":"Eve"}"#);
    until("the one without money", PATIENCE, || (state("rich") == "completed").then_some(()));
    until("the one without an account", PATIENCE, || (state("new") == "completed").then_some(()));
    until("the one that comes too late", PATIENCE, || (state("late") == "failed").then_some(()));
    serving.stop();
    let all = ["1", "2", "3"].map(|id| balance(&place, id));
    assert_eq!(all, [json!("0.00"), json!("50.00"), json!("1.00")]);
}

#[test]
fn a_card_belongs_to_one_account() {
    let place = Place::new();
    open_account(&place, "1", "10.00");
    open_account(&place, "2", "10.00");
    let issue =
        |account: &'static str, card: &'static str| ["execute", "account", account, "IssueCard", card];
    place.json(&issue("1", "card=4000123412341234"));
    place.json(&issue("1", "card=4000123412341234"));
    let taken = place.fails(&issue("2", "card=4000123412341234"), 3);
    assert!(taken.contains("card 4000123412341234 belongs to account 1"), "{taken}");
    let nobody = place.fails(&issue("7", "card=4000123412341235"), 3);
    assert!(nobody.contains("account 7 is not open"), "{nobody}");
    let none = place.fails(&issue("1", "card=12ab"), 3);
    assert!(none.contains("8 to 19 digits"), "{none}");
    assert_eq!(place.json(&["state", "account", "1"])["version"], 3);
    place.json(&["execute", "account", "1", "WithdrawMoney", "amount=1.00", "method=card"]);
}

#[test]
fn money_is_neither_made_nor_lost_however_often_the_service_is_killed() {
    let seed: u64 = std::env::var("ANNALS_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(11);
    let place = Place::new();
    let accounts = ["1", "2", "3", "4"];
    accounts.iter().for_each(|id| open_account(&place, id, "1000.00"));
    let asked = AtomicU64::new(0);
    let mut kills = 0;
    // On a slow machine it takes more of them until enough has happened.
    for round in 0..60_u64 {
        if round >= 8 && asked.load(Ordering::Relaxed) >= 200 {
            break;
        }
        let mut serving = Some(place.serve());
        let url = serving.as_ref().map(|serving| serving.url.clone()).unwrap();
        std::thread::scope(|scope| {
            for (number, from) in (0_u64..).zip(accounts) {
                let (url, asked) = (&url, &asked);
                scope.spawn(move || {
                    for n in 0_u64.. {
                        // Every fifth goes to an account that does not exist, every seventh is more than there is.
                        let to =
                            if n % 5 == 4 { "none" } else { accounts[((number + 1 + n % 3) % 4) as usize] };
                        let amount = if n % 7 == 6 { 100_000 } else { n % 10 + 1 };
                        let body = json!({ "from": from, "to": to, "amount": format!("{amount}.00") });
                        let id = format!("{round}.{number}.{n}");
                        let url = format!("{url}/commands/transfer/{id}/RequestTransfer");
                        match ureq::post(&url).send(body.to_string()) {
                            Ok(_) => asked.fetch_add(1, Ordering::Relaxed),
                            Err(_) => break,
                        };
                    }
                });
            }
            let micros = (seed * 7_919 + round * 104_729) % 150_000;
            std::thread::sleep(Duration::from_micros(50_000 + micros));
            // Killed, in the middle of it all.
            serving.take();
            kills += 1;
        });
    }
    let serving = place.serve();
    until("every transfer to come to an end", PATIENCE, || {
        let open = send(&format!("{}/queries/OpenProcesses?limit=1", serving.url), &[], None).2;
        let reactions = send(&format!("{}/reactions", serving.url), &[], None).2;
        let all = reactions.as_array().unwrap();
        let is_live = |status: &&Value| status["status"] == "live" && status["position"] == status["head"];
        (open == json!([]) && all.iter().filter(is_live).count() == all.len()).then_some(())
    });
    serving.stop();
    let hundredths =
        |id: &str| balance(&place, id).as_str().unwrap().replace('.', "").parse::<i64>().unwrap();
    let balances: Vec<i64> = accounts.iter().map(|id| hundredths(id)).collect();
    let count = |kind: &str| place.run(&["events", "--type", kind, "--json"]).stdout.lines().count() as u64;
    let (requested, completed, failed) =
        (count("TransferRequested"), count("TransferCompleted"), count("TransferFailed"));
    let (sent, received) = (count("TransferSent"), count("TransferReceived"));
    let asked = asked.load(Ordering::Relaxed);
    println!(
        "evidence: {{\"test\":\"transfers_killed\",\"kills\":{kills},\"transfers\":{requested},\"completed\":{completed},\
         \"failed\":{failed},\"seed\":{seed}}}"
    );
    assert_eq!(balances.iter().sum::<i64>(), 4 * 100_000, "{balances:?}");
    assert_eq!(requested, completed + failed, "each comes to one end");
    assert_eq!(sent, received, "what is sent arrives, or comes back");
    assert!(requested >= asked && completed > 0 && failed > 0, "{requested} {asked} {completed} {failed}");
    assert!(asked >= 200, "{asked} transfers were acknowledged, too few to tell");
}
