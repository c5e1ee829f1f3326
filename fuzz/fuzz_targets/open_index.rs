//! A log one of whose index files holds other bytes: it opens, and answers or reports.
#![no_main]

#[allow(dead_code)]
#[path = "base.rs"]
mod base;
#[allow(dead_code)]
#[path = "../../crates/annals-log/tests/memory_disk/mod.rs"]
mod memory_disk;

use annals_log::EventLog;
use annals_log::internals::repair_index;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let Some((mode, script)) = input.split_first() else { return };
    let (path, bytes) = base::harmed(".run", *mode, script, repair_index);
    let disk = base::with(&path, bytes);
    let log = EventLog::open(base::FOLDER, base::options(&disk)).expect("the index is derived");
    base::ask_everything(&log);
    // What is made up, with checksums that are right, is looked up but not merged: nobody but a forger writes it.
    if mode & 26 == 2 {
        base::change_everything(&log);
    }
});
