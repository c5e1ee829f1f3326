//! Readers beside the writer: in the same process here, and in another one that is killed.

use std::time::{Duration, Instant};

use annals_core::conformance::block_on;
use annals_core::{AppendRequest, EventStore, Filter, Position, ReadRequest, StreamName};
use annals_log::{EventLog, EventLogReader, LogOptions, Maintenance};

use crate::{append, event};

fn small() -> LogOptions {
    LogOptions { segment_bytes: 30_000, index_memory_bytes: 20_000, ..LogOptions::default() }
}

fn all(reader: &EventLogReader) -> Vec<annals_core::RecordedEvent> {
    let store: &dyn EventStore = reader;
    block_on(store.reader(ReadRequest::new(Filter::all())).collect()).unwrap()
}

#[test]
fn a_reader_sees_what_is_acknowledged_within_milliseconds() {
    let folder = tempfile::tempdir().unwrap();
    assert!(
        EventLogReader::open(folder.path(), small()).err().unwrap().to_string().contains("nothing to read")
    );
    let log = EventLog::open(folder.path(), small()).unwrap();
    let reader = EventLogReader::open(folder.path(), small()).unwrap();
    let late = std::thread::scope(|scope| {
        let follower = scope.spawn(|| {
            let mut late = Vec::new();
            let mut seen = Position::ZERO;
            while seen < Position::new(3_000) {
                seen = reader.wait_past_blocking(seen, Duration::from_secs(10)).unwrap().expect("goes on");
                late.push(Instant::now());
            }
            late.len()
        });
        for n in 0..1_000 {
            let stream = format!("s-{}", n % 50);
            let three = (0..3).map(|_| event(&stream, &n.to_string()));
            log.append_blocking(AppendRequest::new(three)).unwrap();
        }
        follower.join().unwrap()
    });
    assert!(late > 1);
    let expected = crate::read_all(&log);
    assert_eq!(all(&reader), expected);
    let stream = StreamName::new("s-7").unwrap();
    assert_eq!(reader.read_blocking(&ReadRequest::stream(stream.clone())).unwrap().events.len(), 60);
    assert_eq!(block_on(reader.stream_state(&stream)).unwrap(), block_on(log.stream_state(&stream)).unwrap());
    let refused = block_on(reader.append(AppendRequest::new([event("s-1", "1")]))).unwrap_err();
    assert!(refused.to_string().contains("append there"), "{refused}");
    // A second reader opens in the middle of things; both go on behind a compaction and a restart of the writer.
    let second = EventLogReader::open(folder.path(), small()).unwrap();
    block_on(log.delete(stream.clone(), annals_core::ExpectedVersion::Any, annals_core::DeleteMode::Soft))
        .unwrap();
    log.seal_blocking().unwrap();
    log.compact_blocking(&(Box::new(|_, _| {}) as _)).unwrap();
    drop(log);
    let log = EventLog::open(folder.path(), small()).unwrap();
    for n in 0..300 {
        append(&log, "t-1", &n.to_string());
    }
    let expected = crate::read_all(&log);
    for reader in [&reader, &second, &EventLogReader::open(folder.path(), small()).unwrap()] {
        let last = Position::new(3_300);
        reader.wait_past_blocking(last, Duration::from_secs(10)).unwrap().expect("all comes");
        assert_eq!(all(reader), expected);
        assert!(block_on(reader.verify(Box::new(|_, _| {}))).unwrap().is_sound());
    }
}

#[test]
fn what_is_not_acknowledged_is_not_seen() {
    let folder = tempfile::tempdir().unwrap();
    let options = || LogOptions { maintenance: Maintenance::Inline, ..small() };
    let log = EventLog::open(folder.path(), options()).unwrap();
    append(&log, "a-1", "1");
    // A frame behind the watermark, as a writer killed before its barrier leaves it.
    let copy = crate::copy_of(folder.path());
    append(&log, "a-1", "2");
    let name = "segments/00000000000000000001.segment";
    std::fs::copy(folder.path().join(name), copy.path().join(name)).unwrap();
    let reader = EventLogReader::open(copy.path(), options()).unwrap();
    assert_eq!(all(&reader).len(), 1);
    // The writer that comes back keeps the whole frame, and from then on it counts.
    let log = EventLog::open(copy.path(), options()).unwrap();
    reader.wait_past_blocking(Position::new(1), Duration::from_secs(10)).unwrap().expect("it comes");
    assert_eq!(all(&reader), crate::read_all(&log));
}
