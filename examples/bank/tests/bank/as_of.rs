//! `bank as-of`, here and at a service.

use serde_json::json;

use crate::program::Place;

#[test]
fn a_back_dated_transaction_counts_from_when_it_happened() {
    let place = Place::new();
    let execute = |command: &str, field: &str, occurred_at: &str| {
        place.json(&["execute", "account", "1", command, field, "--occurred-at", occurred_at])
    };
    execute("OpenAccount", "owner=Ann", "2026-01-01");
    execute("DepositMoney", "amount=100.00", "2026-02-01");
    // The bank learns of it last.
    execute("DepositMoney", "amount=7.00", "2026-01-15");
    let cases: [(&[&str], &str); 6] = [
        (&["as-of", "2", "BalanceOf", "account=1"], "100.00"),
        (&["as-of", "2036-01-01", "BalanceOf", "account=1"], "107.00"),
        (&["as-of", "--occurred", "2026-01-14", "BalanceOf", "account=1"], "0.00"),
        (&["as-of", "--occurred", "2026-01-15", "BalanceOf", "account=1"], "7.00"),
        (&["as-of", "2026-01-31T23:59:59Z", "BalanceOf", "account=1", "--occurred"], "7.00"),
        (&["as-of", "--occurred", "2026-02-01", "BalanceOf", "account=1"], "107.00"),
    ];
    for (arguments, balance) in cases {
        assert_eq!(place.json(arguments)["balance"], balance, "{arguments:?}");
    }
    let none = place.fails(&["as-of", "2026-01-31", "BalanceOf", "account=1"], 1);
    assert!(none.contains("there is no account \"1\""), "nothing was recorded by then: {none}");

    let serving = place.serve();
    let server = ["--server", serving.url.as_str()];
    for (arguments, balance) in cases {
        assert_eq!(place.json(&[arguments, &server].concat())["balance"], balance, "{arguments:?}");
    }
    let all = place.json(&["as-of", "2", "Balances", "sort=balance", "--server", &serving.url]);
    assert_eq!(all, json!([{"account": "1", "transactions": 1, "balance": "100.00"}]));
    for server in [&[][..], &server] {
        let fails = |arguments: &[&str], code| place.fails(&[arguments, server].concat(), code);
        for (arguments, said) in [
            (&["as-of", "noon", "Balances"][..], "expected a position or a time"),
            (&["as-of", "--occurred", "7", "Balances"], "expected a time with --occurred, found a position"),
            (&["as-of", "7", "Balance"], "there are: BalanceOf, Balances"),
            (&["as-of", "7", "BalanceOf"], "missing field `account`"),
            (&["as-of", "7", "BalanceOf", "account"], "expected NAME=TEXT"),
            (&["as-of", "7", "BalanceOf", "account=1", "colour=red"], "unknown field `colour`"),
        ] {
            let stderr = fails(arguments, 2);
            assert!(stderr.contains(said), "{arguments:?}: {stderr}");
        }
    }
    let unreachable = place.fails(&["as-of", "7", "Balances", "--server", "http://127.0.0.1:1"], 1);
    assert!(unreachable.contains("is it running?"), "{unreachable}");
    let none = place.fails(&["as-of", "7", "Balances", "--server", "http://"], 2);
    assert!(none.contains("expected an address such as"), "{none}");
}
