//! A segment whose making was cut short, and a log that is opened with other options afterwards.

use std::path::Path;
use std::sync::Arc;

use annals_log::{EventLog, LogOptions, Maintenance, OpenMode, Storage};

use super::disk::SimDisk;
use super::engine::FOLDER;
use super::tree::Tree;

fn open(disk: &SimDisk, segment_bytes: u64) -> EventLog {
    let storage = Arc::new(disk.clone());
    let options = LogOptions {
        storage,
        segment_bytes,
        prewrite_bytes: 512,
        maintenance: Maintenance::Inline,
        ..crate::without_marks()
    };
    let log = EventLog::open(Path::new(FOLDER), options).unwrap();
    assert!(log.damage().is_none(), "{:?}", log.damage());
    log
}

#[test]
fn a_segment_that_was_never_begun_is_not_in_the_way() {
    let (small, large) = (200, 100_000);
    let disk = SimDisk::holding(Tree::default());
    crate::append(&open(&disk, small), "a-1", "1");
    // The name of the next segment is there, its header is not.
    let unbegun = Path::new("/store/segments/00000000000000000002.segment");
    disk.open(unbegun, OpenMode::CreateNew).unwrap();
    let log = open(&disk, large);
    crate::append(&log, "a-1", "2");
    let killed = SimDisk::holding(disk.tree());
    drop(log);
    // A frame behind it that nobody was promised.
    let last = Path::new("/store/segments/00000000000000000001.segment");
    let content = killed.tree().file_at("/store/segments/00000000000000000001.segment").unwrap().to_vec();
    let end = content.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    killed.open(last, OpenMode::ReadWrite).unwrap().write_all_at(b"AFRM and no more", end as u64).unwrap();
    assert_eq!(crate::read_all(&open(&killed, large)).len(), 2, "a torn tail is no damage");
    // The log goes on with small segments again.
    for number in 3..6 {
        crate::append(&open(&killed, small), "a-1", &number.to_string());
    }
    assert_eq!(crate::read_all(&open(&killed, small)).len(), 5);
}
