//! What was acknowledged is there after the process was killed.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::Duration;

use annals_core::conformance::block_on;
use annals_core::{AppendRequest, EventId, EventStore, Filter, ReadRequest};

use super::{event, open, tag};

const CHILD: &str = "ANNALS_SQLITE_KILLED_CHILD";

/// Not a test of its own: what the test below starts in another process. Without its variable it does nothing.
#[test]
fn child_that_appends_until_it_is_killed() {
    let Some(path) = std::env::var_os(CHILD) else { return };
    let store = open(path.as_ref());
    let writers: Vec<_> = (0..3)
        .map(|writer| {
            let store = std::sync::Arc::clone(&store);
            std::thread::spawn(move || {
                for n in 0.. {
                    let event =
                        event(&format!("w-{writer}"), "X").json(vec![b'1'; n % 3_000]).tag(tag("a:b"));
                    let id = event.event_id();
                    let receipt = block_on(store.append(AppendRequest::new([event]))).unwrap();
                    let mut out = std::io::stdout().lock();
                    writeln!(out, "receipt {} {id}", receipt.last_position).unwrap();
                    out.flush().unwrap();
                }
            })
        })
        .collect();
    writers.into_iter().for_each(|writer| writer.join().unwrap());
}

#[test]
fn acknowledged_events_survive_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events.sqlite");
    let mut random = 0x5EED_u64;
    let mut acknowledged = 0;
    for round in 0..4 {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let delay = Duration::from_millis(20 + (random >> 33) % 180);
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["kill::child_that_appends_until_it_is_killed", "--exact", "--nocapture"])
            .env(CHILD, &path)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let reader = std::thread::spawn(move || {
            // A line cut off by the kill was not a whole receipt.
            let receipts = lines.map_while(Result::ok).filter_map(|line| {
                let (position, id) = line.split_once("receipt ")?.1.split_once(' ')?;
                Some((position.parse::<u64>().ok()?, id.parse::<EventId>().ok()?))
            });
            receipts.collect::<Vec<_>>()
        });
        std::thread::sleep(delay);
        child.kill().unwrap();
        child.wait().unwrap();
        let receipts = reader.join().unwrap();
        acknowledged += receipts.len();

        let store = open(&path);
        for (position, id) in receipts {
            let batch = block_on(store.read(ReadRequest::new(Filter::event_id(id)))).unwrap();
            let found: Vec<_> = batch.events.iter().map(|event| event.position().get()).collect();
            assert_eq!(found, [position], "round {round}, event {id}");
        }
        let report = block_on(store.verify(Box::new(|_, _| {}))).unwrap();
        assert!(report.is_sound(), "round {round}: {:?}", report.problems);
    }
    assert!(acknowledged > 20, "only {acknowledged} appends were acknowledged: the rounds are too short");
}
