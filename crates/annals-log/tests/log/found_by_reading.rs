//! Mistakes that were found by reading the engine, each as the shortest way to make it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use annals_core::conformance::block_on;
use annals_core::{
    AppendRequest, ConsumerName, DeleteMode, EventId, EventStore, ExpectedVersion, Filter, Position,
    ReadRequest, RecordedEvent, StreamName,
};
use annals_log::{EventLog, EventLogReader, LogOptions, Maintenance};

use crate::memory_disk::{MemoryDisk, Step};
use crate::{append, event, open, read_all, without_marks};

const FOLDER: &str = "/store";

fn consumer(name: &str) -> ConsumerName {
    ConsumerName::new(name).unwrap()
}

fn checkpoint(log: &EventLog, name: &str, position: u64) {
    let request = AppendRequest::default().checkpoint(consumer(name), Position::new(position));
    log.append_blocking(request).unwrap();
}

fn checkpoint_of(log: &EventLog, name: &str) -> Option<u64> {
    block_on(log.checkpoint(&consumer(name))).unwrap().map(Position::get)
}

fn in_memory(disk: &MemoryDisk) -> LogOptions {
    LogOptions { storage: Arc::new(disk.clone()), prewrite_bytes: 4096, ..without_marks() }
}

#[test]
fn a_segment_of_checkpoints_alone_is_not_begun_again_in_its_own_file() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path());
    checkpoint(&log, "mailer", 0);
    log.seal_blocking().unwrap();
    append(&log, "a-1", "1");
    append(&log, "a-1", "2");
    drop(log);
    std::fs::remove_dir_all(folder.path().join("index")).unwrap();
    let log = open(folder.path());
    assert_eq!(log.damage(), None);
    assert_eq!(checkpoint_of(&log, "mailer"), Some(0));
    assert_eq!(read_all(&log).len(), 2);
}

#[test]
fn checkpoints_of_two_parts_without_events_are_both_kept() {
    let folder = tempfile::tempdir().unwrap();
    let options =
        || LogOptions { index_memory_bytes: 0, maintenance: Maintenance::Inline, ..without_marks() };
    let log = EventLog::open(folder.path(), options()).unwrap();
    append(&log, "a-1", "1");
    checkpoint(&log, "mailer", 1);
    checkpoint(&log, "printer", 1);
    checkpoint(&log, "archive", 1);
    drop(log);
    let log = EventLog::open(folder.path(), options()).unwrap();
    let found = ["mailer", "printer", "archive"].map(|name| checkpoint_of(&log, name));
    assert_eq!(found, [Some(1); 3]);
}

#[test]
fn the_mark_is_written_after_a_busy_time_too() {
    let folder = tempfile::tempdir().unwrap();
    let options = LogOptions { mark_after: Duration::from_millis(5), ..LogOptions::default() };
    let log = EventLog::open(folder.path(), options).unwrap();
    for round in 0..3 {
        let until = Instant::now() + Duration::from_millis(100);
        std::thread::scope(|scope| {
            for writer in 0..4 {
                let log = &log;
                scope.spawn(move || {
                    while Instant::now() < until {
                        append(log, &format!("w-{writer}"), "1");
                    }
                });
            }
        });
        std::thread::sleep(Duration::from_millis(500));
        let head = block_on(log.head()).unwrap().get();
        let mark = std::fs::read(folder.path().join("mark")).unwrap_or_default();
        let position = |slot: usize| {
            mark.get(slot + 16..slot + 24).map_or(0, |eight| u64::from_le_bytes(eight.try_into().unwrap()))
        };
        assert_eq!(position(0).max(position(4096)), head, "round {round}");
    }
}

#[test]
fn a_record_does_not_end_where_one_of_the_next_segment_begins() {
    let disk = MemoryDisk::default();
    let log = EventLog::open(FOLDER, LogOptions { segment_bytes: 300, ..in_memory(&disk) }).unwrap();
    let long = format!("\"{}\"", "x".repeat(600));
    append(&log, "a-1", &long);
    checkpoint(&log, "mailer", 1);
    append(&log, "a-1", "2");
    let stream = StreamName::new("a-1").unwrap();
    assert_eq!(log.read_blocking(&ReadRequest::stream(stream)).unwrap().events.len(), 2);
}

#[test]
fn a_segment_whose_making_was_interrupted_does_not_stand_in_the_way_later() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path());
    append(&log, "a-1", "1");
    log.seal_blocking().unwrap();
    drop(log);
    // What a power cut may leave of the making of a file: its name. No mark tells of it.
    std::fs::remove_file(folder.path().join("mark")).unwrap();
    let begun = folder.path().join("segments/00000000000000000002.segment");
    std::fs::OpenOptions::new().write(true).open(&begun).unwrap().set_len(0).unwrap();
    let log = open(folder.path());
    assert_eq!(log.damage(), None);
    append(&log, "a-1", "2");
    log.seal_blocking().unwrap();
    append(&log, "a-1", "3");
    drop(log);
    let log = open(folder.path());
    assert_eq!(log.damage().map(ToString::to_string), None);
    assert_eq!(read_all(&log).len(), 3);
}

/// Holds up the frame that is about to be written until it is let go, and has it fail if told so.
fn with_gate(fail: bool) -> (EventLog, Arc<AtomicBool>, Arc<AtomicBool>) {
    let (held, reached) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let (gate, at_gate) = (Arc::clone(&held), Arc::clone(&reached));
    let disk = MemoryDisk::default().with_steps(move |path: &Path, step| {
        let is_segment = path.extension().is_some_and(|extension| extension == "segment");
        if step == Step::Write && is_segment && gate.load(Ordering::SeqCst) {
            at_gate.store(true, Ordering::SeqCst);
            while gate.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(1));
            }
            if fail {
                return Err(std::io::ErrorKind::StorageFull.into());
            }
        }
        Ok(())
    });
    (EventLog::open(FOLDER, in_memory(&disk)).unwrap(), held, reached)
}

fn wait_for(flag: &AtomicBool) {
    while !flag.load(Ordering::SeqCst) {
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn nobody_is_refused_for_events_that_were_never_stored() {
    let (log, held, reached) = with_gate(true);
    append(&log, "a-1", "1");
    held.store(true, Ordering::SeqCst);
    let new = |payload| {
        let stream = StreamName::new("b-1").unwrap();
        AppendRequest::new([event("b-1", payload)]).expect(stream, ExpectedVersion::NoStream)
    };
    std::thread::scope(|scope| {
        let first = scope.spawn(|| log.append_blocking(new("1")));
        wait_for(&reached);
        let second = scope.spawn(|| log.append_blocking(new("2")));
        // The second is checked while the frame of the first is being written.
        std::thread::sleep(Duration::from_millis(100));
        held.store(false, Ordering::SeqCst);
        assert!(first.join().unwrap().is_err());
        let second = second.join().unwrap();
        assert!(second.is_ok(), "the stream was never written: {}", second.unwrap_err());
    });
}

#[test]
fn a_condition_does_not_see_what_the_frame_before_hides() {
    let (log, held, reached) = with_gate(false);
    append(&log, "a-1", "1");
    held.store(true, Ordering::SeqCst);
    std::thread::scope(|scope| {
        let deleting = scope.spawn(|| {
            let stream = StreamName::new("a-1").unwrap();
            let request = annals_core::NewEvent::system(stream, DeleteMode::Soft.into());
            log.append_blocking(AppendRequest::new([request]))
        });
        wait_for(&reached);
        let conditional = scope.spawn(|| {
            let query = Filter::types([annals_core::EventType::new("Happened").unwrap()]);
            log.append_blocking(AppendRequest::new([event("b-1", "1")]).condition(query, Position::ZERO))
        });
        std::thread::sleep(Duration::from_millis(100));
        held.store(false, Ordering::SeqCst);
        deleting.join().unwrap().unwrap();
        let conditional = conditional.join().unwrap();
        assert!(conditional.is_ok(), "that event is hidden: {}", conditional.unwrap_err());
    });
}

#[test]
fn a_damaged_page_of_an_index_does_not_keep_the_log_from_opening() {
    let folder = tempfile::tempdir().unwrap();
    let options =
        || LogOptions { index_memory_bytes: 0, maintenance: Maintenance::Inline, ..without_marks() };
    let log = EventLog::open(folder.path(), options()).unwrap();
    for n in 0..300 {
        append(&log, &format!("stream-with-a-long-name-{n}"), "1");
        checkpoint(&log, &format!("a-consumer-with-a-long-name-{n}"), 1);
    }
    log.seal_blocking().unwrap();
    append(&log, "stream-with-a-long-name-7", "2");
    drop(log);
    let mut refused = Vec::new();
    let runs = std::fs::read_dir(folder.path().join("index")).unwrap();
    let names: Vec<_> = runs.map(|entry| entry.unwrap().file_name()).collect();
    for name in names {
        let length = std::fs::metadata(folder.path().join("index").join(&name)).unwrap().len();
        for page in 0..length / 4096 {
            let copy = crate::copy_of(folder.path());
            let path = copy.path().join("index").join(&name);
            let mut bytes = std::fs::read(&path).unwrap();
            bytes[page as usize * 4096 + 7] ^= 1;
            std::fs::write(&path, bytes).unwrap();
            match EventLog::open(copy.path(), options()) {
                Ok(log) => assert_eq!(read_all(&log).len(), 301),
                Err(error) => refused.push(format!("page {page} of {name:?}: {error}")),
            }
        }
    }
    assert!(refused.is_empty(), "{refused:#?}");
}

#[test]
fn ending_a_segment_among_appends_is_no_error() {
    let folder = tempfile::tempdir().unwrap();
    let options = LogOptions { index_memory_bytes: 0, ..without_marks() };
    let log = EventLog::open(folder.path(), options).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for writer in 0..2 {
            let (log, done) = (&log, &done);
            scope.spawn(move || {
                while !done.load(Ordering::SeqCst) {
                    append(log, &format!("w-{writer}"), "1");
                }
            });
        }
        let sealed: Vec<_> = (0..30).map(|_| log.seal_blocking()).collect();
        done.store(true, Ordering::SeqCst);
        assert!(sealed.iter().all(Result::is_ok), "{:?}", sealed.into_iter().find_map(Result::err));
    });
}

#[test]
fn a_reader_beside_the_writer_removes_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path());
    append(&log, "a-1", "1");
    log.seal_blocking().unwrap();
    // What the writer is just making.
    let unfinished = folder.path().join("index/00000000000000000002-00000000000000000009.unfinished");
    std::fs::write(&unfinished, "half of it").unwrap();
    let reader = EventLogReader::open(folder.path(), without_marks()).unwrap();
    drop(reader);
    assert!(unfinished.exists());
}

#[test]
fn two_compactions_at_once_damage_nothing() {
    for _ in 0..10 {
        let folder = tempfile::tempdir().unwrap();
        let options = LogOptions { segment_bytes: 20_000, ..without_marks() };
        let log = EventLog::open(folder.path(), options).unwrap();
        for n in 0..60 {
            let events = (0..10).map(|k| event(&format!("s-{k}"), &format!("\"{}\"", "x".repeat(n * 5))));
            log.append_blocking(AppendRequest::new(events)).unwrap();
        }
        let delete = |name: &str| {
            let stream = StreamName::new(name).unwrap();
            block_on(log.delete(stream, ExpectedVersion::Exists, DeleteMode::Soft)).unwrap();
        };
        delete("s-1");
        log.seal_blocking().unwrap();
        std::thread::scope(|scope| {
            let compaction = || scope.spawn(|| log.compact_blocking(&(Box::new(|_, _| {}) as _)));
            let first = compaction();
            delete("s-2");
            let second = compaction();
            first.join().unwrap().unwrap();
            second.join().unwrap().unwrap();
        });
        let report = block_on(log.verify(Box::new(|_, _| {}))).unwrap();
        assert!(report.is_sound(), "{:?}", report.problems);
        assert_eq!(read_all(&log).len(), 480 + 2);
    }
}

#[test]
fn compaction_and_a_new_index_leave_the_states_of_streams() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path());
    append(&log, "a-1", "1");
    let stream = StreamName::new("a-1").unwrap();
    block_on(log.delete(stream.clone(), ExpectedVersion::Exists, DeleteMode::Soft)).unwrap();
    // Hides the deletion too.
    block_on(log.truncate(stream.clone(), annals_core::Version::new(9))).unwrap();
    log.seal_blocking().unwrap();
    let before = block_on(log.stream_state(&stream)).unwrap();
    log.compact_blocking(&(Box::new(|_, _| {}) as _)).unwrap();
    drop(log);
    let log = EventLog::open(folder.path(), LogOptions { rebuild_index: true, ..without_marks() }).unwrap();
    assert_eq!(block_on(log.stream_state(&stream)).unwrap(), before);
}

#[test]
fn a_changed_store_id_moves_no_segment_away() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path());
    append(&log, "a-1", "1");
    drop(log);
    let segment = folder.path().join("segments/00000000000000000001.segment");
    let before = std::fs::read(&segment).unwrap();
    let format = folder.path().join("format");
    let mut text = std::fs::read(&format).unwrap();
    let last = text.len() - 2;
    text[last] = if text[last] == b'0' { b'1' } else { b'0' };
    std::fs::write(&format, text).unwrap();
    let opened = EventLog::open(folder.path(), without_marks());
    assert!(opened.is_err_and(|error| error.to_string().contains("format")));
    assert_eq!(std::fs::read(&segment).unwrap(), before);
}

#[test]
fn an_empty_log_can_be_compacted() {
    let folder = tempfile::tempdir().unwrap();
    let report = open(folder.path()).compact_blocking(&(Box::new(|_, _| {}) as _)).unwrap();
    assert_eq!(report.segments, 0);
}

#[test]
fn that_an_id_is_new_is_told_without_a_thread_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let options =
        || LogOptions { index_memory_bytes: 0, maintenance: Maintenance::Inline, ..without_marks() };
    let log = EventLog::open(folder.path(), options()).unwrap();
    let known = event("a-1", "1");
    let id = known.event_id();
    log.append_blocking(AppendRequest::new([known])).unwrap();
    append(&log, "a-1", "2");
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..100 {
        let mut new = log.read(ReadRequest::new(Filter::event_id(EventId::fresh())).limit(1));
        let Poll::Ready(answer) = new.as_mut().poll(&mut context) else { panic!("it is waited for") };
        let answer = answer.unwrap();
        assert_eq!((answer.events.len(), answer.next, answer.head), (0, None, Position::new(2)));
    }
    let found = block_on(log.read(ReadRequest::new(Filter::event_id(id)))).unwrap();
    assert_eq!(found.events.iter().map(RecordedEvent::id).collect::<Vec<_>>(), [id]);
}
