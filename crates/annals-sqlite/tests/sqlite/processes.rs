//! Two stores on one file, as two processes would have them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use annals_core::conformance::block_on;
use annals_core::{
    AppendError, AppendRequest, EventStore, ExpectedVersion, Filter, Position, ReadRequest, SystemClock,
    Version, subscribe,
};
use annals_sqlite::SqliteStore;

use super::{event, open, stream};

#[test]
fn two_writers_interleave_densely() {
    const EACH: u64 = 150;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events.sqlite");
    // Both find nothing, and both make the tables.
    let opening: Vec<_> = (0..2)
        .map(|_| {
            let path = path.clone();
            std::thread::spawn(move || open(&path))
        })
        .collect();
    let stores: Vec<_> = opening.into_iter().map(|thread| thread.join().unwrap()).collect();
    let writers: Vec<_> = (0..4)
        .map(|index| {
            let store = Arc::clone(&stores[index % 2]);
            std::thread::spawn(move || {
                let name = format!("w-{index}");
                let mut last = Position::ZERO;
                for n in 0..EACH {
                    let request = AppendRequest::new([event(&name, "X"), event("shared-1", "Y")])
                        .expect(stream(&name), ExpectedVersion::Exact(Version::new(n)));
                    let receipt = block_on(store.append(request)).unwrap();
                    assert!(receipt.first_position > last && receipt.event_count() == 2);
                    assert!(block_on(store.head()).unwrap() >= receipt.last_position);
                    last = receipt.last_position;
                }
            })
        })
        .collect();
    let mut live = subscribe(Arc::clone(&stores[0]) as Arc<dyn EventStore>, Filter::all(), Position::ZERO);
    let mut seen = Vec::new();
    while (seen.len() as u64) < 8 * EACH {
        if let annals_core::SubscriptionMessage::Events(events) = block_on(live.next()).unwrap() {
            seen.extend(events.iter().map(|event| event.position().get()));
        }
    }
    writers.into_iter().for_each(|writer| writer.join().unwrap());
    assert_eq!(seen, (1..=8 * EACH).collect::<Vec<_>>(), "nothing skipped, nothing twice");
    for store in &stores {
        let report = block_on(store.verify(Box::new(|_, _| {}))).unwrap();
        assert!(report.is_sound(), "{:?}", report.problems);
        assert_eq!(report.events, 8 * EACH);
        let shared: &dyn EventStore = &**store;
        let events = block_on(shared.reader(ReadRequest::stream(stream("shared-1"))).collect()).unwrap();
        assert!(events.iter().map(|event| event.version().get()).eq(1..=4 * EACH));
    }
}

#[test]
fn each_waits_for_the_events_of_the_other() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events.sqlite");
    let (here, there) = (open(&path), open(&path));
    for n in 1..=5 {
        let waiter = {
            let here = Arc::clone(&here);
            std::thread::spawn(move || block_on(here.wait_past(Position::new(n - 1))).unwrap())
        };
        std::thread::sleep(Duration::from_millis(7));
        block_on(there.append(AppendRequest::new([event("a-1", "X")]))).unwrap();
        let appended = Instant::now();
        assert_eq!(waiter.join().unwrap(), Position::new(n));
        assert!(appended.elapsed() < Duration::from_secs(2));
    }
    assert_eq!(block_on(here.wait_past(Position::new(2))).unwrap(), Position::new(5));
}

#[test]
fn conditions_and_ids_hold_across_both() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events.sqlite");
    let (here, there) = (open(&path), open(&path));
    let first = AppendRequest::new([event("a-1", "X")]);
    let receipt = block_on(here.append(first.clone())).unwrap();
    let again = block_on(there.append(first)).unwrap();
    assert!(again.duplicate && again.last_position == receipt.last_position);
    let late =
        AppendRequest::new([event("a-2", "X")]).condition(Filter::stream(stream("a-1")), Position::ZERO);
    assert!(matches!(block_on(there.append(late)), Err(AppendError::Conflict(_))));
}

#[test]
fn a_writer_elsewhere_does_not_block_reads() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events.sqlite");
    let store = Arc::new(SqliteStore::open(&path, Arc::new(SystemClock)).unwrap());
    block_on(store.append(AppendRequest::new([event("a-1", "X")]))).unwrap();
    let other = rusqlite::Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let appender = {
        let store = Arc::clone(&store);
        std::thread::spawn(move || block_on(store.append(AppendRequest::new([event("a-1", "Y")]))).unwrap())
    };
    std::thread::sleep(Duration::from_millis(30));
    assert_eq!(block_on(store.read(ReadRequest::default())).unwrap().events.len(), 1);
    assert_eq!(block_on(store.head()).unwrap(), Position::new(1));
    other.execute_batch("COMMIT").unwrap();
    assert_eq!(appender.join().unwrap().last_position, Position::new(2));
}
