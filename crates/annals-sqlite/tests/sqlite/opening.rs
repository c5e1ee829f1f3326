//! What is at the path is told apart, and left as it is when it is not ours.

use std::path::Path;
use std::sync::Arc;

use annals_core::conformance::block_on;
use annals_core::{AppendRequest, EventStore, StoreError, SystemClock};
use annals_sqlite::SqliteStore;
use rusqlite::Connection;

use super::{event, names_in, open};

fn refused(path: &Path) -> StoreError {
    SqliteStore::open(path, Arc::new(SystemClock)).expect_err("opened")
}

#[test]
fn a_newer_format_is_refused_untouched() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events.sqlite");
    block_on(open(&path).append(AppendRequest::new([event("a-1", "X")]))).unwrap();
    let tool = Connection::open(&path).unwrap();
    tool.execute("UPDATE annals_meta SET value = '7' WHERE key = 'format'", []).unwrap();
    drop(tool);
    let before = std::fs::read(&path).unwrap();
    let error = refused(&path);
    assert!(matches!(error, StoreError::NewerFormat { found: 7, supported: 2, .. }), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), before);
    assert_eq!(names_in(folder.path()), ["events.sqlite"]);

    let tool = Connection::open(&path).unwrap();
    tool.execute("UPDATE annals_meta SET value = 'seven' WHERE key = 'format'", []).unwrap();
    drop(tool);
    assert!(refused(&path).to_string().contains("\"seven\", expected a number"));
}

#[test]
fn files_of_other_kinds_are_refused_untouched() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notes.txt");
    for content in [&b"hi"[..], &[b'x'; 100], &[0; 5000], b"SQLite format 3\0"] {
        std::fs::write(&path, content).unwrap();
        let error = refused(&path);
        assert!(matches!(error, StoreError::NotAStore { .. }), "{}: {error}", content.len());
        assert!(error.to_string().contains("not an SQLite database"), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), content);
        assert_eq!(names_in(folder.path()), ["notes.txt"]);
    }
}

#[test]
fn a_foreign_database_is_refused_untouched() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shop.db");
    let shop = Connection::open(&path).unwrap();
    shop.execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE orders (id); CREATE TABLE zebras (id)")
        .unwrap();
    let error = refused(&path);
    assert!(error.to_string().contains("it has a table \"orders\""), "in use: {error}");
    drop(shop);
    let before = std::fs::read(&path).unwrap();
    let error = refused(&path);
    assert!(matches!(error, StoreError::NotAStore { .. }), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), before);
    assert_eq!(names_in(folder.path()), ["shop.db"]);
}

#[test]
fn a_folder_and_a_missing_folder_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let error = refused(folder.path());
    assert!(matches!(&error, StoreError::NotAStore { reason, .. } if reason.contains("folder")), "{error}");
    let error = refused(&folder.path().join("absent/events.sqlite"));
    assert!(matches!(error, StoreError::Io { .. }), "{error}");
    assert!(error.to_string().contains("absent: there is no such folder: create it first"), "{error}");
    assert!(!folder.path().join("absent").exists());
}

#[test]
fn a_file_that_may_not_be_written_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events.sqlite");
    drop(open(&path));
    let mut permissions = std::fs::metadata(&path).unwrap().permissions();
    permissions.set_readonly(true);
    std::fs::set_permissions(&path, permissions).unwrap();
    let error = refused(&path);
    assert!(matches!(error, StoreError::ReadOnly { .. }), "{error}");
}

#[test]
fn an_empty_file_becomes_a_store_and_closing_leaves_one_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file:events?mode=ro");
    std::fs::write(&path, b"").unwrap();
    for _ in 0..3 {
        let store = open(&path);
        block_on(store.append(AppendRequest::new([event("a-1", "X")]))).unwrap();
        block_on(store.head()).unwrap();
    }
    assert_eq!(names_in(folder.path()), ["file:events?mode=ro"]);
    assert_eq!(block_on(open(&path).head()).unwrap().get(), 3);
}

#[test]
fn a_store_keeps_its_id_and_no_other_has_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events.sqlite");
    let id = open(&path).store_id();
    assert!(id.len() == 32 && id.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f')), "{id}");
    assert_eq!(open(&path).store_id(), id);
    assert_ne!(open(&folder.path().join("other.sqlite")).store_id(), id);

    // A store made before there were ids is given one, by whichever process is first.
    let tool = Connection::open(&path).unwrap();
    assert_eq!(tool.execute("DELETE FROM annals_meta WHERE key = 'store_id'", []).unwrap(), 1);
    drop(tool);
    let opening: Vec<_> = (0..4)
        .map(|_| {
            let path = path.clone();
            std::thread::spawn(move || open(&path).store_id())
        })
        .collect();
    let ids: Vec<_> = opening.into_iter().map(|thread| thread.join().unwrap()).collect();
    assert!(ids[0] != id && ids.iter().all(|other| *other == ids[0]), "{ids:?}");
    assert_eq!(open(&path).store_id(), ids[0]);
}
