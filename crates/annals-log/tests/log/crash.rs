//! A process is killed while it writes; what it was told is durable must be there.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::Duration;

use annals_core::{AppendRequest, EventId};

use crate::{event, open, read_all};

const WRITER_FOLDER: &str = "ANNALS_TEST_WRITER_FOLDER";
const WRITERS: usize = 4;

/// Not a test of its own: the process that the next test starts and kills.
#[test]
fn a_process_that_writes_until_it_is_killed() {
    let Ok(folder) = std::env::var(WRITER_FOLDER) else { return };
    let log = annals_log::EventLog::open(folder, annals_log::LogOptions::default()).unwrap();
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let log = &log;
            scope.spawn(move || {
                for _ in 0.. {
                    let id = EventId::fresh();
                    let pair = [event(&format!("w-{writer}"), "1").id(id), event("shared-1", "2")];
                    let receipt = log.append_blocking(AppendRequest::new(pair)).unwrap();
                    let line = format!("receipt {id} {}\n", receipt.first_position);
                    std::io::stdout().write_all(line.as_bytes()).unwrap();
                }
            });
        }
    });
}

#[test]
fn every_receipt_of_a_killed_process_is_kept() {
    let seed: u64 = std::env::var("ANNALS_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(7);
    let folder = tempfile::tempdir().unwrap();
    let mut receipts = Vec::new();
    let rounds = 12;
    for round in 0..rounds {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "crash::a_process_that_writes_until_it_is_killed", "--nocapture"])
            .env(WRITER_FOLDER, folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        // The kill comes a pseudo-random time after the first receipt.
        let first = lines.by_ref().find(|line| line.starts_with("receipt"));
        std::thread::sleep(Duration::from_micros((seed * 7_919 + round * 104_729) % 30_000));
        child.kill().unwrap();
        child.wait().unwrap();
        let complete = |line: &String| line.starts_with("receipt") && line.split(' ').count() == 3;
        receipts.extend(first.into_iter().chain(lines).filter(complete));
        let log = open(folder.path());
        let events = read_all(&log);
        assert!(log.damage().is_none());
        assert!(events.iter().zip(1..).all(|(event, position)| event.position().get() == position));
        assert_eq!(events.len() % 2, 0, "appends are whole");
        let kept: std::collections::HashMap<String, u64> =
            events.iter().map(|event| (event.id().to_string(), event.position().get())).collect();
        for receipt in &receipts {
            let mut words = receipt.split(' ').skip(1);
            let (id, position) = (words.next().unwrap(), words.next().unwrap());
            // A line cut short by the kill has no whole position; the id alone is looked up then.
            let found =
                kept.get(id).unwrap_or_else(|| panic!("round {round}, seed {seed}: {receipt} is lost"));
            assert!(found.to_string().starts_with(position), "{receipt}: found at {found}");
        }
    }
    println!("kills: {rounds}, receipts kept: {}, seed {seed}", receipts.len());
}
