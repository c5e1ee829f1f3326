//! Space is given back, and nothing else changes.

use std::sync::Arc;

use annals_core::conformance::block_on;
use annals_core::{
    AppendRequest, DeleteMode, EventId, EventStore, ExpectedVersion, Filter, NewEvent, Position, ReadRequest,
    RecordedEvent, StreamName, Tag, Version,
};
use annals_log::{EventLog, LogOptions, Maintenance};

use crate::{event, read_all};

fn options(compress_sealed: bool) -> LogOptions {
    LogOptions {
        segment_bytes: 20_000,
        compress_sealed,
        maintenance: Maintenance::Inline,
        ..crate::without_marks()
    }
}

fn stream(name: &str) -> StreamName {
    StreamName::new(name).unwrap()
}

fn full_event(n: u64) -> NewEvent {
    event(&format!("s-{}", n % 7), &format!("{{\"n\":{n},\"text\":\"{}\"}}", "lorem ipsum ".repeat(9)))
        .id(EventId::derived("compaction", &n.to_string()))
        .tag(Tag::new(format!("t:{}", n % 3)).unwrap())
}

fn fill(log: &EventLog) {
    for n in (0..600).step_by(3) {
        log.append_blocking(AppendRequest::new((n..n + 3).map(full_event))).unwrap();
    }
}

fn read(log: &EventLog, request: ReadRequest) -> Vec<RecordedEvent> {
    let store: &dyn EventStore = log;
    block_on(store.reader(request).collect()).unwrap()
}

fn chain(log: &EventLog) -> String {
    let report = block_on(log.verify(Box::new(|_, _| {}))).unwrap();
    assert!(report.is_sound(), "{:?}", report.problems);
    report.chain.unwrap()
}

#[test]
fn removed_events_leave_their_ids_versions_and_hashes() {
    for compress in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let log = EventLog::open(folder.path(), options(compress)).unwrap();
        fill(&log);
        let first = log.append_blocking(AppendRequest::new((0..3).map(full_event))).unwrap();
        assert!(first.duplicate);
        let deleted = block_on(log.delete(stream("s-1"), ExpectedVersion::Exists, DeleteMode::Soft)).unwrap();
        block_on(log.truncate(stream("s-2"), Version::new(40))).unwrap();
        log.seal_blocking().unwrap();
        let (before, chain_before) = (read_all(&log), chain(&log));
        let report = log.compact_blocking(&(Box::new(|_, _| {}) as _)).unwrap();
        assert!(report.segments > 3 && report.bytes_after < report.bytes_before, "{report:?}");
        assert_eq!(report.events_removed, 86 + 39, "{report:?}");
        let check = |log: &EventLog| {
            assert_eq!(read_all(log), before);
            assert_eq!(chain(log), chain_before);
            let again = log.append_blocking(AppendRequest::new((0..3).map(full_event))).unwrap();
            assert_eq!((again.duplicate, again.proof), (true, first.proof), "ids stay known");
            assert_eq!((again.first_position, &again.streams), (first.first_position, &first.streams));
            let other = AppendRequest::new([full_event(1).json("{}")]);
            assert!(log.append_blocking(other).unwrap_err().to_string().contains("other content"));
            assert_eq!(read(log, ReadRequest::stream(stream("s-1"))).len(), 1, "the deletion itself");
            let left = read(log, ReadRequest::stream(stream("s-2")));
            assert_eq!(left[0].version(), Version::new(40));
            let tagged = read(log, ReadRequest::new(Filter::tags([Tag::new("t:1").unwrap()])));
            let expected = before.iter().filter(|event| event.tags().any(|tag| tag == "t:1")).count();
            assert_eq!(tagged.len(), expected);
            let state = block_on(log.stream_state(&stream("s-1"))).unwrap();
            assert_eq!((Some(state.version), state.exists), (deleted.version_of("s-1"), false));
        };
        check(&log);
        let again = log.compact_blocking(&(Box::new(|_, _| {}) as _)).unwrap();
        assert_eq!(again.segments, 0, "there is nothing left to do");
        drop(log);
        check(&EventLog::open(folder.path(), options(compress)).unwrap());
        std::fs::remove_dir_all(folder.path().join("index")).unwrap();
        check(&EventLog::open(folder.path(), options(compress)).unwrap());
        let log = EventLog::open(folder.path(), options(compress)).unwrap();
        log.append_blocking(AppendRequest::new([full_event(9_999)])).unwrap();
        assert_eq!(log.read_blocking(&ReadRequest::last(Filter::all())).unwrap().head, Position::new(603));
    }
}

#[test]
fn reads_and_appends_go_on_while_segments_are_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let options = LogOptions { maintenance: Maintenance::Background, ..options(true) };
    let log = Arc::new(EventLog::open(folder.path(), options).unwrap());
    fill(&log);
    block_on(log.delete(stream("s-3"), ExpectedVersion::Exists, DeleteMode::Soft)).unwrap();
    log.seal_blocking().unwrap();
    let expected = read_all(&log);
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for n in 0.. {
                log.append_blocking(AppendRequest::new([full_event(10_000 + n)])).unwrap();
                if stop.load(std::sync::atomic::Ordering::Relaxed) {
                    break;
                }
            }
        });
        scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                assert_eq!(read_all(&log)[..expected.len()], expected);
                let five = read(&log, ReadRequest::stream(stream("s-5")));
                assert!(
                    five.len() >= 85 && five.windows(2).all(|pair| pair[0].position() < pair[1].position())
                );
            }
        });
        let report = log.compact_blocking(&(Box::new(|_, _| {}) as _)).unwrap();
        assert!(report.segments > 3, "{report:?}");
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    chain(&log);
}
