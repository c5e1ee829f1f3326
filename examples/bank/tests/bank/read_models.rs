//! Read models of all kinds, and looking after them, by the program.

use serde_json::json;

use crate::program::Place;

/// On each kind of store that keeps events.
fn places() -> [Place; 2] {
    [Place::new(), Place::with_store("sqlite:bank.sqlite")]
}

fn opened(place: &Place) {
    place.json(&["execute", "account", "7", "OpenAccount", "owner=Ann", "overdraft_limit=100.00"]);
    place.json(&["execute", "account", "7", "DepositMoney", "amount=250.00"]);
    let to = r#"to:={"bank":"AB","account":"87654321"}"#;
    place.json(&["execute", "account", "7", "SendTransfer", "amount=120.00", to, "purpose=rent for May"]);
    place.json(&["execute", "account", "7", "SendTransfer", "amount=30.00", to, "purpose=electricity"]);
}

#[test]
fn what_may_be_spent_is_known_from_memory() {
    places().iter().for_each(spends_from_memory);
}

fn spends_from_memory(place: &Place) {
    opened(place);
    let ask = |amount: &str| place.json(&["query", "CanPay", "account=7", &format!("amount={amount}")]);
    let answer = ask("200.00");
    assert_eq!(answer, json!({"account": "7", "can_pay": true, "available": "200.00", "currency": "CZK"}));
    assert_eq!(ask("200.01")["can_pay"], false);
    assert_eq!(ask("0.00")["can_pay"], false);
    place.json(&["execute", "account", "7", "ChangeOverdraftLimit", "limit=500.00"]);
    // Each run is a process of its own: it begins with the image of the one before.
    assert_eq!(ask("600.00")["can_pay"], true);
    place.json(&["execute", "account", "7", "WithdrawMoney", "amount=600.00"]);
    let fresh = place.json(&["query", "--fresh", "CanPay", "account=7", "amount=1.00"]);
    assert_eq!((&fresh["can_pay"], &fresh["available"]), (&json!(false), &json!("0.00")));
    let said = place.fails(&["query", "CanPay", "account=8", "amount=1.00"], 1);
    assert!(said.contains("there is no account \"8\""), "{said}");
    place.fails(&["query", "CanPay", "account=7", "amount=much"], 2);
}

#[test]
fn transactions_are_found_by_their_words() {
    places().iter().for_each(finds_by_words);
}

fn finds_by_words(place: &Place) {
    opened(place);
    let find = |text: &str| place.json(&["query", "FindTransactions", &format!("text={text}")]);
    let found = find("rent");
    assert_eq!(found.as_array().map(Vec::len), Some(1), "{found}");
    assert_eq!((&found[0]["account"], &found[0]["amount"]), (&json!("7"), &json!("-120.00")));
    assert_eq!(find("rent OR electricity").as_array().map(Vec::len), Some(2));
    assert_eq!(find("account:8 AND rent"), json!([]));
    let said = place.fails(&["query", "FindTransactions", "text=(rent"], 2);
    assert!(said.contains("FindTransactions") && said.contains("(rent"), "{said}");
}

#[test]
fn read_models_are_rebuilt_in_one_pass_proved_and_taken_back() {
    places().iter().for_each(rebuilds_and_takes_back);
}

fn rebuilds_and_takes_back(place: &Place) {
    opened(place);
    let names = ["balances", "statements", "spending", "transactions"];
    let rebuilt = place.json(&[&["rebuild"], &names[..]].concat());
    for (index, name) in names.iter().enumerate() {
        assert_eq!((&rebuilt[index]["projection"], &rebuilt[index]["events"]), (&json!(name), &json!(4)));
        let proof = place.json(&["projections", "prove", name]);
        assert_eq!((&proof["verdict"], &proof["seen"]), (&json!("complete"), &json!(4)), "{name}");
    }
    place.json(&["execute", "account", "7", "DepositMoney", "amount=1.00"]);
    for name in names {
        let back = place.json(&["projections", "roll-back", name]);
        assert_eq!(
            (&back[0]["name"], &back[0]["events"]),
            (&json!(name), &json!(5)),
            "it took in what it missed"
        );
    }
    assert_eq!(place.json(&["query", "BalanceOf", "account=7"])["balance"], "101.00");
    let said = place.fails(&["projections", "skip", "balances", "3"], 1);
    assert!(said.contains("has not stopped"), "{said}");
    let said = place.fails(&["projections", "release", "balances", "account-7"], 1);
    assert!(said.contains("has parked nothing"), "{said}");
    let said = place.fails(&["rebuild", "balance"], 2);
    assert!(said.contains("there are: balances, processes, spending, statements, transactions"), "{said}");
}
