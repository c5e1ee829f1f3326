//! `bank events`.

use crate::program::{Place, synthetic};

#[test]
fn events_are_shown_as_lines_and_as_tables() {
    let place = Place::new();
    place.json(&["import", &synthetic()]);
    let lines = place.run(&["events", "--category", "account", "--type", "AccountOpened"]).stdout;
    assert_eq!(lines.lines().count(), 11);
    assert!(lines.lines().all(|line| line.starts_with("{\"specversion\":\"1.0\"")));
    let last = place.run(&["events", "--stream", "account-2", "--backwards", "--limit", "1"]).stdout;
    assert_eq!(last.lines().count(), 1);
    let table = place.run(&["events", "--limit", "3", "--table"]).stdout;
    assert!(table.contains("position") && table.contains("account-"), "{table}");
    let none = place.run(&["events", "--stream", "account-none"]);
    assert_eq!((none.stdout.as_str(), none.stderr.trim()), ("", "no such events"));
}
