//! What is not a store, or not ours to open, is refused and left as it is.

use annals_core::StoreError;
use annals_log::EventLog;

use crate::{append, open, read_all, without_marks};

#[test]
fn a_second_opener_is_told_who_has_it_and_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path());
    let error = EventLog::open(folder.path(), without_marks()).err().unwrap();
    let process = format!("already open in process {}", std::process::id());
    assert!(error.to_string().contains(&process), "{error}");
    assert!(error.to_string().contains("stop it first"), "{error}");
    annals_core::EventStore::announce(&log, "http://127.0.0.1:4000");
    let error = EventLog::open(folder.path(), without_marks()).err().unwrap();
    assert!(error.to_string().contains("--server http://127.0.0.1:4000"), "{error}");
    std::fs::remove_file(folder.path().join("lock")).unwrap();
    let error = EventLog::open(folder.path(), without_marks()).err().unwrap();
    assert!(matches!(error, StoreError::InUse { .. }), "without the note too: {error}");
    append(&log, "a-1", "1");
    drop(log);
    assert_eq!(read_all(&open(folder.path())).len(), 1);
}

#[test]
fn a_newer_format_is_refused_untouched() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(folder.path()));
    std::fs::remove_file(folder.path().join("lock")).unwrap();
    let text = "annals-log 3 00000000000000000000000000000000\n";
    std::fs::write(folder.path().join("format"), text).unwrap();
    let error = EventLog::open(folder.path(), without_marks()).err().unwrap();
    assert!(matches!(error, StoreError::NewerFormat { found: 3, supported: 2, .. }), "{error}");
    assert!(!folder.path().join("lock").exists(), "not even a lock file is made");
    assert_eq!(std::fs::read_to_string(folder.path().join("format")).unwrap(), text);
}

#[test]
fn a_file_and_a_foreign_folder_are_refused_untouched() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("letter.txt");
    std::fs::write(&file, "dear").unwrap();
    let error = EventLog::open(&file, without_marks()).err().unwrap();
    assert!(error.to_string().contains("it is a file, expected a folder"), "{error}");
    let error = EventLog::open(folder.path(), without_marks()).err().unwrap();
    assert!(matches!(&error, StoreError::NotAStore { .. }), "{error}");
    assert!(error.to_string().contains("letter.txt"), "{error}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    let odd = tempfile::tempdir().unwrap();
    std::fs::write(odd.path().join("format"), [0xff, 0xfe]).unwrap();
    let error = EventLog::open(odd.path(), without_marks()).err().unwrap();
    assert!(matches!(&error, StoreError::NotAStore { .. }), "{error}");
}

#[test]
fn an_interrupted_making_is_finished() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("segments")).unwrap();
    std::fs::write(folder.path().join("format.new"), "annals-lo").unwrap();
    append(&open(folder.path()), "a-1", "1");
    assert_eq!(read_all(&open(folder.path())).len(), 1);
}

#[test]
fn a_read_only_folder_is_explained() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("store");
    append(&open(&store), "a-1", "1");
    let bind = |arguments: &[&str]| {
        let run = std::process::Command::new("mount").args(arguments).arg(&store).output();
        run.is_ok_and(|output| output.status.success())
    };
    if !bind(&["--bind", &store.to_string_lossy()]) {
        println!("skipped: a read-only mount can be made only by root");
        return;
    }
    let read_only = bind(&["-o", "remount,ro,bind"]);
    let opened = EventLog::open(&store, without_marks());
    assert!(std::process::Command::new("umount").arg(&store).status().unwrap().success());
    assert!(read_only);
    let error = opened.err().unwrap();
    assert!(matches!(&error, StoreError::ReadOnly { .. }), "{error}");
    assert!(error.to_string().contains("write permission"), "{error}");
}

#[test]
fn an_empty_store_is_small() {
    use std::os::unix::fs::MetadataExt;
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path());
    append(&log, "a-1", "1");
    drop(log);
    let blocks = |path: &std::path::Path| std::fs::metadata(path).unwrap().blocks() * 512;
    let files = std::fs::read_dir(folder.path().join("segments"))
        .unwrap()
        .map(|entry| blocks(&entry.unwrap().path()));
    let total = files.sum::<u64>() + blocks(&folder.path().join("mark"));
    assert!(total <= 2 << 20, "{total} bytes");
}

#[test]
fn a_store_can_be_opened_again_while_processes_are_started() {
    let folder = tempfile::tempdir().unwrap();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let _ = std::process::Command::new("true").status();
            }
        });
        // A child just being started shares the open files of this process for a moment, the lock among them.
        let opened: Vec<_> = (0..300).map(|_| EventLog::open(folder.path(), without_marks()).err()).collect();
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(opened.iter().all(Option::is_none), "{:?}", opened.iter().flatten().next());
    });
}
