//! A store of format 2, kept as bytes: a change of the format would not go unnoticed.

use std::path::{Path, PathBuf};

use annals_core::conformance::{TestClock, block_on};
use annals_core::{
    AppendRequest, CausationId, ConsumerName, ContentType, CorrelationId, DeleteMode, EventId, EventType,
    ExpectedVersion, NewEvent, Position, StreamName, Tag, Timestamp, cloud_event,
};
use annals_log::{EventLog, LogOptions};

use crate::{copy_of, read_all, shared};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/format-2")
}

/// Writes the store that is kept, into `folder`: with `ANNALS_WRITE_GOLDEN` set, the test makes it anew.
fn write(folder: &Path) {
    let clock = TestClock::at(1_000_000);
    let log = EventLog::open(folder, LogOptions { clock, ..crate::without_marks() }).unwrap();
    let event = |n: u8, stream: &str, event_type: &str| {
        NewEvent::new(StreamName::new(stream).unwrap(), EventType::new(event_type).unwrap())
            .id(EventId::derived("golden", &n.to_string()))
            .json(format!("{{\"n\":{n}}}"))
    };
    let full = event(3, "account-ünï", "MoneyDeposited")
        .payload(ContentType::new("text/plain").unwrap(), "twelve")
        .metadata("{}")
        .tags([Tag::new("b:2").unwrap(), Tag::new("a:1").unwrap()])
        .occurred_at(Timestamp::from_micros(-1))
        .correlation_id(CorrelationId::new("request").unwrap())
        .causation_id(CausationId::new("command").unwrap());
    log.append_blocking(AppendRequest::new([event(1, "account-1", "AccountOpened")])).unwrap();
    let several = AppendRequest::new([event(2, "account-1", "MoneyDeposited"), full]);
    log.append_blocking(several.checkpoint(ConsumerName::new("mailer").unwrap(), Position::new(1))).unwrap();
    let store = shared(log);
    let deleted =
        store.delete(StreamName::new("account-1").unwrap(), ExpectedVersion::Exists, DeleteMode::Soft);
    block_on(deleted).unwrap();
}

/// What the kept store holds: its visible events as CloudEvents, and its chain.
fn content(folder: &Path) -> String {
    let log = EventLog::open(folder, crate::without_marks()).unwrap();
    assert!(log.damage().is_none(), "{:?}", log.damage());
    let mut text = String::new();
    for event in read_all(&log) {
        // The deletion's id is made anew by every writer; what is kept is compared as it is.
        text += &cloud_event(&event).unwrap();
        text.push('\n');
    }
    let store = shared(log);
    let report = block_on(store.verify(Box::new(|_, _| {}))).unwrap();
    assert!(report.is_sound(), "{:?}", report.problems);
    let checkpoint = block_on(store.checkpoint(&ConsumerName::new("mailer").unwrap())).unwrap();
    text + &format!("{} events, checkpoint {checkpoint:?}, chain {}\n", report.events, report.chain.unwrap())
}

#[test]
fn the_format_is_as_it_was() {
    let expected = folder().join("content.txt");
    if std::env::var_os("ANNALS_WRITE_GOLDEN").is_some() {
        let made = tempfile::tempdir().unwrap();
        write(made.path());
        std::fs::remove_file(made.path().join("lock")).unwrap();
        std::fs::remove_file(made.path().join("watermark")).unwrap();
        let segment = made.path().join("segments/00000000000000000001.segment");
        let bytes = std::fs::read(&segment).unwrap();
        let end = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
        std::fs::write(&segment, &bytes[..end]).unwrap();
        crate::copy_into(made.path(), &folder());
        std::fs::write(&expected, content(made.path())).unwrap();
    }
    let copy = copy_of(&folder());
    std::fs::remove_file(copy.path().join("content.txt")).unwrap();
    assert_eq!(content(copy.path()), std::fs::read_to_string(expected).unwrap());
}
