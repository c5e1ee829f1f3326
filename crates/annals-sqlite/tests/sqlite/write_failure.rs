//! A write to the file fails: what was acknowledged stays, and this process takes no more appends.
#![cfg(unix)]

use std::process::Command;

use annals_core::conformance::block_on;
use annals_core::{AppendError, AppendRequest, EventStore, ReadRequest, StoreError};

use super::{event, open};

const CHILD: &str = "ANNALS_SQLITE_LIMITED_CHILD";

/// Not a test of its own: what the test below starts with a limit on the size of files. Without its variable it does
/// nothing.
#[test]
fn child_that_appends_until_a_write_fails() {
    let Some(path) = std::env::var_os(CHILD) else { return };
    let store = open(path.as_ref());
    let large = || AppendRequest::new([event("a-1", "X").json(vec![b'1'; 50_000])]);
    let mut taken = 0;
    let error = loop {
        match block_on(store.append(large())) {
            Ok(receipt) => taken = receipt.last_position.get(),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, AppendError::Store(StoreError::OutcomeUnknown { .. })), "{error}");
    let next = block_on(store.append(AppendRequest::new([event("a-1", "X")]))).unwrap_err();
    assert!(matches!(next, AppendError::Store(StoreError::ReadOnly { .. })), "{next}");
    assert!(next.to_string().contains("open the store again"), "{next}");
    assert_eq!(block_on(store.head()).unwrap().get(), taken, "reads go on");
    println!("taken {taken} then {error}");
}

#[test]
fn a_failed_write_acknowledges_nothing_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events.sqlite");
    let output = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 2000; exec \"$0\" \"$@\""])
        .arg(std::env::current_exe().unwrap())
        .args(["write_failure::child_that_appends_until_a_write_fails", "--exact", "--nocapture"])
        .env(CHILD, &path)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let taken = text.split_once("taken ").and_then(|(_, rest)| rest.split(' ').next()).unwrap();
    let taken: u64 = taken.parse().unwrap();
    assert!(taken > 5, "{text}");

    let store = open(&path);
    let head = block_on(store.head()).unwrap().get();
    assert!(head == taken || head == taken + 1, "{head}, acknowledged {taken}");
    assert_eq!(block_on(store.read(ReadRequest::default().limit(1))).unwrap().events.len(), 1);
    block_on(store.append(AppendRequest::new([event("a-1", "X")]))).unwrap();
    let report = block_on(store.verify(Box::new(|_, _| {}))).unwrap();
    assert!(report.is_sound(), "{:?}", report.problems);
}
