//! Commands, queries, states, events and health, and what is answered to nonsense.

use serde_json::json;

use crate::client::Service;

#[test]
fn a_command_is_answered_with_version_and_position() {
    let service = Service::start();
    let answer = service.put_in("a", 3);
    assert_eq!(answer.status, 200);
    assert_eq!((answer.header("etag"), answer.header("annals-position")), (Some("\"1\""), Some("1")));
    let expected = serde_json::json!({
        "stream": "jar-a", "version": 1, "position": 1,
        "events": [{"type": "CoinsPutIn", "version": 1, "data": {"coins": 3}}],
    });
    assert_eq!(answer.json(), expected);
    for n in 2..50 {
        let position = service.put_in("a", 1).header("annals-position").unwrap().to_owned();
        let own = service.send("GET", "/queries/CoinsIn?jar=a", &[("annals-at-least", &position)], b"");
        assert_eq!((own.status, own.json()), (200, (n + 2).into()), "one's own write is seen at once");
        assert_eq!(own.header("annals-position").unwrap(), position);
    }
}

#[test]
fn conditions_and_keys_are_kept() {
    let service = Service::start();
    service.put_in("a", 1);
    service.put_in("a", 1);
    let with = |headers: &[(&str, &str)]| {
        service.send("POST", "/commands/jar/a/PutCoinsIn", headers, b"{\"coins\":5}")
    };
    let stale = with(&[("if-match", "\"1\"")]);
    assert!(stale.problem(412, "version-mismatch").contains("is at version 2, expected 1"));
    assert_eq!((&stale.json()["expected"], &stale.json()["actual"]), (&1.into(), &2.into()));
    with(&[("if-none-match", "*")]).problem(412, "version-mismatch");
    assert_eq!(with(&[("if-match", "\"2\"")]).status, 200);

    let first = with(&[("idempotency-key", "k 1")]);
    let again = with(&[("idempotency-key", "k 1")]);
    assert_eq!((first.status, again.status, &first.body), (200, 200, &again.body));
    assert_eq!((first.header("annals-replayed"), again.header("annals-replayed")), (None, Some("true")));
    let other =
        service.send("POST", "/commands/jar/a/PutCoinsIn", &[("idempotency-key", "k 1")], b"{\"coins\":6}");
    other.problem(422, "idempotency-key-reused");
    assert_eq!(service.get("/state/jar/a").json()["version"], 4);
    for bad in [("if-match", "2"), ("if-match", "\"x\""), ("if-match", "W/\"2\""), ("if-none-match", "\"2\"")]
    {
        with(&[bad]).problem(400, "malformed");
    }
    with(&[("idempotency-key", "")]).problem(400, "malformed");
    with(&[("idempotency-key", &"x".repeat(300))]).problem(400, "malformed");
    with(&[("annals-occurred-at", "yesterday")]).problem(400, "malformed");
    assert_eq!(with(&[("annals-occurred-at", "1993-03-31T00:00:00Z")]).status, 200);
    let events = service.get("/streams/jar-a?after=4").json();
    assert_eq!(events[0]["time"], "1993-03-31T00:00:00Z");
}

#[test]
fn nonsense_is_answered_with_a_problem_and_changes_nothing() {
    let service = Service::start();
    let post = |path: &str, body: &[u8]| service.send("POST", path, &[], body);
    post("/commands/jar/a/PutCoinsIn", b"{\"coins\"").problem(400, "malformed");
    post("/commands/jar/a/PutCoinsIn", b"\xff\xfe").problem(400, "malformed");
    post("/commands/jar/a/PutCoinsIn", b"").problem(400, "malformed");
    post("/commands/jar/a/PutCoinsIn", b"[]").problem(400, "malformed");
    post("/commands/jar/a/PutCoinsIn", b"{\"coins\":1e400}").problem(400, "malformed");
    post("/commands/jar/a/PutCoinsIn", b"{\"coins\":-1}").problem(400, "malformed");
    post("/commands/jar/a/PutCoinsIn", b"{\"coins\":99999999999}").problem(400, "malformed");
    post("/commands/jar/a/PutCoinsIn", &vec![b' '; (1 << 20) + 1]).problem(413, "too-large");
    post("/commands/jar/a%00b/PutCoinsIn", b"{\"coins\":1}").problem(400, "malformed");
    post(&format!("/commands/jar/{}/PutCoinsIn", "x".repeat(300)), b"{\"coins\":1}")
        .problem(400, "malformed");
    service.send("POST", b"/commands/jar/%ff/PutCoinsIn", &[], b"{\"coins\":1}").problem(400, "malformed");
    let full = post("/commands/jar/a/PutCoinsIn", b"{\"coins\":1001}").problem(422, "jar-full");
    assert_eq!(full, "1001 coins do not fit, there is room for 1000");
    let unknown = post("/commands/jar/a/Break", b"{}");
    assert!(unknown.problem(404, "unknown-command").contains("there are: PutCoinsIn"));
    assert_eq!(unknown.json()["known"], serde_json::json!(["PutCoinsIn"]));
    post("/commands/box/a/PutCoinsIn", b"{}").problem(404, "unknown-category");
    service.get("/queries/Nothing").problem(404, "unknown-query");
    service.get("/queries/CoinsIn").problem(400, "malformed");
    service.get("/queries/CoinsIn?jar=a&x=1").problem(400, "malformed");
    service.get("/queries/CoinsIn?jar=z").problem(404, "not-found");
    service.send("GET", "/queries/CoinsIn?jar=a", &[("annals-at-least", "x")], b"").problem(400, "malformed");
    service.get("/state/jar/z").problem(404, "not-found");
    service.get("/state/jar/z?version=1&position=1").problem(400, "malformed");
    service.get("/state/jar/z?when=now").problem(400, "malformed");
    service.get("/state/jar/z?at=noon").problem(400, "malformed");
    service.get("/events?after=x").problem(400, "malformed");
    service.get("/events?colour=red").problem(400, "malformed");
    service.get("/events?tag=untagged").problem(400, "malformed");
    service.get("/streams/-").problem(400, "malformed");
    service.get("/elsewhere").problem(404, "unknown-route");
    service.send("DELETE", "/events", &[], b"").problem(405, "unknown-method");
    service.send("POST", "/projections/none/rebuild", &[], b"").problem(404, "unknown-projection");
    assert_eq!(service.get("/events").header("annals-position"), Some("0"), "nothing was written");
}

#[test]
fn events_come_in_pages_that_lead_on() {
    let service = Service::start();
    for n in 0..25 {
        service.put_in(if n % 5 == 0 { "b" } else { "a" }, n);
    }
    let mut path = "/events?category=jar&type=CoinsPutIn&limit=10".to_owned();
    let mut seen = Vec::new();
    loop {
        let page = service.get(&path);
        assert_eq!(page.header("content-type"), Some("application/cloudevents-batch+json"));
        let events = page.json();
        seen.extend(events.as_array().unwrap().iter().map(|event| event["position"].as_u64().unwrap()));
        match page.header("link") {
            Some(link) => path = link.trim_start_matches('<').split('>').next().unwrap().to_owned(),
            None => break,
        }
    }
    assert_eq!(seen, (1..=25).collect::<Vec<_>>());
    let stream = service.get("/streams/jar-b?after=1&limit=2");
    let versions: Vec<_> =
        stream.json().as_array().unwrap().iter().map(|e| e["streamversion"].clone()).collect();
    assert_eq!(versions, [2, 3]);
    assert_eq!(stream.header("link"), Some("</streams/jar-b?after=3>; rel=\"next\""));
    assert_eq!(service.get("/streams/jar-z").json(), serde_json::json!([]));
    let streams = service.get("/streams").json();
    assert_eq!((&streams[0]["stream"], &streams[1]["version"]), (&"jar-a".into(), &5.into()));
}

#[test]
fn states_of_the_past_are_shown() {
    let service = Service::start();
    for _ in 0..4 {
        service.put_in("a", 2);
    }
    let coins = |query: &str| service.get(&format!("/state/jar/a{query}")).json()["state"]["coins"].clone();
    assert_eq!((coins(""), coins("?version=3"), coins("?position=1")), (8.into(), 6.into(), 2.into()));
    let recorded = service.get("/state/jar/a?version=2").json()["recorded_at"].as_str().unwrap().to_owned();
    assert!(coins(&format!("?at={recorded}")).as_u64().unwrap() >= 4);
    assert_eq!(service.get("/state/jar/a?version=2").header("etag"), Some("\"2\""));
    service.get("/state/jar/a?version=5").problem(404, "not-found");
}

#[test]
fn health_and_projections_are_told() {
    let service = Service::start();
    let last = service.put_in("a", 2).header("annals-position").unwrap().to_owned();
    let answer = service.send("GET", "/queries/CoinsIn?jar=a", &[("annals-at-least", &last)], b"");
    let tag = answer.header("etag").unwrap().to_owned();
    let same = service.send("GET", "/queries/CoinsIn?jar=a", &[("if-none-match", &tag)], b"");
    assert_eq!((same.status, same.body.as_str()), (304, ""));
    assert_eq!(service.get("/healthz").status, 200);
    let ready = service.get("/readyz");
    assert_eq!((ready.status, &ready.json()["ready"]), (200, &true.into()));
    let rebuilt = service.send("POST", "/projections/jars/rebuild", &[], b"");
    assert_eq!((rebuilt.status, &rebuilt.json()["projection"]), (200, &"jars".into()));
    assert_eq!(service.get("/readyz").status, 200, "a rebuilt read model is ready again");
    assert_eq!(service.get("/projections").json()[0]["position"], 1);
    let index = service.get("/").json();
    assert_eq!(index["commands"][0], "POST /commands/jar/{id}/PutCoinsIn");
}

#[test]
fn read_models_are_looked_after() {
    let service = Service::start();
    let last = service.put_in("a", 2).header("annals-position").unwrap().to_owned();
    service.send("GET", "/queries/CoinsIn?jar=a", &[("annals-at-least", &last)], b"");
    let post = |path: &str| service.send("POST", path, &[], b"");
    let proof = service.get("/projections/jars/proof").json();
    assert_eq!(
        (&proof["verdict"], &proof["seen"], &proof["stored"]),
        (&"complete".into(), &1.into(), &1.into())
    );
    post("/projections/jars/roll-back").problem(409, "projection-not-so");
    assert_eq!(post("/projections/jars/rebuild").json()["verified_against"], "the-one-before");
    let back = post("/projections/jars/roll-back");
    assert_eq!((back.status, &back.json()[0]["name"]), (200, &"jars".into()));
    post("/projections/jars/roll-forward").problem(409, "projection-not-so");
    assert_eq!(post("/projections/jars@1/retry").status, 200);
    post("/projections/jars@2/retry").problem(404, "unknown-projection");
    post("/projections/jars/skip?position=1").problem(409, "projection-not-so");
    post("/projections/jars/park?position=1").problem(409, "projection-not-so");
    post("/projections/jars/release?key=jar-a").problem(409, "projection-not-so");
    for bad in ["skip", "skip?position=x", "park", "release", "skip?place=1", "mend"] {
        post(&format!("/projections/jars/{bad}")).problem(400, "malformed");
    }
    service.get("/projections/none/proof").problem(404, "unknown-projection");
}

#[test]
fn reactions_are_looked_after() {
    let service = Service::start();
    let post = |path: &str| service.send("POST", path, &[], b"");
    assert_eq!(service.get("/reactions/coins-told/dead-letters").json(), json!([]));
    service.put_in("a", 1);
    service.put_in("lost", 1);
    let mut letters = json!([]);
    for _ in 0..4_000 {
        letters = service.get("/reactions/coins-told/dead-letters").json();
        if letters != json!([]) {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let letter = &letters[0];
    assert_eq!(
        (&letter["position"], &letter["stream"], &letter["type"], &letter["error"], &letter["attempts"]),
        (&2.into(), &"jar-lost".into(), &"CoinsPutIn".into(), &"nobody listens".into(), &1.into())
    );
    let status = &service.get("/reactions").json()[0];
    assert_eq!((&status["name"], &status["dead_letters"]), (&"coins-told".into(), &1.into()));
    let letter = |what: &str| format!("/reactions/coins-told/dead-letters/{what}");
    let failed = post(&letter("2/retry")).problem(502, "reaction-failed");
    assert!(failed.contains("nobody listens"), "{failed}");
    let done = post(&letter("2/retry"));
    assert_eq!((done.status, done.json()), (200, json!([])));
    post(&letter("2/retry")).problem(404, "not-found");
    let denied = post(&letter("2/drop")).problem(403, "denied");
    assert!(
        denied.contains("drop dead letters of the reaction \"coins-told\": what was lost is kept"),
        "{denied}"
    );
    post(&letter("2/mend")).problem(400, "malformed");
    post(&letter("x/retry")).problem(400, "malformed");
    post("/reactions/none/dead-letters/2/retry").problem(404, "unknown-reaction");
    service.get("/reactions/none/dead-letters").problem(404, "unknown-reaction");
    assert_eq!(service.get("/").json()["reactions"][0], "GET /reactions");
}

#[test]
fn an_answer_can_be_asked_to_be_fresh() {
    let service = Service::start();
    for coins in 1..=20 {
        service.put_in("a", coins);
        let fresh = service.send("GET", "/queries/CoinsIn?jar=a", &[("annals-fresh", "true")], b"");
        assert_eq!(fresh.header("annals-position"), Some(coins.to_string().as_str()));
    }
    let bad = service.send("GET", "/queries/CoinsIn?jar=a", &[("annals-fresh", "yes")], b"");
    bad.problem(400, "malformed");
}
