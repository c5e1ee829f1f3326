//! Groups, full disks, work in the append's transaction, verification.

use std::sync::{Arc, Mutex};

use annals_core::conformance::block_on;
use annals_core::{
    AppendError, AppendRequest, Category, ConsumerName, DeleteMode, EventStore, EventType, ExpectedVersion,
    Filter, FilterItem, MAX_FILTER_ITEMS, Position, ReadFrom, ReadRequest, StoreError, TransactionalStore,
    TxWork, Value,
};
use rusqlite::Connection;

use super::{event, open, stream, tag};

fn file() -> (tempfile::TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events.sqlite");
    (folder, path)
}

fn pages(limit: u32) -> TxWork {
    Box::new(move |tx| {
        Box::pin(async move {
            let sqlite = annals_sqlite::connection(tx).ok_or("not on SQLite")?;
            sqlite.pragma_update(None, "max_page_count", limit)?;
            Ok(())
        })
    })
}

#[test]
fn a_full_disk_refuses_appends_cleanly_and_reads_go_on() {
    let (_folder, path) = file();
    let store = open(&path);
    let before = AppendRequest::new((0..10).map(|_| event("a-1", "X")));
    block_on(store.append(before)).unwrap();
    let consumer = ConsumerName::new("c").unwrap();
    let note = |position| AppendRequest::default().checkpoint(consumer.clone(), Position::new(position));
    block_on(store.append_with(note(1), pages(1))).unwrap();

    let large = || AppendRequest::new([event("b-1", "X").json(vec![b'1'; 1 << 20])]);
    for _ in 0..2 {
        let error = block_on(store.append(large())).unwrap_err();
        assert!(matches!(error, AppendError::Store(StoreError::DiskFull { .. })), "{error}");
    }
    // Of a group too, each is told.
    let threads: Vec<_> = (0..6)
        .map(|_| {
            let (store, request) = (Arc::clone(&store), large());
            std::thread::spawn(move || block_on(store.append(request)))
        })
        .collect();
    assert!(threads.into_iter().all(|thread| thread.join().unwrap().is_err()));
    assert_eq!(block_on(store.read(ReadRequest::default())).unwrap().events.len(), 10);

    block_on(store.append_with(note(2), pages(1 << 30))).unwrap();
    let receipt = block_on(store.append(large())).unwrap();
    assert_eq!(receipt.first_position, Position::new(11), "failed appends take no positions");
    drop(store);
    let report = block_on(open(&path).verify(Box::new(|_, _| {}))).unwrap();
    assert!(report.is_sound(), "{:?}", report.problems);
}

#[test]
fn a_refused_append_does_not_disturb_its_group() {
    let (_folder, path) = file();
    let store = open(&path);
    block_on(store.append(AppendRequest::new([event("taken-1", "X")]))).unwrap();
    // Held up by another writer, these come to be one group.
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let threads: Vec<_> = (0..40)
        .map(|n| {
            let store = Arc::clone(&store);
            std::thread::spawn(move || {
                let name = if n % 2 == 0 { format!("new-{n}") } else { "taken-1".to_owned() };
                let request = AppendRequest::new([event("extra-1", "X"), event(&name, "X")])
                    .expect(stream(&name), ExpectedVersion::NoStream);
                block_on(store.append(request)).is_ok()
            })
        })
        .collect();
    std::thread::sleep(std::time::Duration::from_millis(60));
    other.execute_batch("ROLLBACK").unwrap();
    let taken: Vec<bool> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    assert!(taken.iter().enumerate().all(|(n, taken)| *taken == (n % 2 == 0)), "{taken:?}");
    assert_eq!(block_on(store.head()).unwrap(), Position::new(41));
    let report = block_on(store.verify(Box::new(|_, _| {}))).unwrap();
    assert!(report.is_sound(), "{:?}", report.problems);
}

#[test]
fn work_that_panics_or_ends_the_transaction_is_an_error() {
    let (_folder, path) = file();
    let store = open(&path);
    let panics: TxWork = Box::new(|_| Box::pin(async { panic!("on purpose") }));
    let error = block_on(store.append_with(AppendRequest::new([event("a-1", "X")]), panics)).unwrap_err();
    assert!(error.to_string().contains("the work panicked"), "{error}");
    assert_eq!(block_on(store.head()).unwrap(), Position::ZERO);

    for end in ["COMMIT", "ROLLBACK"] {
        let ends: TxWork = Box::new(move |tx| {
            Box::pin(async move {
                tx.execute(end, &[]).await?;
                Ok(())
            })
        });
        let error = block_on(store.append_with(AppendRequest::new([event("a-1", "X")]), ends)).unwrap_err();
        assert!(matches!(error, AppendError::Store(StoreError::OutcomeUnknown { .. })), "{end}: {error}");
    }
    block_on(store.append(AppendRequest::new([event("a-1", "X")]))).unwrap();
    let report = block_on(store.verify(Box::new(|_, _| {}))).unwrap();
    assert!(report.is_sound(), "{:?}", report.problems);
}

#[test]
fn queries_beside_the_events_cannot_write() {
    let (_folder, path) = file();
    let store = open(&path);
    block_on(store.append(AppendRequest::new([event("a-1", "X"), event("b-1", "Y")]))).unwrap();
    let sql = "SELECT stream, type FROM events WHERE position = $1".to_owned();
    let rows = block_on(store.query(sql, vec![Value::Integer(2)])).unwrap();
    assert_eq!(rows[0].get::<String>("stream").unwrap(), "b-1");
    let error = block_on(store.query("DELETE FROM events".to_owned(), Vec::new())).unwrap_err();
    assert!(error.to_string().contains("readonly"), "{error}");
    assert_eq!(block_on(store.read(ReadRequest::default())).unwrap().events.len(), 2);
}

#[test]
fn large_filters_and_deep_seeks_find_what_there_is() {
    let (_folder, path) = file();
    let store = open(&path);
    let events = (0..6_000).map(|n| {
        let event = event(&format!("s-{}", n % 100), if n % 500 == 0 { "Rare" } else { "Common" });
        if n % 3 == 0 { event.tag(tag("third:yes")) } else { event }
    });
    block_on(store.append(AppendRequest::new(events))).unwrap();
    let item = |name: &str| FilterItem {
        category: Some(Category::new("s").unwrap()),
        types: vec![EventType::new(name).unwrap()],
        tags: vec![tag("third:yes")],
        ..FilterItem::default()
    };
    let shared: &dyn EventStore = &*store;
    let all = |request: ReadRequest| {
        let events = block_on(shared.reader(request).collect()).unwrap();
        events.iter().map(|event| event.position().get()).collect::<Vec<_>>()
    };
    let rare: Vec<u64> = (0..6_000).filter(|n| n % 500 == 0 && n % 3 == 0).map(|n| n + 1).collect();
    assert_eq!(all(ReadRequest::new(item("Rare").into())), rare);
    assert!(all(ReadRequest::new(item("Rare").into()).backwards()).iter().eq(rare.iter().rev()));
    let common = all(ReadRequest::new(Filter::from(item("Common")).or(item("Rare"))));
    assert_eq!(common, (0..6_000).filter(|n| n % 3 == 0).map(|n| n + 1).collect::<Vec<u64>>());

    let many = |count: usize| {
        let items = (0..count)
            .map(|n| FilterItem { stream: Some(stream(&format!("s-{n}"))), ..FilterItem::default() });
        items.collect::<Filter>()
    };
    assert_eq!(all(ReadRequest::new(many(MAX_FILTER_ITEMS))).len(), 6_000);
    let error = block_on(store.read(ReadRequest::new(many(MAX_FILTER_ITEMS + 1)))).unwrap_err();
    assert!(matches!(error, StoreError::Invalid(_)), "{error}");
    for from in [ReadFrom::Position(Position::MAX), ReadFrom::Position(Position::ZERO)] {
        let expected = if from == ReadFrom::Position(Position::MAX) { (0, 6_000) } else { (6_000, 0) };
        let (forwards, backwards) = (ReadRequest::default().from(from), ReadRequest::default().from(from));
        assert_eq!((all(forwards).len(), all(backwards.backwards()).len()), expected);
    }
}

#[test]
fn verification_names_what_was_changed() {
    let damages = [
        ("UPDATE events SET payload = x'31' WHERE position = 2", "position 2 does not fit its digest"),
        ("DELETE FROM events WHERE position = 3", "position 3 is missing"),
        ("UPDATE streams SET version = 9 WHERE stream = 'a-1'", "stream \"a-1\" is listed as"),
        ("DELETE FROM streams WHERE stream = 'b-1'", "is not listed"),
        ("DELETE FROM event_tags WHERE position = 2", "\"t:1\" of the event at position 2"),
        ("INSERT INTO event_tags VALUES ('t:9', 1)", "event_tags has"),
        ("UPDATE events SET hidden = 1 WHERE position = 4", "wrongly hidden"),
        ("UPDATE events SET recorded_at = 1 WHERE position = 4", "before the one before it"),
        ("UPDATE events SET type = '$Odd' WHERE position = 4", "position 4"),
        ("UPDATE events SET category = 'z' WHERE position = 1", "category \"z\""),
        ("UPDATE events SET append_first = 1 WHERE position = 4", "append that began at 1"),
    ];
    for (sql, expected) in damages {
        let (_folder, path) = file();
        let store = open(&path);
        for name in ["a-1", "a-1", "b-1", "c-1"] {
            block_on(store.append(AppendRequest::new([event(name, "X").tag(tag("t:1"))]))).unwrap();
        }
        block_on(store.delete(stream("d-1"), ExpectedVersion::Any, DeleteMode::Soft)).unwrap();
        drop(store);
        Connection::open(&path).unwrap().execute(sql, []).unwrap();
        let store = open(&path);
        let seen: Arc<Mutex<Vec<(u64, u64)>>> = Arc::default();
        let progress = Arc::clone(&seen);
        let told = Box::new(move |done, of| progress.lock().unwrap().push((done, of)));
        let report = block_on(store.verify(told)).unwrap();
        assert!(
            report.problems.iter().any(|problem| problem.contains(expected)),
            "{sql}: {:?}",
            report.problems
        );
        assert_eq!(seen.lock().unwrap().last(), Some(&(5, 5)));
        if sql.starts_with("DELETE FROM events ") {
            assert_eq!((report.events, report.readable_to), (4, Position::new(2)));
            let error = block_on(store.append(AppendRequest::new([event("b-1", "X")])));
            assert!(error.is_ok(), "appends go on beside damage that they do not touch");
        }
    }
}

#[test]
fn futures_may_be_dropped_at_any_point() {
    let (_folder, path) = file();
    let store = open(&path);
    for _ in 0..50 {
        let mut append = store.append(AppendRequest::new([event("a-1", "X")]));
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        let _ = append.as_mut().poll(&mut context);
        let mut wait = store.wait_past(Position::MAX);
        let _ = wait.as_mut().poll(&mut context);
        let mut read = store.read(ReadRequest::default());
        let _ = read.as_mut().poll(&mut context);
    }
    block_on(store.append(AppendRequest::new([event("a-1", "X")]))).unwrap();
    assert_eq!(block_on(store.head()).unwrap(), Position::new(51));
}
