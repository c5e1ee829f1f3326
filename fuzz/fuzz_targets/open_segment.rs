//! A log whose segment holds other bytes: it opens, reports, or refuses; what the mark proves is not lost in silence.
#![no_main]

#[allow(dead_code)]
#[path = "base.rs"]
mod base;
#[allow(dead_code)]
#[path = "../../crates/annals-log/tests/memory_disk/mod.rs"]
mod memory_disk;

use annals_core::{EventStore, block_on};
use annals_log::EventLog;
use annals_log::internals::repair_segment;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let Some((mode, script)) = input.split_first() else { return };
    let (path, bytes) = base::harmed(".segment", *mode, script, repair_segment);
    let disk = base::with(&path, bytes);
    if mode & 4 == 0 {
        for (run, _) in disk.files(&std::path::Path::new(base::FOLDER).join("index")) {
            annals_log::Storage::remove(&disk, &run).expect("it was there");
        }
    }
    let Ok(log) = EventLog::open(base::FOLDER, base::options(&disk)) else { return };
    let head = block_on(log.head()).expect("a head").get();
    assert!(
        head >= base::EVENTS || log.damage().is_some(),
        "{head} events, and nobody says that some are missing"
    );
    assert!(base::is_there(&disk, &path) || log.damage().is_none());
    base::ask_everything(&log);
    if mode & 24 == 0 {
        base::change_everything(&log);
    }
});
