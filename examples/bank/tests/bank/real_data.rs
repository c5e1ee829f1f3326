//! The records of a real bank: every balance, to the last haléř.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::program::Place;

/// The folder of the real data, if it is there.
fn folder() -> Option<PathBuf> {
    let given = std::env::var_os("ANNALS_TEST_DATA").map(PathBuf::from);
    let beside = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data"));
    let folder = given.unwrap_or(beside).join("berka");
    folder.join("transactions.asc").exists().then_some(folder)
}

#[test]
fn every_balance_of_a_real_bank_comes_out() {
    let Some(folder) = folder() else {
        println!("skipped: the real data is absent; name its folder in ANNALS_TEST_DATA");
        return;
    };
    let expected = std::fs::read_to_string(folder.join("expected-balances.csv")).unwrap();
    let expected: Value = expected
        .lines()
        .skip(1)
        .map(|line| {
            let fields: Vec<&str> = line.split(',').collect();
            let transactions: u64 = fields[1].parse().unwrap();
            json!({"account": fields[0], "transactions": transactions, "balance": fields[2]})
        })
        .collect();
    let place = Place::new();
    let file = folder.join("transactions.asc").to_string_lossy().into_owned();
    let first = place.json(&["import", &file]);
    assert_eq!((&first["imported"], &first["broken_lines"]), (&23_932.into(), &0.into()));
    assert_eq!(first["events"].as_u64().unwrap(), 23_932 + first["accounts"].as_u64().unwrap());
    assert_eq!(place.json(&["query", "Balances"]), expected);
    let second = place.json(&["import", &file]);
    assert_eq!((&second["imported"], &second["already_present"]), (&0.into(), &23_932.into()));
    assert_eq!(place.json(&["query", "Balances"]), expected);
    place.json(&["rebuild", "balances"]);
    assert_eq!(place.json(&["query", "Balances"]), expected);
    let state = place.json(&["state", "account", "2", "--version", "10"]);
    assert_eq!((&state["version"], &state["state"]["transactions"]), (&10.into(), &9.into()));
    println!(
        "real data: {} balances are exact, twice imported and rebuilt",
        expected.as_array().unwrap().len()
    );
}
