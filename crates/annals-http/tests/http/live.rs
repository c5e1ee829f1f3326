//! Server-sent events, and stopping.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

use crate::client::{Service, read_head};

/// A live stream of events, read message by message.
struct Live {
    input: BufReader<TcpStream>,
}

impl Live {
    fn open(service: &Service, path: &str, last_event_id: Option<u64>) -> Self {
        let mut stream = service.connect();
        let resume = last_event_id.map(|id| format!("last-event-id: {id}\r\n")).unwrap_or_default();
        let request =
            format!("GET {path} HTTP/1.1\r\nhost: localhost\r\naccept: text/event-stream\r\n{resume}\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut input = BufReader::new(stream);
        let (status, _) = read_head(&mut input);
        assert_eq!(status, 200);
        Self { input }
    }

    /// The data of the next message that is no notice; `None` when the service ended the stream.
    fn next_data(&mut self) -> Option<String> {
        loop {
            let mut line = String::new();
            if self.input.read_line(&mut line).unwrap() == 0 || line == "0\r\n" {
                return None;
            }
            match line.strip_prefix("data: ") {
                Some(data) if !data.starts_with('{') => return Some(data.trim_end().to_owned()),
                _ => {}
            }
        }
    }

    /// The id of the next event, or the name of the next notice; `None` when the service ended the stream.
    fn next(&mut self) -> Option<String> {
        loop {
            let mut line = String::new();
            if self.input.read_line(&mut line).unwrap() == 0 {
                return None;
            }
            if let Some(found) = line.strip_prefix("id: ").or(line.strip_prefix("event: ")) {
                return Some(found.trim_end().to_owned());
            }
            if line == "0\r\n" {
                return None;
            }
        }
    }
}

#[test]
fn events_come_from_history_then_live_and_can_be_resumed() {
    let service = Service::start();
    (0..3).for_each(|_| drop(service.put_in("a", 1)));
    service.put_in("b", 1);
    let mut all = Live::open(&service, "/events", None);
    let mut later = Live::open(&service, "/events?after=1", Some(2));
    let mut stream = Live::open(&service, "/streams/jar-a?after=1", None);
    let seen: Vec<_> = (0..5).map_while(|_| all.next()).collect();
    assert_eq!(seen, ["1", "2", "3", "4", "caught-up"]);
    let seen: Vec<_> = (0..3).map_while(|_| later.next()).collect();
    assert_eq!(seen, ["3", "4", "caught-up"], "the last event seen counts, not the query");
    let seen: Vec<_> = (0..3).map_while(|_| stream.next()).collect();
    assert_eq!(seen, ["2", "3", "caught-up"]);
    service.put_in("b", 1);
    service.put_in("a", 1);
    assert_eq!((all.next().unwrap(), all.next().unwrap()), ("5".to_owned(), "6".to_owned()));
    assert_eq!(stream.next().unwrap(), "6");
    let bad = service.send("GET", "/events", &[("accept", "text/event-stream"), ("last-event-id", "x")], b"");
    bad.problem(400, "malformed");
    let beyond = service.send("GET", "/events?after=99", &[("accept", "text/event-stream")], b"");
    assert!(beyond.problem(400, "malformed").contains("the end of the log, which is 6"));
}

#[test]
fn a_stopping_service_ends_live_streams_and_finishes_what_was_begun() {
    let mut service = Service::start();
    service.put_in("a", 1);
    let mut live = Live::open(&service, "/events", None);
    assert_eq!((live.next().unwrap(), live.next().unwrap()), ("1".to_owned(), "caught-up".to_owned()));
    // A request whose body is still on its way when the service is asked to stop.
    let mut begun = service.connect();
    let head =
        "POST /commands/jar/a/PutCoinsIn HTTP/1.1\r\nhost: localhost\r\ncontent-length: 11\r\n\r\n{\"coi";
    begun.write_all(head.as_bytes()).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(200));
    service.begin_to_stop();
    assert_eq!(live.next(), None, "live streams end");
    begun.write_all(b"ns\":2}").unwrap();
    let (status, headers) = read_head(&mut BufReader::new(begun));
    assert_eq!(status, 200, "{headers:?}");
    let address = service.address;
    service.wait();
    assert!(TcpStream::connect(address).is_err(), "nobody listens any more");
}

#[test]
fn a_live_query_answers_whenever_its_answer_changes() {
    let service = Service::start();
    let mut coins = Live::open(&service, "/queries/CoinsIn?jar=a", None);
    assert_eq!(coins.next().unwrap(), "problem", "there is no such jar yet");
    service.put_in("a", 1);
    assert_eq!(coins.next_data().unwrap(), "1");
    // Another jar changes the read model, but not this answer.
    service.put_in("b", 7);
    service.put_in("a", 2);
    assert_eq!(coins.next_data().unwrap(), "3");
    let mut later = Live::open(&service, "/queries/CoinsIn?jar=a", None);
    assert_eq!(later.next_data().unwrap(), "3");
    let live = &[("accept", "text/event-stream")];
    service.send("GET", "/queries/CoinsIn", live, b"").problem(400, "malformed");
    service.send("GET", "/queries/Nothing", live, b"").problem(404, "unknown-query");
}
