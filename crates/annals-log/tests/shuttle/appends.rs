//! Several append at the same time, on a disk on which at any moment a write or a barrier may fail.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use annals_core::{
    AppendError, AppendReceipt, AppendRequest, EventStore, ExpectedVersion, Position, StoreError,
};
use annals_log::{EventLog, LogOptions, Planted};
use shuttle::rand::Rng;
use shuttle::thread;

use crate::memory_disk::{MemoryDisk, Step};
use crate::schedules::{Choice, Counters, count, explore, prove};
use crate::subscriber::{End, follow};
use crate::{FOLDER, event, name_of, one, options, read_after, stream};

type Outcome = (Vec<&'static str>, Result<AppendReceipt, AppendError>);

/// A disk that gives others a turn at each write and barrier of a segment; once armed, the n-th of one kind fails.
fn disk(fails: Option<Step>) -> (MemoryDisk, Arc<AtomicI64>) {
    let left = Arc::new(AtomicI64::new(i64::MAX));
    let counted = Arc::clone(&left);
    let disk = MemoryDisk::default().with_steps(move |path: &Path, step| {
        if path.extension().is_none_or(|extension| extension != "segment") {
            return Ok(());
        }
        thread::yield_now();
        if fails == Some(step) && counted.fetch_sub(1, Ordering::SeqCst) == 0 {
            let kind = if step == Step::Write { io::ErrorKind::StorageFull } else { io::ErrorKind::Other };
            return Err(kind.into());
        }
        Ok(())
    });
    (disk, left)
}

/// Appends to a stream that must not exist, for which two race.
fn race(stream_name: &str, name: &'static str) -> (Vec<&'static str>, AppendRequest) {
    let request = one(stream_name, name).expect(stream(stream_name), ExpectedVersion::NoStream);
    (vec![name], request)
}

/// Who races with whom.
const RACES: [[&str; 2]; 2] = [["a1", "b1"], ["b4", "c1"]];

fn writer(log: &EventLog, requests: Vec<(Vec<&'static str>, AppendRequest)>) -> Vec<Outcome> {
    requests.into_iter().map(|(names, request)| (names, log.append_blocking(request))).collect()
}

async fn task(log: &EventLog, requests: Vec<(Vec<&'static str>, AppendRequest)>) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    for (names, request) in requests {
        outcomes.push((names, log.append(request).await));
    }
    outcomes
}

fn body(counters: &Counters, options: impl Fn(&MemoryDisk) -> LogOptions) {
    let mut dice = shuttle::rand::thread_rng();
    let fails = [None, Some(Step::Write), Some(Step::Barrier)][dice.gen_range(0..3)];
    let (disk, left) = disk(fails);
    let log = Arc::new(EventLog::open(FOLDER, options(&disk)).unwrap());
    log.append_blocking(one("first-1", "zero")).unwrap();
    left.store(dice.gen_range(0..12), Ordering::SeqCst);
    let end = Arc::new(End::default());
    let follower = {
        let (log, disk, end) = (Arc::clone(&log), disk.clone(), Arc::clone(&end));
        thread::spawn(move || shuttle::future::block_on(follow(log, disk, end)))
    };
    let pair = |a, b, x, y| (vec![x, y], AppendRequest::new([event(a, x), event(b, y)]));
    let work = [
        vec![race("ab-1", "a1"), pair("a-1", "both-1", "a2", "a3")],
        vec![race("ab-1", "b1"), race("bc-1", "b4"), (vec!["twin"], one("twin-1", "twin"))],
        vec![(vec!["twin"], one("twin-1", "twin")), pair("both-1", "b-1", "b2", "b3")],
    ];
    let writers = work.map(|requests| {
        let log = Arc::clone(&log);
        thread::spawn(move || writer(&log, requests))
    });
    let tasks = {
        let log = Arc::clone(&log);
        let requests = vec![race("bc-1", "c1"), (vec!["c2"], one("c-1", "c2"))];
        thread::spawn(move || shuttle::future::block_on(task(&log, requests)))
    };
    let mut outcomes: Vec<Outcome> = writers.into_iter().flat_map(|writer| writer.join().unwrap()).collect();
    outcomes.extend(tasks.join().unwrap());
    end.tell();
    let (seen, batches) = follower.join().unwrap();
    counters.batches.fetch_add(batches, Ordering::Relaxed);
    let shown: Vec<String> = read_after(&log, Position::ZERO).events.iter().map(name_of).collect();
    assert_eq!(seen, shown, "a subscriber sees what is stored");
    let unknown = check(&outcomes, &shown, counters);
    drop(Arc::into_inner(log).expect("nobody else has the log"));
    reopened(&disk.copy(), &shown, &unknown);
}

/// Checks what was told against what is shown; returns the names of events that may or may not be on disk.
fn check(outcomes: &[Outcome], shown: &[String], counters: &Counters) -> Vec<&'static str> {
    let place: BTreeMap<&str, u64> = shown.iter().map(String::as_str).zip(1..).collect();
    let mut accepted = vec!["zero"];
    let mut unknown = Vec::new();
    for (names, outcome) in outcomes {
        match outcome {
            Ok(receipt) => {
                count(if receipt.duplicate { &counters.duplicates } else { &counters.accepted });
                for (name, position) in names.iter().zip(receipt.first_position.get()..) {
                    assert_eq!(place.get(name), Some(&position), "{name} is where its receipt says");
                }
                assert_eq!(receipt.event_count(), names.len() as u64);
                accepted.extend(names);
            }
            Err(AppendError::Conflict(conflict)) => {
                count(&counters.refused);
                let race = RACES.iter().find(|race| race.contains(&names[0])).unwrap();
                let lost = race.iter().any(|name| place.contains_key(name));
                assert!(lost, "{names:?} was refused for a stream that nobody wrote: {conflict}");
            }
            Err(AppendError::Store(StoreError::OutcomeUnknown { .. })) => {
                count(&counters.failed);
                unknown.extend(names);
            }
            Err(AppendError::Store(_)) => count(&counters.failed),
            Err(error) => panic!("{names:?}: {error}"),
        }
    }
    let told = outcomes.iter().filter(|(_, outcome)| outcome.is_ok()).flat_map(|(names, _)| names);
    let not_told: Vec<_> = shown.iter().filter(|name| !accepted.contains(&name.as_str())).collect();
    assert!(not_told.is_empty(), "{not_told:?} are shown, but nobody was told");
    let repeated = told.filter(|name| **name == "twin").count();
    assert!(repeated <= 2);
    unknown
}

/// Opens what is on disk again: all that was shown is there, and only what nobody can know of comes on top.
fn reopened(disk: &MemoryDisk, shown: &[String], unknown: &[&str]) {
    let log = EventLog::open(FOLDER, options(disk, 1 << 20)).unwrap();
    assert_eq!(log.damage(), None);
    let found: Vec<String> = read_after(&log, Position::ZERO).events.iter().map(name_of).collect();
    assert_eq!(&found[..shown.len()], shown, "what was shown is kept");
    let more: Vec<_> = found[shown.len()..].iter().filter(|name| !unknown.contains(&name.as_str())).collect();
    assert!(more.is_empty(), "{more:?} were told to have failed");
}

#[test]
fn everybody_is_told_the_truth() {
    prove("appends on a failing disk", 4_000, 2_000, |counters| {
        body(counters, |disk| options(disk, 700));
    });
}

/// The body is good for something: it notices that what is shown is not durable.
#[test]
#[should_panic(expected = "what is shown is durable")]
fn a_planted_mistake_is_noticed() {
    explore(Choice::Random, 500, || {
        let planted = Some(Planted::AcknowledgeBeforeBarrier);
        body(&Counters::default(), |disk| LogOptions { planted, ..options(disk, 700) });
    });
}
