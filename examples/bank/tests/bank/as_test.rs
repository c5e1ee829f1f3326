//! `bank events … --as-test`: what it prints is `account_2.rs` beside this, which is one of these tests.

use crate::program::{Place, synthetic};

#[test]
fn a_real_stream_becomes_a_test() {
    let place = Place::new();
    place.json(&["import", &synthetic()]);
    let printed = place.run(&["events", "account-2", "--as-test"]).stdout;
    assert_eq!(printed, include_str!("account_2.rs"));
    let first = place.run(&["events", "--stream", "account-2", "--as-test", "--limit", "2"]).stdout;
    assert!(first.contains("fn account_2_at_version_2()") && first.contains("5129.69"), "{first}");
}

#[test]
fn what_is_no_entity_becomes_none() {
    let place = Place::new();
    place.json(&["import", &synthetic()]);
    for arguments in [&["events", "--as-test"][..], &["events", "account-2", "--type", "X", "--as-test"]] {
        let said = place.fails(arguments, 2);
        assert!(said.contains("name a stream and nothing else"), "{said}");
    }
    let said = place.fails(&["events", "loan-1", "--as-test"], 2);
    assert!(said.contains("no aggregate has the category \"loan\""), "{said}");
    let said = place.fails(&["events", "account-none", "--as-test"], 1);
    assert!(said.contains("there is no account \"none\""), "{said}");
    let said = place.fails(&["events", "account-2", "--stream", "account-7"], 2);
    assert!(said.contains("the stream is given twice"), "{said}");
}
