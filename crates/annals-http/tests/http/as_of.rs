//! Questions about the past.

use std::time::{Duration, Instant};

use crate::client::Service;

#[test]
fn a_question_is_answered_as_of_a_position_and_of_times() {
    let service = Service::start();
    let put_in = |coins: u32, occurred_at: &str| {
        let body = format!("{{\"coins\":{coins}}}");
        let headers = [("annals-occurred-at", occurred_at)];
        let done = service.send("POST", "/commands/jar/a/PutCoinsIn", &headers, body.as_bytes());
        assert_eq!(done.status, 200);
    };
    put_in(1, "2026-01-01T00:00:00Z");
    let known = service.get("/state/jar/a").json()["recorded_at"].as_str().unwrap().to_owned();
    std::thread::sleep(Duration::from_millis(5));
    put_in(10, "2026-03-01T00:00:00Z");
    // Recorded last, and yet before the one above.
    put_in(100, "2026-02-01T00:00:00Z");
    let coins = |moment: &str| {
        let answer = service.get(&format!("/queries/CoinsIn?jar=a&{moment}"));
        assert_eq!(answer.status, 200, "{answer:?}");
        let position = answer.header("annals-position").unwrap().parse::<u64>().unwrap();
        (answer.json().as_u64().unwrap(), position)
    };
    assert_eq!(coins("annals-position=2"), (11, 2));
    assert_eq!(coins("annals-position=900"), (111, 3), "nothing is known beyond the end");
    assert_eq!(coins(&format!("annals-at={known}")), (1, 1));
    assert_eq!(coins("annals-occurred-at=2026-01-31"), (1, 3));
    assert_eq!(coins("annals-occurred-at=2026-02-01T00:00:00Z"), (101, 3));
    assert_eq!(coins("annals-occurred-at=2026-03-01T00%3A00%3A00Z"), (111, 3));
    // The moment may stand anywhere, and an answer that the client has is not sent again.
    let path = "/queries/CoinsIn?annals-position=1&jar=a";
    let tag = service.get(path).header("etag").unwrap().to_owned();
    assert_eq!(service.send("GET", path, &[("if-none-match", &tag)], b"").status, 304);
    service.get("/queries/CoinsIn?jar=a&annals-occurred-at=2025-12-31").problem(404, "not-found");
    service.get("/queries/CoinsIn?jar=a&annals-at=1970-01-01").problem(404, "not-found");
}

#[test]
fn moments_that_are_none_are_told_apart() {
    let service = Service::start();
    service.put_in("a", 1);
    let said = |query: &str, headers: &[(&str, &str)]| {
        let answer = service.send("GET", format!("/queries/CoinsIn?jar=a{query}"), headers, b"");
        answer.problem(400, "malformed")
    };
    for (query, expected) in [
        ("&annals-position=x", "\"annals-position\": expected a position, found \"x\""),
        ("&annals-position=-1", "found \"-1\""),
        ("&annals-position=", "found \"\""),
        ("&annals-position", "found \"\""),
        ("&annals-position=99999999999999999999", "expected a position"),
        ("&annals-at=noon", "\"annals-at\": \"noon\" is not a time: expected RFC 3339"),
        ("&annals-occurred-at=", "\"annals-occurred-at\": \"\" is not a time"),
        ("&annals-version=1", "expected one of annals-position, annals-at and annals-occurred-at"),
        ("&annals-=1", "expected one of annals-position"),
        ("&annals-position=1&annals-at=2026-01-01", "found annals-position=1 and annals-at=2026-01-01"),
        ("&annals-position=1&annals-position=1", "expected one of"),
        ("&annals-position=1&colour=red", "unknown field `colour`"),
        ("&annals-position=%ff", "annals-position"),
    ] {
        let said = said(query, &[]);
        assert!(said.contains(expected), "{query}: {said}");
    }
    let live = said("&annals-position=1", &[("accept", "text/event-stream")]);
    assert!(live.contains("the past does not change"), "{live}");
    let both = said("&annals-position=1", &[("annals-at-least", "1")]);
    assert!(both.contains("found both"), "{both}");
    service.get("/queries/Nothing?annals-position=1").problem(404, "unknown-query");
    service.get("/queries/CoinsIn?annals-position=1").problem(400, "malformed");
}

#[test]
fn only_so_many_questions_about_the_past_are_answered_at_once() {
    let service = Service::start();
    service.put_in("slow", 3);
    let ask = || service.get("/queries/CoinsIn?jar=slow&annals-position=1");
    std::thread::scope(|scope| {
        let begun = Instant::now();
        let asked: Vec<_> = (0..5).map(|_| scope.spawn(ask)).collect();
        let answers: Vec<_> = asked.into_iter().map(|asked| asked.join().unwrap()).collect();
        let (done, busy): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.status == 200);
        assert_eq!((done.len(), busy.len()), (2, 3), "within {:?}", begun.elapsed());
        for answer in busy {
            assert!(answer.header("retry-after").is_some());
            let said = answer.problem(503, "as-of-busy");
            assert!(said.contains("2 questions about the past") && said.contains("try again"), "{said}");
        }
    });
    // What is there now is answered all the time, and the turns are given back.
    assert_eq!(service.get("/queries/CoinsIn?jar=slow").status, 200);
    assert_eq!(ask().status, 200);
}

#[test]
fn a_client_that_leaves_gives_its_turn_back() {
    use std::io::Write;
    let service = Service::start();
    service.put_in("slow", 3);
    for _ in 0..2 {
        let mut leaving = service.connect();
        let head = "GET /queries/CoinsIn?jar=slow&annals-position=1 HTTP/1.1\r\nhost: localhost\r\n\r\n";
        leaving.write_all(head.as_bytes()).unwrap();
        std::thread::sleep(Duration::from_millis(100));
    }
    let begun = Instant::now();
    while service.get("/queries/CoinsIn?jar=slow&annals-position=1").status != 200 {
        assert!(begun.elapsed() < Duration::from_secs(20), "no turn comes back");
        std::thread::sleep(Duration::from_millis(50));
    }
}
