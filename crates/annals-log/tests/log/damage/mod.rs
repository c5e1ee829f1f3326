//! Torn tails are set aside; damaged bytes are named and kept.

pub(crate) mod everywhere;
pub(crate) mod harms;

use std::path::{Path, PathBuf};

use annals_core::{AppendRequest, Position, StoreError};
use annals_log::EventLog;

use crate::{append, copy_of, event, open, read_all, without_marks};

/// A log of six events in four frames, as a power cut without any mark would leave it.
fn unmarked() -> (tempfile::TempDir, Vec<u64>) {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path());
    let mut ends = Vec::new();
    append(&log, "a-1", "1");
    ends.push(content_end(folder.path()));
    log.append_blocking(AppendRequest::new([event("a-1", "2"), event("b-1", "3"), event("a-1", "4")]))
        .unwrap();
    ends.push(content_end(folder.path()));
    append(&log, "a-1", "5");
    ends.push(content_end(folder.path()));
    append(&log, "b-1", "6");
    ends.push(content_end(folder.path()));
    (copy_of(folder.path()), ends)
}

/// The same, after a clean stop.
fn marked() -> tempfile::TempDir {
    let (folder, _) = unmarked();
    drop(open(folder.path()));
    assert!(folder.path().join("mark").exists());
    folder
}

fn segment(folder: &Path) -> PathBuf {
    folder.join("segments").join("00000000000000000001.segment")
}

fn content_end(folder: &Path) -> u64 {
    let bytes = std::fs::read(segment(folder)).unwrap();
    bytes.iter().rposition(|byte| *byte != 0).unwrap() as u64 + 1
}

fn payloads(log: &EventLog) -> Vec<String> {
    read_all(log).iter().map(|event| String::from_utf8_lossy(event.payload()).into_owned()).collect()
}

#[test]
fn every_torn_tail_leaves_whole_frames_and_is_quarantined() {
    let (source, ends) = unmarked();
    let expected: [&[&str]; 5] =
        [&[], &["1"], &["1", "2", "3", "4"], &["1", "2", "3", "4", "5"], &["1", "2", "3", "4", "5", "6"]];
    let mut images = 0;
    for cut in 128..=*ends.last().unwrap() {
        let copy = copy_of(source.path());
        let file = std::fs::OpenOptions::new().write(true).open(segment(copy.path())).unwrap();
        file.set_len(cut).unwrap();
        // The last byte of a frame may be a zero, which cutting takes and prewriting gives back.
        let whole = ends.iter().filter(|end| **end <= cut).count();
        let log = open(copy.path());
        let found = payloads(&log);
        assert!(found == expected[whole] || cut + 8 > ends[whole], "cut at {cut}: {found:?}");
        assert!(log.damage().is_none());
        let torn = found == expected[whole] && !ends.contains(&cut) && cut != 128;
        let quarantined = copy.path().join("quarantine");
        assert!(!torn || quarantined.exists(), "cut at {cut}: nothing in quarantine");
        append(&log, "c-1", "7");
        drop(log);
        let log = open(copy.path());
        assert_eq!(payloads(&log).last().map(String::as_str), Some("7"), "cut at {cut}");
        images += 1;
    }
    println!("torn tails: {images} images, none violated");
}

#[test]
fn every_flipped_bit_behind_the_mark_is_noticed_or_harmless() {
    let source = marked();
    let end = content_end(source.path());
    let (mut read_only, mut harmless) = (0, 0);
    // Every bit of the headers and of the first two frames, then one bit of each byte.
    for bit in (0..end * 8).filter(|bit| *bit < 800 * 8 || bit % 8 == (bit / 8) % 8) {
        let copy = copy_of(source.path());
        let path = segment(copy.path());
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[(bit / 8) as usize] ^= 1 << (bit % 8);
        std::fs::write(&path, &bytes).unwrap();
        let log = open(copy.path());
        let found = payloads(&log);
        match log.damage() {
            Some(damage) => {
                assert!(damage.to_string().contains("nothing was removed"), "{damage}");
                let refused = log.append_blocking(AppendRequest::new([event("a-1", "7")]));
                assert!(refused.unwrap_err().to_string().contains("read-only"));
                assert!(
                    ["1", "2", "3", "4", "5", "6"]
                        .starts_with(&found.iter().map(String::as_str).collect::<Vec<_>>())
                );
                let store = crate::shared(log);
                let report = annals_core::conformance::block_on(store.verify(Box::new(|_, _| {}))).unwrap();
                assert!(!report.is_sound(), "bit {bit}");
                read_only += 1;
            }
            None => {
                assert_eq!(found, ["1", "2", "3", "4", "5", "6"], "bit {bit}");
                harmless += 1;
            }
        }
        assert_eq!(std::fs::read(&path).unwrap(), bytes, "bit {bit}: damaged bytes are kept as they are");
    }
    println!("bit flips: {} images, {read_only} opened read-only, {harmless} harmless", read_only + harmless);
    assert!(read_only > 0);
}

#[test]
fn a_missing_tail_or_a_zeroed_page_behind_the_mark_is_damage() {
    let source = marked();
    let end = content_end(source.path());
    for cut in [0, 64, 128, 300, end / 2, end - 1] {
        let copy = copy_of(source.path());
        std::fs::OpenOptions::new().write(true).open(segment(copy.path())).unwrap().set_len(cut).unwrap();
        let log = open(copy.path());
        assert!(log.damage().is_some(), "cut at {cut}");
        let whole = content_end(source.path());
        drop(log);
        assert_eq!((std::fs::metadata(segment(copy.path())).unwrap().len(), whole), (cut, end));
    }
    let copy = copy_of(source.path());
    let mut bytes = std::fs::read(segment(copy.path())).unwrap();
    bytes[300..end as usize].fill(0);
    std::fs::write(segment(copy.path()), bytes).unwrap();
    let log = open(copy.path());
    assert!(log.damage().is_some());
    let message = log.append_blocking(AppendRequest::new([event("a-1", "x")])).unwrap_err().to_string();
    assert!(message.contains("read-only") && message.contains("damaged"), "{message}");
}

#[test]
fn damage_in_the_middle_is_proven_by_what_follows() {
    let (source, ends) = unmarked();
    let copy = copy_of(source.path());
    let mut bytes = std::fs::read(segment(copy.path())).unwrap();
    bytes[ends[0] as usize + 120] ^= 1;
    std::fs::write(segment(copy.path()), &bytes).unwrap();
    let log = open(copy.path());
    let damage = log.damage().expect("a later frame proves that this one was durable");
    assert_eq!(
        (damage.first_position, damage.offset, damage.end),
        (Position::new(2), ends[0], Some(ends[1]))
    );
    assert_eq!(payloads(&log), ["1"]);
    let store = crate::shared(log);
    let report = annals_core::conformance::block_on(store.verify(Box::new(|_, _| {}))).unwrap();
    assert_eq!((report.events, report.readable_to), (3, Position::new(1)), "{:?}", report.problems);
    assert!(report.problems[0].contains("position 2 on"), "{:?}", report.problems);
}

#[test]
fn damage_that_appears_while_open_is_an_error_of_the_read() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path());
    append(&log, "a-1", "1");
    append(&log, "a-1", "2");
    let path = segment(folder.path());
    let mut bytes = std::fs::read(&path).unwrap();
    let place = content_end(folder.path()) as usize - 1;
    bytes[place] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let stream = annals_core::StreamName::new("a-1").unwrap();
    let error = log.read_blocking(&annals_core::ReadRequest::stream(stream)).unwrap_err();
    assert!(
        matches!(&error, StoreError::Damaged(damage) if damage.first_position == Position::new(2)),
        "{error}"
    );
}

#[test]
fn bytes_of_a_payload_are_not_taken_for_a_frame() {
    let (source, _) = unmarked();
    let frames = std::fs::read(segment(source.path())).unwrap()[128..600].to_vec();
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path());
    append(&log, "a-1", "1");
    let end = content_end(folder.path());
    let planted = annals_core::NewEvent::new(
        annals_core::StreamName::new("a-1").unwrap(),
        annals_core::EventType::new("Planted").unwrap(),
    );
    log.append_blocking(AppendRequest::new([planted.json(frames)])).unwrap();
    let copy = copy_of(folder.path());
    let mut bytes = std::fs::read(segment(copy.path())).unwrap();
    bytes[end as usize + 8] ^= 1;
    std::fs::write(segment(copy.path()), bytes).unwrap();
    let log = EventLog::open(copy.path(), without_marks()).unwrap();
    assert!(log.damage().is_none(), "a frame of another store within a payload proves nothing");
    assert_eq!(payloads(&log), ["1"]);
}

#[test]
fn a_frame_that_the_mark_denies_is_never_shown() {
    let folder = tempfile::tempdir().unwrap();
    append(&open(folder.path()), "a-1", "1");
    let end = content_end(folder.path());
    let other = copy_of(folder.path());
    append(&open(folder.path()), "a-1", "2");
    append(&open(other.path()), "a-1", "3");
    // Both are whole, and of the same store; only the mark knows which one was promised.
    std::fs::copy(segment(other.path()), segment(folder.path())).unwrap();
    let log = open(folder.path());
    let damage = log.damage().expect("the mark tells of another frame");
    assert_eq!((damage.first_position, damage.offset), (Position::new(2), end));
    assert!(damage.reason.contains("another copy of the store"), "{}", damage.reason);
    assert_eq!(payloads(&log), ["1"]);
}
