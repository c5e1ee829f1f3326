//! `bank demo`: a year, once.

use crate::program::Place;

#[test]
fn the_year_is_lived_once_and_adds_up() {
    let place = Place::new();
    let first = place.json(&["demo", "--once"]);
    assert_eq!((&first["commands"], &first["events"]), (&101_000.into(), &101_000.into()));
    let totals = &first["totals"][0];
    assert_eq!((&totals["accounts"], &totals["transactions"]), (&1_000.into(), &100_000.into()));
    assert_eq!(first["largest_balances"].as_array().unwrap().len(), 5);
    assert_eq!(first["past_balances"].as_array().unwrap().len(), 3);
    let second = place.json(&["demo", "--once"]);
    assert_eq!((&second["commands"], &second["already_done"]), (&0.into(), &101_000.into()));
    assert_eq!(second["totals"], first["totals"]);
    assert_eq!(second["statement"], first["statement"]);
    let text = place.run(&["demo", "--once", "--table"]).stdout;
    assert!(text.contains("The year is here already") && text.contains("The largest balances"), "{text}");
    assert!(place.path().join("bank-demo").exists() && !place.path().join("bank-data").exists());
    let other = place.fails(&["demo", "--once", "--seed", "2", "--store", "file:bank-demo"], 2);
    assert!(other.contains("other events than the year of seed 2"), "{other}");
}
