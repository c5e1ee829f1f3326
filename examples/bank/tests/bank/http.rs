//! `bank serve`: the API as the documentation shows it, and stopping it.

use serde_json::{Value, json};

use crate::program::{Place, synthetic};

/// Sends a request to the service; the answer's status, headers and JSON.
pub(crate) fn send(
    url: &str,
    headers: &[(&str, &str)],
    body: Option<&str>,
) -> (u16, ureq::http::HeaderMap, Value) {
    let config = ureq::Agent::config_builder().http_status_as_error(false).build();
    let agent: ureq::Agent = config.into();
    let mut answer = match body {
        None => headers.iter().fold(agent.get(url), |call, (name, value)| call.header(*name, *value)).call(),
        Some(body) => {
            headers.iter().fold(agent.post(url), |call, (name, value)| call.header(*name, *value)).send(body)
        }
    }
    .unwrap();
    let text = answer.body_mut().read_to_string().unwrap();
    (answer.status().as_u16(), answer.headers().clone(), serde_json::from_str(&text).unwrap_or_default())
}

#[test]
fn the_api_does_what_the_documentation_says() {
    let place = Place::new();
    let serving = place.serve();
    let url = |path: &str| format!("{}{path}", serving.url);
    let give = |command: &str, headers: &[(&str, &str)], body: &str| {
        send(&url(&format!("/commands/account/42/{command}")), headers, Some(body))
    };
    assert_eq!(give("OpenAccount", &[], r#"{"owner":"Ann"}"#).0, 200);
    let (status, headers, done) = give("DepositMoney", &[], r#"{"amount":"100.00"}"#);
    assert_eq!((status, &done["version"], &headers["etag"]), (200, &2.into(), &"\"2\"".parse().unwrap()));
    let position = headers["annals-position"].to_str().unwrap();
    let (_, _, balance) = send(&url("/queries/BalanceOf?account=42"), &[("annals-at-least", position)], None);
    let open = json!({"account":"42","transactions":1,"balance":"100.00","currency":"CZK","status":"open"});
    assert_eq!(balance, open);

    let (status, _, problem) = give("WithdrawMoney", &[("if-match", "\"1\"")], r#"{"amount":"1.00"}"#);
    assert_eq!((status, &problem["expected"], &problem["actual"]), (412, &1.into(), &2.into()));
    let (status, _, problem) = give("WithdrawMoney", &[], r#"{"amount":"100.01"}"#);
    assert_eq!((status, &problem["code"]), (422, &"insufficient-funds".into()));
    assert!(problem["detail"].as_str().unwrap().contains("only 100.00 CZK are available"));
    for (body, said) in [
        ("{\"amount\"", "EOF"),
        (r#"{"amount":5}"#, "decimal string"),
        (r#"{"amount":1e400}"#, "number out of range"),
        (r#"{"amount":"1e400"}"#, "is no amount"),
        (r#"{"amount":"99999999999999999999"}"#, "too large"),
        (r#"{"amount":"1","colour":"red"}"#, "unknown field `colour`"),
        (r#"{"amount":"1","currency":"ZZZ"}"#, "no currency that this bank keeps"),
    ] {
        let (status, _, problem) = give("DepositMoney", &[], body);
        assert_eq!(status, 400, "{body}: {problem}");
        assert!(problem["detail"].as_str().unwrap().contains(said), "{body}: {problem}");
    }
    assert_eq!(give("DepositMoney", &[], r#"{"amount":"-1"}"#).2["code"], "amount-not-positive");
    assert_eq!(
        give("DepositMoney", &[], r#"{"amount":"1","currency":"EUR"}"#).2["code"],
        "currency-mismatch"
    );
    let (status, _, problem) = give("DepositMoneys", &[], "{}");
    assert_eq!((status, &problem["known"][1]), (404, &"DepositMoney".into()));

    let first = give("WithdrawMoney", &[("idempotency-key", "once")], r#"{"amount":"30.00"}"#);
    let again = give("WithdrawMoney", &[("idempotency-key", "once")], r#"{"amount":"30.00"}"#);
    assert_eq!((first.0, &first.2), (again.0, &again.2));
    let (_, _, state) = send(&url("/state/account/42"), &[], None);
    assert_eq!((&state["version"], &state["state"]["balance"]), (&3.into(), &"70.00".into()));

    // The command line against the service, while it holds the store.
    let server = ["--server", serving.url.as_str()];
    let with_server = |arguments: &[&str]| place.json(&[arguments, &server].concat());
    let done = with_server(&["execute", "account", "42", "DepositMoney", "amount=5.00"]);
    assert_eq!(done["version"], 4);
    assert_eq!(with_server(&["query", "BalanceOf", "account=42"])["account"], "42");
    assert_eq!(with_server(&["state", "account", "42", "--version", "2"])["state"]["balance"], "100.00");
    let then = place.json(&["as-of", "2", "BalanceOf", "account=42"]);
    assert_eq!(then["balance"], "100.00");
    let changed = with_server(&["diff", "account", "42", "--from", "2", "--to", "3"]);
    assert_eq!(changed, place.json(&["diff", "account", "42", "--from", "2", "--to", "3"]));
    let balance = changed["changed"].as_array().unwrap().iter().find(|change| change["path"] == "/balance");
    assert_eq!(balance, Some(&json!({"path": "/balance", "before": "100.00", "after": "70.00"})));
    assert_eq!(changed["events"][0]["event_type"], "MoneyWithdrawn");
    assert_eq!(with_server(&["projections"])[0]["name"], "balances");
    assert_eq!(with_server(&["rebuild", "balances"])["projection"], "balances");
    let refused = place.fails(&[&["execute", "account", "42", "CloseAccount"], &server[..]].concat(), 3);
    assert!(
        refused.contains("the balance is 75.00 CZK") && refused.contains("balance-not-zero"),
        "{refused}"
    );
    for minute in [0, 3, 6, 9, 12] {
        let moment = format!("2026-01-01T10:{minute:02}:00Z");
        give("WithdrawMoney", &[("annals-occurred-at", &moment)], r#"{"amount":"1.00"}"#);
    }
    give("DepositMoney", &[], r#"{"amount":"5.00"}"#);
    let flags = place.json(&["flags"]);
    let withdrawals: Vec<_> = flags.as_array().unwrap().iter().map(|flag| &flag["withdrawals"]).collect();
    assert_eq!(withdrawals, [4, 4], "the fourth and the fifth are the fourth within ten minutes");
    // Beside the service one may read the store; writing it is the service's alone.
    assert_eq!(place.json(&["query", "BalanceOf", "account=42"])["balance"], "75.00");
    let locked = place.fails(&["execute", "account", "42", "DepositMoney", "amount=1.00"], 1);
    assert!(locked.contains(&format!("process {}", serving.process_id())), "{locked}");
    assert!(locked.contains(&format!("--server {}", serving.url)), "{locked}");

    let (code, said) = serving.stop();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("stopped; nothing was lost"), "{said}");
    let balance = place.json(&["query", "BalanceOf", "account=42"]);
    assert_eq!((&balance["balance"], &balance["transactions"]), (&"75.00".into(), &9.into()));
    assert!(
        place.fails(&["query", "Balances", "--server", "http://127.0.0.1:1"], 1).contains("is it running?")
    );
}

#[test]
fn what_was_acknowledged_survives_a_killed_service() {
    let place = Place::new();
    place.json(&["import", &synthetic()]);
    let mut expected = 0;
    for round in 0..3 {
        let serving = place.serve();
        if round == 0 {
            let body = r#"{"owner":"Ann"}"#;
            let opened = send(&format!("{}/commands/account/new/OpenAccount", serving.url), &[], Some(body));
            assert_eq!(opened.0, 200);
        }
        for _ in 0..20 {
            let url = format!("{}/commands/account/new/DepositMoney", serving.url);
            assert_eq!(send(&url, &[], Some(r#"{"amount":"1.00"}"#)).0, 200);
            expected += 1;
        }
        drop(serving);
    }
    assert_eq!(place.json(&["query", "BalanceOf", "account=new"])["transactions"], expected);
}

#[test]
fn what_came_of_a_request_can_be_traced() {
    let place = Place::new();
    let serving = place.serve();
    let give = |command: &str, body: &str| {
        let url = format!("{}/commands/account/1/{command}", serving.url);
        let trace = [("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")];
        let (status, headers, _) = send(&url, &trace, Some(body));
        (status, headers["annals-correlation-id"].to_str().unwrap().to_owned())
    };
    let (status, trace) = give("OpenAccount", r#"{"owner":"Ann"}"#);
    assert_eq!((status, trace.as_str()), (200, "4bf92f3577b34da6a3ce929d0e0e4736"));
    assert_eq!(give("DepositMoney", r#"{"amount":"5.00"}"#).0, 200);
    let rows = place.json(&["trace", &trace]);
    let told: Vec<_> = rows.as_array().unwrap().iter().map(|row| (&row["event"], &row["command"])).collect();
    let expected = [["AccountOpened", "OpenAccount"], ["MoneyDeposited", "DepositMoney"]];
    let expected = expected.map(|pair| pair.map(serde_json::Value::from));
    assert_eq!(told, expected.each_ref().map(|[event, command]| (event, command)));
    let id = rows[1]["id"].as_str().unwrap();
    assert_eq!(place.json(&["trace", id]), rows);
    let none = place.fails(&["trace", "elsewhere"], 1);
    assert!(none.contains("there is no event or correlation id \"elsewhere\""), "{none}");
}
