//! Who, why, how long and how much, as a client sees it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use annals_app::{Action, Limits, Principal};
use annals_http::{ServeOptions, Tokens};

use crate::client::{Answer, Service};
use crate::domain::{self, LOOSE};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

fn put_in(service: &Service, jar: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    service.send("POST", format!("/commands/jar/{jar}/PutCoinsIn"), headers, body.as_bytes())
}

/// Asks until the answer is the one that is waited for.
fn until(ask: impl Fn() -> Answer, is_it: impl Fn(&Answer) -> bool) -> Answer {
    loop {
        let answer = ask();
        if is_it(&answer) {
            return answer;
        }
    }
}

#[test]
fn a_correlation_id_is_taken_and_told() {
    let service = Service::start();
    let given = |headers: &[(&str, &str)], body: &str| {
        let answer = put_in(&service, "a", headers, body);
        (answer.status, answer.header("annals-correlation-id").map(str::to_owned))
    };
    let one = "{\"coins\":1}";
    let parent = format!("00-{TRACE}-00f067aa0ba902b7-01");
    let own = ("annals-correlation-id", "order 7");
    assert_eq!(given(&[], one), (200, None));
    assert_eq!(given(&[own], one), (200, Some("order 7".to_owned())));
    assert_eq!(given(&[("traceparent", &parent)], one), (200, Some(TRACE.to_owned())));
    assert_eq!(given(&[("traceparent", &parent), own], one), (200, Some("order 7".to_owned())));
    assert_eq!(given(&[("traceparent", "nonsense")], one), (200, None));
    // An answer that says no tells it too.
    assert_eq!(given(&[own], "{\"coins\":2000}"), (422, Some("order 7".to_owned())));
    assert_eq!(given(&[own], "{"), (400, Some("order 7".to_owned())));
    let events = service.get("/streams/jar-a").json();
    let told: Vec<_> =
        events.as_array().unwrap().iter().map(|event| event["correlationid"].clone()).collect();
    assert_eq!(
        told,
        [None, Some("order 7"), Some(TRACE), Some("order 7"), None].map(serde_json::Value::from)
    );
}

#[test]
fn fields_that_are_not_as_they_should_be_are_listed() {
    let service = Service::start();
    let answer = put_in(&service, "a", &[], "{\"coins\":1000001}");
    let said = answer.problem(400, "invalid");
    assert_eq!(said, "PutCoinsIn is not valid: coins: must be at most a million, found 1000001");
    let fields =
        serde_json::json!([{"field": "coins", "reason": "must be at most a million, found 1000001"}]);
    assert_eq!(answer.json()["fields"], fields);
}

#[test]
fn who_may_not_is_told_nothing_else() {
    let is_open = Arc::new(AtomicBool::new(true));
    let asked = Arc::clone(&is_open);
    let app = domain::app().permission(move |who: &Principal, action: &Action<'_>| match action {
        Action::Command { .. } if !who.has_role("teller") => Err("only tellers may".to_owned()),
        Action::Command { .. } if !asked.load(Ordering::SeqCst) => Err("the bank is closed".to_owned()),
        _ => Ok(()),
    });
    let path = std::env::temp_dir().join(format!("annals-http-roles-{}", std::process::id()));
    std::fs::write(&path, "ann correct-horse-battery teller,auditor\neve staple-staple-staple\n").unwrap();
    let tokens = Tokens::read(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    let service = Service::of(app, ServeOptions { tokens, ..ServeOptions::default() });
    let ann = ("authorization", "Bearer correct-horse-battery");
    let eve = ("authorization", "Bearer staple-staple-staple");
    let key = ("idempotency-key", "k");
    for path in ["jar/a/PutCoinsIn", "jar/a/Break", "safe/a/Open"] {
        let answer = service.send("POST", format!("/commands/{path}"), &[eve], b"nonsense");
        let said = answer.problem(403, "denied");
        assert!(said.ends_with(": only tellers may") && !said.contains("there is no"), "{said}");
    }
    service.send("POST", "/commands/jar/a/Break", &[ann], b"{}").problem(404, "unknown-command");
    let first = put_in(&service, "a", &[ann, key], "{\"coins\":1}");
    assert_eq!(first.status, 200);
    is_open.store(false, Ordering::SeqCst);
    let again = put_in(&service, "a", &[ann, key], "{\"coins\":1}");
    again.problem(403, "denied");
    assert_eq!(again.header("annals-replayed"), None);
    put_in(&service, "a", &[eve, key], "{\"coins\":1}").problem(403, "denied");
}

#[test]
fn a_handler_that_never_returns_keeps_nobody_for_ever() {
    let limits = Limits { time: Duration::from_millis(100), body_bytes: 100, commands_in_flight: 4 };
    let service = Service::of(domain::app().limits(limits), ServeOptions::default());
    let one = "{\"coins\":1}";
    // Both threads of the service would be stuck.
    for jar in ["sticky-1", "sticky-2", "sticky-3"] {
        let answer = put_in(&service, jar, &[("idempotency-key", "k")], one);
        let said = answer.problem(503, "timed-out");
        assert!(said.contains("give it again with the same command id"), "{said}");
        assert_eq!(answer.header("retry-after"), Some("1"));
        put_in(&service, jar, &[], one).problem(503, "timed-out");
        // On a machine that is busy enough, any command may take longer than it may.
        until(|| put_in(&service, "a", &[("idempotency-key", jar)], one), |answer| answer.status == 200);
    }
    assert_eq!(service.get("/state/jar/a").json()["version"], 3);
    put_in(&service, "sticky-4", &[], one).problem(503, "timed-out");
    let is_over = |answer: &Answer| answer.body.contains("overloaded");
    let over = until(|| put_in(&service, "a", &[("idempotency-key", "sticky-1")], one), is_over);
    assert!(over.problem(503, "overloaded").starts_with("4 commands are being done"), "{over:?}");
    assert_eq!(over.header("retry-after"), Some("1"));
    assert_eq!(service.get("/state/jar/a").status, 200, "who asks is not kept out");
    LOOSE.store(true, Ordering::SeqCst);
    let again = || put_in(&service, "sticky-1", &[("idempotency-key", "k")], one);
    let answer = until(again, |answer| answer.status != 503);
    assert_eq!((answer.status, answer.header("annals-replayed")), (200, Some("true")));
    put_in(&service, "a", &[], &format!("{}1", " ".repeat(100))).problem(413, "too-large");
}
